"""The start and the end of the server's process."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

import pytest

from rembg_tuner.server import launch

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def own_handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put the handlers of signals back, and begin with no signal received."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    monkeypatch.setattr(launch, "_stopping", threading.Event())
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_an_error_that_a_signal_caused_ends_the_server_cleanly(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the page starts, a library may replace the signal's exception by one of its own."""

    def serve_badly(_: argparse.Namespace) -> int:
        # Not by a real signal: a library that other tests loaded here may have left its signal stack unmapped.
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
    """Only a signal makes an error the normal end."""

    def serve_badly(_: argparse.Namespace) -> int:
        raise RuntimeError("a fault")

    monkeypatch.setattr(launch, "_serve", serve_badly)
    with pytest.raises(RuntimeError, match="a fault"):
        launch.serve([])
