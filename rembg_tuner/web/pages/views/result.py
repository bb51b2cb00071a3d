"""What a turn costs, while it goes on and after.

Figures, stages, curve, warnings, asked and effective.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import NO_FOREGROUND
from rembg_tuner.base.units import format_bytes, format_seconds
from rembg_tuner.settings.settings import KNOBS
from rembg_tuner.web.locale.words import message_text, page_text
from rembg_tuner.web.pages.templating import duration, number, setting_text, size
from rembg_tuner.web.pages.views import chart
from rembg_tuner.web.pages.views.looks import focus_text, show_looks
from rembg_tuner.web.pages.visit import compare, is_same_picture

if TYPE_CHECKING:
    from rembg_tuner.base.messages import Message
    from rembg_tuner.runtime.ticket import Glance
    from rembg_tuner.settings.results import Failure, Result
    from rembg_tuner.web.pages.visit import Turn

_NOTHING = "–"
_LEAST_TOLD_S = 0.01  # a shorter part of the wait is not listed


def show_empty(language: str, *, status: str | None = None) -> str:
    """Show the panel before a run: what will stand here.

    Args:
        language: of the words.
        status: the line above; None: nothing has run yet.
    """
    figures = "".join(
        _figure(
            page_text(f"figure.{name}", language),
            f"<b>{_NOTHING}</b>",
            page_text(f"figure.{name}.empty", language),
        )
        for name in ("time", "peak", "ratio")
    )
    status = page_text("status.empty", language) if status is None else status
    return _panel("empty", status, figures, chart.draw(None, language))


def show_left(turn: Turn, language: str) -> str:
    """Show the panel after a run whose picture was left for another one meanwhile."""
    done = page_text("status.left", language, number=turn.number, picture=turn.picture)
    return show_empty(language, status=done)


def show_problem(message: Message, language: str, *, kind: str | None = None) -> str:
    """Show why a run was not even tried; `kind` is a Failure's, None for what the form asks."""
    alert = _alert(message, language, kind=kind)
    return f'<section class="rt-result" data-state="failed">{alert}</section>'


def show_hint(message: Message, language: str) -> str:
    """Say what to do first; nothing went wrong."""
    return (
        '<section class="rt-result"'
        f' data-state="hint">{_notice(page_text("hint.first", language), message, language)}</section>'
    )


def _notice(title: str, message: Message, language: str) -> str:
    """Write a neutral message with a title; a screen reader reads it when it is idle."""
    text = escape(message_text(message, language))
    return f'<div class="rt-alert rt-wait" role="status"><b>{title}</b><p>{text}</p></div>'


def show_wait(message: Message, language: str) -> str:
    """Say that somebody else's work has to end first: nothing is wrong."""
    return _notice(page_text("failure.elsewhere", language), message, language)


def show_glance(
    glance: Glance,
    *,
    resting_bytes: int | None,
    limit_bytes: int | None,
    repeat: int,
    language: str,
) -> str:
    """Show a turn that waits or goes on."""
    if glance.state == "waiting":
        told = [page_text("status.place", language, place=glance.place, waiting=glance.waiting)]
        if glance.is_behind_trials:  # how long a trial takes, the line's own runs do not tell
            told.append(page_text("status.trials", language))
        elif glance.wait_s is not None:
            told.append(
                page_text("status.wait", language, wait=format_seconds(max(0.1, glance.wait_s)))
            )
        return _panel("waiting", " · ".join(told), "", chart.draw(None, language))
    points = glance.timeline.points
    now = points[-1][1] if points else None
    stage = (
        page_text(f"stage.{glance.stage}", language)
        if glance.stage
        else page_text("stage.start", language)
    )
    status = (
        page_text("status.repeat", language, run=min(glance.run, repeat), of=repeat, stage=stage)
        if repeat > 1
        else page_text("status.running", language, stage=stage)
    )
    cpu = (
        _NOTHING
        if glance.cpu_cores is None
        else f"{glance.cpu_cores:.1f} {page_text('cores', language)}"
    )
    peak = max((rss for _, rss in points), default=None)
    figures = (
        _figure(
            page_text("figure.elapsed", language), number(format_seconds(glance.elapsed_s)), stage
        )
        + _figure(
            page_text("figure.now", language),
            number(format_bytes(now)) if now is not None else f"<b>{_NOTHING}</b>",
            page_text("figure.highest", language, peak=size(peak, language)),
        )
        + _figure(
            page_text("figure.cpu", language), number(cpu), page_text("figure.cpu.note", language)
        )
    )
    curve = chart.lay_out(
        glance.timeline,
        resting_bytes=resting_bytes,
        peak_bytes=None,
        limit_bytes=limit_bytes,
    )
    return _panel("running", status, figures, chart.draw(curve, language))


def show_turn(turn: Turn, *, baseline: Turn | None, limit_bytes: int | None, language: str) -> str:
    """Show what came of a turn."""
    failure, result = turn.failure, turn.typical
    if result is None:
        assert failure is not None  # a turn has at least one run
        body = _told(failure, language)
        state = "cancelled" if turn.is_cancelled else "failed"
        return (
            f'<section class="rt-result" data-state="{state}"'
            f' data-kind="{failure.kind}">{body}{_failed_chart(turn, failure, limit_bytes, language)}</section>'
        )
    curve = chart.lay_out(
        turn.timeline,
        resting_bytes=result.baseline_rss_bytes,
        peak_bytes=turn.peak_bytes,
        limit_bytes=turn.settings.memory_limit_bytes or limit_bytes,
    )
    alert = _told(failure, language) if failure else ""
    body = (
        _foreground(turn, language)
        + _waited(turn, language)
        + _spread(turn, language)
        + show_looks(turn, result, language)
        + _stage_bar(result, language)
        + chart.draw(curve, language)
        + _warnings(result, language)
        + _asked(turn, result, language)
    )
    status = page_text("status.done", language, number=turn.number, picture=turn.picture)
    return _panel(
        "done",
        status,
        _figures(turn, result, baseline, language),
        alert + body,
        number_=turn.number,
    )


def _panel(state: str, status: str, figures: str, body: str, *, number_: int | None = None) -> str:
    """Frame the panel."""
    mark = f' data-turn="{number_}"' if number_ is not None else ""
    dl = f'<dl class="rt-figures">{figures}</dl>' if figures else ""
    return (
        f'<section class="rt-result" data-state="{state}"{mark}>'
        f'<p class="rt-status" role="status">{escape(status)}</p>{dl}{body}</section>'
    )


def _figure(name: str, value: str, note: str) -> str:
    """Set one figure: name, value, note."""
    return (
        f"<div><dt>{escape(name)}</dt><dd>{value}</dd><dd class='rt-note'>{escape(note)}</dd></div>"
    )


def _figures(turn: Turn, result: Result, baseline: Turn | None, language: str) -> str:
    """Set the three figures of a turn."""
    time = turn.time
    assert time is not None  # there is a result
    if result.run_index == 0 and len(turn.results) == 1:
        note = page_text(
            "figure.time.first",
            language,
            start=format_seconds(result.start_s),
            load=format_seconds(result.load_s),
        )
    elif time.n > 1:
        note = page_text(
            "figure.time.spread",
            language,
            n=time.n,
            low=format_seconds(time.low),
            high=format_seconds(time.high),
        )
    else:
        note = page_text("figure.time.warm", language)
    name = "figure.time.median" if time.n > 1 else "figure.time"
    kept = page_text(
        "figure.peak.kept",
        language,
        kept=size(result.retained_rss_bytes, language),
        cpu=format_seconds(result.cpu_s),
    )
    peak = (
        number(format_bytes(turn.peak_bytes))
        if turn.peak_bytes is not None
        else f"<b>{_NOTHING}</b>"
    )
    return (
        _figure(page_text(name, language), number(format_seconds(time.median)), note)
        + _figure(page_text(f"figure.peak.{result.peak_source}", language), peak, kept)
        + _ratio(turn, baseline, language)
    )


def _ratio(turn: Turn, baseline: Turn | None, language: str) -> str:
    """Hold a turn against the pinned one."""
    name = page_text("figure.ratio", language)
    if baseline is None:
        return _figure(name, f"<b>{_NOTHING}</b>", page_text("figure.ratio.pin", language))
    if baseline.number == turn.number:
        return _figure(name, "<b>1 ×</b>", page_text("figure.ratio.self", language))
    if not is_same_picture(turn, baseline):
        note = page_text(
            "figure.ratio.other", language, number=baseline.number, picture=baseline.picture
        )
        return _figure(name, f"<b>{_NOTHING}</b>", note)
    ratio = compare(turn, baseline)
    if ratio is None:
        return _figure(name, f"<b>{_NOTHING}</b>", page_text("figure.ratio.none", language))
    memory = (
        page_text("unknown", language) if ratio.memory is None else f"{ratio.memory * 100:.0f} %"
    )
    note = page_text("figure.ratio.note", language, memory=memory, number=baseline.number)
    return _figure(
        name, f"<b>{ratio.speed:.1f} ×</b> <i>{page_text('as_fast', language)}</i>", note
    )


def _told(failure: Failure, language: str) -> str:
    """Say why a run ended; a visitor's own cancel is not an error."""
    if failure.kind == "cancelled":
        return _notice(page_text("failure.cancelled", language), failure.message, language)
    return _alert(failure.message, language, kind=failure.kind)


def _foreground(turn: Turn, language: str) -> str:
    """Say before everything else that there is no foreground.

    The figures are of an empty cut-out.
    """
    result = turn.typical
    if result is None or not turn.has_no_foreground:
        return ""
    text = next(one for one in result.warnings if one.code == NO_FOREGROUND)
    return f'<p class="rt-warning rt-foreground">{escape(message_text(text, language))}</p>'


def _waited(turn: Turn, language: str) -> str:
    """Say how long the visitor waited, and for what; a warm time alone is only a part of it."""
    waited = turn.waited
    if waited is None:
        return ""
    parts = (
        ("queue", waited.queue_s),
        ("start", waited.start_s),
        ("load", waited.load_s),
        ("run", waited.run_s),
        ("rest", waited.rest_s),
    )
    told = " · ".join(
        f"{page_text(f'waited.{name}', language)} {format_seconds(seconds)}"
        for name, seconds in parts
        if seconds >= _LEAST_TOLD_S or name == "run"
    )
    total = format_seconds(waited.total_s)
    return (
        f'<p class="rt-waited">{escape(page_text("waited", language, total=total, parts=told))}</p>'
    )


def _spread(turn: Turn, language: str) -> str:
    """Say when a repeat's times cannot be relied on."""
    time = turn.time
    if time is None or not time.is_unstable():
        return ""
    share = f"{time.standard_deviation / time.mean:.0%}"
    return (
        f'<p class="rt-warning">{escape(page_text("spread.unstable", language, share=share))}</p>'
    )


def _stage_bar(result: Result, language: str) -> str:
    """Draw the stages as one bar and name each with its time."""
    whole = sum(result.stages_s.values()) or 1.0
    names = list(result.stages_s)
    parts = "".join(
        f'<span class="rt-part rt-{name}"'
        f' style="flex-grow:{result.stages_s[name] / whole:.4f}"></span>'
        for name in names
    )
    legend = "".join(
        f'<li><span class="rt-key rt-{name}"></span>{page_text(f"stage.{name}", language)}'
        f" <b>{format_seconds(result.stages_s[name])}</b></li>"
        for name in names
    )
    return (
        '<div class="rt-stages"><div class="rt-bar"'
        f' aria-hidden="true">{parts}</div><ul>{legend}</ul></div>'
    )


def _warnings(result: Result, language: str) -> str:
    """List the warnings of a run; one about the foreground stands further up."""
    warnings = [one for one in result.warnings if one.code != NO_FOREGROUND]
    if not warnings:
        return ""
    lines = "".join(f"<li>{escape(message_text(text, language))}</li>" for text in warnings)
    return f'<ul class="rt-warnings" aria-label="{page_text("warnings", language)}">{lines}</ul>'


def _asked(turn: Turn, result: Result, language: str) -> str:
    """Set what was asked beside what the engine says it did, and where the rest of the time went."""
    asked = turn.settings.to_dict()
    rows = "".join(
        f"<tr{_mark(asked[name], result.effective.get(name))}><th"
        f" scope='row'>{page_text(f'knob.{name}', language)}</th>"
        f"<td>{escape(setting_text(name, asked[name], language))}</td>"
        f"<td>{escape(_effective(name, result, language))}</td></tr>"
        for name in KNOBS
    )
    facts = [
        ("fact.start", format_seconds(result.start_s)),
        ("fact.load", format_seconds(result.load_s)),
        ("fact.first", page_text("yes" if result.run_index == 0 else "no", language)),
        ("fact.load_peak", size(result.load_peak_rss_bytes, language)),
        ("fact.baseline", size(result.baseline_rss_bytes, language)),
        ("fact.file", size(result.rss_file_bytes, language)),
        ("fact.output", size(result.output_bytes, language)),
        (
            "fact.load_average",
            (
                _NOTHING
                if result.environment.load_average is None
                else f"{result.environment.load_average:.2f}"
            ),
        ),
        (
            "fact.versions",
            ", ".join(f"{name} {text}" for name, text in result.environment.versions.items()),
        ),
    ]
    more = "".join(
        f"<tr><th scope='row'>{page_text(key, language)}</th><td colspan='2'>{escape(text)}</td></tr>"
        for key, text in facts
    )
    return (
        f'<details class="rt-asked"><summary>{page_text("asked.title", language)}</summary><table>'
        f"<thead><tr><th></th><th scope='col'>{page_text('asked.asked', language)}</th><th"
        f" scope='col'>{page_text('asked.effective', language)}</th></tr></thead>"
        f"<tbody>{rows}</tbody><tbody>{more}</tbody></table></details>"
    )


def _effective(name: str, result: Result, language: str) -> str:
    """Write what the engine says of a knob."""
    told = result.effective.get(name)
    if told is None:
        return _NOTHING
    if isinstance(told, dict):
        return focus_text(told, language)
    return setting_text(name, told, language)


def _mark(asked: object, effective: object) -> str:
    """Mark a row whose two sides differ."""
    is_comparable = effective is not None and not isinstance(effective, dict)
    return ' class="rt-differs"' if is_comparable and asked != effective else ""


def _alert(message: Message, language: str, *, kind: str | None = None) -> str:
    """Say what went wrong, in its place."""
    text = escape(message_text(message, language))
    title = page_text(f"failure.{kind or 'invalid_settings'}", language)
    return f'<div class="rt-alert" role="alert"><b>{title}</b><p>{text}</p></div>'


def _failed_chart(turn: Turn, failure: Failure, limit_bytes: int | None, language: str) -> str:
    """Draw how far a failed run came, where it ran at all."""
    if not turn.timeline.points:
        return ""
    curve = chart.lay_out(
        turn.timeline,
        resting_bytes=None,
        peak_bytes=None,
        limit_bytes=failure.settings.memory_limit_bytes or limit_bytes,
    )
    return chart.draw(curve, language)


def brief(turn: Turn, language: str) -> str:
    """Say a turn in a line, for the viewer's alternative text."""
    time, peak = turn.time, turn.peak_bytes
    if time is None:
        return turn.picture
    return f"{turn.picture}: {duration(time.median, language)}, {size(peak, language)}"
