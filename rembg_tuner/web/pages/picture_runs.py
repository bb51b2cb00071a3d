"""Create the run of a picture of a visitor or program, and follow it until it is done."""

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
FOLLOW_EVERY_S = 0.22  # 4 to 5 Hz; also the maximum time that a visitor who left occupies a slot


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How the page shows a run.

    Attributes:
        original: the files made from the picture earlier; None: none yet.
        has_masks: whether the visitor's browser can apply a mask to the original; otherwise a
            preview of the cut-out is sent.
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
    """Create the work of a run, with its own folder.

    Args:
        desk: has the folder.
        picture: path of the upload; None: there is none.
        settings: the settings, and the warnings from creating them.
        repeat: number of runs.
        look: how the page shows the run; None: the page does not show it.

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
        # the stock pipeline does not return a matte for a mask
        is_masked = look.has_masks and not settings[0].engine_spec.is_stock
        job = replace(
            job,
            mask=str(folder / "mask.png") if is_masked else None,
            preview=None if is_masked else str(folder / "after.webp"),
            before_preview=look.original.colours if look.original else str(folder / "before.jpg"),
        )
    return PictureRun(job=job, settings=settings[0], warnings=settings[1], repeat=repeat)


async def follow(task: Task[Any], *, is_busy: bool) -> AsyncGenerator[None, None]:
    """Yield at intervals until a task is done; cancel the task if the caller stops earlier.

    Args:
        task: the run.
        is_busy: whether other tasks are before it. If so, yield at once to show its queue
            position. Otherwise the first yield is after 0.22 s, since drawing on the same
            machine would slow the run.
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
