"""Render the Cut out tab: the result of a turn, the viewer, and the table of runs."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import NO_FOREGROUND
from rembg_tuner.settings.check import check
from rembg_tuner.web.locale.words import page_text, setting_name
from rembg_tuner.web.pages.choices import machine_here, preset_settings
from rembg_tuner.web.pages.cut_tab import chart
from rembg_tuner.web.pages.templating import changes_text, duration, file_link, render, size
from rembg_tuner.web.pages.visit import compare, differences, is_same_picture

if TYPE_CHECKING:
    from rembg_tuner.runtime.tasks import TaskStatus
    from rembg_tuner.settings.results import Result
    from rembg_tuner.web.pages.visit import Turn, Visit
    from rembg_tuner.web.pages.visitors import ChosenPicture

_MIN_WAIT_S = 0.01  # shorter parts of the wait are not listed


def show_empty(language: str, *, status: str | None = None) -> str:
    """Render the panel before a run.

    Args:
        language: the language of the texts.
        status: the status text; None: nothing has run yet.
    """
    status = page_text("status.empty", language) if status is None else status
    return render("result_empty", language, status=status, curve=None)


def show_left(turn: Turn, language: str) -> str:
    """Render the panel after a run whose picture was replaced while it ran."""
    done = page_text("status.left", language, number=turn.number, picture=turn.picture)
    return show_empty(language, status=done)


def show_status(
    status: TaskStatus,
    *,
    limit_bytes: int | None,
    repeat: int,
    language: str,
) -> str:
    """Render the status of a run that waits or runs."""
    if status.state == "waiting":
        return render("result_waiting", language, task=status, curve=None)
    timeline = status.progress.timeline()
    points = timeline.points
    return render(
        "result_running",
        language,
        task=status,
        repeat=repeat,
        now_bytes=points[-1][1] if points else None,
        highest_bytes=max((rss for _, rss in points), default=None),
        curve=chart.lay_out_curve(
            timeline,
            resting_bytes=status.progress.baseline_rss_bytes,
            limit_bytes=limit_bytes,
        ),
    )


def show_turn(turn: Turn, *, baseline: Turn | None, limit_bytes: int | None, language: str) -> str:
    """Render the result of a turn."""
    result = turn.typical
    limit_bytes = turn.settings.memory_limit_bytes or limit_bytes
    if result is None:
        curve = chart.lay_out_curve(turn.timeline, limit_bytes=limit_bytes)
        return render("result_failed", language, turn=turn, curve=curve)
    environment = result.environment
    return render(
        "result_done",
        language,
        turn=turn,
        result=result,
        baseline=baseline,
        is_same_picture=baseline is None or is_same_picture(turn, baseline),
        ratio=baseline and compare(turn, baseline),
        no_foreground=[one for one in result.warnings if one.code == NO_FOREGROUND],
        warnings=[one for one in result.warnings if one.code != NO_FOREGROUND],
        waited=_parts_of_wait(turn),
        focus_note=show_focus(turn, result, language),
        load_average=environment.load_average,
        versions=", ".join(f"{name} {text}" for name, text in environment.versions.items()),
        curve=chart.lay_out_curve(
            turn.timeline,
            resting_bytes=result.baseline_rss_bytes,
            peak_bytes=turn.peak_bytes,
            limit_bytes=limit_bytes,
        ),
    )


def _parts_of_wait(turn: Turn) -> list[tuple[str, float]]:
    """Return the parts of the visitor's wait, in seconds; short parts are left out."""
    waited = turn.waited
    if waited is None:
        return []
    names = ("queue", "start", "load", "run", "rest")
    parts = [(name, float(getattr(waited, f"{name}_s"))) for name in names]
    return [(name, time_s) for name, time_s in parts if time_s >= _MIN_WAIT_S or name == "run"]


def show_focus(turn: Turn, result: Result, language: str) -> str:
    """Render the note about focus.

    It is empty if the subject is not small, if its size is unknown, or if focus is not measured
    with a network of this size.
    """
    focus, settings = result.effective.get("focus"), turn.settings
    share = focus["share"] if isinstance(focus, dict) else None
    is_advised = False
    if share is not None and settings.focus == "off" and share <= settings.focus_max_share:
        with_focus = replace(settings, focus="auto", focus_box=None)
        refusals = check(with_focus, machine_here(), given=())
        is_advised = all(one.knob != "focus" for one in refusals)
    return render("focus", language, turn=turn, focus=focus, is_advised=is_advised)


def show_runs(
    visit: Visit, files: tuple[Path, Path] | None, language: str, *, has_ended: bool = False
) -> str:
    """Render the table of runs, newest first.

    Args:
        visit: has the turns.
        files: the same table as CSV and JSON; None: not written.
        language: the language of the texts.
        has_ended: whether the tab had an earlier visit that is no longer stored.
    """
    rows = [
        {
            "turn": turn,
            "differs": _differences_text(turn, visit.baseline, language),
            "ratio": _ratio_text(turn, visit.baseline, language),
        }
        for turn in reversed(visit.turns)
    ]
    return render("runs", language, visit=visit, rows=rows, files=files, has_ended=has_ended)


def _ratio_text(turn: Turn, baseline: Turn | None, language: str) -> str:
    """Return the speed and memory of a turn relative to the baseline, as text."""
    if baseline is None:
        return ""
    if not is_same_picture(turn, baseline):
        return page_text("runs.other_picture", language)
    ratio = compare(turn, baseline)
    if ratio is None:
        return ""
    memory = "" if ratio.memory is None else f" · {ratio.memory * 100:.0f} %"
    return f"{ratio.speed:.1f} ×{memory}"


def _differences_text(turn: Turn, baseline: Turn | None, language: str) -> str:
    """Return a turn's preset, and how its settings differ from the baseline's or the preset's."""
    preset = setting_name(turn.preset, language)
    if baseline is None or baseline.number == turn.number:
        changed = differences(turn.settings, preset_settings(turn.preset))
        return f"{preset}: {changes_text(changed, language)}" if changed else preset
    changed = differences(turn.settings, baseline.settings)
    if not changed:
        return f"{preset} · {page_text('runs.same', language)}"
    changes = changes_text(changed, language)
    return f"{preset} · {page_text('runs.than', language, changes=changes)}"


def viewer_value(turn: Turn, language: str) -> dict[str, object] | None:
    """Return the value of the viewer for a turn; None if its files are deleted."""
    after, original = existing(turn.after), turn.original
    if after is None or original is None or not original.is_there:
        return None
    download, time = existing(turn.download), turn.time
    figures = (
        f"{duration(time.median, language)}, {size(turn.peak_bytes, language)}" if time else ""
    )
    return {
        "turn": turn.number,
        "before": file_link(original.shown),
        "after": None if turn.is_masked else file_link(after),
        # The mask is sent as a data: URL: CSS would request a file a second time.
        "colours": file_link(original.colours) if turn.is_masked else None,
        "mask": _data_address(Path(after)) if turn.is_masked else None,
        "download": file_link(download) if download else None,
        "name": Path(turn.download).name if turn.download else "",
        "backdrop": turn.backdrop,
        "source": file_link(turn.picture_path),
        "empty": turn.has_no_foreground,
        "alt": f"{turn.picture}: {figures}" if figures else turn.picture,
    }


def _data_address(png: Path) -> str:
    """Return a PNG file as a data: URL."""
    return f"data:image/png;base64,{b64encode(png.read_bytes()).decode()}"


def picture_value(chosen: ChosenPicture) -> dict[str, object] | None:
    """Return the value of the viewer before a run; None if the file is deleted."""
    if not existing(chosen.shown):
        return None
    return {
        "turn": 0,
        "before": file_link(chosen.shown),
        "source": file_link(chosen.path),
        "alt": Path(chosen.path).name,
    }


def existing(path: str | None) -> str | None:
    """Return a path if its file exists, else None."""
    return path if path and Path(path).is_file() else None
