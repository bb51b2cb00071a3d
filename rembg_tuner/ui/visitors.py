"""Who is on the page: each visit's runs, language, folder and the run that is going on."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rembg_tuner.ui.visit import Visit
from rembg_tuner.ui.words import language_of

if TYPE_CHECKING:
    from pathlib import Path

    import gradio as gr

    from rembg_tuner.running.ticket import Ticket
    from rembg_tuner.ui.page_folder import PageFolder
    from rembg_tuner.ui.studies import Study

MOST_VISITORS = 100  # each remembers up to 50 runs, some MiB at worst


@dataclass(slots=True, kw_only=True)
class Visitor:
    """One open tab.

    Attributes:
        language: of its words.
        folder: where its lists of runs are written; made when first needed.
        ticket: the run that is going on.
        study: the sweep that was asked for last.
        comparing: the comparison that was asked for last.
        soaking: the soak that was asked for last.
        befores: preview of an original, by its path and side, so that it is written once.
        preset: that the form started from last; empty: the server's.
        refusal: why the preset asked for last was not chosen, a sentence; empty: it was.
    """

    language: str
    visit: Visit = field(default_factory=Visit)
    folder: Path | None = None
    ticket: Ticket | None = None
    study: Study | None = None
    comparing: Study | None = None
    soaking: Study | None = None
    befores: dict[tuple[str, int], str] = field(default_factory=dict)
    preset: str = ""
    refusal: str = ""

    def stop_study(self) -> None:
        """End the sweep that goes on; what is done is kept."""
        if self.study is not None:
            self.study.stop()

    def stop_comparing(self) -> None:
        """End the comparison that goes on."""
        if self.comparing is not None:
            self.comparing.stop()

    def stop_soak(self) -> None:
        """End the soak that goes on; what is done is told."""
        if self.soaking is not None:
            self.soaking.stop()

    def stop(self) -> None:
        """Free what it holds of the line."""
        if self.ticket is not None:
            self.ticket.cancel()
        for study in (self.study, self.comparing, self.soaking):
            if study is not None:
                study.stop()


class Visitors:
    """The open tabs by session, the one longest unseen first; beyond the bound it is forgotten."""

    def __init__(self, folder: PageFolder) -> None:
        """Keep visitors' folders below a page's folder."""
        self._folder = folder
        self._visitors: OrderedDict[str, Visitor] = OrderedDict()
        self._lock = threading.Lock()  # events come from the loop and from Gradio's threads

    def of(self, request: gr.Request) -> Visitor:
        """Find the tab that a request comes from, or take it in."""
        key = str(request.session_hash)
        forgotten: list[Visitor] = []
        with self._lock:
            visitor = self._visitors.pop(key, None) or Visitor(language=_language_of(request))
            self._visitors[key] = visitor
            while len(self._visitors) > MOST_VISITORS:
                forgotten.append(self._visitors.popitem(last=False)[1])
        for one in forgotten:
            one.stop()
        return visitor

    def folder_of(self, visitor: Visitor) -> Path:
        """Give the folder for a visitor's lists; it may have been swept away meanwhile."""
        if visitor.folder is None or not visitor.folder.is_dir():
            visitor.folder = self._folder.new_job()
        return visitor.folder

    def leave(self, request: gr.Request) -> None:
        """Forget a tab that was closed, and free what it holds of the line."""
        with self._lock:
            visitor = self._visitors.pop(str(request.session_hash), None)
        if visitor is not None:
            visitor.stop()


def _language_of(request: gr.Request) -> str:
    """Choose the words: by the address, else by what the browser accepts."""
    return language_of(
        request.query_params.get("lang") or request.headers.get("accept-language") or ""
    )
