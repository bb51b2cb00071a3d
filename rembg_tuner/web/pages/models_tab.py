"""The Models tab: what models there are, which are on disk, and downloads of the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rembg_tuner.models.catalogue import INT8_ENDINGS, int8_file, read_catalogue, read_unfit
from rembg_tuner.web.locale.words import message_text, page_text
from rembg_tuner.web.pages.templating import render, size

if TYPE_CHECKING:
    from rembg_tuner.models.catalogue import CatalogueEntry
    from rembg_tuner.web.pages.downloads import Downloads


def show_models(downloads: Downloads, language: str) -> str:
    """Render every model; those on disk come first."""
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
    """Return size, side, licence and int8 engines of a model."""
    engines = [engine for engine in INT8_ENDINGS if entry.find(int8_file(entry.file, engine))]
    known = entry.bytes is not None
    return [
        size(entry.bytes, language) if known else message_text(entry.size_text(), language),
        f"{entry.side} px",
        entry.licence,
        page_text(f"models.commercial.{entry.commercial}", language),
        page_text("models.int8", language, engines=", ".join(engines)) if engines else "",
    ]
