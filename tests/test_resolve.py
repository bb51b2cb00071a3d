"""The resolution of settings on a machine, and the check of what the machine supports."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_machines import INT8_OF_U2NETP, NEW_CPU, OLD_CPU, make_machine

import rembg_tuner
from rembg_tuner.base.errors import MissingModelError
from rembg_tuner.base.messages import Message
from rembg_tuner.engines.table import ENGINES
from rembg_tuner.models.agreement import AgreementWithFp32, remember_agreement
from rembg_tuner.runtime.runner import Runner
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.settings.check import check
from rembg_tuner.settings.machine import Machine, ModelFile
from rembg_tuner.settings.resolve import resolve
from rembg_tuner.settings.settings import KNOBS, Settings, default_of, type_of

if TYPE_CHECKING:
    from collections.abc import Callable

PRECISIONS = ("fp32", "bf16", "fp16", "int8")


@pytest.mark.parametrize("precisions", [OLD_CPU, NEW_CPU])
@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("precision", ["auto", "int8"])
@pytest.mark.parametrize("network_size", [0, 320])
@pytest.mark.parametrize("threads", [0, 2])
def test_what_is_the_same_here_has_one_worker(
    precisions: frozenset[str], engine: Any, precision: Any, network_size: int, threads: int
) -> None:
    """`auto`, 0 threads and size 0 share a worker with the values that they resolve to.

    The requested settings are kept.
    """
    machine = make_machine(
        precisions=precisions,
        int8_models=INT8_OF_U2NETP,
        int8_kind="vnni" if "bf16" in precisions else "avx2",
    )
    asked = Settings(
        engine=engine,
        precision=precision,
        network_size=network_size,
        intra_op_threads=threads,
    )
    assert check(asked, machine) == ()
    found = resolve(asked, machine)
    plain = resolve(Settings(engine=engine, precision="int8"), machine)
    assert found.worker_key == plain.worker_key
    assert found.settings == asked
    assert (found.precision, found.threads, found.network_size) == ("int8", 2, 320)
    assert found.worker_settings.network_size == 0
    assert resolve(asked, machine.shared_by(2)).worker_key != found.worker_key


def test_a_memory_pattern_that_parallel_mode_has_not_is_no_difference() -> None:
    """Parallel mode ignores mem_pattern: the worker is the same, and a note reports it."""
    machine = make_machine()
    without = Settings(engine="onnxruntime", execution_mode="parallel", mem_pattern=False)
    found, plain = (resolve(one, machine) for one in (replace(without, mem_pattern=True), without))
    assert found.worker_key == plain.worker_key
    assert [one.code for one in found.notes] == ["mem_pattern_unused"]
    sequential = replace(without, execution_mode="sequential")
    apart = [resolve(replace(sequential, mem_pattern=one), machine) for one in (True, False)]
    assert apart[0].worker_key != apart[1].worker_key
    assert all(one.notes == () for one in (plain, *apart))


def test_a_file_of_ones_own_is_not_for_the_stock_pipeline() -> None:
    """The stock pipeline does not run a user's file; the refusal counts as a missing model."""
    refused = check(Settings(engine="rembg", model="/models/own.onnx"), make_machine())
    assert [(one.knob, one.missing) for one in refused] == [("model", "model")]
    assert check(Settings(engine="openvino", model="/models/own.onnx"), make_machine()) == ()


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x89PNG\r\n", bytes(range(256)) * 4])
def test_what_is_no_model_is_left_to_the_engine(tmp_path: Path, content: bytes) -> None:
    """A file that is not a model is not reported as a model with an open input size."""
    path = tmp_path / "own.onnx"
    path.write_bytes(content)
    for engine in ("onnxruntime", "openvino", "ncnn"):
        asked = Settings(model=str(path), engine=engine)
        machine = read_machine()
        assert [one for one in check(asked, machine) if one.knob == "network_size"] == []
        assert resolve(asked, machine).network_size == 0


def test_another_file_with_the_old_ones_time_is_another(tmp_path: Path) -> None:
    """A replaced file with the old modification time gets a new key; equal paths share a key."""
    path = tmp_path / "own.onnx"
    path.write_bytes(b"nonsense")
    asked = Settings(model=str(path), engine="openvino")
    before = resolve(asked, read_machine())
    digest, late = before.model.sha256, replace(before.model, ctime_ns=1)
    other = tmp_path / "other.onnx"
    other.write_bytes(b"nonsensE")
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.replace(path)
    after = resolve(asked, read_machine())
    assert before.worker_key != after.worker_key
    assert digest != after.model.sha256
    with pytest.raises(OSError, match=r"own\.onnx"):  # the file that was resolved has been replaced
        assert late.sha256
    same = replace(asked, model=str(tmp_path / "x" / ".." / "own.onnx"))
    (tmp_path / "x").mkdir()
    assert resolve(same, read_machine()).worker_key == after.worker_key


def test_this_machine_is_read() -> None:
    """The embedded model is found with its hash.

    The measurement key contains the packages' versions.
    """
    machine = read_machine()
    found = resolve(Settings(engine="onnxruntime"), machine)
    assert len(found.model.sha256) == 64
    assert found.network_size == 320
    assert '"onnxruntime": "' in found.measurement_key
    assert machine.version("pyvips-binary") in found.measurement_key


FILES = {"u2netp": 320, "u2net": 320, "isnet-general-use": 1024}
MACHINES = (
    make_machine(precisions=OLD_CPU, int8_models=INT8_OF_U2NETP, int8_kind="avx2"),
    make_machine(precisions=NEW_CPU, int8_models=INT8_OF_U2NETP),
    make_machine(engines=("onnxruntime",), precisions=NEW_CPU, cpus=4),
)
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def of_a_setting() -> st.SearchStrategy[Settings]:
    """Draw settings of valid values that may conflict with each other."""
    drawn: dict[str, st.SearchStrategy[Any]] = {
        "model": st.sampled_from([*FILES, "absent"]),
        "engine": st.sampled_from(list(ENGINES)),
        "network_size": st.sampled_from([0, 256, 320]),
        "intra_op_threads": st.sampled_from([0, 1, 2, 4]),
        "inter_op_threads": st.sampled_from([0, 2]),
        "batch_size": st.sampled_from([1, 2]),
        "focus_box": st.sampled_from([None, "10%,5%,50%,80%"]),
        "focus_max_share": st.sampled_from([0.2, 0.3]),
    }
    for name, knob in KNOBS.items():
        if name not in drawn and (knob.choices or type_of(name) is bool):
            drawn[name] = st.sampled_from(knob.choices or (True, False))
    return st.builds(
        Settings, **{name: st.just(default_of(name)) | some for name, some in drawn.items()}
    )


def mended(asked: Settings, machine: Machine) -> Settings:
    """Replace refused values by defaults until no value is refused."""
    while refused := check(asked, machine):
        name = "focus" if refused[0].reason.code == "focus_box_missing" else refused[0].knob
        value = machine.best_engine if name == "engine" else default_of(name)
        assert value != getattr(asked, name), refused
        asked = replace(asked, **{name: value})  # type: ignore[arg-type]  # a default
    return asked


@UNHURRIED
@given(of_a_setting(), st.sampled_from(MACHINES))
def test_what_is_not_refused_resolves_and_stays_resolved(asked: Settings, machine: Machine) -> None:
    """No value is left open, and resolving again changes nothing.

    Every refusal names a knob and its value.
    """
    machine = replace(machine, find=found_files(machine))
    refused = check(asked, machine)
    for one in refused:
        assert one.knob in KNOBS
        assert set(one.related) <= KNOBS.keys()
        assert one.value == getattr(asked, one.knob)
        assert str(one.reason)
    asked = mended(asked, machine)
    found = resolve(asked, machine)
    assert found.settings == asked
    assert found.precision != "auto"
    assert found.network_size > 0
    assert found.threads > 0 or ENGINES[asked.engine].is_stock
    again = resolve(found.worker_settings, machine)
    assert again.worker_key == found.worker_key
    assert again.measurement_key == found.measurement_key
    assert again.worker_settings == found.worker_settings
    assert check(found.worker_settings, machine) == ()


@UNHURRIED
@given(of_a_setting(), of_a_setting(), st.sampled_from(MACHINES))
def test_workers_are_shared_exactly_where_everything_resolved_is_equal(
    one: Settings, other: Settings, machine: Machine
) -> None:
    """Workers are shared if and only if all that a session depends on is equal.

    Timeout, memory limit, size of the result and focus are not part of the key.
    """
    machine = replace(machine, find=found_files(machine))
    one, other = mended(one, machine), mended(other, machine)
    a, b = resolve(one, machine), resolve(other, machine)
    as_asked = (
        "batch_size",
        "execution_mode",
        "spinning",
        "cpu_mem_arena",
        "mem_pattern",
        "arena_shrink",
        "light_mode",
    )
    names = (
        "engine",
        "provider",
        "precision",
        "threads",
        "inter_op_threads",
        "network_size",
        "model",
        "cpus",
    )
    alike = all(getattr(a, name) == getattr(b, name) for name in names)
    alike = alike and all(getattr(one, name) == getattr(other, name) for name in as_asked)
    assert (a.worker_key == b.worker_key) == alike
    later = replace(one, timeout_s=7.0, memory_limit_bytes=2**30, max_side=512)
    assert resolve(later, machine).worker_key == a.worker_key
    assert resolve(later, machine).measurement_key == a.measurement_key


def found_files(machine: Machine) -> Callable[[str, str | None], ModelFile]:
    """Return a function that finds a machine's files with their sizes; one model is missing."""

    def find(model: str, int8_for: str | None) -> ModelFile:
        if model not in FILES:
            raise MissingModelError(Message("model {model} is not on disk", model=model))
        file = machine.find(model, int8_for)
        return replace(file, side=FILES[model], digest=lambda file: f"hash of {file.spec.path}")

    return find


@pytest.mark.parametrize("name", ["auto", *PRECISIONS])
@pytest.mark.parametrize("engine", [name for name, spec in ENGINES.items() if not spec.is_stock])
@pytest.mark.parametrize("machine", MACHINES[:2], ids=["avx2", "bf16"])
def test_a_format_is_refused_with_advice_that_holds(
    machine: Machine, engine: str, name: Any
) -> None:
    """`auto` and fp32 are never refused.

    `auto` resolves to an available format, and refusals may advise fp32.
    """
    refused = check(Settings(engine=engine, precision=name), machine)
    assert not (refused and name in ("auto", "fp32"))


def test_auto_stays_what_it_is_in_a_slot_that_has_its_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runner with a fixed machine keeps the resolution of `auto`, as in a sweep or a batch.

    A runner without one, as in a slot of the page, reads new measurements.
    """
    monkeypatch.setenv("REMBG_TUNER_CACHE", str(tmp_path))
    here, auto = read_machine(), Settings(engine="openvino", precision="auto")
    with Runner(machine=here) as fixed, Runner() as free:
        before = fixed.worker_key_of(auto)
        assert before is not None
        assert free.worker_key_of(auto) == before
        bad = AgreementWithFp32(mae=0.5, iou=0.1, pictures=1)
        remember_agreement("u2netp", "openvino", "int8", bad, tmp_path, int8_kind=here.int8_kind)
        assert fixed.worker_key_of(auto) == before
        assert free.worker_key_of(auto) not in (before, None)
        assert free.worker_key_of(Settings(engine="openvino", provider="cuda")) is None


# Former names of code that decided about settings outside `check`.
REMOVED = (
    "foreign_text",
    "unnative_text",
    "choose_precision",
    "_choose_engine",
    "_why_dropped",
    "_why_no_precision",
    "precision_problems",
    "focus_problem",
    "_cross_problems",
    "look_at_this_machine",
    "Capabilities",
    "reload_key",
    "_absent_provider",
    "_FASTEST_FIRST",
)


def test_knobs_that_the_engine_lacks_have_one_reason() -> None:
    """A knob that the engine lacks has one reason; its other requirements are not reported."""
    asked = Settings(engine="openvino", inter_op_threads=2, arena_shrink=True, cpu_mem_arena=False)
    assert {refusal.reason.code for refusal in check(asked, None)} == {"knob_unhonoured"}


def test_no_engine_is_offered_where_none_is_installed() -> None:
    """The refusal only explains how to install the requested engine."""
    [refusal] = [
        one
        for one in check(Settings(engine="ncnn"), make_machine(engines=()))
        if one.knob == "engine"
    ]
    assert "choose" not in str(refusal.reason)
    assert str(refusal.reason).endswith(str(ENGINES["ncnn"].install))
    assert refusal.clause is None


def test_nothing_else_decides_what_is_possible() -> None:
    """The former functions are absent from every module."""
    package = Path(rembg_tuner.__file__).parent
    for path in package.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert [name for name in REMOVED if re.search(rf"\b{name}\b", text)] == [], path
    assert not (package / "conflicts.py").exists()
    assert not (package / "capabilities.py").exists()
