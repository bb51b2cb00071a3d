"""Watch a worker's memory and CPU from outside; the only door to psutil.

Peak RSS is the kernel's own high-water mark (VmHWM), reset before each run by writing 5 to
clear_refs: exact, where samples miss short spikes. VmHWM counts mapped files too, so their part is
read beside it. Where /proc does not give it (macOS, gVisor), the highest sample is the peak, and is
called sampled.
"""

from __future__ import annotations

import mmap
import os
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from rembg_tuner.settings.host import read_host
from rembg_tuner.settings.results import Environment, Sample

if TYPE_CHECKING:
    from rembg_tuner.settings.results import PeakSource

SAMPLING_INTERVAL_S = 0.02  # finer costs more than 1 % of a core; coarser misses the curve's shape
_RESET_PEAK = "5"  # proc(5): "resets the peak resident set size"
_KIB = 1024
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
        """Open the file that tells the resident memory; None where there is none.

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
        """Try whether the kernel resets and tells the peak."""
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
        """Read how much of the resident memory is mapped files; None where not told."""
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
    """Tell the memory that could be given out now without swapping."""
    return int(psutil.virtual_memory().available)


def load_average() -> float | None:
    """Tell the processes that wanted a CPU, averaged over the last minute; None where not told."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):  # not on this system, or not told
        return None


def describe_environment(versions: dict[str, str]) -> Environment:
    """Tell the machine as it is now, for a result.

    Args:
        versions: of the libraries that ran, as the worker told them.
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
