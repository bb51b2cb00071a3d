"""A limit of the address space that is too low is reported in one sentence."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from rembg_tuner.base.messages import Message
from rembg_tuner.settings import address_space
from rembg_tuner.settings.address_space import refusal, root_reason, shortage, with_limit
from rembg_tuner.worker.worker import _why_not_loaded

ROOT = Path(__file__).parent.parent
COFFEE = ROOT / "examples" / "coffee.png"
MIB = 2**20


def limit_to(monkeypatch: pytest.MonkeyPatch, limit_bytes: int) -> None:
    """Make the system report this limit."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit_bytes, limit_bytes))


def run_limited(limit_mib: int, *words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a Python command under `ulimit -v`."""
    command = f'ulimit -v {limit_mib * 1024} && exec "$0" "$@"'
    return subprocess.run(
        ["sh", "-c", command, sys.executable, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="macOS keeps no limit of the address space")
@pytest.mark.parametrize(
    ("words", "limit_mib"),
    [
        pytest.param(["-m", "rembg_tuner", "cut", str(COFFEE), "-o", "out.png"], 100, id="cut"),
        pytest.param(
            ["-m", "rembg_tuner", "cut", str(COFFEE), "-o", "out.png"], 300, id="cut-worker"
        ),
        pytest.param(["-m", "rembg_tuner", "batch", str(COFFEE), "-o", "out"], 80, id="batch"),
        pytest.param(["-m", "rembg_tuner", "sweep", str(COFFEE), "-o", "out"], 80, id="sweep"),
        pytest.param(
            ["-m", "rembg_tuner", "models", "quantize", "u2netp", "--pictures", str(COFFEE.parent)],
            400,
            id="quantize",
        ),
        pytest.param([str(ROOT / "app.py"), "--port", "0"], 300, id="page"),
    ],
)
def test_too_low_a_limit_is_one_sentence(words: list[str], limit_mib: int, tmp_path: Path) -> None:
    """One sentence names the limit and what to do, without a traceback or a library's text."""
    done = run_limited(limit_mib, *words, folder=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    said = done.stderr.splitlines()
    assert len(said) == 1, done.stderr
    assert said[0].startswith("rembg-tuner: ")
    assert "the limit of a process's address space (ulimit -v)" in said[0]
    assert "raise it" in said[0]


@pytest.mark.skipif(sys.platform != "linux", reason="macOS keeps no limit of the address space")
def test_doctor_tells_the_limit(tmp_path: Path) -> None:
    """`doctor` runs under a limit at which no engine loads, and reports the limit."""
    done = run_limited(100, "-m", "rembg_tuner", "doctor", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "each process may use 100 MiB of address space (ulimit -v)" in done.stdout


def test_without_a_limit_nothing_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a limit, failure reasons and errors are unchanged."""
    limit_to(monkeypatch, resource.RLIM_INFINITY)
    assert with_limit(Message("a reason"), "crash") == Message("a reason")
    assert shortage(MemoryError()) is None
    assert refusal(2**60) is None


@pytest.mark.parametrize(
    ("kind", "limit_mib", "is_told"),
    [
        pytest.param("crash", 10_000, True, id="crash"),
        pytest.param("engine_error", 10_000, True, id="engine"),
        pytest.param("bad_model", 10_000, False, id="model-under-much"),
        pytest.param("bad_model", 500, True, id="model-under-little"),
        pytest.param("cancelled", 500, False, id="cancelled"),
    ],
)
def test_the_limit_is_named_where_it_may_be_the_reason(
    kind: str, limit_mib: int, is_told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is named once, also if one failure's message contains another's."""
    limit_to(monkeypatch, limit_mib * MIB)
    told = with_limit(Message("a reason"), kind)
    assert str(told).endswith("a reason")
    assert ("(ulimit -v)" in str(told)) is is_told
    again = with_limit(Message("it failed: {told}", told=told), kind)
    assert str(again).count("(ulimit -v)") <= 1


def test_only_shortages_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of the program is not reported as a shortage, so it keeps its traceback."""
    limit_to(monkeypatch, 500 * MIB)
    assert shortage(KeyError("x")) is None
    # The interpreter itself raises these when an import runs out of memory.
    assert str(shortage(SystemError("returned NULL"))).endswith("SystemError: returned NULL")
    assert str(shortage(RuntimeError("can't start new thread"))).endswith(
        "RuntimeError: can't start new thread"
    )


def test_a_library_that_is_not_mapped_is_not_called_absent() -> None:
    """Only a missing module counts as not installed; other import errors report their cause.

    NumPy wraps the cause in a page of advice.
    """
    advice = ImportError("\n\nIMPORTANT: PLEASE READ THIS\n\n")
    advice.__cause__ = ImportError("libquadmath.so: failed to map segment from shared object")
    assert (
        root_reason(advice)
        == "ImportError: libquadmath.so: failed to map segment from shared object"
    )
    assert "could not be loaded (ImportError: libquadmath.so" in str(
        _why_not_loaded("openvino", advice)
    )
    absent = ModuleNotFoundError("No module named 'ncnn'")
    assert "engine ncnn is not installed here" in str(_why_not_loaded("ncnn", absent))


def test_numpy_starts_one_thread_under_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenBLAS gets one thread under a limit.

    Each of its threads takes 32 MiB of address space, and it exits the process if that fails.
    """
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS")
    limit_to(monkeypatch, resource.RLIM_INFINITY)
    address_space.save_address_space()
    assert "OPENBLAS_NUM_THREADS" not in os.environ
    limit_to(monkeypatch, 500 * MIB)
    address_space.save_address_space()
    assert os.environ["OPENBLAS_NUM_THREADS"] == "1"
