"""Who is on the page: each visit's runs, language, folder and the run that is going on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rembg_tuner.imaging.formats import PREVIEW_SIDE
from rembg_tuner.web.locale.catalogues import language_of
from rembg_tuner.web.pages.visit import Visit

if TYPE_CHECKING:
    from collections.abc import Callable

    import gradio as gr

    from rembg_tuner.base.messages import Message
    from rembg_tuner.runtime.slots import Runs
    from rembg_tuner.runtime.tasks import Task
    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.web.pages.long_tasks import LongTask
    from rembg_tuner.web.pages.page_folder import PageFolder

MAX_VISITORS = 100  # each remembers up to 50 runs, some MiB at worst
KEPT_S = 3600.0  # as long as the files of a visit are kept
MAX_KEPT = 100
_TOKEN = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """A picture's files for the page, at most 1600 px.

    Attributes:
        colours: the JPEG over which a cut-out's mask is laid.
        shown: what is shown as the picture: the JPEG, or a WebP where the picture has transparency
            of its own.
    """

    colours: str
    shown: str

    @classmethod
    def of(cls, colours: str) -> Self:
        """Return what was made of a picture, by its JPEG's path."""
        with_alpha = Path(colours).with_suffix(".webp")
        return cls(colours=colours, shown=str(with_alpha) if with_alpha.is_file() else colours)

    @property
    def is_there(self) -> bool:
        """Whether its files have not been swept away."""
        return Path(self.colours).is_file() and Path(self.shown).is_file()

    def keep(self) -> None:
        """Make its files as young as the run that uses them, so that they are not swept away before its own."""
        for path in {self.colours, self.shown}:
            with contextlib.suppress(FileNotFoundError):
                os.utime(path)


class Originals:
    """A visit's originals by picture and side."""

    def __init__(self) -> None:
        """Begin with none."""
        self._found: dict[tuple[str, int], Original] = {}

    def find(self, picture: str, settings: Settings | None = None) -> Original | None:
        """Return what was made of a picture for runs with these settings.

        None where nothing is there.
        """
        found = self._found.get((picture, _side(settings)))
        return found if found is not None and found.is_there else None

    def add(self, picture: str, original: Original, settings: Settings | None = None) -> None:
        """Keep what was made of a picture."""
        self._found[(picture, _side(settings))] = original


def _side(settings: Settings | None) -> int:
    """Return the longest side of what is shown of a run, px.

    Without settings as of one at full size.
    """
    max_side = settings.max_side if settings is not None else 0
    return min(max_side or PREVIEW_SIDE, PREVIEW_SIDE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenPicture:
    """A picture that was uploaded and found to be readable.

    Attributes:
        path: of the upload.
        shown: the file that a browser can show: the upload itself, or its preview.
        width, height: px, upright; 0: not known.
    """

    path: str
    shown: str
    width: int = 0
    height: int = 0


@dataclass(slots=True, kw_only=True)
class Visitor:
    """One open tab.

    Attributes:
        language: of its words.
        folder: where its lists of runs are written; made when first needed.
        task: the current run.
        sweeping: the last sweep.
        comparing: the last comparison.
        stress_testing: the last stress test.
        originals: what the page shows of pictures, so that it is made once.
        has_masks: whether the browser has told that it can lay a mask over a picture (`mask-mode:
            alpha`).
        preparing: set once what is being made of the chosen picture is made; None: nothing is being
            made.
        preset: that the form started from last; empty: the server's.
        refusal: why the preset asked for last was not chosen; None: it was.
        chosen: the picture that would be run now.
        choice: how many pictures were chosen, so that a late answer about an earlier one is left.
        undrawn: long tasks that the reloaded page does not show yet: compare, sweep, stress_test.
        token: of the tab, under which the visit is found again when the page is loaded anew.
    """

    language: str
    visit: Visit = field(default_factory=Visit)
    folder: Path | None = None
    task: Task[Runs] | None = None
    sweeping: LongTask | None = None
    comparing: LongTask | None = None
    stress_testing: LongTask | None = None
    originals: Originals = field(default_factory=Originals)
    has_masks: bool = False
    preparing: asyncio.Event | None = None
    preset: str = ""
    refusal: Message | None = None
    chosen: ChosenPicture | None = None
    choice: int = 0
    token: str | None = None
    undrawn: set[str] = field(default_factory=set)

    @property
    def is_busy(self) -> bool:
        """Whether a run of this visitor waits or runs, or a long task is running."""
        if self.task is not None and not self.task.done.is_set():
            return True
        return any(one is not None and one.is_running for one in self._long_tasks())

    @property
    def is_empty(self) -> bool:
        """Whether forgetting this visitor loses nothing: no runs and no long task."""
        return not self.visit.turns and not any(self._long_tasks())

    async def prepared(self) -> None:
        """Wait until what is being made of the chosen picture is made.

        Beside a run it would slow what is measured.
        """
        if self.preparing is not None:
            await self.preparing.wait()

    @property
    def has_work(self) -> bool:
        """Whether there is something to find again after the page is loaded anew."""
        return not self.is_empty or self.chosen is not None

    def _long_tasks(self) -> tuple[LongTask | None, ...]:
        """Return the visitor's long tasks."""
        return self.sweeping, self.comparing, self.stress_testing

    def stop_sweep(self) -> None:
        """Stop the sweep; its finished trials are kept."""
        if self.sweeping is not None:
            self.sweeping.stop()

    def stop_comparison(self) -> None:
        """Stop the comparison."""
        if self.comparing is not None:
            self.comparing.stop()

    def stop_stress_test(self) -> None:
        """Stop the stress test; the result of its finished runs is shown."""
        if self.stress_testing is not None:
            self.stress_testing.stop()

    def stop(self) -> None:
        """Free what it holds of the line."""
        if self.task is not None:
            self.task.cancel()
        for long_task in self._long_tasks():
            if long_task is not None:
                long_task.stop()


def read_token(text: object) -> str | None:
    """Return a tab's token; None for anything that is not 128 bits in hexadecimal digits."""
    return text if isinstance(text, str) and _TOKEN.fullmatch(text) else None


class KeptVisits:
    """Visitors by token, the one that left first at the front. Not thread-safe: the owner locks."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with none."""
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, Visitor]] = OrderedDict()

    def __len__(self) -> int:
        """Return how many are kept."""
        return len(self._kept)

    def keep(self, token: str, visitor: Visitor) -> None:
        """Keep a visitor who has left; beyond the bound the one that left first is dropped."""
        self._drop_old()
        self._kept.pop(token, None)
        self._kept[token] = (self._clock(), visitor)
        while len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)

    def take(self, token: str) -> Visitor | None:
        """Return the visitor who left with a token, once.

        None if there is none, or it left too long ago.
        """
        self._drop_old()
        found = self._kept.pop(token, None)
        return None if found is None else found[1]

    def _drop_old(self) -> None:
        """Drop those that left too long ago."""
        oldest = self._clock() - KEPT_S
        while self._kept and next(iter(self._kept.values()))[0] <= oldest:
            self._kept.popitem(last=False)


class Visitors:
    """The open tabs by session, the one longest unseen first.

    Beyond `MAX_VISITORS` one is forgotten: the longest unseen of those who have nothing to lose,
    else the longest unseen. A visitor with a running or queued task is never forgotten: an event
    from an unknown session costs nothing, and anybody can send a hundred.
    """

    def __init__(self, folder: PageFolder) -> None:
        """Keep visitors' folders below a page's folder."""
        self._folder = folder
        self._visitors: OrderedDict[str, Visitor] = OrderedDict()
        self._kept = KeptVisits()
        self._lock = threading.Lock()  # events come from the loop and from Gradio's threads

    def of(self, request: gr.Request) -> Visitor:
        """Find the tab that a request comes from, or take it in."""
        key = str(request.session_hash)
        with self._lock:
            visitor = self._visitors.pop(key, None) or Visitor(
                language=language_of_request(request)
            )
            if len(self._visitors) >= MAX_VISITORS:
                self._forget_one()
            self._visitors[key] = visitor
        return visitor

    def _forget_one(self) -> None:
        """Forget the visitor whose loss matters least; nobody where all are busy."""
        idle = [key for key, visitor in self._visitors.items() if not visitor.is_busy]
        empty = (key for key in idle if self._visitors[key].is_empty)
        if (key := next(empty, next(iter(idle), None))) is not None:
            self._keep(self._visitors.pop(key))

    def resume(self, request: gr.Request, token: object) -> Visitor:
        """Find the visit that a tab had before its page was loaded anew; else begin one.

        Args:
            request: of the new session.
            token: the tab's; anything else than a token begins a visit that is not kept.
        """
        key, known = str(request.session_hash), read_token(token)
        visitor = self.of(request)
        if known is None:
            return visitor
        with self._lock:
            # The old session may not have ended yet: a reload's new page can be faster.
            left = next((v for v in self._visitors.values() if v.token == known), None)
            found = left or self._kept.take(known) or visitor
            found.token = known
            found.undrawn = {"compare", "sweep", "stress_test"}
            self._visitors[key] = found
        if left is not None:
            left.stop()  # as the old session's end would
        return found

    def folder_of(self, visitor: Visitor) -> Path:
        """Give the folder for a visitor's lists; it may have been swept away meanwhile."""
        if visitor.folder is None or not visitor.folder.is_dir():
            visitor.folder = self._folder.new_job()
        return visitor.folder

    def leave(self, session: str) -> None:
        """Forget a tab that was closed or is loaded anew, and free what it holds of the line.

        What it did is kept for a while, in case it comes back.
        """
        with self._lock:
            visitor = self._visitors.pop(session, None)
            if visitor is None or any(other is visitor for other in self._visitors.values()):
                return  # the page was loaded anew: another session goes on with the visit
            self._keep(visitor)
        visitor.stop()

    def _keep(self, visitor: Visitor) -> None:
        """Keep what a tab did, so that its next page finds it."""
        if visitor.token is not None and visitor.has_work:
            self._kept.keep(visitor.token, visitor)


def language_of_request(request: gr.Request) -> str:
    """Choose the words: by the address, else by what the browser accepts."""
    return language_of(
        request.query_params.get("lang") or request.headers.get("accept-language") or ""
    )
