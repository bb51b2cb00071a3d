"""The visitors of a page, and answers that visitors share."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from made_tasks import unfinished_long_task, unfinished_task

from rembg_tuner.base.errors import SettingsError
from rembg_tuner.web.pages.downloads import Downloads
from rembg_tuner.web.pages.models_tab import show_models
from rembg_tuner.web.pages.shared_answer import SharedAnswer
from rembg_tuner.web.pages.visit import Visit
from rembg_tuner.web.pages.visitors import MAX_VISITORS, Visitor, Visitors

if TYPE_CHECKING:
    from pathlib import Path

    import gradio as gr

    from rembg_tuner.web.pages.page_folder import PageFolder


def visit_of(visitors: Visitors, session: str) -> Visitor:
    """Send an event from a session, and return the visitor."""
    request = SimpleNamespace(session_hash=session, query_params={}, headers={})
    return visitors.of(cast("gr.Request", request))


def make_visitors() -> Visitors:
    """Create a page without visitors."""
    return Visitors(cast("PageFolder", None))


def test_a_flood_of_events_ends_nobodys_task(tmp_path: Path) -> None:
    """Runs, sweeps, comparisons and stress tests continue, whether waiting or running.

    Earlier runs are kept too.
    """
    visitors = make_visitors()
    runner, sweeper, comparer, soaker, reader = (visit_of(visitors, name) for name in "abcde")
    task = unfinished_task()
    runner.task = task
    long_tasks = [unfinished_long_task(tmp_path) for _ in range(3)]
    sweeper.sweeping, comparer.comparing, soaker.stress_testing = long_tasks
    reader.visit = Visit(turns=cast("Any", ("a run",)))
    for i in range(3 * MAX_VISITORS):
        visit_of(visitors, f"anonymous-{i}")
    assert [visit_of(visitors, name) for name in "abcde"] == [
        runner,
        sweeper,
        comparer,
        soaker,
        reader,
    ]
    assert not task.is_cancelled
    assert not any(one.is_stopped for one in long_tasks)


def test_of_the_idle_the_longest_unseen_is_forgotten() -> None:
    """Visitors without runs are removed first, then those with earlier runs."""
    visitors = make_visitors()
    made = [visit_of(visitors, str(i)) for i in range(MAX_VISITORS)]
    for one in made[:50]:
        one.visit = Visit(turns=cast("Any", ("a run",)))
    visit_of(visitors, "new")
    assert visit_of(visitors, "0") is made[0]
    assert visit_of(visitors, "51") is made[51]
    assert visit_of(visitors, "50") is not made[50]


def test_a_visitor_whose_run_is_done_may_be_forgotten() -> None:
    """Only a waiting or running task keeps a visitor."""
    visitors, task = make_visitors(), unfinished_task()
    visitor = visit_of(visitors, "a")
    visitor.task = task
    assert visitor.is_busy
    task.done.set()
    assert not visitor.is_busy


def test_those_who_ask_at_once_share_one_answer() -> None:
    """Thirty concurrent requests share one computation, and the result is reused for a while."""
    calls: list[int] = []
    began = threading.Event()

    def find() -> int:
        calls.append(1)
        began.wait(5)
        return len(calls)

    shared = SharedAnswer(find, max_age_s=60.0)
    assert shared.known() is None
    with ThreadPoolExecutor(30) as pool:
        asked = [pool.submit(lambda: shared.ask().result(5)) for _ in range(30)]
        while sum(one.running() for one in asked) < 30:
            time.sleep(0.001)
        began.set()
        assert {one.result(5) for one in asked} == {1}
    assert (shared.ask().result(5), shared.known(), len(calls)) == (1, 1, 1)


def test_an_answer_grows_old_and_a_failure_is_not_kept() -> None:
    """After its maximum age, and after an error, the answer is computed again."""
    outcomes: list[object] = [OSError("no"), 1, 2]

    def find() -> object:
        outcome = outcomes.pop(0)
        if isinstance(outcome, OSError):
            raise outcome
        return outcome

    shared = SharedAnswer(find, max_age_s=0.0)
    with pytest.raises(OSError, match="no"):
        shared.ask().result(5)
    assert shared.known() is None
    assert not shared.ask().cancel()
    assert shared.ask().result(5) in (1, 2)
    while outcomes:
        shared.ask().result(5)
    assert shared.known() == 2


def test_without_leave_the_page_shows_the_command() -> None:
    """There is no button, and an event cannot start a download."""
    closed, opened = Downloads(are_allowed=False), Downloads(are_allowed=True)
    shown = show_models(closed, "en")
    assert "data-get" not in shown
    assert "<code>rembg-tuner models get u2net</code>" in shown
    assert 'data-get="u2net"' in show_models(opened, "en")
    with pytest.raises(SettingsError, match="start it with --downloads"):
        closed.start("u2net")
    assert closed.task_of("u2net") is None


def test_a_stop_for_no_download_is_not_kept() -> None:
    """Names that visitors invent are not stored."""
    downloads = Downloads(are_allowed=True)
    downloads.stop("x" * 1000)
    assert downloads._latest == {}
