"""Long tasks of the page: their trials in the lane of the slots."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_tasks import unfinished_task

from rembg_tuner.runtime.slots import open_slots, worker_pids
from rembg_tuner.settings.results import Failure
from rembg_tuner.settings.settings import Settings
from rembg_tuner.tuning.stress_test import StressPlan
from rembg_tuner.web.pages.long_tasks import LongTask, QueuedTrialRunner
from rembg_tuner.worker.pipeline import Job

COFFEE = Path(__file__).parent.parent / "examples" / "coffee.png"


def test_a_full_line_says_nothing_of_a_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial in a full queue is submitted again, and a stop ends it as cancelled."""
    monkeypatch.setattr("rembg_tuner.web.pages.long_tasks._FULL_WAIT_S", 0.01)
    job = Job(input=str(COFFEE), output=str(tmp_path / "out.png"))
    with open_slots(max_waiting=-1) as lane:  # full from the start
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


@pytest.mark.parametrize("is_stopped", [False, True])
def test_a_stress_test_is_one_task_of_the_slots(tmp_path: Path, *, is_stopped: bool) -> None:
    """It runs the command's code, and a stop keeps the finished runs."""
    long_task = LongTask(folder=tmp_path, task=unfinished_task())
    settings, plan = Settings(engine="onnxruntime", network_size=128), StressPlan(runs=8, idle_s=0)
    with open_slots() as lane:

        def stop() -> None:
            while not any(len(task.progress.timeline().marks) > 20 for task in lane.tasks):
                time.sleep(0.01)
            long_task.stop()

        if is_stopped:
            threading.Thread(target=stop, daemon=True).start()
            plan = replace(plan, runs=5000)
        found = QueuedTrialRunner(lane, long_task).stress(COFFEE, settings, plan)
        assert worker_pids(lane) == ()  # its separate worker has ended
    assert (len(found.times_s) == 8) is not is_stopped
    assert (found.failure is not None) is is_stopped
    assert found.idle_bytes is None or found.idle_bytes > 0
