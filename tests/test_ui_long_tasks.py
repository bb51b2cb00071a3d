"""Longer work on the page: its trials in the lane of the slots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from made_tasks import unfinished_task

from rembg_tuner.runtime.slots import open_slots
from rembg_tuner.settings.results import Failure
from rembg_tuner.settings.settings import Settings
from rembg_tuner.web.pages.long_tasks import LongTask, QueuedTrialRunner
from rembg_tuner.worker.pipeline import Job

COFFEE = Path(__file__).parent.parent / "examples" / "coffee.png"


def test_a_full_line_says_nothing_of_a_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked again; who stops meanwhile is told that it was cancelled, so that no trial fails by it."""
    monkeypatch.setattr("rembg_tuner.web.pages.long_tasks._FULL_WAIT_S", 0.01)
    job = Job(input=str(COFFEE), output=str(tmp_path / "out.png"))
    with open_slots(max_waiting=-1) as lane:  # full from the first on
        long_task = LongTask(folder=tmp_path / "sweep", task=unfinished_task())
        asked: list[int] = []
        submit = lane.submit

        def count_and_submit(*args: Any, **kwargs: Any) -> object:
            asked.append(1)
            if len(asked) == 3:
                long_task.stop()
            return submit(*args, **kwargs)

        monkeypatch.setattr(lane, "submit", count_and_submit)
        [run] = QueuedTrialRunner(lane, long_task).measure([job], Settings(engine="onnxruntime"))
    assert len(asked) == 3
    assert isinstance(run, Failure)
    assert run.kind == "cancelled"
