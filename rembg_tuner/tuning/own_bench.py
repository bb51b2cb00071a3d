"""The command line's bench: nobody else waits, so each trial simply runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rembg_tuner.runtime.fresh import run_fresh
from rembg_tuner.runtime.load import OwnLoad
from rembg_tuner.settings.machine import read_machine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rembg_tuner.runtime.known_peaks import HistoryUse
    from rembg_tuner.settings.results import Failure, Result
    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.worker.pipeline import Job


class OwnBench:
    """Runs pictures in workers of its own."""

    slots = 1

    def __init__(self, history: HistoryUse = "own") -> None:
        """Count the load of all its workers together.

        Args:
            history: how what settings took here before is used; see
                `running.known_peaks.KnownPeaks`.
        """
        self._load = OwnLoad()
        self._history = history
        self._machine = read_machine()  # the same for all, so that `auto` stays what it is

    def measure(self, jobs: Sequence[Job], settings: Settings) -> list[Result | Failure]:
        """Run pictures one after another in one new worker; see `measure.Bench`."""
        return run_fresh(
            jobs, settings, history=self._history, load=self._load, machine=self._machine
        )
