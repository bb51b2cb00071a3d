"""Real worker processes: the results of a run, and the cleanup after a failure."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest
from PIL import Image

from rembg_tuner.base.child_process import InvalidAnswerError
from rembg_tuner.base.files import CACHE_VARIABLE, user_cache_folder
from rembg_tuner.base.messages import Message
from rembg_tuner.imaging import png_writer
from rembg_tuner.runtime import workers
from rembg_tuner.runtime.limits import MemoryLimit
from rembg_tuner.runtime.measurements import Measurements
from rembg_tuner.runtime.meter import Meter
from rembg_tuner.runtime.runner import Runner, _Call, _may_be_of_others
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.runtime.watch import FailedRunError, read_event
from rembg_tuner.settings.resolve import resolve
from rembg_tuner.settings.results import Failure, Result
from rembg_tuner.settings.settings import Settings
from rembg_tuner.worker.pipeline import Job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rembg_tuner.runtime.watch import Progress

pytestmark = pytest.mark.alone
MIB = 2**20
ROOT = Path(__file__).parent.parent
ASTRONAUT = ROOT / "examples" / "astronaut.png"
MODEL = ROOT / "rembg_tuner" / "models" / "u2netp.onnx"
HOSTILE = Path(__file__).with_name("hostile.py")
ONNX_RUNTIME = Settings(engine="onnxruntime")
OPENVINO = Settings(engine="openvino")
QUICK = Settings(engine="openvino", network_size=64)  # for tests that do not depend on the network
SLOW = {  # seconds in the network on two cores, without the arena's gigabytes
    "onnxruntime": Settings(
        engine="onnxruntime", network_size=512, cpu_mem_arena=False, mem_pattern=False
    ),
    "openvino": Settings(engine="openvino", network_size=512),
}
LATENESS_S = 0.5  # the maximum delay that DESIGN.md allows for a deadline, a limit or a cancel
OVERHEAD_BYTES = 90 * MIB


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    """Create a runner whose worker stays warm between tests."""
    with Runner() as one:
        yield one


class HostileRunner(Runner):
    """A runner whose workers fail on request; see hostile.py."""

    def __init__(self, python: Path) -> None:
        """Start workers with a script in place of Python."""
        super().__init__()
        self._python = python

    def run(self, *arguments: Any, **more: Any) -> Result | Failure:
        """Run with the script in place of Python."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "executable", str(self._python))
            return super().run(*arguments, **more)

    def run_together(self, *arguments: Any, **more: Any) -> list[Result | Failure]:
        """Run with the script in place of Python."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "executable", str(self._python))
            return super().run_together(*arguments, **more)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    """Create a runner whose workers fail on request."""
    python = tmp_path_factory.mktemp("hostile") / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{HOSTILE}" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    with HostileRunner(python) as one:
        yield one


def job_in(folder: Path, picture: Path = ASTRONAUT, **more: object) -> Job:
    """Return a job that writes to a folder."""
    return Job(input=str(picture), output=str(folder / "out.png"), **more)  # type: ignore[arg-type]


def told(folder: Path, name: str) -> Path:
    """Copy a picture to a name that tells the hostile worker what to do."""
    return Path(shutil.copy(ASTRONAUT, folder / f"{name}.png"))


def succeeded(outcome: Result | Failure) -> Result:
    """Return an outcome that must be a Result."""
    assert isinstance(outcome, Result), outcome
    return outcome


def failed(outcome: Result | Failure, kind: str) -> Failure:
    """Return an outcome that must be a Failure of a kind, with a message of one line."""
    assert isinstance(outcome, Failure), "the run went through"
    assert outcome.kind == kind, outcome.message
    assert len(str(outcome.message)) > 15
    assert "\n" not in str(outcome.message)
    assert "Traceback" not in str(outcome.message)
    return outcome


def worker_of(runner: Runner) -> int:
    """Return the process ID of the warm worker, which must exist."""
    pid = runner.worker_pid
    assert pid is not None
    return pid


def is_running(pid: int) -> bool:
    """Return whether a process exists and is not a zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def ends_within(pid: int, seconds: float) -> bool:
    """Wait for a process to end, and return whether it did."""
    end = time.perf_counter() + seconds
    while is_running(pid) and time.perf_counter() < end:
        time.sleep(0.02)
    return not is_running(pid)


def once_in(stage: str, action: Callable[[], object]) -> Callable[[Progress], None]:
    """Return an `on_progress` that calls a function once, when a run is in a stage."""
    done: list[str] = []

    def on_progress(progress: Progress) -> None:
        if progress.stage == stage and not done:
            done.append(stage)
            action()

    return on_progress


class Canceller:
    """Cancels a run from another thread once it is in a stage, and records the time."""

    def __init__(self, runner: Runner, stage: str, *, delay_s: float) -> None:
        """Start a thread that cancels `delay_s` after the stage has begun."""
        self.cancelled_at: float | None = None
        self._runner, self._delay_s = runner, delay_s
        self._begun = threading.Event()
        self._thread = threading.Thread(target=self._cancel)
        self._thread.start()
        self.on_progress = once_in(stage, self._begun.set)

    def _cancel(self) -> None:
        """Wait for the stage, then cancel."""
        if self._begun.wait(60):
            time.sleep(self._delay_s)
            self.cancelled_at = time.perf_counter()
            self._runner.cancel()

    def latency_s(self) -> float:
        """Return the seconds since the cancel."""
        now = time.perf_counter()
        self._thread.join()
        assert self.cancelled_at is not None
        return now - self.cancelled_at


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a 24 MP picture with grain, which takes long to write."""
    tile = np.asarray(Image.open(ASTRONAUT).convert("RGB"))
    pixels = np.tile(tile, (8, 12, 1))
    grain = np.random.default_rng(1).integers(0, 24, pixels.shape, dtype=np.uint8)
    path = tmp_path_factory.mktemp("large") / "large.jpg"
    Image.fromarray(np.maximum(pixels, 24) - grain).save(path, quality=85)
    return path


# The result of a run


@pytest.mark.parametrize("settings", [ONNX_RUNTIME, OPENVINO], ids=["onnxruntime", "openvino"])
def test_a_result_is_complete_and_adds_up(settings: Settings, tmp_path: Path) -> None:
    """Every field is present and plausible, stages sum to the total, and JSON has all fields."""
    with Runner() as runner:
        result = succeeded(
            runner.run(
                job_in(tmp_path),
                settings,
                warnings=(Message("from a preset", code="knob_dropped"),),
            )
        )
    assert set(result.stages_s) == {"read_small", "normalise", "predict", "matte", "write"}
    assert all(seconds > 0 for seconds in result.stages_s.values())
    assert sum(result.stages_s.values()) <= result.total_s
    assert sum(result.stages_s.values()) == pytest.approx(result.total_s, rel=0.05, abs=0.03)
    assert 0.02 <= result.start_s <= 20
    assert 0 < result.load_s <= 20
    # 40 GFLOP take longer on any CPU; wall time is not checked, because a busy machine extends it
    assert 0.02 <= result.cpu_s <= 20
    assert result.baseline_rss_bytes is not None
    assert result.load_peak_rss_bytes is not None
    assert result.peak_rss_bytes is not None
    assert result.retained_rss_bytes is not None
    assert result.rss_file_bytes is not None
    assert 30 * MIB <= result.baseline_rss_bytes <= OVERHEAD_BYTES
    assert result.baseline_rss_bytes < result.load_peak_rss_bytes < result.peak_rss_bytes
    assert result.rss_file_bytes < result.retained_rss_bytes <= result.peak_rss_bytes
    assert max(rss for _, rss in result.curve) <= result.peak_rss_bytes
    assert 1 <= len(result.curve) <= 300
    times = [t for t, _ in result.curve]
    assert times == sorted(times)
    assert times[0] >= 0
    assert result.peak_source == "vmhwm"
    assert result.output_bytes == (tmp_path / "out.png").stat().st_size
    assert [str(one) for one in result.warnings] == ["from a preset"]
    assert result.agreement is None
    assert {"python", "rembg_tuner", "libvips", png_writer.DEFLATE_LIBRARY, settings.engine} <= set(
        result.environment.versions
    )
    assert result.effective["engine"] == settings.engine
    content = json.loads(json.dumps(result.to_dict()))
    assert set(content) == {field.name for field in fields(Result)}
    assert content["settings"] == settings.to_dict()
    assert content["peak_rss_bytes"] == result.peak_rss_bytes
    with Image.open(tmp_path / "out.png") as cutout:
        assert (cutout.mode, cutout.size) == ("RGBA", (512, 512))


def test_a_warm_worker_is_kept_while_no_session_setting_changes(tmp_path: Path) -> None:
    """Another picture, max_side or timeout_s keeps the worker and its run count.

    Other settings of the session start a new worker.
    """
    with Runner() as runner:
        assert runner.worker_pid is None
        first = succeeded(runner.run(job_in(tmp_path), QUICK))
        pid = worker_of(runner)
        others = [
            (job_in(tmp_path, ROOT / "examples" / "coffee.png"), QUICK),
            (job_in(tmp_path), replace(QUICK, max_side=100)),
            (job_in(tmp_path), replace(QUICK, timeout_s=99.0)),
        ]
        kept = [succeeded(runner.run(job, settings)) for job, settings in others]
        assert worker_of(runner) == pid
        assert [result.run_index for result in (first, *kept)] == [0, 1, 2, 3]
        assert {result.start_s for result in kept} == {first.start_s}
        assert kept[1].effective["max_side"] == 100
        replaced = succeeded(runner.run(job_in(tmp_path), replace(QUICK, intra_op_threads=1)))
        assert replaced.run_index == 0
        assert worker_of(runner) != pid
        assert not is_running(pid)
        last = worker_of(runner)
    assert not is_running(last)
    assert runner.worker_pid is None


def test_arena_shrink_is_honoured_by_a_warm_worker_too(tmp_path: Path) -> None:
    """The effective value equals the requested one, whichever run came first."""
    with Runner() as runner:
        kept = succeeded(runner.run(job_in(tmp_path), ONNX_RUNTIME))
        shrunk = succeeded(
            runner.run(job_in(tmp_path), Settings(engine="onnxruntime", arena_shrink=True))
        )
    assert kept.effective["arena_shrink"] is False
    assert shrunk.effective["arena_shrink"] is True
    assert kept.retained_rss_bytes is not None
    assert shrunk.retained_rss_bytes is not None
    assert shrunk.retained_rss_bytes <= kept.retained_rss_bytes / 2


def test_every_stage_is_told_as_it_begins(runner: Runner, tmp_path: Path) -> None:
    """Progress reports the stages in order, with memory samples, even for short stages."""
    seen: list[Progress] = []
    result = succeeded(runner.run(job_in(tmp_path), QUICK, on_progress=seen.append))
    order = list(dict.fromkeys(progress.stage for progress in seen))
    assert order[-5:] == ["read_small", "normalise", "predict", "matte", "write"]
    assert result.peak_rss_bytes is not None
    assert all(
        progress.sample is None or 0 < progress.sample.rss_bytes <= result.peak_rss_bytes
        for progress in seen
        if progress.stage == "predict"
    )


def test_previews_are_written_when_asked(runner: Runner, tmp_path: Path) -> None:
    """The previews of cut-out and picture are upright and at most 1600 px.

    The result contains their paths.
    """
    Image.fromarray(np.full((900, 2000, 3), 90, np.uint8)).save(
        tmp_path / "wide.jpg", exif=_turned_exif()
    )
    preview, before = tmp_path / "preview.webp", tmp_path / "before.jpg"
    job = job_in(tmp_path, tmp_path / "wide.jpg", preview=str(preview), before_preview=str(before))
    result = succeeded(runner.run(job, QUICK))
    assert (result.preview, result.before_preview) == (str(preview), str(before))
    with Image.open(preview) as after, Image.open(before) as picture:
        assert after.size == picture.size == (720, 1600)
        assert after.mode == "RGBA"
        assert picture.mode == "RGB"


def _turned_exif() -> Image.Exif:
    """Create an EXIF block with a rotation by 90 degrees."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def test_a_run_after_a_heavier_one_reads_its_own_peak(hostile: Runner, tmp_path: Path) -> None:
    """200 MiB used by one run are in its peak, and not in the peak of the next run."""
    plain = [succeeded(hostile.run(job_in(tmp_path), OPENVINO)) for _ in range(2)][-1]
    heavy = succeeded(hostile.run(job_in(tmp_path, told(tmp_path, "heavy")), OPENVINO))
    after = succeeded(hostile.run(job_in(tmp_path), OPENVINO))
    assert plain.peak_rss_bytes is not None
    assert heavy.peak_rss_bytes is not None
    assert after.peak_rss_bytes is not None
    assert heavy.peak_rss_bytes >= plain.peak_rss_bytes + 60 * MIB
    assert after.peak_rss_bytes <= plain.peak_rss_bytes + 30 * MIB


def test_a_parents_memory_does_not_show_in_the_worker(tmp_path: Path) -> None:
    """A worker of a parent process that uses 300 MiB has the same small baseline."""
    held = np.ones(300 * MIB, np.uint8)
    with Runner() as runner:
        result = succeeded(runner.run(job_in(tmp_path), OPENVINO))
    assert held[-1] == 1
    assert result.baseline_rss_bytes is not None
    assert result.load_peak_rss_bytes is not None
    assert result.baseline_rss_bytes <= OVERHEAD_BYTES
    assert result.load_peak_rss_bytes <= 300 * MIB


def test_a_run_that_sleeps_50_ms_takes_50_ms(hostile: Runner, tmp_path: Path) -> None:
    """The total lasts from the request to the renamed file, without the worker's start."""
    job = job_in(tmp_path, told(tmp_path, "nap"))
    totals = [succeeded(hostile.run(job, QUICK)).total_s for _ in range(3)]
    assert min(totals) >= 0.05
    assert min(totals) <= 0.15


def test_a_sampled_peak_is_called_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a peak from /proc, the highest sample is used and reported as sampled."""
    monkeypatch.setattr(Meter, "_can_reset", lambda _self: False)
    with Runner() as runner:
        result = succeeded(runner.run(job_in(tmp_path), ONNX_RUNTIME))
    assert result.peak_source == "sampled"
    assert result.peak_rss_bytes is not None
    assert result.peak_rss_bytes >= max(rss for _, rss in result.curve)
    assert result.peak_rss_bytes >= 150 * MIB
    assert result.load_peak_rss_bytes is not None


# Limits and cancelling


@pytest.mark.parametrize("timeout_s", [0.001, 0.3])
def test_a_deadline_is_kept_within_half_a_second(
    timeout_s: float, tmp_path: Path, runner: Runner
) -> None:
    """The run fails, its process has ended, and the next run succeeds."""
    slow = SLOW["onnxruntime"]
    succeeded(runner.run(job_in(tmp_path), slow))
    (tmp_path / "out.png").unlink()
    pid, started = worker_of(runner), time.perf_counter()
    hurried = Settings(**{**slow.to_dict(), "timeout_s": timeout_s})  # type: ignore[arg-type]
    failure = failed(runner.run(job_in(tmp_path), hurried), "timeout")
    elapsed = time.perf_counter() - started
    assert timeout_s <= elapsed <= timeout_s + LATENESS_S
    assert "timeout_s" in str(failure.message)
    assert not is_running(pid)
    assert runner.worker_pid is None
    assert list(tmp_path.iterdir()) == []
    assert succeeded(runner.run(job_in(tmp_path), QUICK)).run_index == 0


@pytest.mark.parametrize("when", ["idle", "running"])
def test_a_stopped_worker_meets_its_deadline(when: str, tmp_path: Path) -> None:
    """A process stopped by SIGSTOP, which does not respond, is terminated."""
    settings = replace(QUICK, timeout_s=0.5)
    with Runner() as runner:
        succeeded(runner.run(job_in(tmp_path), settings))
        pid = worker_of(runner)

        def stop() -> None:
            os.kill(pid, signal.SIGSTOP)

        if when == "idle":
            stop()
        started = time.perf_counter()
        outcome = runner.run(job_in(tmp_path), settings, on_progress=once_in("predict", stop))
        elapsed = time.perf_counter() - started
        failed(outcome, "timeout")
        assert 0.5 <= elapsed <= 0.5 + LATENESS_S
        assert not is_running(pid)
        succeeded(runner.run(job_in(tmp_path), settings))


@pytest.mark.parametrize("state", ["cold", "warm"])
def test_a_memory_limit_is_kept(
    state: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """A worker above its limit is terminated, the error names it, and the next run succeeds."""
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path_factory.mktemp("no-history")))
    limited = Settings(engine="onnxruntime", memory_limit_bytes=150 * MIB)
    over_at: list[float] = []

    def watch(progress: Progress) -> None:
        if progress.sample is not None and progress.sample.rss_bytes > 150 * MIB:
            over_at.append(time.perf_counter())

    with Runner() as runner:
        if state == "warm":
            succeeded(runner.run(job_in(tmp_path), ONNX_RUNTIME))
            (tmp_path / "out.png").unlink()
            (user_cache_folder() / "measurements.sqlite").unlink()  # else the run is refused
        failure = failed(runner.run(job_in(tmp_path), limited, on_progress=watch), "out_of_memory")
        assert time.perf_counter() - over_at[0] <= LATENESS_S
        assert "150 MiB" in str(failure.message)
        assert "memory_limit_bytes" in str(failure.message)
        assert runner.worker_pid is None
        assert list(tmp_path.iterdir()) == []
        succeeded(runner.run(job_in(tmp_path), ONNX_RUNTIME))


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_cancel_keeps_the_worker_where_the_engine_can_stop(engine: str, tmp_path: Path) -> None:
    """The run ends soon, the CPU is idle, and the worker repeats the run with equal output."""
    slow = SLOW[engine]
    with Runner() as runner:
        succeeded(runner.run(job_in(tmp_path), slow))
        expected = (tmp_path / "out.png").read_bytes()
        (tmp_path / "out.png").unlink()
        pid = worker_of(runner)
        canceller = Canceller(runner, "predict", delay_s=0.2)
        outcome = runner.run(job_in(tmp_path), slow, on_progress=canceller.on_progress)
        latency_s = canceller.latency_s()
        failure = failed(outcome, "cancelled")
        assert failure.stage == "predict"
        assert latency_s <= LATENESS_S + 0.3
        assert list(tmp_path.iterdir()) == []
        assert worker_of(runner) == pid
        time.sleep(0.2)
        meter = Meter(pid)
        before = meter.cpu_s() or 0.0
        time.sleep(0.3)
        assert (meter.cpu_s() or 0.0) - before <= 0.05
        again = succeeded(runner.run(job_in(tmp_path), slow))
        assert worker_of(runner) == pid
        assert again.run_index == 2
        assert (tmp_path / "out.png").read_bytes() == expected


def test_a_cancel_while_writing_leaves_nothing_behind(
    runner: Runner, tmp_path: Path, large: Path
) -> None:
    """Encoding stops, no full or partial file is left, and the worker is kept."""
    succeeded(runner.run(job_in(tmp_path), QUICK))
    (tmp_path / "out.png").unlink()
    pid = worker_of(runner)
    canceller = Canceller(runner, "write", delay_s=0.05)
    outcome = runner.run(job_in(tmp_path, large), QUICK, on_progress=canceller.on_progress)
    latency_s = canceller.latency_s()
    assert failed(outcome, "cancelled").stage == "write"
    assert latency_s <= LATENESS_S + 0.3
    assert list(tmp_path.iterdir()) == []
    succeeded(runner.run(job_in(tmp_path), QUICK))
    assert worker_of(runner) == pid


def test_a_cancel_while_the_model_loads_ends_the_worker(tmp_path: Path) -> None:
    """Loading can only be stopped by ending the process; the next run succeeds."""
    with Runner() as runner:
        canceller = Canceller(runner, "start", delay_s=0.0)
        failed(
            runner.run(job_in(tmp_path), QUICK, on_progress=canceller.on_progress),
            "cancelled",
        )
        assert canceller.latency_s() <= 2 * LATENESS_S
        assert list(tmp_path.iterdir()) == []
        succeeded(runner.run(job_in(tmp_path), QUICK))


def test_a_cancel_when_nothing_runs_does_nothing(runner: Runner, tmp_path: Path) -> None:
    """A cancel without a run does not affect the next run."""
    runner.cancel()
    succeeded(runner.run(job_in(tmp_path), QUICK))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_ended_while_writing_leaves_nothing_behind(
    number: signal.Signals, tmp_path: Path, large: Path
) -> None:
    """No full or partial file is left, whichever signal was sent."""
    hurried = Settings(engine="openvino", network_size=64, timeout_s=2.0)
    with Runner() as runner:
        outcome = runner.run(
            job_in(tmp_path, large),
            hurried,
            on_progress=once_in("write", lambda: _send_when_writing(runner, tmp_path, number)),
        )
    assert failed(outcome, "crash" if number == signal.SIGKILL else "timeout").stage == "write"
    assert list(tmp_path.iterdir()) == []


def _send_when_writing(runner: Runner, folder: Path, number: signal.Signals) -> None:
    """Send a signal to the worker once its temporary output file exists."""
    end = time.perf_counter() + 1.0
    while not list(folder.iterdir()) and time.perf_counter() < end:
        time.sleep(0.005)
    assert [path.suffix for path in folder.iterdir()] == [".part"]
    os.kill(worker_of(runner), number)


def test_a_worker_ended_while_writing_leaves_nothing_behind_beside_a_warm_one(
    tmp_path: Path, large: Path
) -> None:
    """The partial file of a dead worker is removed while another worker is alive."""
    folder = tmp_path / "out"
    folder.mkdir()
    with Runner(warm_bytes=2**40) as runner:
        succeeded(runner.run(job_in(tmp_path), replace(QUICK, network_size=96)))
        other = worker_of(runner)
        outcome = runner.run(
            job_in(folder, large),
            QUICK,
            on_progress=once_in(
                "write", lambda: _send_when_writing(runner, folder, signal.SIGKILL)
            ),
        )
        assert failed(outcome, "crash").stage == "write"
        assert runner.worker_pids == (other,)
    assert list(folder.iterdir()) == []


def test_a_deadline_of_several_pictures_says_whose_it_is(tmp_path: Path) -> None:
    """The deadline applies to each picture, and a group has the sum."""
    hurried = replace(QUICK, batch_size=2, timeout_s=0.1)
    jobs = [Job(input=str(ASTRONAUT), output=str(tmp_path / f"{i}.png")) for i in range(2)]
    with Runner() as runner:
        runner.run_together(jobs, replace(hurried, timeout_s=60.0))

        def stop(*_: object) -> None:
            os.kill(worker_of(runner), signal.SIGSTOP)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Meter, "reset_peak", stop)
            runs = runner.run_together(jobs, hurried)
    told = {str(failed(run, "timeout").message) for run in runs}
    assert told == {
        "the run of 2 pictures passed its deadline of 100 ms a picture (timeout_s) and was ended; "
        "raise it, or choose a faster setting"
    }


# Pictures that are read while others are written


def test_figures_of_pictures_read_ahead_add_up(tmp_path: Path) -> None:
    """Stages sum to the total, and a peak that includes reading ahead is not recorded."""
    jobs = [Job(input=str(ASTRONAUT), output=str(tmp_path / f"{i}.png")) for i in range(3)]
    with Runner() as runner:
        came = runner.run_together(jobs[:1], QUICK)
        known = Measurements(user_cache_folder())
        key = resolve(QUICK, read_machine()).measurement_key
        before = known.find_peak(key)
        assert before is not None
        came += runner.run_together(jobs[1:2], QUICK, following=jobs[2:])
        after = known.find_peak(key)
        assert after is not None
        assert after.run_bytes == before.run_bytes
        came += runner.run_together(jobs[2:], QUICK)
    for one in came:
        stages_s = succeeded(one).stages_s
        assert succeeded(one).total_s == pytest.approx(sum(stages_s.values()))
        assert list(stages_s) == ["read_small", "normalise", "predict", "matte", "write"]
    files = [Path(job.output).read_bytes() for job in jobs]
    assert files[0] == files[1] == files[2]


def test_a_crash_while_reading_ahead_is_no_fault_of_the_picture_that_is_written(
    hostile: Runner, tmp_path: Path, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker writes the picture without reading ahead, and the next picture succeeds."""
    out, scaled = tmp_path / "out", replace(QUICK, max_side=1500)
    out.mkdir()
    hostile.close()
    monkeypatch.setenv("HOSTILE_START", "dies-reading-ahead")
    succeeded(hostile.run_together([job_in(out)], QUICK)[0])
    pid, following = (
        worker_of(hostile),
        Job(input=str(ASTRONAUT), output=str(tmp_path / "next.png")),
    )
    came = hostile.run_together([job_in(out, large)], scaled, following=[following])
    assert succeeded(came[0]).run_index == 0
    assert worker_of(hostile) != pid
    assert [path.name for path in out.iterdir()] == ["out.png"]
    succeeded(hostile.run_together([following], QUICK)[0])
    hostile.close()


def test_a_cancel_ends_the_writing_and_the_reading_ahead(tmp_path: Path, large: Path) -> None:
    """The run ends in time, no file is left, and the same worker does the next run."""
    following = [Job(input=str(large), output=str(tmp_path / f"{i}.png")) for i in range(8)]
    with Runner() as runner:
        succeeded(runner.run_together([job_in(tmp_path)], QUICK)[0])
        (tmp_path / "out.png").unlink()
        pid, cancelled_at = worker_of(runner), [0.0]

        def cancel_when_writing() -> None:
            end = time.perf_counter() + 30
            while not list(tmp_path.iterdir()) and time.perf_counter() < end:
                time.sleep(0.005)
            cancelled_at[0] = time.perf_counter()
            runner.cancel()

        thread = threading.Thread(target=cancel_when_writing)
        thread.start()
        came = runner.run_together([job_in(tmp_path, large)], QUICK, following=following)
        ended_at = time.perf_counter()
        thread.join()
        assert ended_at - cancelled_at[0] <= 2 * LATENESS_S
        failed(came[0], "cancelled")
        assert list(tmp_path.iterdir()) == []
        succeeded(runner.run_together([job_in(tmp_path)], QUICK)[0])
        assert worker_of(runner) == pid


@pytest.mark.parametrize(
    ("limit_bytes", "runs", "peak_bytes", "has_room"),
    [
        pytest.param(None, 1, 0, True, id="no-limit"),
        pytest.param(300 * MIB, 1, 100 * MIB, False, id="first-run"),
        pytest.param(300 * MIB, 2, 0, False, id="peak-unknown"),
        pytest.param(300 * MIB, 2, 236 * MIB, True, id="just-enough"),
        pytest.param(300 * MIB, 2, 236 * MIB + 1, False, id="too-little"),
    ],
)
def test_pictures_are_read_ahead_where_the_limit_leaves_room(
    limit_bytes: int | None, runs: int, peak_bytes: int, has_room: bool
) -> None:
    """The room is the limit minus the highest peak so far, which is known after the first run."""
    worker: Any = SimpleNamespace(runs=runs, peak_bytes=peak_bytes)
    limit = None if limit_bytes is None else MemoryLimit(size_bytes=limit_bytes)
    assert workers.has_room(worker, limit) is has_room


@pytest.mark.parametrize(
    ("kind", "stage", "is_followed", "expected"),
    [
        pytest.param("crash", "write", True, True, id="crash"),
        pytest.param("out_of_memory", "write", True, True, id="memory"),
        pytest.param("crash", "write", False, False, id="nothing-read-ahead"),
        pytest.param("out_of_memory", "predict", True, False, id="before-reading-ahead"),
        pytest.param("timeout", "write", True, False, id="timeout"),
        pytest.param("cancelled", "write", True, False, id="cancelled"),
    ],
)
def test_a_run_is_repeated_alone_only_where_reading_ahead_may_have_ended_it(
    kind: Any, stage: str, is_followed: bool, expected: bool
) -> None:
    """Deadlines, cancels and failures in the network belong to the picture itself."""
    following = (Job(input="next.png", output="out.png"),) if is_followed else ()
    turn = _Call(settings=QUICK, warnings=(), is_together=True, following=following)
    assert _may_be_of_others(FailedRunError(kind, Message("it failed"), stage), turn) is expected


def test_a_second_thread_is_told_busy(runner: Runner, tmp_path: Path) -> None:
    """The second run of a slot fails with busy at once, and the first is not affected."""
    second: list[Result | Failure] = []

    def run_second() -> None:
        thread = threading.Thread(target=lambda: second.append(runner.run(job_in(tmp_path), QUICK)))
        thread.start()
        thread.join()

    first = runner.run(job_in(tmp_path), QUICK, on_progress=once_in("predict", run_second))
    succeeded(first)
    assert failed(second[0], "busy").stage == "prepare"


# Workers that crash


@pytest.mark.parametrize(
    ("picture", "kind", "words"),
    [
        pytest.param("abort", "crash", "SIGABRT", id="abort"),
        pytest.param("segfault", "crash", "SIGSEGV", id="segfault"),
        pytest.param("killed", "crash", "SIGKILL; the system may have run out", id="kill-9"),
        pytest.param(
            "exit", "crash", "exit code 3; last log line: the sky is falling", id="exit-code"
        ),
        pytest.param("rubbish", "crash", "rubbish', which is not a message", id="rubbish"),
        pytest.param("half", "crash", "exit code 0", id="half-a-line"),
        pytest.param("hollow", "crash", "which is not a message", id="event-without-content"),
        pytest.param("close", "crash", "closed its pipe but did not end", id="pipe-closed"),
        pytest.param("hang", "timeout", "deadline of", id="hang"),
        pytest.param("half-and-hang", "timeout", "deadline of", id="half-a-line-and-hang"),
        pytest.param("chatter", "timeout", "deadline of", id="chatter"),
    ],
)
def test_a_worker_that_goes_wrong_is_a_failure_and_the_next_run_works(
    picture: str, kind: str, words: str, hostile: Runner, tmp_path: Path
) -> None:
    """The message names the end, no file is left, and another worker does the next run."""
    settings = Settings(engine="openvino", network_size=64, timeout_s=5.0)
    hurried = Settings(
        engine="openvino", network_size=64, timeout_s=0.5 if kind == "timeout" else 5.0
    )
    before = succeeded(hostile.run(job_in(tmp_path), settings))
    (tmp_path / "out.png").unlink()
    pid, started = worker_of(hostile), time.perf_counter()
    failure = failed(hostile.run(job_in(tmp_path, told(tmp_path, picture)), hurried), kind)
    assert time.perf_counter() - started <= 0.5 + 2 * LATENESS_S
    assert words in str(failure.message)
    assert failure.stage == "predict"
    assert failure.run_index == before.run_index + 1
    assert json.loads(json.dumps(failure.to_dict()))["kind"] == kind
    assert not is_running(pid)
    assert not (tmp_path / "out.png").exists()
    succeeded(hostile.run(job_in(tmp_path), settings))
    assert worker_of(hostile) != pid


@pytest.mark.parametrize(
    ("picture", "kind", "words"),
    [
        pytest.param("memory", "out_of_memory", "smaller network_size", id="no-memory"),
        pytest.param("unforeseen", "engine_error", "please report it: KeyError", id="unforeseen"),
    ],
)
def test_a_worker_that_can_tell_its_trouble_is_kept(
    picture: str, kind: str, words: str, hostile: Runner, tmp_path: Path
) -> None:
    """The worker reports the error, and the same worker does the next run."""
    failure = failed(hostile.run(job_in(tmp_path, told(tmp_path, picture)), QUICK), kind)
    pid = worker_of(hostile)
    assert words in str(failure.message)
    assert failure.stage == "predict"
    succeeded(hostile.run(job_in(tmp_path), QUICK))
    assert worker_of(hostile) == pid


@pytest.mark.parametrize("picture", ["noise", "flood"])
def test_noise_on_fd_1_and_2_neither_confuses_nor_blocks(
    picture: str, hostile: Runner, tmp_path: Path
) -> None:
    """Megabytes of output that look like messages are separated from the messages."""
    result = succeeded(hostile.run(job_in(tmp_path, told(tmp_path, picture)), QUICK))
    assert result.output_bytes == (tmp_path / "out.png").stat().st_size


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        pytest.param("exit", "exit code 7", id="ends"),
        pytest.param("rubbish", "Hello from a library", id="rubbish"),
        pytest.param("endless", "xxx', which is not a message", id="endless-line"),
        pytest.param("empty", "not a message", id="event-without-content"),
        pytest.param("list", "[1, 2]", id="not-an-object"),
        pytest.param("unknown", "joy", id="unknown-event"),
        pytest.param("ready-then-end", "exit code 0", id="ready-and-gone"),
    ],
)
def test_a_worker_that_does_not_start_is_a_crash_and_the_next_one_may(
    fault: str, words: str, hostile: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error before the first message is reported, and the next run succeeds."""
    hostile.close()
    with monkeypatch.context() as patch:
        patch.setenv("HOSTILE_START", fault)
        failure = failed(hostile.run(job_in(tmp_path), QUICK), "crash")
    assert words in str(failure.message)
    assert failure.stage in ("start", "load")
    assert hostile.worker_pid is None
    succeeded(hostile.run(job_in(tmp_path), QUICK))


def test_a_python_that_cannot_be_started_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's reason is reported, no file descriptor leaks, and the next run succeeds."""
    with Runner() as runner:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "executable", str(tmp_path / "absent"))
            before = len(list(Path("/proc/self/fd").iterdir()))
            failure = failed(runner.run(job_in(tmp_path), QUICK), "crash")
            assert len(list(Path("/proc/self/fd").iterdir())) == before
        assert "No such file" in str(failure.message)
        assert failure.stage == "start"
        succeeded(runner.run(job_in(tmp_path), QUICK))


def test_a_worker_killed_while_running_is_a_crash(tmp_path: Path) -> None:
    """The message names SIGKILL when the worker is killed from outside."""
    with Runner() as runner:
        outcome = runner.run(
            job_in(tmp_path),
            SLOW["openvino"],
            on_progress=once_in("predict", lambda: os.kill(worker_of(runner), signal.SIGKILL)),
        )
        assert "SIGKILL" in str(failed(outcome, "crash").message)
        assert runner.worker_pid is None
        succeeded(runner.run(job_in(tmp_path), QUICK))


@pytest.mark.parametrize("is_noticed", [True, False], ids=["long-ago", "just-now"])
def test_a_worker_killed_while_idle_is_replaced_in_silence(
    is_noticed: bool, tmp_path: Path
) -> None:
    """The next run starts another worker, even if it was first sent to the dying one."""
    with Runner() as runner:
        succeeded(runner.run(job_in(tmp_path), QUICK))
        pid = worker_of(runner)
        os.kill(pid, signal.SIGKILL)
        if is_noticed:
            assert ends_within(pid, 2)
        assert succeeded(runner.run(job_in(tmp_path), QUICK)).run_index == 0
        assert worker_of(runner) != pid


@pytest.mark.parametrize("when", ["idle", "running"])
def test_a_ctrl_c_does_not_reach_the_worker(when: str, runner: Runner, tmp_path: Path) -> None:
    """SIGINT at a terminal reaches the whole process group, and the worker ignores it.

    The parent process decides what happens to the run.
    """
    succeeded(runner.run(job_in(tmp_path), QUICK))
    pid = worker_of(runner)

    def interrupt() -> None:
        os.kill(pid, signal.SIGINT)

    if when == "idle":
        interrupt()
    succeeded(runner.run(job_in(tmp_path), QUICK, on_progress=once_in("predict", interrupt)))
    assert worker_of(runner) == pid


PARENT = """
import sys
from rembg_tuner.worker.pipeline import Job
from rembg_tuner.runtime.runner import Runner, _Call, _may_be_of_others
from rembg_tuner.settings.settings import Settings

slow = Settings(engine="openvino", network_size=512)
def tell(progress):
    if progress.stage == "predict" and not told:
        told.append(runner.worker_pid)
        print(runner.worker_pid, flush=True)
told = []
with Runner() as runner:
    try:
        for _ in range(20):
            runner.run(Job(input=sys.argv[1], output=sys.argv[2]), slow, on_progress=tell)
    except KeyboardInterrupt:
        print("interrupted", runner.worker_pid, flush=True)
        after = runner.run(Job(input=sys.argv[1], output=sys.argv[2]), Settings(engine="openvino"))
        print(type(after).__name__, flush=True)
"""


def running_parent(folder: Path) -> subprocess.Popen[str]:
    """Start a separate process group whose worker is busy."""
    return subprocess.Popen(
        [sys.executable, "-c", PARENT, str(ASTRONAUT), str(folder / "out.png")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_a_worker_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    """No worker is left two seconds after SIGKILL of the parent during a run."""
    with running_parent(tmp_path) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_running(pid)
        parent.kill()
        assert ends_within(pid, 2)


def test_a_ctrl_c_at_the_terminal_ends_the_run_and_leaves_the_runner_fit(tmp_path: Path) -> None:
    """KeyboardInterrupt reaches the caller, no worker or file is left, the next run succeeds."""
    with running_parent(tmp_path) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        os.killpg(parent.pid, signal.SIGINT)
        assert parent.stdout.readline() == "interrupted None\n"
        assert ends_within(pid, 1)
        assert parent.stdout.readline() == "Result\n"
        assert parent.wait(20) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]


def test_a_file_in_the_users_folder_does_not_stand_in_for_a_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker started in a folder with a queue.py imports Python's module."""
    (tmp_path / "queue.py").write_text("raise SystemExit(9)\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with Runner() as runner:
        succeeded(runner.run(job_in(tmp_path), QUICK))


# Missing or invalid inputs


@pytest.mark.parametrize("settings", [OPENVINO, Settings(engine="onnxruntime", network_size=64)])
def test_a_cache_that_cannot_be_written_is_a_warning(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run continues, and a warning names the folder."""
    (tmp_path / "file").write_bytes(b"")
    folder = tmp_path / "file" / "cache"
    monkeypatch.setenv(CACHE_VARIABLE, str(folder))
    with Runner() as runner:
        result = succeeded(runner.run(job_in(tmp_path), settings))
    [warning] = [text for text in map(str, result.warnings) if "cache" in text]
    assert f"{folder} cannot be written" in warning


def test_a_model_that_is_not_on_disk_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error explains how to get the model, and no worker is kept."""
    monkeypatch.setenv("U2NET_HOME", str(tmp_path))
    with Runner() as runner:
        failure = failed(
            runner.run(job_in(tmp_path), Settings(model="u2net", engine="onnxruntime")),
            "missing_model",
        )
        assert runner.worker_pid is None
    assert failure.stage == "prepare"
    assert "https://" in str(failure.message)
    assert str(tmp_path) in str(failure.message)


def test_a_provider_that_is_absent_is_missing(tmp_path: Path) -> None:
    """CUDA is never replaced by the CPU without an error."""
    with Runner() as runner:
        failure = failed(
            runner.run(job_in(tmp_path), Settings(engine="onnxruntime", provider="cuda")),
            "missing_provider",
        )
        assert runner.worker_pid is None
    assert failure.stage == "load"
    assert "onnxruntime-gpu" in str(failure.message)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        pytest.param(None, "missing_model", id="absent"),
        pytest.param(b"not a model\n", "bad_model", id="text"),
        pytest.param(MODEL.read_bytes()[:MIB], "bad_model", id="cut-short"),
    ],
)
def test_the_worker_lives_on_after_a_bad_model(
    content: bytes | None, kind: str, runner: Runner, tmp_path: Path
) -> None:
    """The warm worker remains, and the worker of the bad model has ended."""
    succeeded(runner.run(job_in(tmp_path), QUICK))
    pid, path = worker_of(runner), tmp_path / "bad.onnx"
    if content is not None:
        path.write_bytes(content)
    failure = failed(
        runner.run(job_in(tmp_path), Settings(engine="onnxruntime", model=str(path))), kind
    )
    assert str(path) in str(failure.message)
    assert runner.worker_pids == (pid,)
    assert succeeded(runner.run(job_in(tmp_path), QUICK)).run_index > 0
    assert worker_of(runner) == pid


def _absent(_path: Path) -> None:
    """Create no file."""


def _empty(path: Path) -> None:
    """Create a file of 0 bytes."""
    path.write_bytes(b"")


def _text(path: Path) -> None:
    """Create a text file with a picture's name."""
    path.write_text("name,age\nAda,36\n", encoding="utf-8")


def _folder(path: Path) -> None:
    """Create a folder with a picture's name."""
    path.mkdir()


def _cut_short(path: Path) -> None:
    """Create the first half of a picture."""
    content = ASTRONAUT.read_bytes()
    path.write_bytes(content[: len(content) // 2])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        pytest.param(_absent, "does not exist", id="absent"),
        pytest.param(_empty, "is empty (0 bytes)", id="empty"),
        pytest.param(_text, "is not a picture in a supported format", id="text"),
        pytest.param(_folder, "is a folder", id="folder"),
        pytest.param(_cut_short, "damaged or cut short", id="cut-short"),
    ],
)
def test_a_picture_that_cannot_be_read_is_bad_input_and_the_worker_stays(
    make: Callable[[Path], None], words: str, runner: Runner, tmp_path: Path
) -> None:
    """The error names file and reason, no file is written, and the worker does the next run."""
    succeeded(runner.run(job_in(tmp_path), QUICK))
    (tmp_path / "out.png").unlink()
    pid = worker_of(runner)
    picture = tmp_path / "picture.jpg"
    make(picture)
    failure = failed(runner.run(job_in(tmp_path, picture), QUICK), "bad_input")
    assert str(picture) in str(failure.message)
    assert words in str(failure.message)
    assert failure.input == str(picture)
    assert [path for path in tmp_path.iterdir() if path != picture] == []
    succeeded(runner.run(job_in(tmp_path), QUICK))
    assert worker_of(runner) == pid


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(
            {"event": "failed", "kind": "crash", "stage": "load", "message": 1}, id="message"
        ),
        pytest.param(
            {"event": "failed", "kind": "crash", "stage": "load", "message": {"template": 1}},
            id="template",
        ),
        pytest.param(
            {
                "event": "failed",
                "kind": "crash",
                "stage": "load",
                "message": {"template": "{a}", "params": {"a": {"path": 1}}},
            },
            id="parameter",
        ),
        pytest.param(
            {"event": "loaded", "load_s": 1, "effective": {}, "warnings": 1}, id="warnings"
        ),
        pytest.param(
            {"event": "loaded", "load_s": 1, "effective": {}, "warnings": [None]}, id="warning"
        ),
        pytest.param({"event": "done_together", "outcomes": [1]}, id="outcome"),
        pytest.param(
            {"event": "done_together", "outcomes": [{"warnings": [[]]}]}, id="outcome-warning"
        ),
    ],
)
def test_what_is_no_message_of_ours_is_rubbish(content: dict[str, object]) -> None:
    """An invalid message raises an error that ends the run, not the program."""
    with pytest.raises(InvalidAnswerError, match="which is not a message"):
        read_event(json.loads(json.dumps(content)))


def test_a_message_comes_through_the_pipe_as_it_was() -> None:
    """A message keeps its parameters and code, for one picture and for several."""
    said = Message("{path} is at {share:.0%}", code="a_code", path=Path("/a/b.png"), share=0.5)
    failed = {"event": "failed", "kind": "bad_input", "stage": "load", "message": said.to_json()}
    assert read_event(json.loads(json.dumps(failed)))["message"] == said
    outcomes = [
        {"warnings": [said.to_json()]},
        {"kind": "bad_input", "message": said.to_json(), "stage": "write"},
    ]
    read = read_event(json.loads(json.dumps({"event": "done_together", "outcomes": outcomes})))
    assert read["outcomes"][0]["warnings"] == (said,)
    assert read["outcomes"][1]["message"] == said
