"""The command line's bench: each trial in a Runner of its own, after a first start that compiles."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from rembg_tuner.cache import open_cache
from rembg_tuner.history import History
from rembg_tuner.measurement import Failure
from rembg_tuner.runner import Runner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rembg_tuner.measurement import Result
    from rembg_tuner.pipeline import Job
    from rembg_tuner.settings import Settings


class OwnBench:
    """Runs pictures in workers of its own."""

    def measure(self, jobs: Sequence[Job], settings: Settings) -> list[Result | Failure]:
        """Run pictures one after another in one new worker; see `measure.Bench`."""
        with Runner() as runner:
            return run_all(runner, jobs, settings)


def run_all(runner: Runner, jobs: Sequence[Job], settings: Settings) -> list[Result | Failure]:
    """Run pictures one after another in a worker that is new, up to the first failure.

    A setting's very first start on a machine compiles or converts, which takes more memory than any
    later one: it is made before, and thrown away.
    """
    runner.close()
    if not was_run_here(settings):
        first = runner.run(jobs[0], settings)
        runner.close()
        if isinstance(first, Failure):
            return [first]
    runs: list[Result | Failure] = []
    for job in jobs:
        run = runner.run(job, settings)
        runs.append(run)
        if isinstance(run, Failure):
            break
    runner.close()
    return runs


def was_run_here(settings: Settings) -> bool:
    """Tell whether a setting ran on this machine before, so that what it compiles lies in the cache."""
    try:
        return History(open_cache()[0]).find(settings) is not None
    except sqlite3.Error:  # what cannot be read tells nothing: it is started once more
        return False
