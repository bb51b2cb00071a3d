"""Run the pictures of a trial one after another in a new worker."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import ModelError
from rembg_tuner.base.files import open_cache
from rembg_tuner.runtime.measurements import Measurements
from rembg_tuner.runtime.runner import Runner
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.settings.resolve import resolve
from rembg_tuner.settings.results import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rembg_tuner.runtime.known_peaks import HistoryUse
    from rembg_tuner.runtime.meter import OwnLoad
    from rembg_tuner.runtime.watch import Progress
    from rembg_tuner.settings.machine import Machine
    from rembg_tuner.settings.results import Result
    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.worker.pipeline import Job


def run_fresh(  # noqa: PLR0913  # each is the runner's own
    jobs: Sequence[Job],
    settings: Settings,
    *,
    slots: int = 1,
    history: HistoryUse = "own",
    load: OwnLoad | None = None,
    on_progress: Callable[[Runner, Progress], None] | None = None,
    machine: Machine | None = None,
) -> list[Result | Failure]:
    """Run pictures one after another in a new worker, up to the first failure.

    The first start of a setting on a machine compiles or converts, which takes more memory than
    later starts. Therefore one extra run is made first, and discarded.

    Args:
        jobs: at least one.
        settings: the settings of all runs.
        slots: how many slots share this machine's CPUs.
        history: how earlier peaks are used; see `KnownPeaks`.
        load: the load of the workers of this process.
        on_progress: called about every 20 ms with the runner, which it may cancel.
        machine: the machine on which the settings are resolved; None: the current state of this
            one.
    """
    machine = machine or read_machine()

    def note(progress: Progress) -> None:
        if on_progress is not None:
            on_progress(runner, progress)

    runs: list[Result | Failure] = []
    with Runner(slots=slots, history=history, load=load, machine=machine) as runner:
        if not was_run_here(settings, machine, slots=slots):
            first = runner.run(jobs[0], settings, on_progress=note)
            if isinstance(first, Failure):
                return [first]
            runner.close()
        for job in jobs:
            runs.append(runner.run(job, settings, on_progress=note))
            if isinstance(runs[-1], Failure):
                break
    return runs


def was_run_here(settings: Settings, machine: Machine, *, slots: int = 1) -> bool:
    """Return whether a setting ran on this machine before, so that the cache has its files."""
    try:
        key = resolve(settings, machine.shared_by(slots)).measurement_key
        return Measurements(open_cache()[0]).was_started(key)
    except (ModelError, OSError):  # the model is missing; the run reports it
        return True
    except sqlite3.Error:  # unknown, so make the extra run
        return False
