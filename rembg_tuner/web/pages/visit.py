"""One visit's runs: what was asked, what came of it, what differed; as CSV and JSON.

Knows nothing of widgets; the page draws what stands here.
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

MOST_RUNS = 50  # of a visit; the oldest that is not pinned goes first


@dataclass(frozen=True, slots=True, kw_only=True)
class Waited:
    """How long the visitor waited for a turn, and for what; seconds.

    Attributes:
        total_s: from the click to the result, as the server sees it.
        queue_s: for the runs of others.
        start_s, load_s: for a new worker and its model; 0 where one was warm.
        run_s: for all runs of the turn.
    """

    total_s: float
    queue_s: float
    start_s: float
    load_s: float
    run_s: float

    @property
    def rest_s(self) -> float:
        """Everything else: conversion of the model, previews, the page itself."""
        return max(0.0, self.total_s - self.queue_s - self.start_s - self.load_s - self.run_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One press of Run.

    Attributes:
        number: from 1, in this visit.
        picture: the file's name as the visitor knows it.
        picture_digest: SHA-256 of the file; empty: not known.
        runs: one, or several of a repeat; the last may be a Failure.
        timeline: the worker's memory from the turn's beginning on.
        original: what the page shows of the picture; None: nothing was made of it.
        after: what the page shows of the cut-out, a path; None where there is none.
        is_masked: `after` holds the alpha only, and is laid over the original's colours.
        download: the full-size cut-out; None where there is none.
        backdrop: the colour that the download stands on, #rrggbb; empty: transparent.
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
        """The runs that went through."""
        return [run for run in self.runs if isinstance(run, Result)]

    @property
    def failure(self) -> Failure | None:
        """What went wrong, if something did."""
        last = self.runs[-1]
        return last if isinstance(last, Failure) else None

    @property
    def has_cutout(self) -> bool:
        """Whether the page has something to show of the cut-out."""
        return self.after is not None and self.original is not None

    @property
    def is_cancelled(self) -> bool:
        """Whether the visitor stopped it, which is not an error."""
        return self.failure is not None and self.failure.kind == "cancelled"

    @property
    def has_no_foreground(self) -> bool:
        """Whether the network saw nothing to cut out, so that the cut-out is empty or noise."""
        warnings = self.typical.warnings if self.typical else ()
        return has_code(NO_FOREGROUND, warnings)

    @property
    def typical(self) -> Result | None:
        """The run that the figures are of: the newest that went through."""
        return self.results[-1] if self.results else None

    @property
    def warm_times_s(self) -> list[float]:
        """Times of the runs after a worker's first; of the first where there is no other."""
        warm = [run.total_s for run in self.results if run.run_index > 0]
        return warm or [run.total_s for run in self.results]

    @property
    def time(self) -> Statistics | None:
        """The spread of its times."""
        return summarise(self.warm_times_s) if self.results else None

    @property
    def peak_bytes(self) -> int | None:
        """The peak of one run; of a repeat the peak of the setting, load and all runs."""
        if len(self.results) > 1:
            return setting_peak_bytes(self.results)
        return self.results[0].peak_rss_bytes if self.results else None


def is_same_picture(turn: Turn, other: Turn) -> bool:
    """Return whether two turns are of one picture, by its content.

    By its path where that is not known.
    """
    if turn.picture_digest and other.picture_digest:
        return turn.picture_digest == other.picture_digest
    return turn.picture_path == other.picture_path


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """A turn against the baseline: how many times as fast, and what share of its memory."""

    speed: float
    memory: float | None


def waited_for(task: Task[Runs], total_s: float) -> Waited:
    """Say what the visitor waited for; start and load count as far as they fell into this turn."""
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
    """Return how long a stage took in a turn, seconds.

    0 where it was over before, or was not needed.
    """
    return sum(end_s - start_s for (start_s, name), (end_s, _) in pairwise(marks) if name == stage)


def digest_of(picture: str) -> str:
    """Return a file's SHA-256; empty where it is gone."""
    try:
        with Path(picture).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def compare(turn: Turn, baseline: Turn) -> Ratio | None:
    """Compare a turn with a baseline; None where one has no figures, or the pictures differ."""
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
    """Give the knobs whose value is not the other's."""
    theirs = other.to_dict()
    return {name: value for name, value in settings.to_dict().items() if value != theirs[name]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """This visit's turns, oldest first, which of them is in sight, and which is the baseline."""

    turns: tuple[Turn, ...] = ()
    pinned: int | None = None
    shown: int | None = None
    made: int = 0

    def add(self, turn: Turn) -> Visit:
        """Take a turn in and show it; beyond the bound the oldest that is not pinned goes."""
        turns = [*self.turns, replace(turn, number=self.made + 1)]
        if len(turns) > MOST_RUNS:
            oldest = next(i for i in range(len(turns)) if turns[i].number != self.pinned)
            del turns[oldest]
        return replace(self, turns=tuple(turns), shown=self.made + 1, made=self.made + 1)

    def change(self, turn: Turn) -> Visit:
        """Put a turn in the place of the one with its number."""
        return replace(
            self, turns=tuple(turn if t.number == turn.number else t for t in self.turns)
        )

    def find(self, number: int | None) -> Turn | None:
        """Find a turn by its number."""
        return next((turn for turn in self.turns if turn.number == number), None)

    def show(self, number: int) -> Visit:
        """Show a turn."""
        return replace(self, shown=number) if self.find(number) else self

    def leave(self) -> Visit:
        """Show no turn: its place is another picture's."""
        return replace(self, shown=None)

    def pin(self, number: int) -> Visit:
        """Make a turn the baseline; the baseline itself is unpinned."""
        turn = self.find(number)
        if turn is None or turn.time is None:
            return self
        return replace(self, pinned=None if self.pinned == number else number)

    @property
    def baseline(self) -> Turn | None:
        """The pinned turn."""
        return self.find(self.pinned)

    @property
    def current(self) -> Turn | None:
        """The turn that is in sight; None: a picture that was not run is, or nothing."""
        return self.find(self.shown)


_FIGURES = ("stages_s", "effective", "environment", "settings", "warnings", "curve", "agreement")


def runs_csv(visit: Visit) -> str:
    """Write one line a run: the turn, the settings, the figures.

    A failed run has its kind and message.
    """
    rows = [_row(turn, run) for turn in visit.turns for run in turn.runs]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: escape_cell(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def _row(turn: Turn, run: Result | Failure) -> dict[str, object]:
    """Give one run as columns."""
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
    """Give a run as JSON for whoever asked for it: files by name, never by the server's path.

    Args:
        turn: of the run.
        run: what came of it.
        language: of its messages.
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
    """Write the runs as `cut --json` does, with the turn and the preset beside each."""
    runs = [
        {"turn": turn.number, "preset": turn.preset, **public_run(turn, run)}
        for turn in visit.turns
        for run in turn.runs
    ]
    return json.dumps({"runs": runs}, indent=1)


def write_runs(visit: Visit, folder: Path) -> tuple[Path, Path]:
    """Write the visit's runs as runs.csv and runs.json.

    Returns:
        Both paths.
    """
    paths = folder / "runs.csv", folder / "runs.json"
    for path, text in zip(paths, (runs_csv(visit), runs_json(visit)), strict=True):
        with replacing(path) as file:
            file.write(encode_text(text))
    return paths
