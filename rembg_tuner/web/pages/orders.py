"""The order of a run, made of what a visitor or a program asked for.

And looking at it until it is done.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import SettingsError
from rembg_tuner.base.messages import Message
from rembg_tuner.runtime.ticket import Order
from rembg_tuner.web.pages.choices import most_pixels
from rembg_tuner.worker.pipeline import Job

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from rembg_tuner.runtime.ticket import Ticket
    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.web.pages.handlers import Desk
    from rembg_tuner.web.pages.originals import Original

NO_PICTURE = Message("choose a picture first, or one of the examples")
GLANCE_EVERY_S = 0.22  # 4 to 5 Hz, and the most that a visitor who left holds the slot


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How the page will show a run.

    Attributes:
        original: what was made of the picture already; None: nothing yet.
        has_masks: whether the visitor's browser lays a mask over the original; else the cut-out's
            own colours are sent.
    """

    original: Original | None
    has_masks: bool


def make_order(
    desk: Desk,
    picture: str | None,
    settings: tuple[Settings, tuple[Message, ...]],
    *,
    repeat: int = 1,
    look: Look | None = None,
) -> Order:
    """Make the order of a run, with a folder of its own.

    Args:
        desk: with the folder.
        picture: path of the upload; None: there is none.
        settings: and the warnings said while they were made.
        repeat: how many runs.
        look: how the page will show it; None: it will not.

    Raises:
        PictureError: the file is no picture that is read.
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
    pixels = most_pixels(path)
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
    return Order(job=job, settings=settings[0], warnings=settings[1], repeat=repeat)


async def watch(ticket: Ticket, *, is_busy: bool) -> AsyncGenerator[None, None]:
    """Tick until a ticket is done; whoever stops looking leaves the line.

    Args:
        ticket: the run.
        is_busy: others are before it: tick at once, to tell its place. Otherwise the first tick
            comes after a fifth of a second, since drawing it on the same machine would slow the run
            it tells of.
    """
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def tell() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(done.set)

    ticket.call_when_done(tell)
    try:
        if is_busy:
            yield
        while not done.is_set():
            try:
                await asyncio.wait_for(done.wait(), GLANCE_EVERY_S)
            except TimeoutError:
                yield
    finally:
        if not ticket.done.is_set():
            ticket.cancel()
