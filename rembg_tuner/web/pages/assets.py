"""The style sheets, scripts and thumbnails of the page, read from assets/."""

from __future__ import annotations

import base64
import json
from functools import cache
from pathlib import Path

from rembg_tuner.base.units import format_bytes
from rembg_tuner.tuning.plot import points_script
from rembg_tuner.web.locale.catalogues import LANGUAGES
from rembg_tuner.web.locale.words import all_words
from rembg_tuner.web.pages.choices import LIMITS

FOLDER = Path(__file__).parent / "assets"
# In the order of the cascade: a later rule overrides an earlier one.
_STYLES = [
    "tokens",
    "frame",
    "form",
    "viewer",
    "result",
    "runs",
    "machine",
    "phone",
    "long_tasks",
    "targets",
]
_SCRIPTS = ("page", "choices", "visit", "keys", "language_links", "files")
_WORDS_IN_SCRIPTS = ("viewer.", "picture.too_large", "status.ready")  # prefixes of ids


def style_files() -> list[Path]:
    """Return the paths of the style sheets."""
    return [FOLDER / f"css/{name}.css" for name in _STYLES]


def asset_script(name: str) -> str:
    """Return the text of a script."""
    return (FOLDER / f"js/{name}.js").read_text(encoding="utf-8")


def page_script() -> str:
    """Return the script that all parts of the page share, with the texts that it shows."""
    words = {
        language: {
            key: text
            for key, text in all_words(language).items()
            if key.startswith(_WORDS_IN_SCRIPTS)
        }
        for language in LANGUAGES
    }
    limit = {"bytes": LIMITS.upload_bytes, "text": format_bytes(LIMITS.upload_bytes)}
    return (
        "".join(map(asset_script, _SCRIPTS))
        .replace("__WORDS__", json.dumps(words, ensure_ascii=False))
        .replace("__LIMIT__", json.dumps(limit))
    )


@cache
def language_script() -> str:
    """Return the script that chooses the language before Gradio does."""
    return asset_script("language").replace("__LANGUAGES__", json.dumps(list(LANGUAGES)))


def long_task_script() -> str:
    """Return the script of the Compare and Sweep tabs."""
    return points_script() + asset_script("long_tasks")


def thumbnail(name: str) -> str:
    """Return the thumbnail of an example as a data: URL, which saves a request."""
    content = base64.b64encode((FOLDER / f"{name}.webp").read_bytes()).decode()
    return f"data:image/webp;base64,{content}"
