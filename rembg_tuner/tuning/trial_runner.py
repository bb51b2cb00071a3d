"""How a trial's pictures are run: the protocol, and the implementation that runs them at once.

The page has another implementation, which waits for its lane.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from rembg_tuner.runtime.fresh import run_fresh
from rembg_tuner.runtime.load import OwnLoad
from rembg_tuner.runtime.this_machine import read_machine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rembg_tuner.runtime.known_peaks import HistoryUse
    from rembg_tuner.settings.results import Failure, Result
    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.worker.pipeline import Job


class TrialRunner(Protocol):
    """Run the pictures of one trial.

    Attributes:
        slots: how many workers share the CPUs of this machine.
    """

    slots: int

    def measure(self, jobs: Sequence[Job], settings: Settings) -> list[Result | Failure]:
        """Run pictures one after another in one new worker, and end it.

        Args:
            jobs: in order.
            settings: of all runs.

        Returns:
            One outcome per job, up to the first Failure.
        """


class DirectTrialRunner:
    """Run each trial at once, in a worker of its own."""

    slots = 1

    def __init__(self, history: HistoryUse = "own") -> None:
        """Count the load of all workers together.

        Args:
            history: how earlier peaks on this machine are used; see
                `runtime.known_peaks.KnownPeaks`.
        """
        self._load = OwnLoad()
        self._history = history
        self._machine = read_machine()  # the same for all trials, so that `auto` does not change

    def measure(self, jobs: Sequence[Job], settings: Settings) -> list[Result | Failure]:
        """Run pictures one after another in one new worker; see `TrialRunner`."""
        return run_fresh(
            jobs, settings, history=self._history, load=self._load, machine=self._machine
        )
