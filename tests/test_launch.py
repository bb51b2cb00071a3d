"""The start and the end of the server's process."""

from __future__ import annotations

import signal
import sys
import threading
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from rembg_tuner.runtime.slots import MAX_WARM_BYTES, WarmUp
from rembg_tuner.settings.host import read_host
from rembg_tuner.web.pages.choices import preset_settings
from rembg_tuner.web.server import launch

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def own_handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Restore the signal handlers after the test; start without a received signal."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores SIGINT
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    monkeypatch.setattr(launch, "_stopping", threading.Event())
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_an_error_that_a_signal_caused_ends_the_server_cleanly(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library may replace the signal's exception by its own while the page starts."""

    def serve_badly(_: argparse.Namespace) -> int:
        # Not with a real signal: a library that other tests loaded may have left an unmapped signal
        # stack.
        handler = signal.getsignal(number)
        assert callable(handler)
        try:
            handler(number, None)
        except KeyboardInterrupt:
            raise RuntimeError("the server does not answer") from None
        return 7

    monkeypatch.setattr(launch, "_serve", serve_badly)
    assert launch.serve([]) == 0


def test_an_error_of_the_programs_own_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error without a signal is raised."""

    def serve_badly(_: argparse.Namespace) -> int:
        raise RuntimeError("a fault")

    monkeypatch.setattr(launch, "_serve", serve_badly)
    with pytest.raises(RuntimeError, match="a fault"):
        launch.serve([])


class _Lane:
    """A lane that records the order of events."""

    def __init__(self) -> None:
        """Start with no events."""
        self.happened: list[object] = []

    def prepare(self, warm_up: WarmUp) -> None:
        """Record the settings for which a worker is requested."""
        self.happened.append(warm_up.settings)


@pytest.mark.parametrize(
    ("words", "cpus", "free_bytes", "happens"),
    [
        pytest.param([], 2, MAX_WARM_BYTES, ["worker", "page"], id="beside the page's start"),
        pytest.param([], 1, MAX_WARM_BYTES, ["page", "worker"], id="one CPU: after it"),
        pytest.param([], 2, MAX_WARM_BYTES - 1, ["page"], id="memory is short"),
        pytest.param(["--no-warm-up"], 2, MAX_WARM_BYTES, ["page"], id="not wanted"),
        pytest.param(["--no-ui"], 2, MAX_WARM_BYTES, ["worker", "page"], id="for programs"),
    ],
)
def test_a_worker_is_started_with_the_server(
    words: list[str],
    cpus: int,
    free_bytes: int,
    happens: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The preset's worker starts beside the page, or after it on one CPU, if memory is free."""
    lane = _Lane()
    web = ModuleType("web")
    vars(web)["launch_page"] = lambda *_: lane.happened.append("page")
    monkeypatch.setitem(sys.modules, "rembg_tuner.web.server.page_server", web)
    monkeypatch.setattr(launch, "import_gradio", lambda: None)
    host = replace(read_host(), affinity_cpus=cpus, quota_cpus=None, memory_limit_bytes=None)
    monkeypatch.setattr(launch, "read_host", lambda: host)
    monkeypatch.setattr(launch, "available_memory_bytes", lambda: free_bytes)
    arguments = launch.build_parser().parse_args([*words, "--preset", "fastest"])
    launch._launch(arguments, lane, None)  # type: ignore[arg-type]
    settings = preset_settings("fastest")
    assert lane.happened == [settings if what == "worker" else what for what in happens]
