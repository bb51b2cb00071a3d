"""A finished sweep without measurements, for tests and benchmarks of how the page draws it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from made_trials import make_trial

from rembg_tuner.base.messages import Message
from rembg_tuner.settings.results import CONCURRENT_RUN
from rembg_tuner.settings.settings import Settings
from rembg_tuner.tuning.sweep import SweepProgress
from rembg_tuner.tuning.trials import Trial
from rembg_tuner.web.pages.long_tasks import LongTask


def made_study(count: int, folder: Path = Path("/nowhere")) -> LongTask:
    """Create a sweep of `count` trials: a third have a warning, and a fifth failed."""
    trials = tuple(_trial(number, folder) for number in range(count))
    progress = SweepProgress(
        trials=trials, planned=count, elapsed_s=100.0, left_s=(0.0, 0.0), remembered=0
    )
    return LongTask(folder=folder, progress=progress)


def _trial(number: int, folder: Path) -> Trial:
    """Create a trial with its own threads, network size and figures; every fifth one failed."""
    knobs = {"network_size": 64 + 32 * (number % 20), "intra_op_threads": 1 + number // 20}
    if number % 5 == 4:
        settings = Settings(engine="onnxruntime", **knobs)  # type: ignore[arg-type]  # knobs by name
        return Trial(
            number=number, settings=settings, failure=_failure(folder), failure_kind="timeout"
        )
    made = make_trial(number, 150 + number, 0.05 + number / 1000, 0.97 + number / 10_000, **knobs)
    return replace(made, warnings=(CONCURRENT_RUN,) if number % 3 == 0 else ())


def _failure(folder: Path) -> Message:
    """Return the reason of a failed trial; it contains a path on the server."""
    reason = Message(
        "the run passed its deadline of {deadline:seconds} (timeout_s) and was ended; raise it, or"
        " choose a faster setting",
        deadline=30.0,
    )
    return Message(
        "{path} cannot be read: {reason}", path=folder / "uploads" / "cup.png", reason=reason
    )
