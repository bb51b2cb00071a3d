"""The table of engines: complete, used everywhere, and sufficient to add an engine."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rembg_tuner.base.errors import ModelError, SettingsError
from rembg_tuner.engines.protocols import EngineRequest
from rembg_tuner.engines.spec import FIT, EngineSpec, Need, Script
from rembg_tuner.engines.table import ENGINES, by_rank, open_engine, package_versions
from rembg_tuner.export.targets import export
from rembg_tuner.export.values import TARGETS, Export, Measured
from rembg_tuner.models.catalogue import INT8_ENDINGS, find_model
from rembg_tuner.runtime.diagnosis import EngineState, _engine_state
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.settings.building import build_settings
from rembg_tuner.settings.precision import resolve_precision
from rembg_tuner.settings.resolve import resolve
from rembg_tuner.settings.settings import KNOBS, Settings, is_honoured, type_of
from rembg_tuner.tuning.grid import default_axes

if TYPE_CHECKING:
    from collections.abc import Iterator


ROOT = Path(__file__).parent.parent
MEASURED = Measured(peak_bytes=2**28, time_s=0.1, n=3, date="2026-11-26", cpu="a CPU", cores=2)
EVERY_ENGINE = pytest.mark.parametrize("name", list(ENGINES))
# Modules outside engines/ that contain an engine's name, and why; all others ask the table.
NAMED = {
    "tuning/bench/contestants.py": "a contest names who takes part",
    "export/commands.py": "the command of rembg, which is its own name",
    "export/targets.py": "the target rembg",
    "export/values.py": "the target rembg",
    "models/catalogue.py": "rembg's own folder",
    "settings/settings.py": "an execution provider of ONNX Runtime",
    "tuning/environment.py": "what older versions put into a key",
}
# Knobs that a Python script does not apply, and why.
NOT_IN_A_SCRIPT = {
    "batch_size": "a script cuts out one picture",
    "focus": "refused: a script runs the network once",
    "focus_box": "goes with focus",
    "focus_max_share": "goes with focus",
    "timeout_s": "only the runner keeps it",
    "memory_limit_bytes": "only the runner keeps it",
}
# Other settings that a knob's value requires.
BESIDE: dict[str, dict[str, object]] = {
    "arena_shrink": {"cpu_mem_arena": True},
    "focus_box": {"focus": "box"},
    "focus_max_share": {"focus": "auto"},
    "inter_op_threads": {"execution_mode": "parallel"},
}
OTHERS: dict[str, list[object]] = {
    "focus": ["auto"],
    "focus_box": ["0,0,50%,50%"],
    "network_size": [256],
    "memory_limit_bytes": [2**40],
    "timeout_s": [99.0],
}


def names_of_engines() -> Iterator[tuple[str, int]]:
    """Find the strings outside the engines' folder that are an engine's name."""
    package = ROOT / "rembg_tuner"
    for path in sorted(package.rglob("*.py")):
        place = str(path.relative_to(package))
        if not place.startswith("engines/"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and node.value in ENGINES:
                    yield place, node.lineno


def test_nothing_but_the_table_knows_an_engine_by_name() -> None:
    """Decisions that depend on the engine use its spec, so that they cover a new engine too."""
    found = list(names_of_engines())
    assert [f"{place}:{line}" for place, line in found if place not in NAMED] == []
    assert {place for place, _ in found} == set(NAMED), "an exception that is no longer needed"


@EVERY_ENGINE
def test_every_spec_is_complete(name: str) -> None:
    """The knobs, precisions and providers that a spec names exist, and it is consistent."""
    spec = ENGINES[name]
    assert spec.name == name
    assert spec.knobs <= KNOBS.keys()
    assert next(iter(spec.precisions)) == "fp32"
    assert set(spec.precisions) <= set(KNOBS["precision"].choices)
    assert set(spec.faster_than_fp32) <= set(spec.precisions)
    assert set(spec.providers) <= set(KNOBS["provider"].choices)
    assert ("provider" in spec.knobs) == bool(spec.providers)
    assert set(spec.timeouts.build_s) <= set(spec.providers)
    assert set(spec.axes or {}) <= KNOBS.keys()
    needs_a_file = any(need.int8_file for need in spec.precisions.values())
    assert needs_a_file == (spec.name in INT8_ENDINGS) == (spec.int8_tools is not None)
    model = find_model("u2netp")
    asked = {
        knob: value
        for knob, value in {"network_size": 256, "batch_size": 2}.items()
        if knob in spec.knobs
    }
    settings = build_settings({"engine": name, **asked})
    derived = spec.derive(settings, replace(model, computes_sizes=False)) if spec.derive else None
    assert derived is None or derived.do == FIT or ENGINES[derived.do].convert_with is not None


def test_the_ranks_are_an_order() -> None:
    """Each rank is unique, and exactly one engine is the stock pipeline."""
    assert len({spec.rank for spec in ENGINES.values()}) == len(ENGINES)
    assert [spec.name for spec in by_rank()][:2] == ["openvino", "onnxruntime"]
    assert sum(spec.is_stock for spec in ENGINES.values()) == 1


@EVERY_ENGINE
def test_doctor_auto_and_the_trials_key_know_every_engine(name: str) -> None:
    """Each has its version and description, an `auto` precision, and a key with its version."""
    spec = ENGINES[name]
    if not spec.is_installed:
        pytest.skip(f"{name} is not installed")
    state = _engine_state(spec)
    assert state == EngineState(name=name, version=spec.installed_version, detail=state.detail)
    assert state.version is not None
    assert str(state.detail)
    machine = read_machine()
    asked = "auto" if "precision" in spec.knobs else "fp32"
    settings = build_settings({"engine": name, "precision": asked})
    assert resolve_precision(settings, machine)[0] in spec.precisions
    versions = json.loads(resolve(settings, machine).measurement_key)["versions"]
    assert {name: versions.get(name) for name in package_versions() if name in spec.packages} == {
        name: version for name, version in package_versions().items() if name in spec.packages
    }


def test_the_default_axes_are_those_of_the_engines() -> None:
    """The default axes are derived from the engines."""
    assert list(default_axes().items()) == [
        ("engine", ("onnxruntime", "openvino")),
        ("precision", ("fp32", "bf16", "int8")),
        ("intra_op_threads", (1, 2)),
        ("network_size", (192, 224, 256, 288, 320)),
        ("cpu_mem_arena", (True, False)),
    ]


def others(knob: str) -> list[object]:
    """Return values of a knob that are not its default."""
    declared, default = KNOBS[knob], getattr(Settings(), knob)
    if knob in OTHERS:
        return OTHERS[knob]
    if type_of(knob) is bool:
        return [not default]
    if declared.choices:
        return [choice for choice in declared.choices if choice not in (default, "auto")]
    assert declared.low is not None, f"give {knob} another value in OTHERS"
    return [type_of(knob)(declared.low + 1 if declared.low == default else max(declared.low, 1))]


def changes() -> list[object]:
    """Return a test case for each engine, each of its knobs, and each other value."""
    return [
        pytest.param(name, knob, value, id=f"{name}-{knob}-{value}")
        for name in ENGINES
        for knob in KNOBS
        if knob not in ("model", "engine") and is_honoured(knob, name)
        for value in others(knob)
        if can_be(name, knob, value)
    ]


def can_be(engine: str, knob: str, value: object) -> bool:
    """Return whether an engine supports a value of a knob."""
    return knob != "precision" or value in ENGINES[engine].precisions


@cache
def exported(values: frozenset[tuple[str, object]], target: str) -> Export | None:
    """Export a setting; return None if it is refused."""
    try:
        return export(build_settings(dict(values)), target, measured=MEASURED)
    except SettingsError:
        return None


@pytest.mark.parametrize(("name", "knob", "value"), changes())
def test_no_export_loses_a_knob(name: str, knob: str, value: object) -> None:
    """Each target's text contains the value, or a note names the knob.

    A Python script contains it, or the knob is listed with a reason.
    """
    beside = dict(BESIDE.get(knob, {}))
    if knob == "precision":
        beside["provider"] = ENGINES[name].precisions[value].provider or "cpu"  # type: ignore[index]
        beside = beside if is_honoured("provider", name) else {}
    for target in TARGETS:
        plain = (
            exported(frozenset({"engine": name, **beside}.items()), target)
            if "focus" not in beside
            else None
        )
        made = exported(frozenset({"engine": name, **beside, knob: value}.items()), target)
        if made is None:
            continue  # the error says what to do instead
        is_in_text = plain is None or made.text != plain.text
        notes = " ".join(str(note) for note in made.notes)
        assert is_in_text or knob in notes, f"{target} loses {knob} {value}"
        if target == "python":
            assert is_in_text or knob in NOT_IN_A_SCRIPT, f"no template has {knob}"


def test_a_script_that_forgets_a_knob_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """A note names each knob that the script's template does not apply."""
    spec = ENGINES["onnxruntime"]
    assert spec.script is not None
    part = spec.script()
    forgetful = Script(**{**vars(part), "body": part.body.replace("SPINNING", "True")})
    monkeypatch.setitem(
        ENGINES, "onnxruntime", EngineSpec(**{**vars(spec), "script": lambda: forgetful})
    )
    made = export(Settings(engine="onnxruntime", spinning=False), "python", measured=None)
    assert "the script does not apply spinning" in [str(note) for note in made.notes]


def test_a_spec_is_a_value() -> None:
    """Unknown and missing fields raise TypeError, and fields cannot be changed."""
    with pytest.raises(TypeError, match=r"missing \[.*'name'.*unknown \['colour'\]"):
        EngineSpec(colour=1)  # type: ignore[call-arg]
    with pytest.raises(AttributeError, match="has a fixed cpu"):
        Need().cpu = True  # type: ignore[misc]


ADDED = """
import json, sys
import toy_engine; toy_engine.add()
from pathlib import Path
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.cli.early import guess_engine
from rembg_tuner.runtime.diagnosis import diagnose
from rembg_tuner.export.targets import export
from rembg_tuner.export.values import TARGETS, Measured
from rembg_tuner.engines.table import package_versions
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.settings.precision import resolve_precision
from rembg_tuner.settings.resolve import resolve
from rembg_tuner.settings.settings import KNOBS, Settings, installed_engines
from rembg_tuner.tuning.grid import default_axes, make_grid
from rembg_tuner.tuning.environment import describe_machine
machine = read_machine()
settings = Settings(engine="echo", precision="auto", network_size=64)
measured = Measured(peak_bytes=2**28, time_s=0.1, n=3, date="2026-11-26", cpu="a CPU", cores=2)
script = export(Settings(engine="echo", network_size=64, focus="off"), "python", measured=measured)
Path(sys.argv[1], "cutout.py").write_text(script.text)
told = {}
for target in TARGETS:
    made = export(settings, target, measured=measured)
    told[target] = made.text
print(json.dumps({
    "doctor": [str(one.detail) for one in diagnose().engines if one.name == "echo"],
    "auto": resolve_precision(settings, machine)[0],
    "key": json.loads(resolve(settings, machine).measurement_key)["versions"],
    "context": [one for one in describe_machine() if one.startswith("numpy ")],
    "axes": default_axes()["engine"],
    "grid": len(make_grid({"engine": ["echo"], "network_size": [64, 96]}, Settings(), read_machine()).settings),
    "installed": installed_engines(),
    "early": guess_engine(["cut", "a.png", "--engine", "echo"]),
    "choices": KNOBS["engine"].choices,
    "told": told,
}))
"""


def test_an_engine_that_is_added_to_the_table_is_everywhere(tmp_path: Path) -> None:
    """Doctor, `auto`, sweeps, keys, exports and the early start use it without other changes."""
    from importlib.metadata import version

    done = subprocess.run(
        [sys.executable, "-c", ADDED, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests")},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["doctor"] == ["returns the mean of the channels"]
    assert found["auto"] == "fp32"
    assert found["key"]["numpy"] == version("numpy")
    assert found["context"] == [f"numpy {version('numpy')}"]
    assert found["axes"] == ["onnxruntime", "openvino", "echo"]
    assert found["grid"] == 2
    assert found["installed"][-1] == found["choices"][-1] == found["early"] == "echo"
    assert set(found["told"]) == set(TARGETS)
    ast.parse((tmp_path / "cutout.py").read_text(encoding="utf-8"))


def test_an_engine_without_own_files_refuses_them(tmp_path: Path) -> None:
    """The error is raised before the library is imported, and says what to do."""
    model = replace(find_model("u2netp"), name="mine/net.onnx")
    request = EngineRequest(
        settings=Settings(engine="rembg"),
        model=model,
        model_digest="",
        threads=1,
        cache=tmp_path,
        cpu={},
    )
    with pytest.raises(
        ModelError,
        match=r"engine rembg runs rembg's own models by name, got 'mine/net.onnx'; choose another",
    ):
        open_engine(request)
