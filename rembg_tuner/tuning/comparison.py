"""Compare a few settings on one picture: their costs, and where their mattes differ."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import OutputError
from rembg_tuner.imaging.quality import edge_stars
from rembg_tuner.tuning.measure import ROUNDS, failed_trial, first_failure, results_of, trial_of
from rembg_tuner.tuning.reference import make_reference, pictures_without_foreground
from rembg_tuner.worker.pipeline import Job

if TYPE_CHECKING:
    from rembg_tuner.base.messages import Message
    from rembg_tuner.runtime.picture_processes import Comparer
    from rembg_tuner.settings.results import Failure, Result
    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.tuning.measure import TrialRunner
    from rembg_tuner.tuning.trials import Trial

MIN_COMPARED, MAX_COMPARED = 2, 6


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedSettings:
    """Settings and the name that a comparison shows for them."""

    name: str
    settings: Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparisonRow:
    """The outcome of one setting.

    Attributes:
        entry: the setting.
        trial: its figures or its failure.
        cutout: path of the full cut-out; None: there is none.
        preview: path of the cut-out as WebP of at most 1600 px a side; None: not requested.
        difference: path of the map of differences: blue where the matte is above the reference,
            orange where it is below; None: there is no reference.
        stars: stars of the edges, 1 to 5; None: there is no reference.
    """

    entry: NamedSettings
    trial: Trial
    cutout: str | None = None
    preview: str | None = None
    difference: str | None = None
    stars: float | None = None

    def to_dict(self) -> dict[str, object]:
        """Return the fields by name for JSON."""
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
    """The arguments of a comparison.

    Attributes:
        picture: the picture to cut out.
        entries: two to six settings.
        reference: name of the reference: that of an entry, unless `mask` or `reference_settings` is
            given.
        mask: path of a matte as the reference; None: there is none.
        reference_settings: settings of a reference that is not an entry; None: there are none.
        rounds: timed runs of each setting, at least 1.
        has_previews: whether previews are written.
        max_pixels: the host's limit; None: the limit of the format.
    """

    picture: Path
    entries: tuple[NamedSettings, ...]
    reference: str | Message
    mask: str | None = None
    reference_settings: Settings | None = None
    rounds: int = ROUNDS
    has_previews: bool = False
    max_pixels: int | None = None

    def job(self, entry: NamedSettings, folder: Path) -> Job:
        """Return the job that cuts out the picture for an entry."""
        stem = folder / f"{self.entries.index(entry)}-{entry.name}"
        return Job(
            input=str(self.picture),
            output=f"{stem}.png",
            preview=f"{stem}.webp" if self.has_previews else None,
            max_pixels=self.max_pixels,
        )


def compare_settings(
    request: ComparisonRequest, folder: Path, runner: TrialRunner, comparer: Comparer
) -> list[ComparisonRow]:
    """Measure settings on a picture, each in a new worker, and compare their mattes with one.

    Args:
        request: the picture, the settings and the reference.
        folder: for cut-outs and maps.
        runner: runs the pictures.
        comparer: compares the cut-outs.

    Returns:
        One row per entry, in order.

    Raises:
        OutputError: the reference could not be cut out.
        SettingsError: mask and picture have different aspect ratios.
    """
    matte, excluded = _reference(request, folder, runner, comparer)
    measured = []
    for entry in request.entries:
        job = request.job(entry, folder)
        timed = replace(job, preview=None)  # the warm-up writes the preview
        runs = runner.measure([job, *([timed] * request.rounds)], entry.settings)
        measured.append((entry, job, runs))
        if matte is None and entry.name == request.reference:
            matte, excluded = job.output, pictures_without_foreground(runs)
    if matte is not None and not Path(matte).is_file():
        matte = None  # the reference failed
    return [_compare(entry, job, runs, matte, excluded, comparer) for entry, job, runs in measured]


def _reference(
    request: ComparisonRequest, folder: Path, runner: TrialRunner, comparer: Comparer
) -> tuple[str | None, frozenset[str]]:
    """Return the matte of a reference that is not an entry, and the pictures without foreground.

    The matte is None if the reference is an entry. The pictures are those in which the reference
    has no clear foreground.
    """
    picture = str(request.picture)
    if request.mask is not None:
        comparer.refuse_another_shape(request.mask, picture)
        return request.mask, frozenset()
    if request.reference_settings is None:
        return None, frozenset()
    made = make_reference(
        [request.picture],
        request.reference_settings,
        request.reference,
        runner,
        folder,
        max_pixels={} if request.max_pixels is None else {picture: request.max_pixels},
    )
    return made.mattes[picture], made.without_foreground


def _compare(
    entry: NamedSettings,
    job: Job,
    runs: list[Result | Failure],
    matte: str | None,
    excluded: frozenset[str],
    comparer: Comparer,
) -> ComparisonRow:
    """Compare one cut-out with the matte of the reference."""
    if (failure := first_failure(runs)) is not None:
        return ComparisonRow(entry=entry, trial=failed_trial(0, entry.settings, failure))
    difference = str(Path(job.output).with_suffix(".difference.webp"))
    try:
        compared = comparer.compare(job.output, matte, difference=difference)
    except OutputError as error:
        return ComparisonRow(entry=entry, trial=failed_trial(0, entry.settings, error))
    trial = trial_of(0, entry.settings, results_of(runs), [(compared, None)], excluded)
    return ComparisonRow(
        entry=entry,
        trial=trial,
        cutout=job.output,
        preview=job.preview,
        difference=difference if matte else None,
        stars=None if trial.boundary_f is None else edge_stars(trial.boundary_f),
    )
