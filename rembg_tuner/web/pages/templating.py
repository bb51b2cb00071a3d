"""Render the page's HTML from the Jinja2 templates in web/templates.

Templates have these functions and filters, in the language of the rendering:

    text("runs.title", n=3)         a text of en.yaml, by its id
    message|message                 a `Message`, such as a warning
    purpose|translate               a text of presets.yaml, the catalogue or a knob
    2048|size, 0.25|duration        "2 KiB", "250 ms"; None is "unknown"
    "250 ms"|number                 number and unit in separate elements
    0.25|percent                    "25 %"
    value|setting("model")          the value of a knob
    0.97|stars                      the stars of an edge agreement
    changed|changes                 changed knobs with their values
    path|file_link                  the URL of a file in the page's folder
    trial.warnings is busy          whether the machine was busy with other work

See `base.templates` for the features of all templates.
"""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from markupsafe import Markup

from rembg_tuner.base.templates import create_environment
from rembg_tuner.base.units import format_bytes, format_rough, format_seconds
from rembg_tuner.imaging.quality import STARS, edge_stars
from rembg_tuner.models.spec import public_name_of
from rembg_tuner.settings.results import is_busy
from rembg_tuner.tuning.trials import label_of
from rembg_tuner.web.locale.words import choice_text, message_text, page_text, translate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from jinja2 import Environment

    from rembg_tuner.settings.settings import Settings, Value

FOLDER = Path(__file__).parent.parent / "templates"


def render(name: str, language: str, **values: object) -> Markup:
    """Render a template.

    Args:
        name: the file name without `.html`.
        language: the language of the texts.
        values: the variables of the template.
    """
    return Markup(_environment(language).get_template(f"{name}.html").render(values))


@cache
def _environment(language: str) -> Environment:
    """Create the environment of a language, which compiles each template once."""
    environment = create_environment(FOLDER)
    environment.globals["text"] = partial(page_text, language=language)
    environment.globals["STARS"] = STARS
    environment.tests["busy"] = is_busy
    for function in (message_text, translate, size, duration, changes_text):
        name = function.__name__.removesuffix("_text")
        environment.filters[name] = partial(function, language=language)
    environment.filters |= {
        "number": number,
        "percent": percent,
        "setting": lambda value, name: setting_text(name, value, language),
        "stars": stars_text,
        "file_link": file_link,
    }
    return environment


TOLD = (
    "model",
    "engine",
    "precision",
    "network_size",
    "intra_op_threads",
)  # knobs in the text of a single setting
_STARS_WHOLE, _STAR_HALF = "★", "½"


def number(text: str) -> Markup:
    """Return HTML with a number and its unit in separate elements.

    >>> number("292 ms")
    Markup('<b>292</b> <i>ms</i>')
    """
    value, _, unit = text.partition(" ")
    return Markup("<b>{}</b> <i>{}</i>" if unit else "<b>{}</b>").format(value, unit)


def size(count: int | None, language: str) -> str:
    """Format a size in bytes; None is "unknown"."""
    return page_text("unknown", language) if count is None else format_bytes(count)


def duration(seconds: float | None, language: str) -> str:
    """Format a duration in seconds; None is "unknown"."""
    return page_text("unknown", language) if seconds is None else format_seconds(seconds)


def guess_range(range_s: tuple[float, float], language: str) -> str:
    """Format the range of an estimated duration, in seconds, with rounded values."""
    low, high = map(format_rough, range_s)
    return low if low == high else page_text("guess.range", language, low=low, high=high)


def percent(share: float) -> str:
    """Format a share from 0 to 1 in per cent; below 1 % with one significant digit.

    >>> percent(0.0914), percent(0.0049)
    ('9 %', '0.5 %')
    """
    return f"{share:.0%}".replace("%", " %") if share >= 0.01 else f"{share * 100:.1g} %"


_WRITTEN_AS: dict[str, Callable[[Any], str]] = {
    "memory_limit_bytes": format_bytes,
    "focus_max_share": percent,
    "model": public_name_of,
}


def setting_text(name: str, value: Value, language: str) -> str:
    """Format the value of a knob for readers, with its unit."""
    if value is None:
        return page_text("limit.host" if name == "memory_limit_bytes" else "none", language)
    if isinstance(value, bool):
        return page_text("on" if value else "off", language)
    if name in _WRITTEN_AS:
        return _WRITTEN_AS[name](value)
    if name == "max_side" and value == 0:
        return page_text("size.whole", language)
    units = {"max_side": " px", "network_size": " px", "timeout_s": " s"}
    if name in units and value != 0:
        return f"{value:g}{units[name]}" if isinstance(value, int | float) else str(value)
    return page_text("auto", language) if value == 0 else choice_text(str(value), language)


def changes_text(changed: Mapping[str, Value], language: str) -> str:
    """Format changed knobs with their values."""
    return ", ".join(
        f"{page_text(f'knob.{name}', language)} {setting_text(name, value, language)}"
        for name, value in changed.items()
    )


def label_text(settings: Settings, names: Sequence[str], language: str) -> str:
    """Format a setting with some of its knobs, as `trials.label_of`, in a language."""
    return message_text(label_of(settings, names), language)


def file_link(path: str | Path) -> str:
    """Return the URL of a file in the page's folder, relative to the page."""
    return f"gradio_api/file={quote(str(path))}"


def stars_text(boundary_f: float | None) -> str:
    """Format the stars of an edge agreement, such as `★★★★½`; empty without a reference."""
    if boundary_f is None:
        return ""
    stars = edge_stars(boundary_f)
    return _STARS_WHOLE * int(stars) + (_STAR_HALF if stars % 1 else "")
