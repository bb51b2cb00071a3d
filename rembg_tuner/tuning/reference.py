"""What others are held against, by the name that a person gives.

A preset, a model in fp32, or a mask.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import (
    NO_FOREGROUND,
    OutputError,
    PictureError,
    PresetError,
    SettingsError,
)
from rembg_tuner.base.messages import Message, Term, join_parts
from rembg_tuner.models.catalogue import read_catalogue
from rembg_tuner.models.spec import MODEL_ALIASES
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.settings.presets import find_preset, read_presets
from rembg_tuner.settings.requested import requested_settings
from rembg_tuner.settings.results import Failure, Result, has_code
from rembg_tuner.settings.settings import Settings, best_installed_engine
from rembg_tuner.worker.pipeline import Job

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rembg_tuner.runtime.comparer import Comparer
    from rembg_tuner.tuning.measure import TrialRunner
    from rembg_tuner.tuning.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What agreement is measured against.

    Attributes:
        name: as a person calls it.
        mattes: for each picture the path of a cut-out or a mask; empty: there is no reference.
        without_foreground: the pictures whose reference has no clear foreground.
        is_ground_truth: whether the user gave the masks.
    """

    name: str
    mattes: dict[str, str] = field(default_factory=dict)
    without_foreground: frozenset[str] = frozenset()
    is_ground_truth: bool = False


def make_reference(
    pictures: Sequence[Path],
    settings: Settings,
    name: str,
    runner: TrialRunner,
    folder: Path,
    *,
    max_pixels: Mapping[str, int],
) -> Reference:
    """Cut the pictures out with what the user trusts.

    Args:
        pictures: their paths.
        settings: that are trusted.
        name: as a person calls them.
        runner: runs them.
        folder: where the cut-outs go.
        max_pixels: as `SweepContext`'s.

    Raises:
        OutputError: a picture could not be cut out.
    """
    jobs = [
        Job(
            input=str(path),
            output=str(folder / f"reference-{i}.png"),
            max_pixels=max_pixels.get(str(path)),
        )
        for i, path in enumerate(pictures)
    ]
    runs = runner.measure(jobs, settings)
    for run in runs:
        if isinstance(run, Failure):
            raise OutputError(
                Message(
                    "the reference {reference} could not be made of {picture}: {reason}",
                    reference=name,
                    picture=Path(run.input),
                    reason=run.message,
                )
            )
    return Reference(
        name=name,
        mattes={job.input: job.output for job in jobs},
        without_foreground=without_foreground(runs),
    )


def without_foreground(runs: Sequence[Result | Failure]) -> frozenset[str]:
    """Name the pictures in which a network saw no clear foreground, by its raw maximum before scaling."""
    return frozenset(
        run.input
        for run in runs
        if isinstance(run, Result) and has_code(NO_FOREGROUND, run.warnings)
    )


def _masks(plan: Plan, comparer: Comparer) -> dict[str, str]:
    """Find each picture's mask, of the picture's shape; empty: the reference is not masks.

    Raises:
        SettingsError: one mask is given for several pictures, or one has another shape.
        PictureError: a picture has none.
        OutputError: one does not read.
    """
    path = Path(plan.reference)
    if not plan.reference or not path.exists():
        return {}
    if path.is_file() and len(plan.pictures) > 1:
        raise SettingsError(
            [
                Message(
                    "--reference {path} is one mask for {count} pictures; name a folder of masks"
                    " named as the pictures",
                    path=path,
                    count=len(plan.pictures),
                )
            ]
        )
    found = {one: find_mask(one, path) if path.is_dir() else path for one in plan.pictures}
    for picture, mask in found.items():
        comparer.refuse_another_shape(str(mask), str(picture))
    return {str(picture): str(mask) for picture, mask in found.items()}


def _reference(plan: Plan, masks: dict[str, str], runner: TrialRunner, folder: Path) -> Reference:
    """Take the masks, or cut the pictures out with what is trusted."""
    if masks:
        path = Path(plan.reference)
        name = str(path) if path.is_dir() else path.name
        return Reference(name=name, mattes=masks, is_ground_truth=True)
    settings, called = _trusted(plan)
    return make_reference(
        plan.pictures, settings, str(called), runner, folder, max_pixels=plan.pixel_limits()
    )


def _trusted(plan: Plan) -> tuple[Settings, Message]:
    """Give the settings of the reference, and what a person calls it.

    Raises:
        SettingsError: the name is no preset and no model.
    """
    if plan.reference:
        return find_reference(plan.reference)
    return reference_model(str(next(iter(plan.axes.get("model", ())), plan.base.model)))


_TIMEOUT_S = 120.0  # a large model in fp32 is slow, and nobody waits for its deadline


def find_reference(name: str) -> tuple[Settings, Message]:
    """Give the settings of a reference, and what a person calls it.

    Args:
        name: of a preset, or of a model of the catalogue.

    Raises:
        SettingsError: it is neither.
    """
    if name in read_presets():
        try:
            settings = requested_settings(find_preset(name), {}, read_machine())[0]
            return settings, Message("preset {preset}", preset=name)
        except PresetError as error:
            raise SettingsError([error.message]) from error
    model = MODEL_ALIASES.get(name, name)
    if model in read_catalogue():
        return reference_model(model)
    raise SettingsError(
        [
            Message(
                "--reference {name} is no preset, no model, and no file; presets are {known}",
                name=name,
                known=join_parts(Term(one, "preset") for one in read_presets()),
            )
        ]
    )


def reference_model(model: str) -> tuple[Settings, Message]:
    """Give a model's settings in fp32 at its own size, and what a person calls them."""
    settings = Settings(model=model, engine=best_installed_engine(), timeout_s=_TIMEOUT_S)
    return settings, Message("{model} in fp32 at its own size", model=model)


def find_mask(picture: Path, folder: Path) -> Path:
    """Find a picture's mask in a folder, by its stem; the picture itself may lie there too.

    Raises:
        PictureError: there is none.
    """
    found = [
        path
        for path in sorted(folder.iterdir())
        if path.stem == picture.stem and path.resolve() != picture.resolve()
    ]
    if not found:
        raise PictureError(
            Message(
                "there is no mask named {name}.* in {folder}, which --reference names",
                name=picture.stem,
                folder=folder,
            )
        )
    return found[0]
