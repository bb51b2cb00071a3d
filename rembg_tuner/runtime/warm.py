"""Workers with their models loaded, kept for the next run that wants the same."""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rembg_tuner.base.units import MIB

if TYPE_CHECKING:
    from rembg_tuner.base.messages import Message
    from rembg_tuner.runtime.meter import Meter
    from rembg_tuner.runtime.process import WorkerProcess
    from rembg_tuner.settings.results import Environment
    from rembg_tuner.settings.settings import Value

_LITTLE_BYTES = 32 * MIB  # a WebP of 3 MP, decoded
Key = tuple["Value", ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPeak:
    """What a run took, bytes.

    Attributes:
        peak_bytes: of the run; None: it is not known.
        picture_bytes: about how much of it its pictures took by themselves; infinite: nobody knows.
        has_next: whether the next pictures may have been read meanwhile.
    """

    peak_bytes: int | None
    picture_bytes: float = 0.0
    has_next: bool = False


@dataclass(slots=True, kw_only=True)
class WarmWorker:
    """A worker with its model loaded.

    Attributes:
        key: what it holds: the threads' share, and the knobs that need a reload.
        peak_bytes: the highest peak of its load and runs; 0 where none is known.
        is_stretched: whether it ran a picture that took much memory by itself, of which a part
            stays in its heap: what later runs take is then not the setting's alone.
        is_first: whether it is the setting's very first here, which may have compiled.
        runs: how many it was given.
    """

    process: WorkerProcess
    meter: Meter
    key: Key
    start_s: float
    load_s: float
    baseline_rss_bytes: int | None
    load_peak_rss_bytes: int | None
    effective: dict[str, Value]
    warnings: tuple[Message, ...]
    environment: Environment
    peak_bytes: int = 0
    is_stretched: bool = False
    is_first: bool = False
    runs: int = 0

    def note_load(self) -> None:
        """Take the peak of its load into account."""
        self.peak_bytes = max(self.peak_bytes, self.load_peak_rss_bytes or 0)

    def note_run(self, run: RunPeak) -> int:
        """Take the peak of a run into account.

        Returns:
            What the run took without its pictures, bytes; 0: that is not known.
        """
        peak_bytes = run.peak_bytes or 0
        is_known = not (self.is_stretched or run.has_next or math.isinf(run.picture_bytes))
        self.peak_bytes = max(self.peak_bytes, peak_bytes)
        self.is_stretched |= run.picture_bytes > _LITTLE_BYTES
        return max(0, peak_bytes - int(run.picture_bytes)) if is_known else 0


class WarmWorkers:
    """Workers by what they hold, the least recently used first."""

    def __init__(self, bound_bytes: int | None) -> None:
        """Keep none yet.

        Args:
            bound_bytes: what the peaks of all that are kept may sum up to; None: one worker is
                kept, whatever its size, until another has its model loaded.
        """
        self._bound = bound_bytes
        self._workers: OrderedDict[Key, WarmWorker] = OrderedDict()

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids, the least recently used first."""
        return tuple(worker.process.pid for worker in self._workers.values())

    def find(self, key: Key) -> WarmWorker | None:
        """Give the worker that holds `key`, which is now the most recently used.

        None: none does.
        """
        worker = self._workers.get(key)
        if worker is None:
            return None
        if not worker.process.is_alive():
            self.drop(worker)
            return None
        self._workers.move_to_end(key)
        return worker

    def make_room(self, expected_bytes: int) -> None:
        """End the least recently used until one more fits.

        Args:
            expected_bytes: the peak that it had before; 0 where it was never run.
        """
        if self._bound is not None:
            self._shrink_to(self._bound - expected_bytes)

    def add(self, worker: WarmWorker) -> None:
        """Keep one more; without a bound, it takes the others' place."""
        if self._bound is None:
            self.close()
        self._workers[worker.key] = worker

    def settle(self) -> None:
        """End the least recently used until the rest fits.

        The last one too, if it alone does not.
        """
        if self._bound is not None:
            self._shrink_to(self._bound)

    def _shrink_to(self, bytes_left: int) -> None:
        """End the least recently used until the peaks sum up to no more than this."""
        while self._workers and sum(w.peak_bytes for w in self._workers.values()) > bytes_left:
            self.drop(next(iter(self._workers.values())))

    def drop(self, worker: WarmWorker) -> None:
        """End one."""
        if self._workers.get(worker.key) is worker:
            del self._workers[worker.key]
        worker.process.close()

    def drop_dead(self) -> None:
        """Close what is left of those that were ended."""
        for worker in [w for w in self._workers.values() if not w.process.is_alive()]:
            self.drop(worker)

    def close(self) -> None:
        """End all."""
        for worker in list(self._workers.values()):
            self.drop(worker)
