"""A visit's runs and the HTML that the page renders from them, without browser and server."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import escape

from rembg_tuner.base.messages import Message
from rembg_tuner.base.units import MIB
from rembg_tuner.imaging.matte import foreground_warning
from rembg_tuner.runtime.runner import _deadline_text
from rembg_tuner.runtime.slots import RunProgress, Timeline
from rembg_tuner.runtime.tasks import TaskStatus
from rembg_tuner.settings.results import Environment, Failure, FailureKind, Result
from rembg_tuner.settings.settings import Settings
from rembg_tuner.web.locale.catalogues import LANGUAGES
from rembg_tuner.web.locale.words import message_text, page_text
from rembg_tuner.web.pages.cut_tab import chart
from rembg_tuner.web.pages.cut_tab.form import show_examples
from rembg_tuner.web.pages.cut_tab.rendering import show_empty, show_runs, show_status, show_turn
from rembg_tuner.web.pages.failures import show_hint, show_problem
from rembg_tuner.web.pages.picture_runs import NO_PICTURE
from rembg_tuner.web.pages.templating import render
from rembg_tuner.web.pages.visit import (
    MAX_RUNS,
    Turn,
    Visit,
    Waited,
    compare,
    differences,
    runs_csv,
    runs_json,
    write_runs,
)

SETTINGS = Settings(engine="onnxruntime", network_size=256)
HOSTILE = "<img src=x onerror=alert(1)>\"'&.png"
RESULT = Result(
    input="/secret/uploads/cup.png",
    output="/secret/jobs/cup.cutout.png",
    preview="/secret/jobs/after.webp",
    before_preview=None,
    run_index=0,
    settings=SETTINGS,
    effective={"engine": "onnxruntime", "network_size": 256, "intra_op_threads": 2},
    stages_s={"read_small": 0.01, "normalise": 0.01, "predict": 0.1, "matte": 0.01, "write": 0.07},
    total_s=0.2,
    load_s=0.25,
    start_s=0.5,
    cpu_s=0.3,
    baseline_rss_bytes=60 * MIB,
    load_peak_rss_bytes=100 * MIB,
    peak_rss_bytes=200 * MIB,
    retained_rss_bytes=150 * MIB,
    rss_file_bytes=50 * MIB,
    peak_source="vmhwm",
    output_bytes=5 * MIB,
    agreement=None,
    warnings=(),
    environment=Environment(
        cpu="a",
        cores=2,
        quota=None,
        memory_limit=None,
        versions={"python": "3.11"},
        load_average=0.5,
    ),
    curve=((0.0, 60 * MIB), (0.2, 199 * MIB)),
)
TIMELINE = Timeline(
    points=((0.1, 60 * MIB), (0.6, 90 * MIB), (0.9, 199 * MIB)),
    marks=((0.0, "start"), (0.5, "load"), (0.75, "read_small"), (0.8, "predict")),
)
FAILURE = Failure(
    kind="timeout",
    message=_deadline_text(30.0, 1),
    stage="predict",
    input="/secret/uploads/cup.png",
    settings=SETTINGS,
    run_index=1,
)


def turn(*runs: Result | Failure, picture: str = "cup.png") -> Turn:
    """Create a turn with runs."""
    return Turn(
        number=0,
        picture=picture,
        picture_path="/secret/uploads/cup.png",
        preset="balanced",
        settings=SETTINGS,
        runs=runs or (RESULT,),
        timeline=TIMELINE,
    )


def visit_of(*turns: Turn) -> Visit:
    """Create a visit with turns."""
    visit = Visit()
    for one in turns:
        visit = visit.add(one)
    return visit


# The visit itself


def test_turns_are_numbered_and_the_newest_is_shown() -> None:
    """Numbers start at 1, in order of arrival."""
    visit = visit_of(turn(), turn(), turn())
    assert [one.number for one in visit.turns] == [1, 2, 3]
    assert visit.current is not None
    assert visit.current.number == 3


@given(st.integers(min_value=1, max_value=MAX_RUNS), st.integers(min_value=1, max_value=30))
def test_the_oldest_goes_first_but_never_the_baseline(pinned: int, more: int) -> None:
    """A visit has a maximum of turns, and a pinned one is kept."""
    visit = visit_of(*(turn() for _ in range(MAX_RUNS))).pin(pinned)
    for _ in range(more):
        visit = visit.add(turn())
    assert len(visit.turns) == MAX_RUNS
    assert visit.baseline is not None
    assert visit.turns[-1].number == MAX_RUNS + more


def test_a_pin_is_taken_off_by_the_same_button() -> None:
    """Pinning twice unpins; a failed run cannot be a baseline."""
    visit = visit_of(turn(), turn(FAILURE))
    assert visit.pin(1).pinned == 1
    assert visit.pin(1).pin(1).pinned is None
    assert visit.pin(2).pinned is None
    assert visit.pin(77).pinned is None


def test_a_ratio_is_of_medians_and_peaks() -> None:
    """The ratio is twice the speed with half the memory."""
    slow = turn(replace(RESULT, total_s=0.4, peak_rss_bytes=400 * MIB))
    ratio = compare(turn(), slow)
    assert ratio is not None
    assert (ratio.speed, ratio.memory) == (2.0, 0.5)
    assert compare(turn(FAILURE), slow) is None


def test_a_repeats_time_leaves_the_cold_run_out_and_its_peak_holds_the_load() -> None:
    """The median is of the warm runs, and the peak is that of the setting."""
    runs = [
        replace(
            RESULT, run_index=i, total_s=1.0 if i == 0 else 0.1 * i, load_peak_rss_bytes=500 * MIB
        )
        for i in range(4)
    ]
    one = turn(*runs)
    assert one.time is not None
    assert (one.time.n, round(one.time.median, 3)) == (3, 0.2)
    assert one.peak_bytes == 500 * MIB
    assert turn().peak_bytes == 200 * MIB


def test_differences_name_the_knobs_that_changed() -> None:
    """The value is that of the first settings."""
    other = Settings(engine="onnxruntime", network_size=320, cpu_mem_arena=False)
    assert differences(other, SETTINGS) == {"network_size": 320, "cpu_mem_arena": False}


def test_csv_and_json_say_the_same_and_tell_no_path(tmp_path: Path) -> None:
    """Each run is a row, failures have kind and message, and a name with = is not a formula."""
    failed = turn(replace(FAILURE, input="/secret/uploads/cup.png"), picture="=1+1.png")
    visit = visit_of(turn(RESULT, replace(RESULT, run_index=1)), failed)
    for path, text in zip(
        write_runs(visit, tmp_path), (runs_csv(visit), runs_json(visit)), strict=True
    ):
        assert path.read_text(encoding="utf-8") == text
        assert "/secret" not in text
    lines = list(csv.DictReader(io.StringIO(runs_csv(visit))))
    assert [line["turn"] for line in lines] == ["1", "1", "2"]
    assert [line["total_s"] for line in lines] == ["0.2", "0.2", ""]
    assert lines[2]["kind"] == "timeout"
    assert lines[2]["picture"] == "'=1+1.png"
    assert lines[0]["predict_s"] == "0.1"
    runs = json.loads(runs_json(visit))["runs"]
    assert runs[0].keys() - {"turn", "preset"} == RESULT.to_dict().keys()
    assert runs[0]["output"] == "cup.cutout.png"


def test_another_picture_is_not_compared() -> None:
    """A pinned run of another picture has no ratio, in the panel and in the table.

    Pictures are compared by content, not by path.
    """
    cup = replace(turn(), picture_digest="aa")
    dog = replace(turn(picture="dog.png"), picture_digest="bb")
    assert compare(dog, cup) is None
    assert compare(replace(cup, picture_path="/elsewhere/cup.png"), cup) is not None
    visit = visit_of(cup, dog).pin(1)
    shown = show_turn(visit.turns[1], baseline=visit.baseline, limit_bytes=None, language="en")
    assert "run 1 is of another picture, cup.png" in shown
    assert "1.0 ×" not in shown
    table = show_runs(visit, None, "en")
    assert "other picture" in table
    assert table.count("×") == 1  # the pinned run's own


def test_a_pin_keeps_the_names_of_presets() -> None:
    """The table names each run's preset and its differences from the pinned run."""
    other = replace(turn(), preset="smallest", settings=replace(SETTINGS, network_size=192))
    table = show_runs(visit_of(turn(), other, turn()).pin(1), None, "en")
    assert "smallest · against the baseline: network size 192 px" in table
    assert "balanced · as the baseline" in table
    assert "balanced: " in table  # the baseline's own row


# The HTML


def test_the_curve_is_laid_out_in_shares() -> None:
    """Start, load and run are phases, levels are at their values, and the peak is the Result's."""
    curve = chart.lay_out_curve(
        TIMELINE, resting_bytes=60 * MIB, peak_bytes=200 * MIB, limit_bytes=240 * MIB
    )
    assert curve is not None
    phases = [(round(one.start, 2), round(one.end, 2), one.name) for one in curve.phases]
    assert phases == [(0.0, 0.5, "start"), (0.5, 0.81, "load"), (0.81, 1.0, "run")]
    assert (curve.points[0][0], curve.points[-1][0]) == (
        0.0,
        1.0,
    )  # no empty part before the samples
    assert curve.peak_bytes == 200 * MIB
    heights = {level.name: level.height for level in curve.levels}
    assert heights["resting"] < curve.points[-1][1] < heights["peak"] < heights["limit"] < 1
    assert curve.far_limit_bytes is None


def test_a_far_limit_is_told_and_not_drawn() -> None:
    """A limit far above the curve would flatten it, so it is only written."""
    curve = chart.lay_out_curve(
        TIMELINE, resting_bytes=None, peak_bytes=None, limit_bytes=24 * 1024 * MIB
    )
    assert curve is not None
    assert [level.name for level in curve.levels] == ["peak"]
    assert "24.0 GiB" in render("chart", "en", curve=curve)


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(1, 2**40)), min_size=1, max_size=50))
def test_a_curve_stays_in_its_picture(points: list[tuple[float, int]]) -> None:
    """Every point is between 0 and 1 for any measurement."""
    curve = chart.lay_out_curve(
        Timeline(points=tuple(sorted(points))),
        resting_bytes=None,
        peak_bytes=None,
        limit_bytes=None,
    )
    assert curve is not None
    assert all(0 <= x <= 1 and 0 < y < 1 for x, y in curve.points)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_turn_shows_its_figures(language: str) -> None:
    """The panel shows time, peak, start, load, every stage and the effective values.

    The curve's peak is the Result's.
    """
    visit = visit_of(turn(replace(RESULT, total_s=0.6, peak_rss_bytes=400 * MIB)), turn()).pin(1)
    shown = show_turn(visit.turns[1], baseline=visit.baseline, limit_bytes=None, language=language)
    assert "<b>200</b> <i>ms</i>" in shown
    assert "<b>200</b> <i>MiB</i>" in shown
    assert f'data-peak-bytes="{200 * MIB}"' in shown
    assert "3.0 ×" in shown
    assert "50 %" in shown
    assert "500 ms" in shown
    assert "250 ms" in shown
    assert shown.count("rt-part ") == 5
    assert "onnxruntime" in shown


def test_what_is_not_known_is_never_zero() -> None:
    """The page reports values that the system does not provide as unknown."""
    bare = replace(
        RESULT,
        peak_rss_bytes=None,
        retained_rss_bytes=None,
        rss_file_bytes=None,
        baseline_rss_bytes=None,
        load_peak_rss_bytes=None,
        peak_source="sampled",
    )
    shown = show_turn(turn(bare), baseline=None, limit_bytes=None, language="en")
    assert "sampled" in shown
    assert shown.count("unknown") >= 3
    assert "0.0 MiB" not in shown


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_failure_stands_in_its_place(language: str) -> None:
    """The alert has the kind as its title and the message in the visitor's language."""
    shown = show_turn(turn(FAILURE), baseline=None, limit_bytes=None, language=language)
    assert 'role="alert"' in shown
    assert 'data-kind="timeout"' in shown
    assert "30.00 s" in shown
    assert escape(message_text(FAILURE.message, language)) in shown


@pytest.mark.parametrize("kind", get_args(FailureKind))
def test_every_kind_of_failure_has_a_title(kind: FailureKind) -> None:
    """The title is shown in the panel and in the table, also for invalid settings."""
    failed = visit_of(turn(replace(FAILURE, kind=kind)))
    assert page_text(f"failure.{kind}", "en") in show_runs(failed, None, "en")
    shown = show_turn(failed.turns[0], baseline=None, limit_bytes=None, language="en")
    assert page_text(f"failure.{kind}", "en") in shown


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_cancelled_run_is_no_error(language: str) -> None:
    """Panel and table show no alert and no error colour, also after some runs of a repeat."""
    cancelled = replace(FAILURE, kind="cancelled", message=Message("the run was cancelled"))
    visit = visit_of(turn(cancelled), turn(RESULT, cancelled))
    for one in visit.turns:
        shown = show_turn(one, baseline=None, limit_bytes=None, language=language)
        assert 'role="alert"' not in shown
        assert "rt-wait" in shown
        assert 'data-state="failed"' not in shown
    assert "rt-failed" not in show_runs(visit, None, language)
    assert "rt-failed" in show_runs(visit_of(turn(FAILURE)), None, language)


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_picture_is_a_hint(language: str) -> None:
    """The hint explains what to do, without an alert."""
    shown = show_hint(NO_PICTURE, language)
    assert 'role="status"' in shown
    assert 'role="alert"' not in shown
    assert escape(message_text(NO_PICTURE, language)) in shown


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_foreground_comes_first(language: str) -> None:
    """The warning precedes the stages and the other warnings, once, and marks the download."""
    text = foreground_warning(np.full((4, 4), 0.2, np.float32))
    assert text is not None
    bad = turn(replace(RESULT, warnings=(Message("the picture has no colour profile"), text)))
    shown = show_turn(bad, baseline=None, limit_bytes=None, language=language)
    told = message_text(text, language)
    assert shown.count(escape(told)) == 1
    assert shown.index(escape(told)) < shown.index("rt-stages") < shown.index("rt-warnings")
    assert bad.has_no_foreground
    assert not turn().has_no_foreground


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_wait_is_told_beside_the_time(language: str) -> None:
    """The total wait and its parts are labelled, and parts without time are left out."""
    waited = Waited(total_s=3.0, queue_s=1.5, start_s=0.5, load_s=0.25, run_s=0.2)
    assert round(waited.rest_s, 2) == 0.55
    shown = show_turn(
        replace(turn(), waited=waited), baseline=None, limit_bytes=None, language=language
    )
    for part in (
        "3.00 s",
        "1.50 s",
        "500 ms",
        "250 ms",
        "550 ms",
        page_text("waited.queue", language),
    ):
        assert part in shown
    warm = replace(waited, total_s=0.2, queue_s=0.0, start_s=0.0, load_s=0.0)
    shown = show_turn(
        replace(turn(), waited=warm), baseline=None, limit_bytes=None, language=language
    )
    assert page_text("waited.queue", language) not in shown


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_row_says_what_it_restores(language: str) -> None:
    """The button's label has the run and the picture, and a note explains the restoring."""
    table = show_runs(visit_of(turn()), None, language)
    name = page_text("runs.show", language, number=1, picture="cup.png")
    assert f'data-show="1" aria-label="{name}"' in table
    assert page_text("runs.note", language) in table


def test_an_unstable_repeat_is_told() -> None:
    """The warning appears when the standard deviation reaches a tenth of the mean."""
    runs = [replace(RESULT, run_index=i, total_s=0.1 + 0.1 * (i % 2)) for i in range(5)]
    shown = show_turn(turn(*runs), baseline=None, limit_bytes=None, language="en")
    assert "may be unstable" in shown


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_hostile_name_is_only_text(language: str) -> None:
    """A file's name, a warning or a message never becomes markup."""
    bad = replace(
        RESULT,
        warnings=(Message("{text}", text=HOSTILE),),
        environment=replace(RESULT.environment, versions={"x": HOSTILE}),
    )
    visit = visit_of(
        turn(bad, picture=HOSTILE),
        turn(replace(FAILURE, message=Message("{text}", text=HOSTILE)), picture=HOSTILE),
    )
    drawn = [show_runs(visit, (Path("a b/runs.csv"), Path("runs.json")), language)]
    drawn += [
        show_turn(one, baseline=None, limit_bytes=None, language=language) for one in visit.turns
    ]
    drawn.append(show_problem(Message("{text}", text=HOSTILE), language))
    assert all("<img src=x" not in text for text in drawn)
    assert any("&lt;img src=x" in text for text in drawn)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_turn_that_goes_on_is_shown(language: str) -> None:
    """A waiting run shows position and estimate; a running one its time, memory, CPU and curve."""
    status = TaskStatus(
        state="waiting",
        queue_position=2,
        queue_length=3,
        wait_s=1.25,
        elapsed_s=0,
        progress=RunProgress(),
    )
    shown = show_status(status, limit_bytes=None, repeat=1, language=language)
    assert re.search(r"2.*3.* · .*1\.25 s", shown)
    behind = replace(status, running_kinds=frozenset({"trial"}))
    shown = show_status(behind, limit_bytes=None, repeat=1, language=language)
    assert re.search(r"2.*3.* · ", shown)
    assert "1.25 s" not in shown
    progress = RunProgress(
        stage="predict",
        baseline_rss_bytes=60 * MIB,
        cpu_cores=1.9,
        _points=list(TIMELINE.points),
        _marks=list(TIMELINE.marks),
    )
    status = replace(status, state="running", queue_position=0, elapsed_s=0.9, progress=progress)
    shown = show_status(status, limit_bytes=None, repeat=5, language=language)
    assert "<b>900</b> <i>ms</i>" in shown
    assert "199" in shown
    assert "<b>1.9</b>" in shown
    assert "rt-resting" in shown


@pytest.mark.parametrize("language", LANGUAGES)
def test_empty_places_say_what_to_do(language: str) -> None:
    """The places for results explain themselves before the first run."""
    assert len(show_empty(language)) > 200
    assert "rt-empty" in show_runs(Visit(), None, language)
    assert show_examples(language).count("aria-label") == 4
