"""Fixtures for many tests: the examples, a separate cache, a shared comparer."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from rembg_tuner.base.files import CACHE_VARIABLE
from rembg_tuner.runtime import outcomes
from rembg_tuner.runtime.picture_processes import Comparer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rembg_tuner.settings.results import Result

# The same cases in every run, so that only a change can make a test fail; use
# --hypothesis-seed for other cases.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Use a cache folder for this test run, so that no user's cache is read or changed."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(folder))
        yield folder


@pytest.fixture(scope="session")
def comparer() -> Iterator[Comparer]:
    """Return a comparer whose process serves every test."""
    with Comparer() as one:
        yield one


@pytest.fixture(autouse=True)
def quiet_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Report no other work on the machine, so that no test depends on it."""
    monkeypatch.setattr("rembg_tuner.runtime.meter.load_average", lambda: 0.0)


@pytest.fixture(autouse=True)
def coded_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check that every warning of every run has a code."""
    made = outcomes.result_of

    def result_of(*given: Any, **named: Any) -> Result:
        result = made(*given, **named)
        assert [one for one in result.warnings if one.code is None] == []
        return result

    monkeypatch.setattr("rembg_tuner.runtime.runner.result_of", result_of)


class _SignalStack(ctypes.Structure):
    """The stack_t of Linux."""

    _fields_ = (("sp", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@pytest.fixture
def usual_signal_stack() -> None:
    """Handle signals on this thread's own stack, for tests that send signals to this process.

    OpenVINO installs an alternate signal stack where the CPU has AMX, and puts back the one before
    it when a model is closed. Tests close models in any order, so what it puts back may be
    unmapped, and a signal then ends the process with SIGSEGV.
    """
    if sys.platform == "linux":
        disabled = _SignalStack(None, 2, 0)  # SS_DISABLE
        assert ctypes.CDLL(None).sigaltstack(ctypes.byref(disabled), None) == 0


@pytest.fixture
def astronaut() -> Path:
    """Return a real picture with a clear foreground, 512 x 512 px PNG."""
    return EXAMPLES / "astronaut.png"
