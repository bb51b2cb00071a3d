"""Which picture's cut-out goes where, settled before any work."""

from __future__ import annotations

from pathlib import Path

from rembg_tuner.base.errors import OutputError, SettingsError
from rembg_tuner.base.messages import Message
from rembg_tuner.imaging.formats import check_output
from rembg_tuner.worker.pipeline import Job


def plan_jobs(images: list[str], output: str | None, background: str | None) -> list[Job]:
    """Make the jobs of a command.

    Args:
        images: the pictures' paths.
        output: a file, a folder, or None for beside each picture.
        background: a colour's name; None: transparent.

    Raises:
        SettingsError: two would collide, a format is not written, or the colour is none.
    """
    colour = read_colour(background)
    jobs = [
        Job(input=str(image), output=str(target), background=colour)
        for image, target in plan_outputs(images, output)
    ]
    check_formats(jobs)
    return jobs


def plan_outputs(images: list[str], output: str | None) -> list[tuple[Path, Path]]:
    """Say where each picture's cut-out goes, before any work.

    Args:
        images: the pictures' paths.
        output: a file, a folder, or None for beside each picture.

    Raises:
        SettingsError: two would collide, one would take its picture's place, or a file was named
        for
            several pictures.
    """
    inputs = [Path(image) for image in images]
    if output is None:
        plan = [(path, path.parent / f"{path.stem}.cutout.png") for path in inputs]
    elif _is_folder(output):
        folder = Path(output)
        if folder.exists() and not folder.is_dir():
            raise SettingsError(
                [
                    Message(
                        "-o {output} is a file, and a folder is needed for its cut-outs; name"
                        " another",
                        output=folder,
                    )
                ]
            )
        plan = [(path, folder / f"{path.stem}.png") for path in inputs]
    elif len(inputs) > 1:
        raise SettingsError(
            [
                Message(
                    "-o {output} names one file for {count} pictures; name a folder (end it in /)",
                    output=Path(output),
                    count=len(inputs),
                )
            ]
        )
    else:
        plan = [(inputs[0], Path(output))]
    _refuse_collisions(plan)
    for _, target in plan:
        if output is not None and _is_folder(output):
            _make_folder(target.parent)
    return plan


def _is_folder(output: str) -> bool:
    """Tell whether -o names a folder: it is one, ends in a slash, or has no suffix of a picture."""
    path = Path(output)
    return path.is_dir() or output.endswith("/") or path.suffix == ""


def _make_folder(folder: Path) -> None:
    """Make the folder for the cut-outs."""
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


def make_output_folder(folder: Path) -> None:
    """Make the folder that a command writes what it found to.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            Message("{folder} cannot be written: {reason}", folder=folder, reason=error.strerror)
        ) from error


def _refuse_collisions(plan: list[tuple[Path, Path]]) -> None:
    """Refuse a plan in which a cut-out would take another's place, or a picture's."""
    problems: list[Message] = []
    sources = {path.resolve(): path for path, _ in plan}
    taken: dict[Path, Path] = {}
    for path, target in plan:
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


def check_formats(jobs: list[Job]) -> None:
    """Refuse, before any work, a name whose format is not written, or a JPEG without a background."""
    try:
        for job in jobs:
            check_output(Path(job.output), job.background)
    except OutputError as error:
        raise SettingsError([error.message]) from error


def read_colour(text: str | None) -> tuple[int, int, int] | None:
    """Read --background."""
    if text is None:
        return None
    from rembg_tuner.base.colours import parse_colour

    try:
        return parse_colour(text)
    except SettingsError as error:
        raise SettingsError([Message("--background: {problem}", problem=error.message)]) from error
