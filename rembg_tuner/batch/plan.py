"""The pictures to cut out, and the path of each cut-out; determined before any run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.colours import parse_colour
from rembg_tuner.base.errors import OutputError, PictureError, SettingsError
from rembg_tuner.base.messages import Message, join_parts
from rembg_tuner.imaging.formats import READ_SUFFIXES, check_output, sniff
from rembg_tuner.worker.pipeline import Job

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A file of a folder that is not cut out, with the reason."""

    input: str
    reason: Message

    @property
    def has_picture_suffix(self) -> bool:
        """Whether the file has the suffix of a picture, so that the user expects a cut-out."""
        return Path(self.input).suffix.lower() in READ_SUFFIXES

    def to_dict(self) -> dict[str, str]:
        """Return the fields by name, ready for JSON."""
        return {"input": self.input, "reason": str(self.reason)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The contents of the named folders.

    Attributes:
        images: paths of the pictures, including those named one by one.
        skipped: all other files.
    """

    images: list[str]
    skipped: list[Skipped]


def find_images(names: Sequence[str]) -> Found:
    """List the pictures of folders and those named one by one.

    Raises:
        SettingsError: there are no pictures, or a folder cannot be read.
    """
    images: list[str] = []
    skipped: list[Skipped] = []
    for name in names:
        path = Path(name)
        if not path.is_dir():
            images.append(name)
            continue
        for one in _entries(path):
            try:
                sniff(one)
            except PictureError as error:
                skipped.append(Skipped(input=str(one), reason=error.message))
            else:
                images.append(str(one))
    if not images:
        raise SettingsError(
            [Message("there are no pictures in {folders}", folders=join_parts(map(Path, names)))]
        )
    return Found(images=images, skipped=skipped)


def _entries(folder: Path) -> list[Path]:
    """List the entries of a folder, sorted.

    Raises:
        SettingsError: it cannot be read.
    """
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise SettingsError(
            [
                Message(
                    "the folder {folder} cannot be read: {reason}",
                    folder=folder,
                    reason=error.strerror,
                )
            ]
        ) from error


def plan_jobs(images: list[str], output: str | None, background: str | None) -> list[Job]:
    """Return the jobs of a command.

    Args:
        images: the paths of the pictures.
        output: a file or a folder; None: beside each picture.
        background: a colour's name; None: transparent.

    Raises:
        SettingsError: two cut-outs would collide, or a format or colour is unknown.
    """
    colour = _background_colour(background)
    jobs = [
        Job(input=str(image), output=str(target), background=colour)
        for image, target in plan_outputs(images, output)
    ]
    try:
        for job in jobs:
            check_output(Path(job.output), job.background)
    except OutputError as error:
        raise SettingsError([error.message]) from error
    return jobs


def _background_colour(text: str | None) -> tuple[int, int, int] | None:
    """Parse the value of --background."""
    try:
        return None if text is None else parse_colour(text)
    except SettingsError as error:
        raise SettingsError([Message("--background: {problem}", problem=error.message)]) from error


def plan_outputs(images: list[str], output: str | None) -> list[tuple[Path, Path]]:
    """Return the path of each picture's cut-out, and create the output folder.

    Args:
        images: the paths of the pictures.
        output: a file or a folder; None: beside each picture.

    Raises:
        SettingsError: two cut-outs would collide, one would replace its picture, or a file was
            named for several pictures.
    """
    inputs = [Path(image) for image in images]
    if output is None:
        pairs = [(path, path.with_name(f"{path.stem}.cutout.png")) for path in inputs]
        _check_collisions(pairs)
        return pairs
    target = Path(output)
    if target.is_dir() or output.endswith("/") or target.suffix == "":
        pairs = [(path, target / f"{path.stem}.png") for path in inputs]
        _check_collisions(pairs)
        _make_folder(target)
        return pairs
    if len(inputs) > 1:
        raise SettingsError(
            [
                Message(
                    "-o {output} names one file for {count} pictures; name a folder (end it in /)",
                    output=target,
                    count=len(inputs),
                )
            ]
        )
    pairs = [(inputs[0], target)]
    _check_collisions(pairs)
    return pairs


def _make_folder(folder: Path) -> None:
    """Create the folder for the cut-outs.

    Raises:
        SettingsError: it cannot be created.
    """
    if folder.exists() and not folder.is_dir():
        raise SettingsError(
            [
                Message(
                    "-o {output} is a file, and a folder is needed for its cut-outs; name another",
                    output=folder,
                )
            ]
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            [
                Message(
                    "the folder {folder} cannot be made: {reason}",
                    folder=folder,
                    reason=error.strerror,
                )
            ]
        ) from error


def _check_collisions(pairs: list[tuple[Path, Path]]) -> None:
    """Check that a cut-out does not replace another one or a picture.

    Raises:
        SettingsError: lists every collision.
    """
    problems: list[Message] = []
    sources = {path.resolve(): path for path, _ in pairs}
    taken: dict[Path, Path] = {}
    for path, target in pairs:
        place = target.resolve()
        if place in sources:
            problems.append(
                Message(
                    "the cut-out of {path} would take the place of the picture {other}; choose"
                    " another -o",
                    path=path,
                    other=sources[place],
                )
            )
        elif place in taken:
            problems.append(
                Message(
                    "{other} and {path} would both be written to {target}; cut them out one by one",
                    other=taken[place],
                    path=path,
                    target=target,
                )
            )
        taken[place] = path
    if problems:
        raise SettingsError(problems)
