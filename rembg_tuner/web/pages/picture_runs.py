"""A run of a visitor's or program's picture: make it, and follow it until it is done."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rembg_tuner.base.errors import SettingsError
from rembg_tuner.base.messages import Message
from rembg_tuner.runtime.slots import PictureRun
from rembg_tuner.web.pages.choices import max_pixels_of
from rembg_tuner.worker.pipeline import Job

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from rembg_tuner.runtime.tasks import Task
    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.web.pages.desk import Desk
    from rembg_tuner.web.pages.visitors import Original

NO_PICTURE = Message("choose a picture first, or one of the examples")
FOLLOW_EVERY_S = 0.22  # 4 to 5 Hz, and the longest that a visitor who left holds the slot


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How the page shows a run.

    Attributes:
        original: made from the picture earlier; None: nothing yet.
        has_masks: whether the visitor's browser lays a mask over the original; else the colours of
            the cut-out are sent.
    """

    original: Original | None
    has_masks: bool


def make_run(
    desk: Desk,
    picture: str | None,
    settings: tuple[Settings, tuple[Message, ...]],
    *,
    repeat: int = 1,
    look: Look | None = None,
) -> PictureRun:
    """Make the work of a run, with a folder of its own.

    Args:
        desk: with the folder.
        picture: path of the upload; None: there is none.
        settings: with the warnings from their making.
        repeat: how many runs.
        look: how the page shows it; None: it does not.

    Raises:
        PictureError: the file is not a picture that can be read.
        SettingsError: there is no picture, or it is not one of the page's uploads.
    """
    if not picture:
        raise SettingsError([NO_PICTURE])
    if not Path(picture).is_file():
        raise SettingsError(
            [
                Message(
                    "the picture is no longer on the server, which deletes pictures after one hour;"
                    " upload it again"
                )
            ]
        )
    path = Path(picture)
    desk.folder.check_upload(path)
    pixels = max_pixels_of(path)
    folder = desk.folder.new_job()
    job = Job(
        input=str(path),
        output=str(folder / f"{path.stem[:80]}.cutout.png"),
        max_pixels=pixels,
    )
    if look is not None:
        # the stock pipeline leaves no matte to make a mask of
        is_masked = look.has_masks and not settings[0].engine_spec.is_stock
        job = replace(
            job,
            mask=str(folder / "mask.png") if is_masked else None,
            preview=None if is_masked else str(folder / "after.webp"),
            before_preview=look.original.colours if look.original else str(folder / "before.jpg"),
        )
    return PictureRun(job=job, settings=settings[0], warnings=settings[1], repeat=repeat)


async def follow(task: Task[Any], *, is_busy: bool) -> AsyncGenerator[None, None]:
    """Yield now and then until a task is done; cancel it if the caller stops before.

    Args:
        task: the run.
        is_busy: others are before it: yield at once, to show its queue position. Otherwise the
            first yield comes after a fifth of a second, since drawing on the same machine would
            slow the run.
    """
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def notify() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(done.set)

    task.call_when_done(notify)
    try:
        if is_busy:
            yield
        while not done.is_set():
            try:
                await asyncio.wait_for(done.wait(), FOLLOW_EVERY_S)
            except TimeoutError:
                yield
    finally:
        task.cancel()
