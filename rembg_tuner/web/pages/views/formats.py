"""The number formats of models as the System tab shows them."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from rembg_tuner.web.locale.words import say, tell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rembg_tuner.base.messages import Message
    from rembg_tuner.tuning.format_timing import FormatState


def show_formats(
    states: Sequence[FormatState],
    language: str,
    *,
    problem: Message | None = None,
    step: Message | None = None,
    is_timing: bool = False,
) -> str:
    """Draw what `precision auto` is for each model and engine.

    Args:
        states: one for each.
        language: of the reader.
        problem: why they were not timed; None: there was none.
        step: what is being timed; None: nothing yet.
        is_timing: whether they are being timed now.
    """
    rows = "".join(
        f"<li><b>{escape(state.settings.model)}</b> <span>{escape(state.settings.engine)}</span>"
        f"<p>{escape(tell(state.text, language))}</p></li>"
        for state in states
    )
    note = ""
    if is_timing:
        doing = "" if step is None else tell(step, language)
        note = f'<p role="status">{escape(say("machine.timing", language, step=doing))}</p>'
    elif problem is not None:
        note = f'<p class="rt-warning" role="alert">{escape(tell(problem, language))}</p>'
    title = say("machine.formats", language)
    return f'<div class="rt-formats"><section><h2>{title}</h2><ul>{rows}</ul>{note}</section></div>'
