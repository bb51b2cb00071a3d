"""Watch a worker's memory and CPU from outside; the only door to psutil.

Peak RSS is the kernel's own high-water mark (VmHWM), reset before each run by writing 5 to
clear_refs: exact, where samples miss short spikes. VmHWM counts mapped files too, so their part is
read beside it. Where /proc does not give it (macOS, gVisor), the highest sample is the peak, and is
called sampled.
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

SAMPLING_INTERVAL_S = 0.02  # finer costs more than 1 % of a core; coarser misses the curve's shape
_RESET_PEAK = "5"  # proc(5): "resets the peak resident set size"
_KIB = 1024
_AVERAGED_S = 60.0  # time constant of the 1-minute load average
_MIN_S = 1e-6
_STATM_BYTES = 128  # seven numbers of pages


class Meter:
    """Readings of one process. A process that is gone reads None."""

    def __init__(self, pid: int) -> None:
        """Watch a process, and find out whether its peak can be read exactly."""
        self._process = psutil.Process(pid)
        self._folder = Path(f"/proc/{pid}")
        self._statm = self._open_statm()
        self.peak_source: PeakSource = "vmhwm" if self._can_reset() else "sampled"
        self._sampled_peak = 0

    def _open_statm(self) -> int | None:
        """Open the file with the resident memory; None where there is none.

        Reading it again costs a quarter of what psutil takes to open it anew, 1 % of a core at 20
        ms.
        """
        try:
            statm = os.open(self._folder / "statm", os.O_RDONLY)
        except OSError:
            return None
        weakref.finalize(self, os.close, statm)
        return statm

    def _can_reset(self) -> bool:
        """Return whether the kernel resets and reports the peak."""
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
        """Start a new peak."""
        self._sampled_peak = 0
        if self.peak_source == "vmhwm":
            try:
                (self._folder / "clear_refs").write_text(_RESET_PEAK, encoding="ascii")
            except OSError:
                self.peak_source = "sampled"

    def peak_bytes(self) -> int | None:
        """Read the peak RSS since it was reset."""
        if self.peak_source == "vmhwm":
            high_water = self._status_bytes("VmHWM")
            # The kernel sums up its per-CPU counts only now and then: a sample can be some KiB
            # above.
            return None if high_water is None else max(high_water, self._sampled_peak)
        return self._sampled_peak or None

    def rss_file_bytes(self) -> int | None:
        """Read the part of the resident memory that is mapped files; None: unknown."""
        return self._status_bytes("RssFile")

    def rss_bytes(self) -> int | None:
        """Read the resident memory."""
        rss = self._read_rss()
        self._sampled_peak = max(self._sampled_peak, rss)
        return rss or None  # a process that has ended and was not waited for yet holds nothing

    def _read_rss(self) -> int:
        """Read the resident memory; 0 when the process is gone."""
        try:
            if self._statm is None:
                return int(self._process.memory_info().rss)
            return int(os.pread(self._statm, _STATM_BYTES, 0).split()[1]) * mmap.PAGESIZE
        except (OSError, psutil.Error):
            return 0

    def cpu_s(self) -> float | None:
        """Read the CPU seconds used since the process started, user and system."""
        try:
            times = self._process.cpu_times()
        except psutil.Error:
            return None
        return float(times.user + times.system)

    def runnable_s(self) -> float | None:
        """Read the seconds in which the process's threads ran or waited for a CPU, summed over threads.

        That is its CPU time, ended threads included, and where the kernel tells it (Linux) the
        waiting of the threads that live.
        """
        cpu_s = self.cpu_s()
        return None if cpu_s is None else cpu_s + self._waited_s()

    def _waited_s(self) -> float:
        """Read how long the living threads waited for a CPU, from schedstat's second number (ns).

        0 where not told.
        """
        waited_ns = 0
        for thread in (self._folder / "task").glob("*/schedstat"):
            try:
                waited_ns += int(thread.read_text(encoding="ascii").split()[1])
            except (OSError, IndexError):  # it ended meanwhile, or this kernel does not count
                continue
        return waited_ns / 1e9

    def sample(self, since: float, *, with_cpu: bool) -> Sample | None:
        """Take one reading.

        Args:
            since: `perf_counter` that t_s counts from.
            with_cpu: read the CPU time too, which costs as much again.
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
    except (AttributeError, OSError):  # not on this system, or unknown
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
    """What our own workers add to the 1-minute load average.

    The same exponential mean of their runnable threads.

    One object serves all runners of a process, from any thread: other slots' workers are ours too.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start with nothing; `clock` gives seconds."""
        self._clock = clock
        self._lock = threading.Lock()
        self._value, self._at_s = 0.0, clock()

    def add(self, runnable_s: float, elapsed_s: float) -> None:
        """Count work that has just ended.

        Args:
            runnable_s: seconds in which its threads ran or waited for a CPU, summed over threads.
            elapsed_s: wall seconds that it took, until now.
        """
        elapsed_s = max(elapsed_s, _MIN_S)
        with self._lock:
            self._decay()
            self._value += runnable_s / elapsed_s * (1 - math.exp(-elapsed_s / _AVERAGED_S))

    def average(self) -> float:
        """Return the part of the load average that is ours, in threads."""
        with self._lock:
            self._decay()
            return self._value

    def _decay(self) -> None:
        """Let what was counted fade until now."""
        now_s = self._clock()
        self._value *= math.exp(-max(0.0, now_s - self._at_s) / _AVERAGED_S)
        self._at_s = now_s


def busy_warning(own: OwnLoad) -> Message | None:
    """Return a sentence if the load average without our own workers exceeds the usable CPUs.

    None: it does not.

    Where a quota lets this process use a part of the machine's CPUs only, the load may be on the
    others: then it must also leave fewer CPUs than may be used here.
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
