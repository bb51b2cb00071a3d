"""The tabs that compare, sweep and soak, without a browser: whose work is kept, stopped and told."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from rembg_tuner.comparison import Entry, Question
from rembg_tuner.recommend import Budgets
from rembg_tuner.settings import Settings
from rembg_tuner.ui.handlers import Desk
from rembg_tuner.ui.studies import Study
from rembg_tuner.ui.study_handlers import StudyHandlers
from rembg_tuner.ui.visitors import Visitor

HANDLERS = StudyHandlers(cast("Desk", None))  # what is shown needs no desk


def study_of(**fields: Any) -> Study:
    """Make a study that is done."""
    return Study(**{"folder": Path("/nowhere"), "is_running": False, **fields})


def test_each_stop_is_of_its_own_work() -> None:
    """Compare's Stop leaves a sweep alone, and the other way round; who leaves stops all."""
    running = [study_of(is_running=True) for _ in range(3)]
    visitor = Visitor(language="en", study=running[0], comparing=running[1], soaking=running[2])
    visitor.stop_comparing()
    assert [study.is_stopped for study in running] == [False, True, False]
    visitor.stop_study()
    assert [study.is_stopped for study in running] == [True, True, False]
    visitor.stop()
    assert all(study.is_stopped for study in running)


def test_a_comparison_leaves_the_sweep_where_it_is() -> None:
    """A sweep without trials is told, whatever is compared beside it; no sweep is nothing to show."""
    question = Question(picture=Path("a.png"), entries=(Entry(name="a", settings=Settings()),), reference="a")  # fmt: skip
    visitor = Visitor(language="en", comparing=study_of(question=question))
    assert HANDLERS.show(visitor, Budgets()) == ""
    visitor.study = study_of(problem="the disk is full")
    assert "the disk is full" in HANDLERS.show(visitor, Budgets())
