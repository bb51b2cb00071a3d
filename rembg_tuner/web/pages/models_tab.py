"""The Models tab: the models, whether they are on disk, and their downloads."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import gradio as gr

from rembg_tuner.models.catalogue import INT8_ENDINGS, int8_file, read_catalogue, read_unfit
from rembg_tuner.web.locale.words import message_text, page_text
from rembg_tuner.web.pages.assets import asset_script
from rembg_tuner.web.pages.events import tie
from rembg_tuner.web.pages.templating import render, size
from rembg_tuner.web.pages.widgets import choices_of, preset_choices

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from rembg_tuner.models.catalogue import CatalogueEntry
    from rembg_tuner.web.pages.cut_tab.layout import CutWidgets
    from rembg_tuner.web.pages.desk import Desk
    from rembg_tuner.web.pages.downloads import Downloads
    from rembg_tuner.web.pages.events import Shown
    from rembg_tuner.web.pages.visitors import Visitor


_FOLLOW_EVERY_S = 0.5  # a button that is redrawn more often is hard to press


def add_models_tab(opened: Any, desk: Desk, widgets: CutWidgets) -> None:
    """Lay out the tab and tie its events.

    Args:
        opened: the event of opening the tab.
        desk: has the downloads and the visitors.
        widgets: the widgets of the Cut out tab; a download changes their choices.
    """
    events = _Events(desk)
    models = gr.HTML("", js_on_load=asset_script("pick"), elem_id="models")
    outputs = {"models": models, **widgets.named("preset", "knobs")}
    tie(desk, opened, events.follow, None, outputs, concurrency_limit=None)
    # The default, "once", would drop a Stop while the download is being followed.
    several: dict[str, Any] = {"concurrency_limit": None, "trigger_mode": "multiple"}
    tie(desk, models.select, events.change, None, outputs, **several)


class _Events:
    """The events of the tab."""

    def __init__(self, desk: Desk) -> None:
        """Create the events."""
        self.downloads = desk.downloads

    async def change(self, visitor: Visitor, sent: dict[str, Any]) -> AsyncGenerator[Shown, None]:
        """Start or stop a download, and show the progress of all.

        Raises:
            SettingsError: visitors may not start downloads.
            ModelError: there is no such model.
        """
        for change, name in ((self.downloads.stop, "stop"), (self.downloads.start, "get")):
            if isinstance(sent.get(name), str):
                change(sent[name])
        async for shown in self.follow(visitor):
            yield shown

    async def follow(self, visitor: Visitor) -> AsyncGenerator[Shown, None]:
        """Show the models until all downloads have ended."""
        while self.downloads.is_running:
            yield {"models": show_models(self.downloads, visitor.language)}
            await asyncio.sleep(_FOLLOW_EVERY_S)
        yield {
            "models": show_models(self.downloads, visitor.language),
            "knobs": {"model": gr.update(choices=choices_of("model", None))},
            "preset": gr.update(choices=preset_choices()),
        }


def show_models(downloads: Downloads, language: str) -> str:
    """Render all models; those on disk come first."""
    rows = [
        {
            "entry": entry,
            "is_here": entry.find() is not None,
            "task": downloads.task_of(entry.name),
            "facts": _facts(entry, language),
        }
        for entry in read_catalogue().values()
    ]
    return render(
        "models",
        language,
        rows=sorted(rows, key=lambda row: not row["is_here"]),
        unfit=read_unfit(),
        may_download=downloads.are_allowed,
    )


def _facts(entry: CatalogueEntry, language: str) -> list[str]:
    """Return file size, network size, licence and int8 engines of a model as texts."""
    engines = [engine for engine in INT8_ENDINGS if entry.find(int8_file(entry.file, engine))]
    known = entry.bytes is not None
    return [
        size(entry.bytes, language) if known else message_text(entry.size_text(), language),
        f"{entry.side} px",
        entry.licence,
        page_text(f"models.commercial.{entry.commercial}", language),
        page_text("models.int8", language, engines=", ".join(engines)) if engines else "",
    ]
