"""The visitors of the page: the runs, language, folder and current tasks of each."""

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

MAX_VISITORS = 100  # each has up to 50 runs, at most a few MiB
KEPT_S = 3600.0  # the files of a visit are kept as long
MAX_KEPT = 100
_TOKEN = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """The files of a picture for the page, at most 1600 px.

    Attributes:
        colours: path of the JPEG to which the mask of a cut-out is applied.
        shown: path of the file that is shown as the picture: the JPEG, or a WebP if the picture
            is transparent.
    """

    colours: str
    shown: str

    @classmethod
    def of(cls, colours: str) -> Self:
        """Return the files of a picture from the path of its JPEG."""
        with_alpha = Path(colours).with_suffix(".webp")
        return cls(colours=colours, shown=str(with_alpha) if with_alpha.is_file() else colours)

    @property
    def is_there(self) -> bool:
        """Whether its files still exist."""
        return Path(self.colours).is_file() and Path(self.shown).is_file()

    def keep(self) -> None:
        """Update the timestamps of its files, so that they are kept as long as the run's files."""
        for path in {self.colours, self.shown}:
            with contextlib.suppress(FileNotFoundError):
                os.utime(path)


class Originals:
    """The originals of a visit by picture and longest side."""

    def __init__(self) -> None:
        """Create an empty collection."""
        self._found: dict[tuple[str, int], Original] = {}

    def find(self, picture: str, settings: Settings | None = None) -> Original | None:
        """Return the files of a picture for runs with these settings; None: there are none."""
        found = self._found.get((picture, _side(settings)))
        return found if found is not None and found.is_there else None

    def add(self, picture: str, original: Original, settings: Settings | None = None) -> None:
        """Store the files of a picture for runs with these settings."""
        self._found[(picture, _side(settings))] = original


def _side(settings: Settings | None) -> int:
    """Return the longest side of the shown picture of a run, px; without settings, of full size."""
    max_side = settings.max_side if settings is not None else 0
    return min(max_side or PREVIEW_SIDE, PREVIEW_SIDE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenPicture:
    """A picture that the visitor chose.

    Attributes:
        path: path of the upload.
        shown: path of the file that a browser can show: the upload itself, or its preview.
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
        language: the language of the texts.
        visit: the turns of the visit.
        folder: folder of the lists of runs; created when first needed.
        task: the current run.
        sweeping: the last sweep.
        comparing: the last comparison.
        stress_testing: the last stress test.
        originals: the shown files of pictures, which are created once.
        has_masks: whether the browser can apply a mask to a picture (`mask-mode: alpha`).
        preparing: set when the files of the chosen picture have been created; None: none are being
            created.
        preset: the preset that last filled the form; empty: the preset of the server.
        refusal: why the last requested preset was refused; None: it was not refused.
        chosen: the picture that the next run uses.
        choice: number of pictures chosen so far; late answers about earlier ones are ignored.
        undrawn: long tasks that the reloaded page does not show yet: compare, sweep, stress_test.
        token: token of the tab, with which a reloaded page finds the visit.
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
        """Whether the visitor has no runs and no long task, so nothing is lost by removal."""
        return not self.visit.turns and not any(self._long_tasks())

    async def prepared(self) -> None:
        """Wait until the files of the chosen picture have been created.

        Creating them during a run would slow the measured run.
        """
        if self.preparing is not None:
            await self.preparing.wait()

    @property
    def has_work(self) -> bool:
        """Whether there is anything to restore after the page is reloaded."""
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
        """Cancel the run and stop the long tasks."""
        if self.task is not None:
            self.task.cancel()
        for long_task in self._long_tasks():
            if long_task is not None:
                long_task.stop()


def read_token(text: object) -> str | None:
    """Return the token of a tab; None for anything but 128 bits in hexadecimal digits."""
    return text if isinstance(text, str) and _TOKEN.fullmatch(text) else None


class KeptVisits:
    """Visitors who left, by token, in the order of leaving. Not thread-safe: the owner locks."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Create an empty collection."""
        self._clock = clock
        self._kept: OrderedDict[str, tuple[float, Visitor]] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of visitors."""
        return len(self._kept)

    def keep(self, token: str, visitor: Visitor) -> None:
        """Add a visitor who has left; above the limit the one who left first is dropped."""
        self._drop_old()
        self._kept.pop(token, None)
        self._kept[token] = (self._clock(), visitor)
        while len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)

    def take(self, token: str) -> Visitor | None:
        """Remove and return the visitor with a token; None: there is none, or it is too old."""
        self._drop_old()
        found = self._kept.pop(token, None)
        return None if found is None else found[1]

    def _drop_old(self) -> None:
        """Drop the visitors who left too long ago."""
        oldest = self._clock() - KEPT_S
        while self._kept and next(iter(self._kept.values()))[0] <= oldest:
            self._kept.popitem(last=False)


class Visitors:
    """The open tabs by session, the least recently used first.

    Above `MAX_VISITORS` the least recently used visitor without runs and long tasks is removed, or
    else the least recently used one. Visitors with a waiting or running task are never removed,
    since anyone could displace them with events from 100 invented sessions.
    """

    def __init__(self, folder: PageFolder) -> None:
        """Create the collection; the folders of visitors are created in the page's folder."""
        self._folder = folder
        self._visitors: OrderedDict[str, Visitor] = OrderedDict()
        self._kept = KeptVisits()
        self._lock = threading.Lock()  # events run in the event loop and in Gradio's threads

    def of(self, request: gr.Request) -> Visitor:
        """Return the visitor of a request; create one for an unknown session."""
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
        """Remove one idle visitor, preferably an empty one; none if all are busy."""
        idle = [key for key, visitor in self._visitors.items() if not visitor.is_busy]
        empty = (key for key in idle if self._visitors[key].is_empty)
        if (key := next(empty, next(iter(idle), None))) is not None:
            self._keep(self._visitors.pop(key))

    def resume(self, request: gr.Request, token: object) -> Visitor:
        """Return the visitor of a tab whose page was reloaded; otherwise a new one.

        Args:
            request: the request of the new session.
            token: the token of the tab; without a valid token the visit cannot be resumed later.
        """
        key, known = str(request.session_hash), read_token(token)
        visitor = self.of(request)
        if known is None:
            return visitor
        with self._lock:
            # The old session may not have ended yet: the reloaded page can be faster.
            left = next((v for v in self._visitors.values() if v.token == known), None)
            found = left or self._kept.take(known) or visitor
            found.token = known
            found.undrawn = {"compare", "sweep", "stress_test"}
            self._visitors[key] = found
        if left is not None:
            left.stop()  # as at the end of the old session
        return found

    def folder_of(self, visitor: Visitor) -> Path:
        """Return the folder of a visitor's lists; it is created again if it was deleted."""
        if visitor.folder is None or not visitor.folder.is_dir():
            visitor.folder = self._folder.new_job()
        return visitor.folder

    def leave(self, session: str) -> None:
        """Remove a tab that was closed or reloaded, and stop its tasks.

        The visit is kept for an hour, in case the tab returns.
        """
        with self._lock:
            visitor = self._visitors.pop(session, None)
            if visitor is None or any(other is visitor for other in self._visitors.values()):
                return  # the page was reloaded: a new session continues the visit
            self._keep(visitor)
        visitor.stop()

    def _keep(self, visitor: Visitor) -> None:
        """Keep the visit of a tab, so that its next page load finds it."""
        if visitor.token is not None and visitor.has_work:
            self._kept.keep(visitor.token, visitor)


def language_of_request(request: gr.Request) -> str:
    """Return the language of a request: `lang` in its URL, or else its Accept-Language."""
    return language_of(
        request.query_params.get("lang") or request.headers.get("accept-language") or ""
    )
