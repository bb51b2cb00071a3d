"""A few settings compared on one picture: what each costs, and where its matte differs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import OutputError
from rembg_tuner.imaging.quality import edge_stars
from rembg_tuner.settings.results import Failure, Result
from rembg_tuner.tuning.measure import ROUNDS, trial_of
from rembg_tuner.tuning.reference import make_reference, without_foreground
from rembg_tuner.tuning.trials import Trial
from rembg_tuner.worker.pipeline import Job

if TYPE_CHECKING:
    from rembg_tuner.base.messages import Message
    from rembg_tuner.runtime.comparer import Comparer
    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.tuning.measure import TrialRunner

MAX_COMPARED = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedSettings:
    """A setting with the name that it goes by."""

    name: str
    settings: Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonRow:
    """What came of one.

    Attributes:
        entry: that was measured.
        trial: its figures, or why there are none.
        cutout: path of the full cut-out; None: there is none.
        preview: the same at most 1600 px a side, as WebP; None: not wanted.
        difference: map of where its matte has more (blue) or less (orange) than the reference's.
        stars: of its edge, 1 to 5; None: there is no reference.
    """

    entry: NamedSettings
    trial: Trial
    cutout: str | None = None
    preview: str | None = None
    difference: str | None = None
    stars: float | None = None

    def to_dict(self) -> dict[str, object]:
        """Give the fields by name, ready for JSON."""
        return {
            "name": self.entry.name,
            "cutout": self.cutout,
            "preview": self.preview,
            "difference": self.difference,
            "stars": self.stars,
            "trial": self.trial.to_dict(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonRequest:
    """What is to be compared.

    Attributes:
        picture: to cut out.
        entries: two to six settings.
        reference: the name of what the entries' mattes are held against: one of them, unless `mask`
            or `trusted` is given.
        mask: path of a matte to hold them against; None: there is none.
        trusted: settings that are none of the entries', and only cut out what those are held
            against;
            None: there are none.
        rounds: timed runs of each, from 1 on.
        has_previews: whether small pictures to look at are wanted.
        max_pixels: a host's own limit; None: the format's.
    """

    picture: Path
    entries: tuple[NamedSettings, ...]
    reference: str | Message
    mask: str | None = None
    trusted: Settings | None = None
    rounds: int = ROUNDS
    has_previews: bool = False
    max_pixels: int | None = None


def compare_settings(
    question: ComparisonRequest, folder: Path, runner: TrialRunner, comparer: Comparer
) -> list[ComparisonRow]:
    """Measure settings on a picture, each in a worker of its own, and hold their mattes against one.

    Args:
        question: what to compare.
        folder: where cut-outs and maps go.
        runner: runs them.
        comparer: compares.

    Returns:
        In the entries' order.

    Raises:
        OutputError: what they are held against could not be cut out.
        SettingsError: the mask has another shape than the picture.
    """
    if question.mask is not None:
        comparer.refuse_another_shape(question.mask, str(question.picture))
    trusted = question.mask
    empty: frozenset[str] = frozenset()
    if trusted is None and question.trusted is not None:
        limit = question.max_pixels
        made = make_reference(
            [question.picture],
            question.trusted,
            str(question.reference),
            runner,
            folder,
            max_pixels={} if limit is None else {str(question.picture): limit},
        )
        trusted, empty = made.mattes[str(question.picture)], made.without_foreground
    measured = []
    for i, entry in enumerate(question.entries):
        stem = f"{i}-{entry.name}"
        job = Job(
            input=str(question.picture),
            output=str(folder / f"{stem}.png"),
            preview=str(folder / f"{stem}.webp") if question.has_previews else None,
            max_pixels=question.max_pixels,
        )
        timed = replace(job, preview=None)  # the warm-up's preview is enough
        runs = runner.measure([job, *([timed] * question.rounds)], entry.settings)
        measured.append((entry, job, runs))
        if trusted is None and entry.name == question.reference:
            empty = without_foreground(runs)
    if trusted is None:
        trusted = next(
            (job.output for entry, job, _ in measured if entry.name == question.reference), None
        )
    if trusted is not None and not Path(trusted).is_file():
        trusted = None  # the reference failed: there is nothing to agree with
    held = _Held(trusted=trusted, empty=empty)
    return [_judge(entry, job, runs, held, comparer) for entry, job, runs in measured]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """What mattes are held against: its path, None if there is none.

    And whether it shows nothing.
    """

    trusted: str | None
    empty: frozenset[str]


def _judge(
    entry: NamedSettings, job: Job, runs: list[Result | Failure], held: _Held, comparer: Comparer
) -> ComparisonRow:
    """Compare one cut-out with the trusted one."""
    failure = next((run for run in runs if isinstance(run, Failure)), None)
    if failure is not None:
        trial = Trial(
            number=0, settings=entry.settings, failure=failure.message, failure_kind=failure.kind
        )
        return ComparisonRow(entry=entry, trial=trial)
    results = [run for run in runs if isinstance(run, Result)]
    difference = str(Path(job.output).with_suffix(".difference.webp"))
    try:
        comparison = comparer.compare(job.output, held.trusted, difference=difference)
    except OutputError as error:
        trial = Trial(
            number=0, settings=entry.settings, failure=error.message, failure_kind=error.kind
        )
        return ComparisonRow(entry=entry, trial=trial)
    trial = trial_of(0, entry.settings, results, [(comparison, None)], (job.input,), held.empty)
    return ComparisonRow(
        entry=entry,
        trial=trial,
        cutout=job.output,
        preview=job.preview,
        difference=difference if held.trusted else None,
        stars=None if trial.boundary_f is None else edge_stars(trial.boundary_f),
    )
