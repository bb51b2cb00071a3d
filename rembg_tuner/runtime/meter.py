"""Measure a worker's memory and CPU from outside; the only module that uses psutil.

Peak RSS is the kernel's high-water mark (VmHWM), reset before each run by writing 5 to clear_refs.
It is exact, while samples miss short spikes. VmHWM also counts mapped files, so their size is read
separately. Where /proc does not provide it (macOS, gVisor), the peak is the highest sample, and its
source is "sampled".
"""

from __future__ import annotations

import math
import mmap
import os
import threading
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from rembg_tuner.base.messages import Message
from rembg_tuner.settings.host import read_host
from rembg_tuner.settings.results import MACHINE_BUSY, Environment, Sample

if TYPE_CHECKING:
    from collections.abc import Callable

    from rembg_tuner.settings.results import PeakSource

SAMPLING_INTERVAL_S = 0.02  # shorter costs more than 1 % of a core; longer distorts the curve
_RESET_PEAK = "5"  # proc(5): "resets the peak resident set size"
_KIB = 1024
_AVERAGED_S = 60.0  # time constant of the 1-minute load average
_MIN_S = 1e-6
_STATM_BYTES = 128  # seven numbers of pages


class Meter:
    """Readings of one process. After the process has ended, the readings are None."""

    def __init__(self, pid: int) -> None:
        """Open a process, and determine whether its peak can be read exactly."""
        self._process = psutil.Process(pid)
        self._folder = Path(f"/proc/{pid}")
        self._statm = self._open_statm()
        self.peak_source: PeakSource = "vmhwm" if self._can_reset() else "sampled"
        self._sampled_peak = 0

    def _open_statm(self) -> int | None:
        """Open the file with the resident memory; None: it does not exist.

        Reading the open file takes a quarter of the time that psutil needs to open it each time: 1
        % of a core at an interval of 20 ms.
        """
        try:
            statm = os.open(self._folder / "statm", os.O_RDONLY)
        except OSError:
            return None
        weakref.finalize(self, os.close, statm)
        return statm

    def _can_reset(self) -> bool:
        """Return whether the kernel can reset and report the peak."""
        try:
            (self._folder / "clear_refs").write_text(_RESET_PEAK, encoding="ascii")
        except OSError:
            return False
        return self._status_bytes("VmHWM") is not None

    def _status_bytes(self, key: str) -> int | None:
        """Read a size from /proc/PID/status."""
        try:
            lines = (
                (self._folder / "status").read_text(encoding="ascii", errors="replace").splitlines()
            )
        except OSError:
            return None
        for line in lines:
            if line.startswith(key + ":"):
                return int(line.split()[1]) * _KIB
        return None

    def reset_peak(self) -> None:
        """Reset the peak."""
        self._sampled_peak = 0
        if self.peak_source == "vmhwm":
            try:
                (self._folder / "clear_refs").write_text(_RESET_PEAK, encoding="ascii")
            except OSError:
                self.peak_source = "sampled"

    def peak_bytes(self) -> int | None:
        """Read the peak RSS since the last reset; None: unknown."""
        if self.peak_source == "vmhwm":
            high_water = self._status_bytes("VmHWM")
            # The kernel updates its sum of per-CPU counts only at intervals, so a sample can be
            # some KiB higher.
            return None if high_water is None else max(high_water, self._sampled_peak)
        return self._sampled_peak or None

    def rss_file_bytes(self) -> int | None:
        """Read the resident memory of mapped files; None: unknown."""
        return self._status_bytes("RssFile")

    def rss_bytes(self) -> int | None:
        """Read the resident memory; None: the process has ended."""
        rss = self._read_rss()
        self._sampled_peak = max(self._sampled_peak, rss)
        return rss or None  # a zombie process has no memory

    def _read_rss(self) -> int:
        """Read the resident memory; 0: the process has ended."""
        try:
            if self._statm is None:
                return int(self._process.memory_info().rss)
            return int(os.pread(self._statm, _STATM_BYTES, 0).split()[1]) * mmap.PAGESIZE
        except (OSError, psutil.Error):
            return 0

    def cpu_s(self) -> float | None:
        """Read the CPU seconds used since the process started, user and system; None: it ended."""
        try:
            times = self._process.cpu_times()
        except psutil.Error:
            return None
        return float(times.user + times.system)

    def runnable_s(self) -> float | None:
        """Read the seconds in which threads ran or waited for a CPU, summed over the threads.

        This is the CPU time, ended threads included, plus the waiting time of living threads where
        the kernel reports it (Linux).
        """
        cpu_s = self.cpu_s()
        return None if cpu_s is None else cpu_s + self._waited_s()

    def _waited_s(self) -> float:
        """Read how long the living threads waited for a CPU, from schedstat's second number (ns).

        Return 0 where the kernel does not report it.
        """
        waited_ns = 0
        for thread in (self._folder / "task").glob("*/schedstat"):
            try:
                waited_ns += int(thread.read_text(encoding="ascii").split()[1])
            except (OSError, IndexError):  # the thread has ended, or this kernel does not count
                continue
        return waited_ns / 1e9

    def sample(self, since: float, *, with_cpu: bool) -> Sample | None:
        """Take one sample; None: the process has ended.

        Args:
            since: the `perf_counter` value at which t_s is 0.
            with_cpu: also read the CPU time, which doubles the cost.
        """
        rss = self.rss_bytes()
        if rss is None:
            return None
        return Sample(
            t_s=time.perf_counter() - since,
            rss_bytes=rss,
            cpu_s=self.cpu_s() if with_cpu else None,
        )


def available_memory_bytes() -> int:
    """Return the memory that is available without swapping."""
    return int(psutil.virtual_memory().available)


def load_average() -> float | None:
    """Return the load average of the last minute; None: unknown."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):  # not supported by this system, or unknown
        return None


def describe_environment(versions: dict[str, str]) -> Environment:
    """Return the environment of a result.

    Args:
        versions: of the libraries, as reported by the worker.
    """
    host = read_host()
    return Environment(
        cpu=host.cpu,
        cores=host.affinity_cpus,
        quota=host.quota_cpus,
        memory_limit=host.memory_limit_bytes,
        versions={**versions, "psutil": psutil.__version__},
        load_average=load_average(),
    )


class OwnLoad:
    """The part of the 1-minute load average that is caused by our own workers.

    It is the same exponential mean, of their runnable threads. One object serves all runners of a
    process and all threads, since the workers of other slots count too.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start at zero; `clock` returns seconds."""
        self._clock = clock
        self._lock = threading.Lock()
        self._value, self._at_s = 0.0, clock()

    def add(self, runnable_s: float, elapsed_s: float) -> None:
        """Add work that has just ended.

        Args:
            runnable_s: seconds in which its threads ran or waited for a CPU, summed over threads.
            elapsed_s: wall seconds from its start until now.
        """
        elapsed_s = max(elapsed_s, _MIN_S)
        with self._lock:
            self._decay()
            self._value += runnable_s / elapsed_s * (1 - math.exp(-elapsed_s / _AVERAGED_S))

    def average(self) -> float:
        """Return the part of the load average that our workers cause, in threads."""
        with self._lock:
            self._decay()
            return self._value

    def _decay(self) -> None:
        """Reduce the average by the time that has passed since the last update."""
        now_s = self._clock()
        self._value *= math.exp(-max(0.0, now_s - self._at_s) / _AVERAGED_S)
        self._at_s = now_s


def busy_warning(own: OwnLoad) -> Message | None:
    """Return a warning if the load average without our own workers exceeds the usable CPUs.

    Return None otherwise. With a quota, this process may use only a part of the machine's CPUs, and
    the load may be on the others. Then the load must also leave fewer CPUs free than this process
    may use.
    """
    load = load_average()
    if load is None:
        return None
    others = load - own.average()
    if others <= 1:  # at least one CPU is usable, and reading the host takes 1 ms
        return None
    usable = read_host().usable_cpus
    if others <= max(usable, (os.cpu_count() or usable) - usable):
        return None
    return Message(
        "the machine was busy with other work: load average {load:.1f} without our own workers,"
        " usable CPUs {cpus}; times are longer than on a quiet machine",
        code=MACHINE_BUSY,
        load=others,
        cpus=usable,
    )
