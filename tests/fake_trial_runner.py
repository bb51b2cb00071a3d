"""A trial runner that runs nothing, for tests of the code that uses measurements."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyvips

from rembg_tuner.base.messages import Message
from rembg_tuner.base.units import MIB
from rembg_tuner.imaging.header import read_header
from rembg_tuner.settings.results import Environment, Failure, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rembg_tuner.settings.results import FailureKind
    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.worker.pipeline import Job

    Change = Callable[[Settings, list[Result]], list[Result | Failure]]


class KilledError(BaseException):
    """A stand-in for SIGKILL.

    The program still handles it as an exception, so tests check `FakeTrialRunner.left`, the copy
    made before.
    """


class FakeTrialRunner:
    """A trial runner that writes a square as every cut-out, records calls, and fails on request."""

    slots = 1

    def __init__(self, left: Path | None = None, *, change: Change | None = None) -> None:
        """Create a trial runner.

        Args:
            left: receives a copy of what a kill would leave of a sweep's folder.
            change: returns the outcomes of a call, from its settings and its results.
        """
        self.left = left or Path("/nonexistent")
        self.asked: list[tuple[Settings, list[Job]]] = []
        self.change = change
        self.warnings: tuple[Message, ...] = ()
        self.error: BaseException | None = None
        self.interrupt_after: int | None = None  # calls that succeed before Ctrl-C
        self.kill_after: int | None = None  # calls that succeed before the process is killed

    def measure(self, jobs: Sequence[Job], settings: Settings) -> list[Result | Failure]:
        """Run pictures one after another; see `trial_runner.TrialRunner`."""
        if self.kill_after is not None and len(self.asked) >= self.kill_after:
            shutil.copytree(Path(jobs[0].output).parent, self.left, dirs_exist_ok=True)
            raise KilledError
        if self.interrupt_after is not None and len(self.asked) >= self.interrupt_after:
            raise KeyboardInterrupt
        self.asked.append((settings, list(jobs)))
        if self.error is not None:
            raise self.error
        results = [
            replace(made_result(job, settings, i), warnings=self.warnings)
            for i, job in enumerate(jobs)
        ]
        return self.change(settings, results) if self.change else [*results]


def made_failure(
    settings: Settings, kind: FailureKind, message: Message, picture: str = ""
) -> Failure:
    """Return a failure of the first run."""
    return Failure(
        kind=kind,
        message=message,
        stage="predict",
        input=picture,
        settings=settings,
        run_index=0,
    )


def made_result(job: Job, settings: Settings, run_index: int) -> Result:
    """Write a cut-out and return its Result: peak RSS 100 MiB, time 0.1 s."""
    if not Path(job.output).is_file():
        header = read_header(Path(job.input))
        width, height = header.scaled(200)
        alpha = pyvips.Image.black(width, height).draw_rect(
            255, width // 4, height // 4, width // 2, height // 2, fill=True
        )
        colour = pyvips.Image.black(width, height, bands=3).copy(interpretation="srgb")
        colour.bandjoin(alpha).write_to_file(job.output)
    return Result(
        input=job.input,
        output=job.output,
        preview=None,
        before_preview=None,
        run_index=run_index,
        settings=settings,
        effective={},
        stages_s={},
        total_s=0.1,
        load_s=0.1,
        start_s=0.1,
        cpu_s=0.1,
        baseline_rss_bytes=None,
        load_peak_rss_bytes=None,
        peak_rss_bytes=100 * MIB,
        retained_rss_bytes=None,
        rss_file_bytes=None,
        peak_source="vmhwm",
        output_bytes=1,
        agreement=None,
        warnings=(),
        curve=(),
        environment=Environment(
            cpu="a CPU", cores=2, quota=None, memory_limit=None, versions={}, load_average=None
        ),
    )
