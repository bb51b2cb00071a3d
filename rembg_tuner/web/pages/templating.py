"""Render the page's HTML from the Jinja2 templates in web/templates.

A template has these functions and filters, in the language that it is rendered in:

    text("runs.title", n=3)         a word of en.yaml, by its id
    message|message                 a `Message`, such as a warning
    purpose|translate               a text of presets.yaml, the catalogue or a knob
    2048|size, 0.25|duration        "2 KiB", "250 ms"; None is "unknown"
    "250 ms"|number                 the unit apart from the number
    0.25|percent                    "25 %"
    value|setting("model")          the value of a knob
    0.97|stars                      the stars of an edge's agreement
    changed|changes                 changed knobs with their values
    path|file_link                  the address of a file in the page's folder
    trial.warnings is busy          whether the machine was busy with other work

See `base.templates` for what all templates have in common.
"""

from __future__ import annotations

from functools import cache, partial
from html import escape
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
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from jinja2 import Environment

    from rembg_tuner.base.messages import Message
    from rembg_tuner.settings.settings import Settings, Value
    from rembg_tuner.tuning.trials import Trial

FOLDER = Path(__file__).parent.parent / "templates"


def render(name: str, language: str, **values: object) -> Markup:
    """Render a template.

    Args:
        name: of the file, without `.html`.
        language: of the words.
        values: the variables of the template.
    """
    return Markup(_environment(language).get_template(f"{name}.html").render(values))


@cache
def _environment(language: str) -> Environment:
    """Create the environment of a language; its templates are compiled once."""
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
)  # of a setting by itself
_STARS_WHOLE, _STAR_HALF = "★", "½"


def number(text: str) -> Markup:
    """Return a number with its unit apart.

    >>> number("292 ms")
    Markup('<b>292</b> <i>ms</i>')
    """
    value, _, unit = text.partition(" ")
    return Markup("<b>{}</b> <i>{}</i>" if unit else "<b>{}</b>").format(value, unit)


def size(count: int | None, language: str) -> str:
    """Write a size; what is not known is said so."""
    return page_text("unknown", language) if count is None else format_bytes(count)


def duration(seconds: float | None, language: str) -> str:
    """Write a duration; what is not known is said so."""
    return page_text("unknown", language) if seconds is None else format_seconds(seconds)


def guess_range(range_s: tuple[float, float], language: str) -> str:
    """Write between what two durations something will take, roughly."""
    low, high = map(format_rough, range_s)
    return low if low == high else page_text("guess.range", language, low=low, high=high)


def percent(share: float) -> str:
    """Write a share of 1 in per cent; a small one keeps a figure.

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
    """Write a setting's value as a person would."""
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
    """Return changed knobs with their values."""
    return ", ".join(
        f"{page_text(f'knob.{name}', language)} {setting_text(name, value, language)}"
        for name, value in changed.items()
    )


def label_text(settings: Settings, names: Sequence[str], language: str) -> str:
    """Tell a setting by some of its knobs, as `trials.label_of`, in the page's language."""
    return message_text(label_of(settings, names), language)


def file_link(path: str | Path) -> str:
    """Give the address of a file of the page's own folder, relative to the page."""
    return f"gradio_api/file={quote(str(path))}"


def explain_agreement(language: str) -> str:
    """Say how agreement and stars are told, the table of stars with it."""
    rows = "".join(
        f"<tr><td>{stars_text(least)}</td><td>≥ {least:g}</td></tr>" for least, _ in STARS
    )
    return (
        f'<details class="rt-explained"><summary>{escape(page_text("stars.title", language))}</summary>'
        f"<p>{escape(page_text('stars.text', language))}</p><table><tbody>{rows}</tbody></table></details>"
    )


def busy_note(trials: Sequence[Trial], language: str) -> str:
    """Say how many trials ran while the machine was busy with other work; empty: none did."""
    busy = sum(is_busy(trial.warnings) for trial in trials)
    text = page_text("sweep.busy", language, busy=busy, count=len(trials))
    return f'<p class="rt-warning">{escape(text)}</p>' if busy else ""


def busy_mark(warnings: Iterable[Message], language: str) -> str:
    """Mark figures that were taken while the machine was busy; empty: it was not."""
    mark = f' <i class="rt-unstable">{escape(page_text("sweep.busy.mark", language))}</i>'
    return mark if is_busy(warnings) else ""


def stars_text(boundary_f: float | None) -> str:
    """Write an edge's stars: `★★★★½`; empty: there is no reference."""
    if boundary_f is None:
        return ""
    stars = edge_stars(boundary_f)
    return _STARS_WHOLE * int(stars) + (_STAR_HALF if stars % 1 else "")
