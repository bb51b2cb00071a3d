"""The events of choosing a picture, which is checked and shown before its run."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rembg_tuner.base.errors import TunerError
from rembg_tuner.web.locale.words import page_text
from rembg_tuner.web.pages.choices import max_pixels_of
from rembg_tuner.web.pages.cut_tab.rendering import picture_value, show_empty
from rembg_tuner.web.pages.desk import EXAMPLES, example_of
from rembg_tuner.web.pages.events import QUIET, tie
from rembg_tuner.web.pages.failures import disk_text, log_unexpected
from rembg_tuner.web.pages.templating import render
from rembg_tuner.web.pages.visitors import ChosenPicture, Original

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from rembg_tuner.base.messages import Message
    from rembg_tuner.web.pages.cut_tab.layout import CutWidgets
    from rembg_tuner.web.pages.desk import Desk
    from rembg_tuner.web.pages.events import Shown
    from rembg_tuner.web.pages.visitors import Visitor

_MAX_WAITING = 8  # pictures; further ones are checked by their run only
_LOG = logging.getLogger(__name__)


def tie_picture(widgets: CutWidgets, desk: Desk) -> None:
    """Tie the picture and the examples."""
    events, picture = PictureEvents(desk), widgets.picture
    outputs = widgets.named("picture", "picture_note", "viewer", "result")
    # The browser shows the upload at once if it can; otherwise the server sends a preview.
    show = "(picture) => window.rembgTuner.uploaded(picture)"
    picture.upload(None, picture, widgets.viewer, js=show, **QUIET)
    # In one queue: otherwise the answer to a removal could overtake the one to an upload.
    in_turn = {"concurrency_limit": None, "concurrency_id": "picture", "trigger_mode": "multiple"}
    tie(desk, picture.upload, events.choose, widgets.named("picture"), outputs, **in_turn)
    # The picture is not an input: Gradio may send the one that was removed.
    tie(desk, picture.clear, events.remove, None, outputs, **in_turn)
    picture.change(None, None, None, js="() => { window.rembgTuner.example = '' }", **QUIET)
    tie(
        desk,
        widgets.examples.select,
        events.choose_example,
        None,
        outputs,
        queue=False,
        trigger_mode="multiple",
    )


class PictureEvents:
    """The events of the picture."""

    def __init__(self, desk: Desk) -> None:
        """Create the events."""
        self.desk = desk
        self._turn = asyncio.Lock()  # one thread waits for the inspector, not one per visitor
        self._waiting = 0

    async def choose(self, visitor: Visitor, picture: str | None) -> AsyncGenerator[Shown, None]:
        """Check a chosen picture and show it in place of the earlier result.

        A refused picture is removed, and the reason is shown next to its field.
        """
        if not picture:
            yield self.remove(visitor)
            return
        visitor.choice += 1
        mine, visitor.chosen = visitor.choice, ChosenPicture(path=picture, shown=picture)
        if not _is_running(visitor, picture):
            visitor.visit = visitor.visit.leave()
            yield {"picture_note": "", "result": show_ready(Path(picture).name, visitor.language)}
        chosen, shown = await self._checked(Path(picture), visitor)
        if visitor.choice != mine:  # another picture was chosen meanwhile
            return
        visitor.chosen = chosen
        if chosen is not None and _has_result(visitor, picture):
            yield {"picture_note": ""}
            return
        yield shown
        if chosen is None:
            return
        await self._prepare(visitor, chosen)
        original = visitor.originals.find(picture)
        if visitor.choice != mine or visitor.visit.current is not None or original is None:
            return
        if original.shown != chosen.shown:
            visitor.chosen = replace(chosen, shown=original.shown)
            yield {"viewer": picture_value(visitor.chosen)}

    def remove(self, visitor: Visitor) -> Shown:
        """Remove the chosen picture.

        A picture without a run is removed from the viewer. A result stays until another picture
        is chosen.
        """
        has_picture = visitor.chosen is not None and visitor.visit.current is None
        visitor.choice += 1
        visitor.chosen = None
        if not has_picture or visitor.task is not None:
            return {"picture_note": ""}
        return {"picture_note": "", **show_nothing(visitor)}

    def choose_example(self, visitor: Visitor, sent: dict[str, Any]) -> Shown:
        """Choose an example, without a check; unknown names are ignored."""
        name = sent.get("example")
        if name not in EXAMPLES:
            return {}
        path = example_of(self.desk, str(name))
        visitor.choice += 1
        visitor.chosen = ChosenPicture(path=path, shown=path)
        visitor.visit = visitor.visit.leave()
        shown = show_chosen(visitor.chosen, visitor.language)
        return {"picture": path, "picture_note": "", **shown}

    async def _checked(self, picture: Path, visitor: Visitor) -> tuple[ChosenPicture | None, Shown]:
        """Check a picture; return it, or None if refused, and the updates of the page."""
        try:
            chosen = await self._inspect(picture, visitor)
        except (TunerError, OSError) as error:
            if isinstance(error, OSError):
                log_unexpected(_LOG, "an upload", error)
                return None, _refused(disk_text(error), visitor)
            return None, _refused(error.message, visitor)
        return chosen, show_chosen(chosen, visitor.language)

    async def _inspect(self, picture: Path, visitor: Visitor) -> ChosenPicture:
        """Check a picture; create a preview if browsers may not show its format.

        The check is skipped if too many pictures wait for one, since the run checks it again.

        Raises:
            TunerError: the picture is refused.
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
        """Create the files that the page shows of a picture, before its first run.

        This is skipped while anything runs, since it would disturb the measurement. A run of the
        same visitor waits for it.
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
                # The run meets and reports the same error.
                with contextlib.suppress(TunerError, OSError):
                    await self._make_original(picture, visitor)
            finally:
                visitor.preparing = None
                made.set()

    @contextlib.asynccontextmanager
    async def _place(self) -> AsyncGenerator[None, None]:
        """Wait for a turn of the inspector."""
        self._waiting += 1
        try:
            async with self._turn:
                yield
        finally:
            self._waiting -= 1

    async def _make_original(self, picture: Path, visitor: Visitor) -> Original:
        """Create the files that the page shows of a picture.

        Raises:
            TunerError: the picture cannot be read, or the disk cannot be written.
        """
        target = self.desk.folder.new_job() / "before.jpg"
        most = max_pixels_of(picture)
        await asyncio.to_thread(self.desk.inspector.make_original, picture, target, max_pixels=most)
        original = Original.of(str(target))
        visitor.originals.add(str(picture), original)
        return original


def _is_running(visitor: Visitor, picture: str) -> bool:
    """Return whether a run of this picture waits or runs for the visitor."""
    return visitor.task is not None and visitor.task.work.job.input == picture


def _has_result(visitor: Visitor, picture: str) -> bool:
    """Return whether a run of a picture waits, runs or is shown: it can be faster than a check."""
    turn = visitor.visit.current
    return _is_running(visitor, picture) or (turn is not None and turn.picture_path == picture)


def _refused(reason: Message, visitor: Visitor) -> Shown:
    """Return the updates that remove a picture and show the reason."""
    note = render("picture_note", visitor.language, refusal=reason, gone=None)
    return {"picture": None, "picture_note": note, **show_nothing(visitor)}


def show_chosen(chosen: ChosenPicture, language: str) -> Shown:
    """Return the updates that show a picture before its run."""
    size = (chosen.width, chosen.height)
    return {
        "viewer": picture_value(chosen),
        "result": show_ready(Path(chosen.path).name, language, size if chosen.width else None),
    }


def show_nothing(visitor: Visitor) -> Shown:
    """Return the updates for a page without a picture and a result."""
    key = "status.no_picture" if visitor.visit.turns else "status.empty"
    status = page_text(key, visitor.language)
    return {"viewer": None, "result": show_empty(visitor.language, status=status)}


def show_ready(name: str, language: str, size: tuple[int, int] | None = None) -> str:
    """Render the result panel for a picture without a run."""
    picture = name if size is None else f"{name}, {size[0]} × {size[1]} px"
    return show_empty(language, status=page_text("status.ready", language, picture=picture))
