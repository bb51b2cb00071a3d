"""The tabs Compare and Sweep and the stress test without a browser: tasks, stops and messages."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from made_tasks import stopped_task, unfinished_long_task
from made_trials import make_trial
from markupsafe import Markup
from test_ui_visit import RESULT

from rembg_tuner.base.errors import OutputError, SettingsError
from rembg_tuner.base.messages import Message
from rembg_tuner.base.units import MIB
from rembg_tuner.settings.results import CONCURRENT_RUN, MACHINE_BUSY
from rembg_tuner.settings.settings import Settings
from rembg_tuner.tuning.budgets import Budgets
from rembg_tuner.tuning.comparison import ComparisonRequest, ComparisonRow, NamedSettings
from rembg_tuner.tuning.stress_test import summarise_stress_test
from rembg_tuner.tuning.sweep import SweepProgress
from rembg_tuner.tuning.trials import Trial
from rembg_tuner.web.locale.catalogues import LANGUAGES
from rembg_tuner.web.locale.words import message_text, page_text
from rembg_tuner.web.pages.compare_tab import show_comparison
from rembg_tuner.web.pages.deploy_tab import show_stress_test
from rembg_tuner.web.pages.failures import DISK_FULL
from rembg_tuner.web.pages.long_tasks import BusyError, LongTask, LongTasks
from rembg_tuner.web.pages.sweep_tab.events import draw_sweep, show_trial, take_trial
from rembg_tuner.web.pages.sweep_tab.layout import read_budgets
from rembg_tuner.web.pages.task_tabs import error_above
from rembg_tuner.web.pages.visitors import Visitor

if TYPE_CHECKING:
    from rembg_tuner.runtime.lanes import Lane
    from rembg_tuner.runtime.slots import RunnerSlot

LANE = cast("Lane[RunnerSlot]", SimpleNamespace(slots=[None]))


def study_of(**fields: Any) -> LongTask:
    """Create a finished long task."""
    return LongTask(**{"folder": Path("/nowhere"), **fields})


def test_each_stop_is_of_its_own_work() -> None:
    """The stop of a tab stops only its own task; leaving the page stops all."""
    running = [unfinished_long_task() for _ in range(3)]
    visitor = Visitor(
        language="en", sweeping=running[0], comparing=running[1], stress_testing=running[2]
    )
    visitor.stop_comparison()
    assert [study.is_stopped for study in running] == [False, True, False]
    visitor.stop_sweep()
    assert [study.is_stopped for study in running] == [True, True, False]
    visitor.stop()
    assert all(study.is_stopped for study in running)


def test_a_comparison_leaves_the_sweep_where_it_is() -> None:
    """A sweep without trials shows its message, whatever the comparison is.

    Without a sweep, nothing is shown.
    """
    question = ComparisonRequest(
        picture=Path("a.png"),
        entries=(NamedSettings(name="a", settings=Settings()),),
        reference="a",
    )
    visitor = Visitor(language="en", comparing=study_of(question=question))
    assert draw_sweep(visitor) == ""
    visitor.sweeping = study_of(file_problem=DISK_FULL)
    assert "disk is full" in draw_sweep(visitor)


@pytest.mark.parametrize(
    ("language", "told", "mark"),
    [
        ("en", "1 of 2 trials ran while the machine was busy", "machine busy"),
        ("zh-CN", "2 次试验中有 1 次在机器忙于其他工作时运行", "机器繁忙"),
    ],
)
def test_a_comparison_says_that_the_machine_was_busy(language: str, told: str, mark: str) -> None:
    """The mark is beside the time of that setting, and a sentence is below the table."""
    quiet = make_trial(0, 100, 0.1, 0.99)
    busy = replace(
        make_trial(1, 90, 0.2, 0.98), warnings=(Message("load average 9.0", code=MACHINE_BUSY),)
    )
    entries = tuple(NamedSettings(name=str(t.number), settings=t.settings) for t in (quiet, busy))
    question = ComparisonRequest(picture=Path("a.png"), entries=entries, reference="0")

    def shown(*trials: Trial) -> str:
        compared = [ComparisonRow(entry=e, trial=t) for e, t in zip(entries, trials, strict=True)]
        return show_comparison(study_of(question=question, compared=compared), language)

    both = shown(quiet, busy)
    assert both.count(told) == both.count(f'<i class="rt-unstable">{mark}</i>') == 1
    assert mark not in shown(quiet, replace(busy, warnings=()))


def progress_of(trials: list[Trial], planned: int, **fields: Any) -> SweepProgress:
    """Return the progress of a sweep."""
    return SweepProgress(
        trials=tuple(trials),
        planned=planned,
        elapsed_s=9.0,
        left_s=(40.0, 90.0),
        remembered=0,
        **fields,
    )


def test_who_comes_second_is_told_how_long_and_keeps_what_they_have() -> None:
    """A second task is refused with the remaining time, above the earlier result, in Chinese."""
    studies, go = LongTasks(LANE), threading.Event()

    def wait(*_: object) -> None:
        go.wait(5)

    first = studies.start(Path("/nowhere"), wait)
    visitor = Visitor(
        language="zh-CN",
        sweeping=study_of(progress=progress_of([make_trial(0, 100, 0.1, 0.99)], 1)),
    )
    for progress, told in (
        (None, "对比、扫描或压力测试"),
        (
            progress_of([make_trial(0, 90, 0.1, 0.99)], 12),
            "12 次试验已完成 1 次，约剩 40 s 至 90 s",
        ),
    ):
        first.progress = progress
        with pytest.raises(BusyError) as caught:
            studies.start(Path("/nowhere"), lambda *_: None)
        shown = error_above(caught.value, draw_sweep(visitor), "zh-CN")
        assert told in shown
        assert "服务器繁忙" in shown
        assert 'role="alert"' not in shown
        assert "rt-trials-plot" in shown
    go.set()


def test_who_comes_during_a_timing_is_told_that() -> None:
    """The message names the timing of formats, not a comparison, a sweep or a stress test."""
    studies, go = LongTasks(LANE), threading.Event()

    def wait(*_: object) -> None:
        go.wait(5)

    studies.start(Path("/nowhere"), wait, what=Message("formats are timed"))
    with pytest.raises(BusyError, match=r"^formats are timed$"):
        studies.start(Path("/nowhere"), lambda *_: None)
    go.set()


def test_what_cannot_be_asked_is_told_above_what_there_is() -> None:
    """The error is an alert above the earlier result."""
    shown = error_above(SettingsError([Message("no")]), Markup("<p>before</p>"), "en")
    assert 'role="alert"' in shown
    assert shown.endswith("<p>before</p></div>")


def stopped(**fields: Any) -> LongTask:
    """Create a stopped long task."""
    return study_of(task=stopped_task(), **fields)


@pytest.mark.parametrize(
    ("done", "workers", "told"),
    [
        pytest.param(None, 0, "Stopped before the first trial.", id="reference"),
        pytest.param(0, 0, "Stopped before the first trial.", id="first"),
        pytest.param(1, 0, "Stopped after 1 of 2 trials", id="between"),
        pytest.param(2, 1, "Stopped before the best settings were measured again.", id="again"),
        pytest.param(2, 4, "2 trials in 9 s.", id="enough-workers"),
    ],
)
def test_what_a_stop_left_undone_is_told(done: int | None, workers: int, told: str) -> None:
    """A stop is not an error, and only finished work is reported as done."""
    trials = [
        replace(make_trial(i, 100 + i, 0.1, 0.99), workers_s=(0.1,) * (1 + workers * (i == 0)))
        for i in range(done or 0)
    ]
    progress = None if done is None else progress_of(trials, 2)
    sweep = SimpleNamespace(confirmed=min(workers, 3), confirming=4)
    shown = draw_sweep(Visitor(language="en", sweeping=stopped(progress=progress, sweep=sweep)))
    assert told in shown
    assert "alert" not in shown
    assert ("before the best" in shown) == ("before the best" in told)


def test_a_stopped_study_has_no_problem() -> None:
    """An error after a stop is not a failure, and an error without a stop is one.

    The elapsed time stops with the task.
    """
    problems = []
    for is_stopped in (True, False):
        studies = LongTasks(LANE)
        go = threading.Event()

        def work(*_: object, go: threading.Event = go) -> None:
            go.wait(5)
            raise OutputError(Message("the reference could not be made"))

        study = studies.start(Path("/nowhere"), work)
        if is_stopped:
            study.stop()
        go.set()
        while study.is_running:
            time.sleep(0.005)
        problems.append(study.problem)
        assert study.elapsed_s() == study.elapsed_s()
    assert [problem and str(problem) for problem in problems] == [
        None,
        "the reference could not be made",
    ]
    for language, told in (("en", "Stopped"), ("zh-CN", "停止")):
        assert told in show_comparison(stopped(), language)
        failed = Trial(
            number=0,
            settings=Settings(),
            failure=Message("the run was cancelled"),
            failure_kind="cancelled",
        )
        compared = [ComparisonRow(entry=NamedSettings(name="a", settings=Settings()), trial=failed)]
        assert told in show_comparison(stopped(compared=compared), language)
        assert told in show_stress_test(stopped(), language)


def test_budgets_are_what_the_fields_say() -> None:
    """Empty and 0 mean no limit; an empty agreement is the default, which the field shows."""
    assert read_budgets(None, 0, None, commercial=False) == Budgets()
    assert read_budgets(300, 250, 0.5, commercial=False) == Budgets(
        max_memory_bytes=300 * MIB, max_time_s=0.25, min_agreement=0.5
    )
    for language in LANGUAGES:
        assert f"{Budgets().min_agreement:g}" in page_text("budget.iou", language)


def test_budgets_that_cannot_be_are_told() -> None:
    """All problems are reported together, also in Chinese."""
    with pytest.raises(SettingsError) as caught:
        read_budgets(-5, -1, 3, commercial=False)
    assert tuple(map(str, caught.value.problems)) == (
        "peak must be 0 (no limit) or more, got -5",
        "time must be 0 (no limit) or more, got -1",
        "agreement must be from 0 to 1, got 3",
    )
    assert (
        message_text(caught.value.message, "zh-CN")
        == "峰值必须为 0（不限）或更多，得到的是 -5；时间必须为 0（不限）或更多，得到的是"
        " -1；一致程度必须在 0 至 1 之间，得到的是 3"
    )


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_setting_that_was_taken_says_where_it_is(language: str) -> None:
    """The status is on the card of the chosen trial only."""
    trials = [make_trial(i, 100 + i, 0.1, 0.99) for i in range(2)]
    visitor = Visitor(language=language, sweeping=study_of(progress=progress_of(trials, 2)))
    told = f'role="status">{page_text("sweep.taken", language)}'
    assert told not in draw_sweep(visitor)
    assert take_trial(visitor, 1) is trials[1]
    assert told in draw_sweep(visitor)
    show_trial(visitor, 0)
    assert told not in draw_sweep(visitor)


@pytest.mark.parametrize(
    ("language", "told"),
    [
        ("en", f"{CONCURRENT_RUN}</p>"),
        ("zh-CN", "同时有另一个任务在运行，因此用时比单独运行更长</p>"),
    ],
)
def test_a_card_says_what_the_runs_said(language: str, told: str) -> None:
    """The card shows the warnings of the runs, such as another run at the same time."""
    trial = replace(make_trial(0, 100, 0.1, 0.99), warnings=(CONCURRENT_RUN,))
    visitor = Visitor(language=language, sweeping=study_of(progress=progress_of([trial], 1)))
    shown = draw_sweep(visitor)
    assert told in shown
    assert (str(CONCURRENT_RUN) in shown) == (language == "en")


@pytest.mark.parametrize(("runs", "is_bound"), [(16, True), (60, False)])
def test_a_soak_names_what_it_ran_and_why_it_ran_less(runs: int, is_bound: bool) -> None:
    """The result names setting and picture, and the time limit if it ended the test.

    An unknown p95 is left out.
    """
    soak = summarise_stress_test(
        [replace(RESULT, run_index=i) for i in range(runs)], 10.0, None, None
    )
    subject = (Settings(engine="openvino", network_size=224), "cup.png")
    shown = show_stress_test(study_of(stress_test=soak, subject=subject), "en")
    assert "u2netp · openvino · fp32 · 224 px · all threads, on cup.png:" in shown
    assert (f"{runs} runs instead of 60" in shown) == is_bound
    assert ("p95" in shown) == (not is_bound)
    assert "no verdict on growth, which takes 200 runs" in shown
    assert "still grows" not in shown
    assert "significant growth" not in shown
    assert "unknown" not in shown
