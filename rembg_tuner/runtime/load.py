"""Whether the machine is busy with other work.

Its load average without what our own workers put on it.
"""

from __future__ import annotations

import math
import os
import threading
import time
from typing import TYPE_CHECKING

from rembg_tuner.base.messages import Message
from rembg_tuner.runtime.meter import load_average
from rembg_tuner.settings.host import read_host
from rembg_tuner.settings.results import MACHINE_BUSY

if TYPE_CHECKING:
    from collections.abc import Callable

_AVERAGED_S = 60.0  # time constant of the 1-minute load average
_LEAST_S = 1e-6


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
        elapsed_s = max(elapsed_s, _LEAST_S)
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
