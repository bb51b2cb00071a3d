"""The meters against known truths.

Memory that was touched, time that was slept, CPU that was burnt.
"""

from __future__ import annotations

import mmap
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil
import pytest

from rembg_tuner.runtime.meter import SAMPLING_INTERVAL_S, Meter
from rembg_tuner.worker.pipeline import Stages

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 2**20
PAGE_BYTES = 4096
# Reads commands, one per line: hold N (allocate N bytes and keep them), touch N (allocate and free
# N bytes), burn S (use S seconds of CPU time).
CHILD = f"""
import mmap, sys, time
kept = []
for line in sys.stdin:
    order, amount = line.split()
    if order == "burn":
        end = time.process_time() + float(amount)
        while time.process_time() < end:
            pass
    else:
        block = mmap.mmap(-1, int(amount), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        for i in range(0, int(amount), {PAGE_BYTES}):
            block[i] = 1
        kept.append(block) if order == "hold" else block.close()
    print("done", flush=True)
"""

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(sys.platform != "linux", reason="VmHWM is Linux's"),
]


class Child:
    """A child process that executes commands."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        """Keep a running child."""
        self._process = process
        self.pid = process.pid

    def do(self, order: str, amount: float) -> None:
        """Send a command, and wait until it is done."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{order} {amount}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"


@contextmanager
def running_child() -> Iterator[Child]:
    """Run a child during the block."""
    with subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        child = Child(process)
        child.do("touch", PAGE_BYTES)  # its imports are done
        yield child


@pytest.fixture
def child() -> Iterator[Child]:
    """Return a child that has allocated no memory yet."""
    with running_child() as running:
        yield running


def known(size: int | None) -> int:
    """Return a reading, which must exist."""
    assert size is not None
    return size


def test_200_mib_touched_read_200_mib(child: Child) -> None:
    """The peak grows by the touched bytes, within 5 %."""
    meter = Meter(child.pid)
    assert meter.peak_source == "vmhwm"
    before = known(meter.rss_bytes())
    meter.reset_peak()
    child.do("hold", 200 * MIB)
    assert 190 * MIB <= known(meter.peak_bytes()) - before <= 210 * MIB
    assert 190 * MIB <= known(meter.rss_bytes()) - before <= 210 * MIB


def test_a_spike_that_no_sample_saw_is_in_the_peak(child: Child) -> None:
    """Memory that was freed before a sample counts.

    The resident memory is back where it was.
    """
    meter = Meter(child.pid)
    before = known(meter.rss_bytes())
    meter.reset_peak()
    child.do("touch", 200 * MIB)
    assert known(meter.rss_bytes()) - before <= 10 * MIB
    assert 190 * MIB <= known(meter.peak_bytes()) - before <= 210 * MIB


def test_a_peak_after_a_heavier_one_is_its_own(child: Child) -> None:
    """A reset forgets earlier peaks: 50 MiB after 200 MiB read 50."""
    meter = Meter(child.pid)
    before = known(meter.rss_bytes())
    child.do("touch", 200 * MIB)
    meter.reset_peak()
    child.do("touch", 50 * MIB)
    assert 47.5 * MIB <= known(meter.peak_bytes()) - before <= 52.5 * MIB


def test_a_parents_memory_does_not_show_in_its_child() -> None:
    """A parent that uses 300 MiB while it starts a child adds nothing to the child's readings."""
    size = 300 * MIB
    with mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as block:
        for i in range(0, size, PAGE_BYTES):
            block[i] = 1
        with running_child() as child:
            meter = Meter(child.pid)
            assert 2 * MIB <= known(meter.peak_bytes()) <= 60 * MIB
            assert 2 * MIB <= known(meter.rss_bytes()) <= 60 * MIB


def test_mapped_files_are_told_apart(child: Child) -> None:
    """Anonymous memory is not counted as mapped files."""
    meter = Meter(child.pid)
    before = known(meter.rss_file_bytes())
    child.do("hold", 100 * MIB)
    assert 1 * MIB <= before <= 60 * MIB
    assert abs(known(meter.rss_file_bytes()) - before) <= 5 * MIB


def test_without_vmhwm_the_highest_sample_is_the_peak_and_is_called_sampled(
    child: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a peak in /proc it is unknown until sampled, and its source is named."""
    monkeypatch.setattr(Meter, "_can_reset", lambda _self: False)
    meter = Meter(child.pid)
    assert meter.peak_source == "sampled"
    assert meter.peak_bytes() is None
    first = meter.sample(time.perf_counter(), with_cpu=False)
    assert first is not None
    child.do("hold", 100 * MIB)
    assert meter.peak_bytes() == first.rss_bytes, "nobody has looked since"
    second = meter.sample(time.perf_counter(), with_cpu=False)
    assert second is not None
    assert meter.peak_bytes() == second.rss_bytes
    assert 95 * MIB <= second.rss_bytes - first.rss_bytes <= 105 * MIB
    meter.reset_peak()
    assert meter.peak_bytes() is None


def test_a_reset_that_the_kernel_refuses_makes_the_peak_sampled(
    child: Child, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old peak is never reported as a new one."""
    meter = Meter(child.pid)
    before: str = meter.peak_source
    monkeypatch.setattr(meter, "_folder", tmp_path / "absent")
    meter.reset_peak()
    assert (before, meter.peak_source) == ("vmhwm", "sampled")
    assert meter.rss_file_bytes() is None


def test_sleeping_50_ms_reads_50_ms() -> None:
    """A stage takes at least the sleep, and at most 100 ms more on a busy machine."""
    readings = []
    for _ in range(3):
        stages = Stages(lambda _name: None)
        with stages.stage("predict"):
            time.sleep(0.05)
        readings.append(stages.seconds["predict"])
    assert min(readings) >= 0.05
    assert min(readings) <= 0.15


def test_cpu_burnt_is_cpu_read(child: Child) -> None:
    """CPU seconds grow by the CPU time used, and not while the child sleeps."""
    meter = Meter(child.pid)
    before = meter.cpu_s() or 0.0
    child.do("burn", 0.3)
    burnt = (meter.cpu_s() or 0.0) - before
    assert 0.28 <= burnt <= 0.45  # the kernel counts in ticks of 10 ms
    time.sleep(0.2)
    assert (meter.cpu_s() or 0.0) - before - burnt <= 0.03


def test_a_sample_counts_from_where_it_was_told(child: Child) -> None:
    """t_s is the time since the given moment."""
    since = time.perf_counter()
    time.sleep(0.05)
    sample = Meter(child.pid).sample(since, with_cpu=True)
    assert sample is not None
    assert 0.05 <= sample.t_s <= 0.5


def test_a_process_that_is_gone_reads_none() -> None:
    """Unknown is None, never 0 and never an error."""
    with running_child() as child:
        meter = Meter(child.pid)
        assert known(meter.rss_bytes()) > MIB
    assert meter.rss_bytes() is None
    assert meter.peak_bytes() is None
    assert meter.rss_file_bytes() is None
    assert meter.cpu_s() is None
    assert meter.sample(0.0, with_cpu=True) is None


def test_metering_costs_little_cpu(child: Child) -> None:
    """Sampling every 20 ms takes at most 1.5 % of a core, including the wait.

    On a slow virtual machine, waking up alone takes half of that. There the meter is compared with
    psutil, in alternating samples.
    """
    meter, process = Meter(child.pid), psutil.Process(child.pid)
    found: list[tuple[float, float]] = []
    while len(found) < 8 and not any(ours <= max(0.015, 0.85 * theirs) for ours, theirs in found):
        started, took_s = time.perf_counter(), [0.0, 0.0]
        for i in range(60):
            before_s = time.thread_time()  # no other thread's pool
            time.sleep(SAMPLING_INTERVAL_S)
            with_cpu = i % 20 < 2
            if i % 2:
                process.memory_info()
                if with_cpu:
                    process.cpu_times()
            else:
                meter.sample(started, with_cpu=with_cpu)
            took_s[i % 2] += time.thread_time() - before_s
        half_s = (time.perf_counter() - started) / 2
        found.append((took_s[0] / half_s, took_s[1] / half_s))
    ours, theirs = found[-1]
    assert 0 < ours <= max(0.015, 0.85 * theirs), [f"{a:.2%}, psutil {b:.2%}" for a, b in found]
