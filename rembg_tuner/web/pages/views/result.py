"""What a turn costs, while it goes on and after.

Figures, stages, curve, warnings, asked and effective.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import NO_FOREGROUND
from rembg_tuner.base.units import format_bytes, format_seconds
from rembg_tuner.settings.settings import KNOBS
from rembg_tuner.web.locale.words import say, tell
from rembg_tuner.web.pages.views import chart
from rembg_tuner.web.pages.views.looks import focus_text, show_looks
from rembg_tuner.web.pages.views.markup import duration, number, setting_text, size
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
            say(f"figure.{name}", language),
            f"<b>{_NOTHING}</b>",
            say(f"figure.{name}.empty", language),
        )
        for name in ("time", "peak", "ratio")
    )
    status = say("status.empty", language) if status is None else status
    return _panel("empty", status, figures, chart.draw(None, language))


def show_left(turn: Turn, language: str) -> str:
    """Show the panel after a run whose picture was left for another one meanwhile."""
    done = say("status.left", language, number=turn.number, picture=turn.picture)
    return show_empty(language, status=done)


def show_problem(message: Message, language: str, *, kind: str | None = None) -> str:
    """Show why a run was not even tried; `kind` is a Failure's, None for what the form asks."""
    alert = _alert(message, language, kind=kind)
    return f'<section class="rt-result" data-state="failed">{alert}</section>'


def show_hint(message: Message, language: str) -> str:
    """Say what to do first; nothing went wrong."""
    return (
        '<section class="rt-result"'
        f' data-state="hint">{_notice(say("hint.first", language), message, language)}</section>'
    )


def _notice(title: str, message: Message, language: str) -> str:
    """Write a neutral message with a title; a screen reader reads it when it is idle."""
    text = escape(tell(message, language))
    return f'<div class="rt-alert rt-wait" role="status"><b>{title}</b><p>{text}</p></div>'


def show_wait(message: Message, language: str) -> str:
    """Say that somebody else's work has to end first: nothing is wrong."""
    return _notice(say("failure.elsewhere", language), message, language)


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
        told = [say("status.place", language, place=glance.place, waiting=glance.waiting)]
        if glance.is_behind_trials:  # how long a trial takes, the line's own runs do not tell
            told.append(say("status.trials", language))
        elif glance.wait_s is not None:
            told.append(say("status.wait", language, wait=format_seconds(max(0.1, glance.wait_s))))
        return _panel("waiting", " · ".join(told), "", chart.draw(None, language))
    points = glance.timeline.points
    now = points[-1][1] if points else None
    stage = say(f"stage.{glance.stage}", language) if glance.stage else say("stage.start", language)
    status = (
        say("status.repeat", language, run=min(glance.run, repeat), of=repeat, stage=stage)
        if repeat > 1
        else say("status.running", language, stage=stage)
    )
    cpu = (
        _NOTHING if glance.cpu_cores is None else f"{glance.cpu_cores:.1f} {say('cores', language)}"
    )
    peak = max((rss for _, rss in points), default=None)
    figures = (
        _figure(say("figure.elapsed", language), number(format_seconds(glance.elapsed_s)), stage)
        + _figure(
            say("figure.now", language),
            number(format_bytes(now)) if now is not None else f"<b>{_NOTHING}</b>",
            say("figure.highest", language, peak=size(peak, language)),
        )
        + _figure(say("figure.cpu", language), number(cpu), say("figure.cpu.note", language))
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
    status = say("status.done", language, number=turn.number, picture=turn.picture)
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
        note = say(
            "figure.time.first",
            language,
            start=format_seconds(result.start_s),
            load=format_seconds(result.load_s),
        )
    elif time.n > 1:
        note = say(
            "figure.time.spread",
            language,
            n=time.n,
            low=format_seconds(time.low),
            high=format_seconds(time.high),
        )
    else:
        note = say("figure.time.warm", language)
    name = "figure.time.median" if time.n > 1 else "figure.time"
    kept = say(
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
        _figure(say(name, language), number(format_seconds(time.median)), note)
        + _figure(say(f"figure.peak.{result.peak_source}", language), peak, kept)
        + _ratio(turn, baseline, language)
    )


def _ratio(turn: Turn, baseline: Turn | None, language: str) -> str:
    """Hold a turn against the pinned one."""
    name = say("figure.ratio", language)
    if baseline is None:
        return _figure(name, f"<b>{_NOTHING}</b>", say("figure.ratio.pin", language))
    if baseline.number == turn.number:
        return _figure(name, "<b>1 ×</b>", say("figure.ratio.self", language))
    if not is_same_picture(turn, baseline):
        note = say("figure.ratio.other", language, number=baseline.number, picture=baseline.picture)
        return _figure(name, f"<b>{_NOTHING}</b>", note)
    ratio = compare(turn, baseline)
    if ratio is None:
        return _figure(name, f"<b>{_NOTHING}</b>", say("figure.ratio.none", language))
    memory = say("unknown", language) if ratio.memory is None else f"{ratio.memory * 100:.0f} %"
    note = say("figure.ratio.note", language, memory=memory, number=baseline.number)
    return _figure(name, f"<b>{ratio.speed:.1f} ×</b> <i>{say('as_fast', language)}</i>", note)


def _told(failure: Failure, language: str) -> str:
    """Say why a run ended; a visitor's own cancel is not an error."""
    if failure.kind == "cancelled":
        return _notice(say("failure.cancelled", language), failure.message, language)
    return _alert(failure.message, language, kind=failure.kind)


def _foreground(turn: Turn, language: str) -> str:
    """Say before everything else that there is no foreground.

    The figures are of an empty cut-out.
    """
    result = turn.typical
    if result is None or not turn.has_no_foreground:
        return ""
    text = next(one for one in result.warnings if one.code == NO_FOREGROUND)
    return f'<p class="rt-warning rt-foreground">{escape(tell(text, language))}</p>'


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
        f"{say(f'waited.{name}', language)} {format_seconds(seconds)}"
        for name, seconds in parts
        if seconds >= _LEAST_TOLD_S or name == "run"
    )
    total = format_seconds(waited.total_s)
    return f'<p class="rt-waited">{escape(say("waited", language, total=total, parts=told))}</p>'


def _spread(turn: Turn, language: str) -> str:
    """Say when a repeat's times cannot be relied on."""
    time = turn.time
    if time is None or not time.is_unstable():
        return ""
    share = f"{time.standard_deviation / time.mean:.0%}"
    return f'<p class="rt-warning">{escape(say("spread.unstable", language, share=share))}</p>'


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
        f'<li><span class="rt-key rt-{name}"></span>{say(f"stage.{name}", language)}'
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
    lines = "".join(f"<li>{escape(tell(text, language))}</li>" for text in warnings)
    return f'<ul class="rt-warnings" aria-label="{say("warnings", language)}">{lines}</ul>'


def _asked(turn: Turn, result: Result, language: str) -> str:
    """Set what was asked beside what the engine says it did, and where the rest of the time went."""
    asked = turn.settings.to_dict()
    rows = "".join(
        f"<tr{_mark(asked[name], result.effective.get(name))}><th"
        f" scope='row'>{say(f'knob.{name}', language)}</th>"
        f"<td>{escape(setting_text(name, asked[name], language))}</td>"
        f"<td>{escape(_effective(name, result, language))}</td></tr>"
        for name in KNOBS
    )
    facts = [
        ("fact.start", format_seconds(result.start_s)),
        ("fact.load", format_seconds(result.load_s)),
        ("fact.first", say("yes" if result.run_index == 0 else "no", language)),
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
        f"<tr><th scope='row'>{say(key, language)}</th><td colspan='2'>{escape(text)}</td></tr>"
        for key, text in facts
    )
    return (
        f'<details class="rt-asked"><summary>{say("asked.title", language)}</summary><table>'
        f"<thead><tr><th></th><th scope='col'>{say('asked.asked', language)}</th><th"
        f" scope='col'>{say('asked.effective', language)}</th></tr></thead>"
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
    text = escape(tell(message, language))
    title = say(f"failure.{kind or 'invalid_settings'}", language)
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
