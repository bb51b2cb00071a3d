"""The reference of agreement: masks, or cut-outs made with a preset or with a model in fp32."""

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

    from rembg_tuner.runtime.picture_processes import Comparer
    from rembg_tuner.tuning.measure import TrialRunner

_TIMEOUT_S = 120.0  # a large model in fp32 is slow


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceChoice:
    """The choice of a reference, before its cut-outs are made.

    Attributes:
        name: name for the user; without settings and mask, the name of a compared setting.
        settings: settings of the cut-outs that become the reference; None: see `name` and `mask`.
        mask: path of a mask; None: the reference is a cut-out.
    """

    name: str | Message
    settings: Settings | None = None
    mask: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """The mattes of a reference.

    Attributes:
        name: name for the user.
        mattes: path of a cut-out or a mask by picture; empty: there is no reference.
        without_foreground: the pictures whose reference has no clear foreground.
        is_ground_truth: whether the user supplied the mattes.
    """

    name: str
    mattes: dict[str, str] = field(default_factory=dict)
    without_foreground: frozenset[str] = frozenset()
    is_ground_truth: bool = False


def find_reference(name: str) -> ReferenceChoice:
    """Return the reference for the name of a preset or of a model of the catalogue.

    Raises:
        SettingsError: the name is unknown.
    """
    if name in read_presets():
        try:
            settings, _ = requested_settings(find_preset(name), {}, read_machine())
        except PresetError as error:
            raise SettingsError([error.message]) from error
        return ReferenceChoice(name=Message("preset {preset}", preset=name), settings=settings)
    model = MODEL_ALIASES.get(name, name)
    if model in read_catalogue():
        return reference_model(model)
    raise SettingsError(
        [
            Message(
                "--reference {name} is not a preset, a model or a file; presets are {known}",
                name=name,
                known=join_parts(Term(one, "preset") for one in read_presets()),
            )
        ]
    )


def reference_model(model: str) -> ReferenceChoice:
    """Return a model in fp32 at its own input size as the reference."""
    return ReferenceChoice(
        name=Message("{model} in fp32 at its own size", model=model),
        settings=Settings(model=model, engine=best_installed_engine(), timeout_s=_TIMEOUT_S),
    )


def find_mask(picture: Path, folder: Path) -> Path:
    """Find the mask of a picture by its stem; the folder may also contain the picture.

    Raises:
        PictureError: there is no mask.
    """
    for path in sorted(folder.iterdir()):
        if path.stem == picture.stem and path.resolve() != picture.resolve():
            return path
    raise PictureError(
        Message(
            "there is no mask named {name}.* in {folder}, which --reference names",
            name=picture.stem,
            folder=folder,
        )
    )


def find_masks(reference: str, pictures: Sequence[Path], comparer: Comparer) -> dict[str, str]:
    """Find the mask of each picture; empty: the reference is not a mask or a folder of masks.

    Raises:
        SettingsError: one mask is given for several pictures, or a mask and its picture have
            different aspect ratios.
        PictureError: a picture has no mask.
        OutputError: a mask cannot be read.
    """
    path = Path(reference)
    if not reference or not path.exists():
        return {}
    if path.is_file() and len(pictures) > 1:
        raise SettingsError(
            [
                Message(
                    "--reference {path} is one mask for {count} pictures; name a folder of masks"
                    " with the same names as the pictures",
                    path=path,
                    count=len(pictures),
                )
            ]
        )
    masks = {str(one): str(find_mask(one, path) if path.is_dir() else path) for one in pictures}
    for picture, mask in masks.items():
        comparer.refuse_another_shape(mask, picture)
    return masks


def jobs_of(pictures: Sequence[Path], stem: Path, max_pixels: Mapping[str, int]) -> list[Job]:
    """Return a job for each picture; cut-outs are named by a stem and the picture's index."""
    return [
        Job(input=str(path), output=f"{stem}-{i}.png", max_pixels=max_pixels.get(str(path)))
        for i, path in enumerate(pictures)
    ]


def make_reference(
    pictures: Sequence[Path],
    settings: Settings,
    name: str | Message,
    runner: TrialRunner,
    folder: Path,
    *,
    max_pixels: Mapping[str, int],
) -> Reference:
    """Cut out the pictures with the settings of the reference.

    Args:
        pictures: the pictures to cut out.
        settings: the settings of the reference.
        name: name of the reference, for the user.
        runner: runs the pictures.
        folder: for the cut-outs.
        max_pixels: as in `SweepContext`.

    Raises:
        OutputError: a picture could not be cut out.
    """
    jobs = jobs_of(pictures, folder / "reference", max_pixels)
    runs = runner.measure(jobs, settings)
    for run in runs:
        if isinstance(run, Failure):
            raise OutputError(
                Message(
                    "the reference {reference} could not be made for {picture}: {reason}",
                    reference=name,
                    picture=Path(run.input),
                    reason=run.message,
                )
            )
    return Reference(
        name=str(name),
        mattes={job.input: job.output for job in jobs},
        without_foreground=pictures_without_foreground(runs),
    )


def pictures_without_foreground(runs: Sequence[Result | Failure]) -> frozenset[str]:
    """Return the inputs in which the network detected no clear foreground, by its maximum."""
    return frozenset(
        run.input
        for run in runs
        if isinstance(run, Result) and has_code(NO_FOREGROUND, run.warnings)
    )
