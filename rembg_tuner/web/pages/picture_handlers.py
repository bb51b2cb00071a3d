"""What happens when a visitor chooses a picture: it is checked and shown before anything is run."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import TunerError
from rembg_tuner.web.locale.words import message_text, page_text
from rembg_tuner.web.pages.choices import max_pixels_of
from rembg_tuner.web.pages.cut_tab.rendering import picture_value, show_empty
from rembg_tuner.web.pages.failures import disk_text, log_unexpected
from rembg_tuner.web.pages.handlers import Handlers
from rembg_tuner.web.pages.originals import Original
from rembg_tuner.web.pages.visitors import ChosenPicture

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from rembg_tuner.base.messages import Message
    from rembg_tuner.web.pages.handlers import Desk, Shown
    from rembg_tuner.web.pages.visitors import Visitor

_MAX_WAITING = 8  # pictures; one more is not checked before its run
_LOG = logging.getLogger(__name__)


class PictureHandlers:
    """The events of the picture."""

    def __init__(self, desk: Desk) -> None:
        """Work at a desk."""
        self.desk = desk
        self._turn = asyncio.Lock()  # one thread waits for the inspector, not one for each visitor
        self._waiting = 0

    async def choose(self, visitor: Visitor, picture: str | None) -> AsyncGenerator[Shown, None]:
        """Check a picture that was chosen and show it; the result of the one before goes.

        A picture that is refused is taken away, and the reason stands next to its place.
        """
        if not picture:
            yield self.take_away(visitor)
            return
        visitor.choice += 1
        mine, visitor.chosen = visitor.choice, ChosenPicture(path=picture, shown=picture)
        if not _is_running(visitor, picture):
            visitor.visit = visitor.visit.leave()
            yield {"picture_note": "", "result": show_ready(Path(picture).name, visitor.language)}
        try:
            chosen = await self._inspect(Path(picture), visitor)
        except (TunerError, OSError) as error:
            if isinstance(error, OSError):
                log_unexpected(_LOG, "an upload", error)
            shown = self._refused(_message_of(error), visitor)
        else:
            shown = show_chosen(chosen, visitor.language)
        if visitor.choice != mine:  # another was chosen meanwhile
            return
        visitor.chosen = None if "picture" in shown else chosen
        turn = visitor.visit.current
        has_run = turn is not None and turn.picture_path == picture  # quicker than the check
        is_shown = visitor.chosen is not None and (has_run or _is_running(visitor, picture))
        yield {"picture_note": ""} if is_shown else shown
        if visitor.chosen is None or is_shown:
            return
        await self._prepare(visitor, visitor.chosen)
        original = visitor.originals.find(picture)
        if visitor.choice != mine or visitor.visit.current is not None or original is None:
            return
        if original.shown != visitor.chosen.shown:
            visitor.chosen = replace(visitor.chosen, shown=original.shown)
            yield {"viewer": picture_value(visitor.chosen)}

    def take_away(self, visitor: Visitor) -> Shown:
        """Choose no picture: a picture that was not run leaves the viewer, a result stays until another is chosen."""
        has_picture = visitor.chosen is not None and visitor.visit.current is None
        visitor.choice += 1
        visitor.chosen = None
        if not has_picture or visitor.task is not None:
            return {"picture_note": ""}
        return {"picture_note": "", **show_nothing(visitor)}

    def take_example(self, visitor: Visitor, name: str) -> Shown:
        """Choose an example; it needs no check."""
        path = Handlers(self.desk).example(name)
        visitor.choice += 1
        visitor.chosen = ChosenPicture(path=path, shown=path)
        visitor.visit = visitor.visit.leave()
        shown = show_chosen(visitor.chosen, visitor.language)
        return {"picture": path, "picture_note": "", **shown}

    def _refused(self, reason: Message, visitor: Visitor) -> Shown:
        """Take a picture away, with the reason."""
        told = escape(message_text(reason, visitor.language))
        note = f'<p class="rt-refused" role="alert">{told}</p>'
        return {"picture": None, "picture_note": note, **show_nothing(visitor)}

    async def _inspect(self, picture: Path, visitor: Visitor) -> ChosenPicture:
        """Have a picture checked, unless too many are waiting for that: the run checks it again.

        One that browsers may not show is made into one that they do.

        Raises:
            TunerError: it is refused.
            OSError: the disk cannot be written.
        """
        self.desk.folder.check_upload(picture)
        if self._waiting >= _MAX_WAITING:
            return ChosenPicture(path=str(picture), shown=str(picture))
        most = max_pixels_of(picture)
        async with self._place():
            found = await asyncio.to_thread(self.desk.inspector.inspect, picture, max_pixels=most)
            original = None if found.is_shown else await self._make_original(picture, visitor)
        return ChosenPicture(
            path=str(picture),
            shown=original.shown if original else str(picture),
            width=found.width,
            height=found.height,
        )

    async def _prepare(self, visitor: Visitor, chosen: ChosenPicture) -> None:
        """Make what the page shows of a picture, so that its first run does not have to.

        Not while anything runs, whose figures it would change; and the visitor's own run waits for
        it.
        """
        picture = Path(chosen.path)
        if chosen.shown != chosen.path or self._waiting >= _MAX_WAITING:
            return
        async with self._place():
            is_wanted = visitor.chosen is chosen and not visitor.originals.find(chosen.path)
            if not is_wanted or self.desk.slots_lane.running or self.desk.slots_lane.waiting:
                return
            visitor.preparing = made = asyncio.Event()
            try:
                with contextlib.suppress(
                    TunerError, OSError
                ):  # the run meets it again and tells it
                    await self._make_original(picture, visitor)
            finally:
                visitor.preparing = None
                made.set()

    @contextlib.asynccontextmanager
    async def _place(self) -> AsyncGenerator[None, None]:
        """Wait for the inspector: one thread waits for it, not one for each visitor."""
        self._waiting += 1
        try:
            async with self._turn:
                yield
        finally:
            self._waiting -= 1

    async def _make_original(self, picture: Path, visitor: Visitor) -> Original:
        """Make what the page shows of a picture.

        Raises:
            TunerError: the picture does not read, or the disk cannot be written.
        """
        target = self.desk.folder.new_job() / "before.jpg"
        most = max_pixels_of(picture)
        await asyncio.to_thread(self.desk.inspector.make_original, picture, target, max_pixels=most)
        original = Original.of(str(target))
        visitor.originals.add(str(picture), original)
        return original


def _is_running(visitor: Visitor, picture: str) -> bool:
    """Return whether a visitor's run of a picture waits or runs."""
    return visitor.task is not None and visitor.task.work.job.input == picture


def show_chosen(chosen: ChosenPicture, language: str) -> Shown:
    """Show a picture before it is run."""
    size = (chosen.width, chosen.height)
    return {
        "viewer": picture_value(chosen),
        "result": show_ready(Path(chosen.path).name, language, size if chosen.width else None),
    }


def show_nothing(visitor: Visitor) -> Shown:
    """Show that there is neither a picture nor a result."""
    key = "status.no_picture" if visitor.visit.turns else "status.empty"
    status = page_text(key, visitor.language)
    return {"viewer": None, "result": show_empty(visitor.language, status=status)}


def show_ready(name: str, language: str, size: tuple[int, int] | None = None) -> str:
    """Show the result's panel for a picture that has not been run yet."""
    told = name if size is None else f"{name}, {size[0]} × {size[1]} px"
    return show_empty(language, status=page_text("status.ready", language, picture=told))


def _message_of(error: TunerError | OSError) -> Message:
    """Return what is said of an error."""
    return error.message if isinstance(error, TunerError) else disk_text(error)
