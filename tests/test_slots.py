"""The slots' lane: order, queue positions, the limit, cancelling, and the progress of a task."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rembg_tuner.base.errors import CancelledError
from rembg_tuner.base.messages import Message
from rembg_tuner.runtime.runner import Runner
from rembg_tuner.runtime.slots import (
    MAX_WARM_BYTES,
    PictureRun,
    RunnerSlot,
    RunProgress,
    TrialRun,
    WarmUp,
    open_slots,
    runs_of,
    submit_run,
    worker_pids,
)
from rembg_tuner.runtime.tasks import Task
from rembg_tuner.runtime.watch import Progress
from rembg_tuner.settings.host import read_host
from rembg_tuner.settings.results import CONCURRENT_RUN, Failure, Result, Sample
from rembg_tuner.settings.settings import Settings
from rembg_tuner.web.pages.visit import waited_for
from rembg_tuner.worker.pipeline import Job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rembg_tuner.runtime.lanes import Lane
    from rembg_tuner.runtime.slots import Runs

pytestmark = pytest.mark.alone
ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
QUICK = Settings(engine="onnxruntime", network_size=128)
SLOW = Settings(engine="onnxruntime", network_size=1024, intra_op_threads=1)


@pytest.fixture
def lane() -> Iterator[Lane[RunnerSlot]]:
    """Open a lane of one slot with a queue of two."""
    with open_slots(max_waiting=2) as lane:
        yield lane


def picture_run(
    folder: Path, settings: Settings = QUICK, *, name: str = "astronaut", repeat: int = 1
) -> PictureRun:
    """Return a run of an example that writes to a new file."""
    count = len(list(folder.iterdir()))
    output = folder / f"{count}-{name}.png"
    output.touch()
    return PictureRun(
        job=Job(input=str(EXAMPLES / f"{name}.png"), output=str(output)),
        settings=settings,
        repeat=repeat,
    )


def until(holds: Callable[[], bool], timeout_s: float = 20) -> None:
    """Wait until a condition is true."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def finished(task: Task[Runs]) -> Result | Failure:
    """Wait for a task and return its last run."""
    assert task.done.wait(60)
    return runs_of(task)[-1]


def test_turns_come_in_order_and_places_are_told(lane: Lane[RunnerSlot], tmp_path: Path) -> None:
    """Tasks run in order of arrival, and waiting ones report queue position and expected wait."""
    done: list[int] = []
    first = submit_run(lane, picture_run(tmp_path, SLOW))
    until(lambda: lane.running == 1)
    others = [submit_run(lane, picture_run(tmp_path)) for _ in range(2)]
    for i, task in enumerate((first, *others)):
        task.call_when_done(lambda i=i: done.append(i))  # type: ignore[misc]
    assert [task.look().queue_position for task in (first, *others)] == [0, 1, 2]
    assert others[0].look().wait_s is None
    first.cancel()
    assert all(isinstance(finished(task), Result) for task in others)
    until(lambda: done == [0, 1, 2])  # called right after a task is done
    third = submit_run(lane, picture_run(tmp_path, SLOW))
    until(lambda: lane.running == 1)
    waiting = submit_run(lane, picture_run(tmp_path))
    assert waiting.look().wait_s is not None
    third.cancel()
    finished(waiting)


def test_a_full_line_sends_away(lane: Lane[RunnerSlot], tmp_path: Path) -> None:
    """A task above the limit of the queue fails at once with busy."""
    first = submit_run(lane, picture_run(tmp_path, SLOW))
    until(lambda: lane.running == 1)
    waiting = [submit_run(lane, picture_run(tmp_path)) for _ in range(2)]
    refused = submit_run(lane, picture_run(tmp_path))
    run = finished(refused)
    assert isinstance(run, Failure)
    assert run.kind == "busy"
    assert (
        str(run.message) == "2 pictures are waiting already and no more are taken; come back later"
    )
    for task in (*waiting, first):
        task.cancel()
        finished(task)


def test_who_leaves_the_line_is_gone(lane: Lane[RunnerSlot], tmp_path: Path) -> None:
    """A cancelled task frees its place at once and does not affect the run before it."""
    first = submit_run(lane, picture_run(tmp_path, name="chelsea"))
    until(lambda: lane.running == 1)
    second = submit_run(lane, picture_run(tmp_path))
    second.cancel()
    assert lane.waiting == 0
    run = finished(second)
    assert isinstance(run, Failure)
    assert run.kind == "cancelled"
    assert isinstance(finished(first), Result)


def test_a_cancelled_run_frees_the_slot_and_keeps_the_worker(
    lane: Lane[RunnerSlot], tmp_path: Path
) -> None:
    """The run ends within a second, and the next run of the same settings is warm."""
    slow = Settings(engine="onnxruntime", network_size=512, intra_op_threads=1)
    finished(submit_run(lane, picture_run(tmp_path, slow)))
    task = submit_run(lane, picture_run(tmp_path, slow, repeat=50))
    until(lambda: task.look().progress.stage == "predict")
    began = time.monotonic()
    task.cancel()
    run = finished(task)
    assert time.monotonic() - began < 1
    assert isinstance(run, Failure)
    assert run.kind == "cancelled"
    warm = finished(submit_run(lane, picture_run(tmp_path, slow)))
    assert isinstance(warm, Result)
    assert warm.run_index > 0


def test_a_repeat_runs_so_often_and_writes_previews_once(
    lane: Lane[RunnerSlot], tmp_path: Path
) -> None:
    """One worker does five runs, and only the first writes previews."""
    job = Job(
        input=str(EXAMPLES / "coffee.png"),
        output=str(tmp_path / "out.png"),
        preview=str(tmp_path / "after.webp"),
        before_preview=str(tmp_path / "before.jpg"),
    )
    task = submit_run(lane, PictureRun(job=job, settings=QUICK, repeat=5))
    finished(task)
    results = [run for run in runs_of(task) if isinstance(run, Result)]
    assert [run.run_index for run in results] == [0, 1, 2, 3, 4]
    assert [run.preview is not None for run in results] == [True, False, False, False, False]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "after.webp",
        "before.jpg",
        "out.png",
    ]


def test_a_repeat_stops_at_a_failure(lane: Lane[RunnerSlot], tmp_path: Path) -> None:
    """A picture that cannot be read is not tried again."""
    (tmp_path / "none").mkdir()
    job = Job(input=str(tmp_path / "absent.png"), output=str(tmp_path / "out.png"))
    task = submit_run(lane, PictureRun(job=job, settings=QUICK, repeat=5))
    run = finished(task)
    assert isinstance(run, Failure)
    assert (run.kind, len(runs_of(task))) == ("bad_input", 1)


def test_a_killed_worker_is_told_and_the_next_run_is_right(
    lane: Lane[RunnerSlot], tmp_path: Path
) -> None:
    """SIGKILL during a run is a crash whose message names the signal."""
    slow = Settings(engine="onnxruntime", network_size=512, intra_op_threads=1)
    finished(submit_run(lane, picture_run(tmp_path, slow)))
    task = submit_run(lane, picture_run(tmp_path, slow))
    until(lambda: task.look().progress.stage == "predict")
    os.kill(worker_pids(lane)[0], signal.SIGKILL)
    run = finished(task)
    assert isinstance(run, Failure)
    assert run.kind == "crash"
    assert "SIGKILL" in str(run.message)
    assert isinstance(finished(submit_run(lane, picture_run(tmp_path))), Result)


def test_a_fault_of_ours_does_not_kill_the_slot(
    lane: Lane[RunnerSlot], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The visitor gets a failure, the log has the traceback, and the next task runs."""

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr(Runner, "run", fail)
        run = finished(submit_run(lane, picture_run(tmp_path)))
    assert isinstance(run, Failure)
    assert run.kind == "crash"
    assert isinstance(finished(submit_run(lane, picture_run(tmp_path))), Result)


def test_closing_ends_workers_and_sends_away(tmp_path: Path) -> None:
    """No worker is left, and every waiting task ends with a failure."""
    lane = open_slots()
    finished(submit_run(lane, picture_run(tmp_path)))
    pids = worker_pids(lane)
    running = submit_run(lane, picture_run(tmp_path, repeat=500))
    until(lambda: lane.running == 1)
    waiting = submit_run(lane, picture_run(tmp_path))
    lane.close()
    assert isinstance(finished(running), Failure)
    assert isinstance(finished(waiting), Failure)
    assert all(not Path(f"/proc/{pid}").exists() for pid in pids)
    late = finished(submit_run(lane, picture_run(tmp_path)))
    assert isinstance(late, Failure)
    assert late.kind == "busy"


def test_company_is_told(tmp_path: Path) -> None:
    """With two slots, a run beside another one has a warning."""
    with open_slots(2) as lane:
        tasks = [submit_run(lane, picture_run(tmp_path, repeat=10)) for _ in range(2)]
        runs = [finished(task) for task in tasks]
    assert all(isinstance(run, Result) for run in runs)
    told = [
        run for task in tasks for run in runs_of(task) if isinstance(run, Result) and run.warnings
    ]
    assert any("another slot was running" in str(run.warnings[-1]) for run in told)


def test_a_trial_with_company_says_so(tmp_path: Path) -> None:
    """A trial beside a visitor's run has a warning."""
    with open_slots(2) as lane:
        beside = submit_run(lane, picture_run(tmp_path, SLOW, repeat=10))
        until(lambda: beside.look().progress.stage == "predict")
        trial = picture_run(tmp_path)
        run = finished(
            submit_run(lane, TrialRun(jobs=(trial.job, trial.job), settings=trial.settings))
        )
        beside.cancel()
    assert isinstance(run, Result)
    assert CONCURRENT_RUN in run.warnings


def test_a_trial_is_cancelled_while_its_model_converts(
    lane: Lane[RunnerSlot], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The conversion, which reports no progress for minutes, is cancelled, and the slot is free."""

    def convert(*_: object, is_cancelled: Callable[[], bool], on_start: Callable[[], None]) -> None:
        on_start()
        until(is_cancelled)
        raise CancelledError(Message("the run was cancelled while its model was converted"))

    monkeypatch.setattr("rembg_tuner.runtime.worker_source.prepare", convert)
    trial = picture_run(tmp_path)
    task = submit_run(lane, TrialRun(jobs=(trial.job,), settings=trial.settings))
    until(lambda: task.look().progress.stage == "convert")
    task.cancel()
    run = finished(task)
    assert isinstance(run, Failure)
    assert run.kind == "cancelled"


def test_a_heavy_worker_is_not_kept(
    lane: Lane[RunnerSlot], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker whose peak is above the limit ends after its run.

    A lighter worker stays warm.
    """
    finished(submit_run(lane, picture_run(tmp_path)))
    assert len(worker_pids(lane)) == 1
    assert MAX_WARM_BYTES == 2**30
    monkeypatch.setattr("rembg_tuner.runtime.slots.MAX_WARM_BYTES", 2**20)
    with open_slots() as narrow:
        finished(submit_run(narrow, picture_run(tmp_path)))
        until(lambda: worker_pids(narrow) == ())


def test_twenty_at_once_get_their_own(tmp_path: Path) -> None:
    """Each accepted task gets the cut-out of its own picture, and the others are busy."""
    names = ("astronaut", "chelsea", "coffee")
    with open_slots(max_waiting=10) as lane:
        right: dict[str, str] = {}
        for name in names:
            asked = picture_run(tmp_path, name=name)
            finished(submit_run(lane, asked))
            right[name] = _digest(asked.job.output)
        lock = threading.Lock()
        answers: list[str] = []

        def visit(i: int) -> None:
            name = names[i % 3]
            with lock:
                asked = picture_run(tmp_path, name=name)
            run = finished(submit_run(lane, asked))
            kind = (
                run.kind
                if isinstance(run, Failure)
                else "own"
                if _digest(asked.job.output) == right[name]
                else "wrong"
            )
            with lock:
                answers.append(kind)

        threads = [threading.Thread(target=visit, args=(i,)) for i in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert set(answers) <= {"own", "busy"}
    assert len(answers) == 20
    assert answers.count("own") >= 10  # 11 if the first has begun before the queue is full


def _digest(path: str) -> str:
    """Return the hash of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@given(st.lists(st.integers(min_value=1, max_value=2**40), min_size=1, max_size=2000))
def test_a_timeline_is_bounded_and_keeps_the_highest(sizes: list[int]) -> None:
    """A timeline of a run of any length has at most 300 ordered points, including the peak."""
    progress = RunProgress()
    for i, size in enumerate(sizes):
        sample = Sample(t_s=0, rss_bytes=size, cpu_s=None)
        progress.note(Progress(stage="predict", sample=sample), i / 50)
    points = progress.timeline().points
    assert 1 <= len(points) <= 300
    assert max(rss for _, rss in points) == max(sizes)
    assert [t for t, _ in points] == sorted(t for t, _ in points)


def test_who_asks_late_is_told_at_once(lane: Lane[RunnerSlot], tmp_path: Path) -> None:
    """A callback that is added after the end is called at once."""
    task = submit_run(lane, picture_run(tmp_path))
    finished(task)
    until(lambda: task.state == "done")
    called: list[int] = []
    task.call_when_done(lambda: called.append(1))
    assert called == [1]
    assert task.progress.timeline().marks[0][1] == "start"
    assert task.progress.baseline_rss_bytes is not None


def test_the_first_visitor_finds_a_worker_that_was_started_early(tmp_path: Path) -> None:
    """The first run with equal settings uses the prepared worker, without waiting for its start."""
    with open_slots(2) as lane:
        lane.prepare(WarmUp(QUICK))
        until(lambda: len(worker_pids(lane)) == 1)
        pids = worker_pids(lane)
        task = submit_run(lane, picture_run(tmp_path))
        run = finished(task)
        assert isinstance(run, Result)
        assert (run.run_index, worker_pids(lane)) == (0, pids)
        assert run.start_s > 0  # the duration of the worker's start is still reported
        assert not {"start", "load"} & {stage for _, stage in task.progress.timeline().marks}
        waited = waited_for(task, run.total_s)
        assert (waited.start_s, waited.load_s) == (0, 0)


def test_who_comes_while_a_worker_starts_goes_on_with_it(tmp_path: Path) -> None:
    """The task reports the rest of the start, not a queue, and no second worker starts.

    This includes settings that differ in writing and resolve to the same values.
    """
    same = replace(QUICK, intra_op_threads=read_host().usable_cpus)
    with open_slots() as lane:
        lane.prepare(WarmUp(QUICK))
        until(lambda: lane.is_preparing)
        time.sleep(0.05)
        came_at = time.perf_counter()
        task = submit_run(lane, picture_run(tmp_path, same))
        assert (task.look().state, task.look().queue_position) == ("running", 0)
        run = finished(task)
        assert isinstance(run, Result)
        assert (run.run_index, len(worker_pids(lane))) == (0, 1)
        assert [stage for _, stage in task.progress.timeline().marks][:2] == ["start", "load"]
        elapsed_s = time.perf_counter() - came_at
        waited = waited_for(task, 9.0)
        # The time before the visitor came is not included.
        assert waited.start_s > 0
        assert waited.start_s + waited.load_s + waited.run_s < elapsed_s


def test_who_wants_another_worker_need_not_wait_for_one_that_starts(tmp_path: Path) -> None:
    """The early start is stopped and its process ends, also when the lane closes meanwhile."""
    other = replace(QUICK, network_size=160)
    with open_slots() as lane:
        lane.prepare(WarmUp(QUICK))
        until(lambda: lane.is_preparing)
        run = finished(submit_run(lane, picture_run(tmp_path, other)))
        assert isinstance(run, Result)
        assert run.settings == other
        assert len(worker_pids(lane)) == 1
        assert len(workers()) == 1
        lane.prepare(WarmUp(QUICK))
        until(lambda: len(workers()) == 2)
    until(lambda: not workers())


def workers() -> list[psutil.Process]:
    """Return the worker processes of this process."""
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended, or is a zombie
            if "rembg_tuner.worker.worker" in " ".join(child.cmdline()):
                found.append(child)
    return found


def test_a_worker_that_cannot_be_started_early_harms_nobody(
    lane: Lane[RunnerSlot], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The missing model is logged, and other runs succeed."""
    with caplog.at_level("INFO"):
        lane.prepare(WarmUp(Settings(model="birefnet-dis")))
        until(lambda: "no worker was started early: " in caplog.text)
    assert isinstance(finished(submit_run(lane, picture_run(tmp_path))), Result)
