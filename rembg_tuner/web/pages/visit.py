"""The runs of a visit: settings, results, comparison with a baseline, CSV and JSON.

This module is independent of widgets.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import NO_FOREGROUND
from rembg_tuner.base.escapes import encode_text, escape_cell
from rembg_tuner.base.files import replacing
from rembg_tuner.models.spec import public_name_of
from rembg_tuner.runtime.slots import Timeline, runs_of
from rembg_tuner.settings.results import Failure, Result, has_code, setting_peak_bytes
from rembg_tuner.settings.settings import KNOBS
from rembg_tuner.tuning.stats import Statistics, summarise
from rembg_tuner.web.locale.catalogues import SOURCE
from rembg_tuner.web.locale.words import message_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rembg_tuner.runtime.slots import Runs
    from rembg_tuner.runtime.tasks import Task
    from rembg_tuner.settings.settings import Settings, Value
    from rembg_tuner.web.pages.visitors import Original

MAX_RUNS = 50  # per visit; above it, the oldest turn that is not pinned is dropped


@dataclass(frozen=True, slots=True, kw_only=True)
class Waited:
    """The parts of the visitor's wait for a turn, in seconds.

    Attributes:
        total_s: from the click to the result, measured by the server.
        queue_s: in the queue, during other runs.
        start_s, load_s: start of a new worker and load of its model; 0 if it was warm.
        run_s: all runs of the turn.
    """

    total_s: float
    queue_s: float
    start_s: float
    load_s: float
    run_s: float

    @property
    def rest_s(self) -> float:
        """All other parts: conversion of the model, previews, the page."""
        return max(0.0, self.total_s - self.queue_s - self.start_s - self.load_s - self.run_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """The runs of one press of Run or Repeat.

    Attributes:
        number: number in this visit, from 1.
        picture: file name of the upload.
        picture_digest: SHA-256 of the file; empty: not known.
        runs: one run, or several of a repeat; the last may be a Failure.
        timeline: the worker's memory since the start of the turn.
        original: the files of the picture that the page shows; None: there are none.
        after: path of the preview or mask of the cut-out; None: there is none.
        is_masked: whether `after` is an alpha mask for the colours of the original.
        download: path of the full-size cut-out; None: there is none.
        backdrop: background colour of the download, #rrggbb; empty: transparent.
        waited: the parts of the visitor's wait; None: not known.
    """

    number: int
    picture: str
    picture_path: str
    preset: str
    settings: Settings
    runs: tuple[Result | Failure, ...]
    timeline: Timeline = field(default_factory=Timeline)
    original: Original | None = None
    after: str | None = None
    is_masked: bool = False
    download: str | None = None
    backdrop: str = ""
    picture_digest: str = ""
    waited: Waited | None = None

    @property
    def results(self) -> list[Result]:
        """The successful runs."""
        return [run for run in self.runs if isinstance(run, Result)]

    @property
    def failure(self) -> Failure | None:
        """The failure of the last run; None: it succeeded."""
        last = self.runs[-1]
        return last if isinstance(last, Failure) else None

    @property
    def has_cutout(self) -> bool:
        """Whether the page can show the cut-out."""
        return self.after is not None and self.original is not None

    @property
    def is_cancelled(self) -> bool:
        """Whether the visitor cancelled it, which is not an error."""
        return self.failure is not None and self.failure.kind == "cancelled"

    @property
    def has_no_foreground(self) -> bool:
        """Whether the network found no foreground, so the cut-out is empty or noise."""
        warnings = self.typical.warnings if self.typical else ()
        return has_code(NO_FOREGROUND, warnings)

    @property
    def typical(self) -> Result | None:
        """The run whose figures are shown: the last successful one."""
        return self.results[-1] if self.results else None

    @property
    def warm_times_s(self) -> list[float]:
        """Seconds of the runs after a worker's first run, or of all runs if there are no others."""
        warm = [run.total_s for run in self.results if run.run_index > 0]
        return warm or [run.total_s for run in self.results]

    @property
    def time(self) -> Statistics | None:
        """The statistics of `warm_times_s`; None without a successful run."""
        return summarise(self.warm_times_s) if self.results else None

    @property
    def peak_bytes(self) -> int | None:
        """The peak RSS of a single run; for a repeat, of the setting: load and all runs."""
        if len(self.results) > 1:
            return setting_peak_bytes(self.results)
        return self.results[0].peak_rss_bytes if self.results else None


def is_same_picture(turn: Turn, other: Turn) -> bool:
    """Return whether two turns have the same picture.

    The contents are compared if both digests are known, otherwise the paths.
    """
    if turn.picture_digest and other.picture_digest:
        return turn.picture_digest == other.picture_digest
    return turn.picture_path == other.picture_path


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """A turn relative to the baseline: factor of the speed, and share of the memory."""

    speed: float
    memory: float | None


def waited_for(task: Task[Runs], total_s: float) -> Waited:
    """Return the parts of the wait; start and load count only as far as in this turn."""
    results = [run for run in runs_of(task) if isinstance(run, Result)]
    first = results[0] if results and results[0].run_index == 0 else None
    marks = task.progress.timeline().marks
    return Waited(
        total_s=total_s,
        queue_s=task.queued_s(),
        start_s=min(first.start_s, _stage_s(marks, "start")) if first else 0.0,
        load_s=min(first.load_s, _stage_s(marks, "load")) if first else 0.0,
        run_s=sum(run.total_s for run in results),
    )


def _stage_s(marks: Sequence[tuple[float, str]], stage: str) -> float:
    """Return the seconds of a stage in a turn; 0 if it ended before or was not needed."""
    return sum(end_s - start_s for (start_s, name), (end_s, _) in pairwise(marks) if name == stage)


def digest_of(picture: str) -> str:
    """Return the SHA-256 of a file; empty if it cannot be read."""
    try:
        with Path(picture).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def compare(turn: Turn, baseline: Turn) -> Ratio | None:
    """Compare a turn with a baseline; None if one has no figures, or the pictures differ."""
    if not is_same_picture(turn, baseline):
        return None
    if turn.time is None or baseline.time is None or turn.time.median <= 0:
        return None
    peak, other = turn.peak_bytes, baseline.peak_bytes
    return Ratio(
        speed=baseline.time.median / turn.time.median,
        memory=peak / other if peak is not None and other else None,
    )


def differences(settings: Settings, other: Settings) -> dict[str, Value]:
    """Return the knobs, with their values, that differ from other settings."""
    theirs = other.to_dict()
    return {name: value for name, value in settings.to_dict().items() if value != theirs[name]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """The turns of a visit, oldest first.

    Attributes:
        turns: the turns.
        pinned: number of the baseline; None: there is none.
        shown: number of the turn that is shown; None: there is none.
        made: number of turns so far, including dropped ones.
    """

    turns: tuple[Turn, ...] = ()
    pinned: int | None = None
    shown: int | None = None
    made: int = 0

    def add(self, turn: Turn) -> Visit:
        """Add a turn and show it; above the limit the oldest unpinned turn is dropped."""
        turns = [*self.turns, replace(turn, number=self.made + 1)]
        if len(turns) > MAX_RUNS:
            oldest = next(i for i in range(len(turns)) if turns[i].number != self.pinned)
            del turns[oldest]
        return replace(self, turns=tuple(turns), shown=self.made + 1, made=self.made + 1)

    def change(self, turn: Turn) -> Visit:
        """Replace the turn with the same number."""
        return replace(
            self, turns=tuple(turn if t.number == turn.number else t for t in self.turns)
        )

    def find(self, number: int | None) -> Turn | None:
        """Find a turn by its number; None: there is no such turn."""
        return next((turn for turn in self.turns if turn.number == number), None)

    def show(self, number: int) -> Visit:
        """Show the turn with a number, if it exists."""
        return replace(self, shown=number) if self.find(number) else self

    def leave(self) -> Visit:
        """Show no turn, since another picture is shown."""
        return replace(self, shown=None)

    def pin(self, number: int) -> Visit:
        """Make a turn the baseline, or unpin it if it is the baseline."""
        turn = self.find(number)
        if turn is None or turn.time is None:
            return self
        return replace(self, pinned=None if self.pinned == number else number)

    @property
    def baseline(self) -> Turn | None:
        """The pinned turn; None: there is none."""
        return self.find(self.pinned)

    @property
    def current(self) -> Turn | None:
        """The turn that is shown; None: the page shows a picture without a run, or nothing."""
        return self.find(self.shown)


_FIGURES = ("stages_s", "effective", "environment", "settings", "warnings", "curve", "agreement")


def runs_csv(visit: Visit) -> str:
    """Return the runs as CSV, one row per run: the turn, the settings and the figures.

    A failed run has kind, code, message and stage instead of figures.
    """
    rows = [_row(turn, run) for turn in visit.turns for run in turn.runs]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: escape_cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def _row(turn: Turn, run: Result | Failure) -> dict[str, object]:
    """Return the columns of a run."""
    row: dict[str, object] = {"turn": turn.number, "picture": turn.picture, "preset": turn.preset}
    row |= {name: getattr(turn.settings, name) for name in KNOBS}
    row["model"] = public_name_of(turn.settings.model)
    if isinstance(run, Failure):
        return row | {
            "kind": run.kind,
            "code": run.code,
            "message": message_text(run.message, SOURCE),
            "stage": run.stage,
        }
    figures = run.to_dict()
    row |= {
        name: value
        for name, value in figures.items()
        if name not in (*_FIGURES, "input", "output", "preview", "before_preview")
    }
    return row | {f"{name}_s": value for name, value in run.stages_s.items()}


def public_run(turn: Turn, run: Result | Failure, language: str = SOURCE) -> dict[str, object]:
    """Return a run as a JSON mapping for its visitor, with file names instead of paths.

    Args:
        turn: the turn of the run.
        run: the run.
        language: the language of its messages.
    """
    content = run.to_dict() | {"input": turn.picture}
    model = {"model": public_name_of(run.settings.model)}
    content["settings"] = run.settings.to_dict() | model
    if isinstance(run, Failure):
        return content | {"message": message_text(run.message, language)}
    content["effective"] = run.effective | model
    warnings = [{"code": one.code, "message": message_text(one, language)} for one in run.warnings]
    output = Path(run.output).name
    return content | {
        "warnings": warnings,
        "output": output,
        "preview": None,
        "before_preview": None,
    }


def runs_json(visit: Visit) -> str:
    """Return the runs as JSON in the format of `cut --json`, with turn and preset of each."""
    runs = [
        {"turn": turn.number, "preset": turn.preset, **public_run(turn, run)}
        for turn in visit.turns
        for run in turn.runs
    ]
    return json.dumps({"runs": runs}, indent=1)


def write_runs(visit: Visit, folder: Path) -> tuple[Path, Path]:
    """Write the runs of the visit to runs.csv and runs.json.

    Returns:
        The paths of both files.
    """
    paths = folder / "runs.csv", folder / "runs.json"
    for path, text in zip(paths, (runs_csv(visit), runs_json(visit)), strict=True):
        with replacing(path) as file:
            file.write(encode_text(text))
    return paths
