"""The known peaks of settings: read before a run, updated after it."""

from __future__ import annotations

import contextlib
import logging
import math
import sqlite3
from typing import TYPE_CHECKING, Any, Literal

from rembg_tuner.base.errors import ModelError
from rembg_tuner.base.messages import Message, Quoted
from rembg_tuner.runtime.limits import why_not_fit
from rembg_tuner.runtime.measurements import MIN_RUNS, Measurements, Peak, set_older_aside
from rembg_tuner.runtime.watch import FailedRunError, OverLimitError
from rembg_tuner.settings.resolve import resolve

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rembg_tuner.runtime.limits import MemoryLimit
    from rembg_tuner.runtime.workers import RunPeak, WarmWorker
    from rembg_tuner.settings.machine import Machine
    from rembg_tuner.settings.resolve import ResolvedSettings
    from rembg_tuner.settings.settings import Settings

# The stages that decode or encode the picture, where the picture itself may use the memory.
_PICTURE_STAGES = frozenset({"read_small", "focus", "write"})
HistoryUse = Literal["own", "ignored", "visitors"]
_MAX_SEEN = 200  # settings; a visitor can request any number of them
_LOG = logging.getLogger(__name__)


class KnownPeaks:
    """The peaks measured on this machine: read, and updated except on a server."""

    def __init__(self, history: HistoryUse = "own") -> None:
        """Start without runs of this slot.

        Args:
            history: "own": a setting that will not fit is refused, and its peak is stored for later
                starts. "ignored": the same, but no setting is refused. "visitors": peaks are not
                stored, since the picture of one visitor must not cause the refusal of the next one.
        """
        self._are_remembered = history != "visitors"
        self._are_ignored = history == "ignored"
        self._seen: dict[str, int] = {}
        self._noted: dict[str, Peak] = {}
        self._started: set[str] = set()
        self._is_open = False
        self._unsaid: tuple[Message, ...] = ()

    def refuse_what_will_not_fit(
        self, asked: ResolvedSettings, limit: MemoryLimit | None, cache: Path
    ) -> int:
        """Return the peak that a setting had on this machine before.

        Returns:
            The highest known peak, pictures included, bytes; 0: the setting was never run.

        Raises:
            FailedRunError: the setting alone takes more than the limit.
        """
        key = _key_of(asked)
        if key is None:
            return 0
        seen = self._seen.get(key, 0)
        known = self._open(cache)
        try:
            own = known.find_peak(key)
            is_too_large = (
                own is not None and limit is not None and own.known_bytes > limit.size_bytes
            )
            others = _current(known, asked.machine) if is_too_large else []
        except sqlite3.Error:  # unknown: the limit is enforced while it runs
            return seen
        if limit is not None and not self._are_ignored:
            reason = why_not_fit(asked.settings, limit, own, others)
            if reason is not None:
                raise FailedRunError("out_of_memory", reason, "prepare")
        return max(seen, 0 if own is None else own.known_bytes)

    def note(
        self, asked: ResolvedSettings, worker: WarmWorker, run: RunPeak, cache: Path
    ) -> tuple[Message, ...]:
        """Store the peak of a successful run.

        The share of its pictures is stored separately.

        Returns:
            Warnings if the peak could not be stored, or if older files were renamed.
        """
        own_bytes = worker.note_run(run)
        key = _key_of(asked)
        if key is None:
            return ()
        self._see(key, worker.peak_bytes)
        known = self._open(cache)
        said, self._unsaid = self._unsaid, ()
        if worker.meter.peak_source != "vmhwm" or not worker.load_peak_rss_bytes:
            return said
        picture_bytes = 0 if math.isinf(run.picture_bytes) else int(run.picture_bytes)
        try:
            if worker.runs <= 1:
                worker.is_first = not known.was_started(key)
                self._noted.pop(key, None)
            if not self._are_remembered:
                self._note_start(known, key)
            elif self._is_news(key, worker.load_peak_rss_bytes, own_bytes, picture_bytes, asked):
                known.note_run(
                    key,
                    asked.settings,
                    load_bytes=worker.load_peak_rss_bytes,
                    run_bytes=own_bytes,
                    picture_bytes=picture_bytes,
                    is_first=worker.is_first,
                )
        except sqlite3.Error as error:
            text = Message(
                "what this setting took was not noted in {cache}: {error}",
                code="peak_not_noted",
                cache=cache,
                error=Quoted(str(error)),
            )
            return (*said, text)
        return said

    def note_ended(
        self, asked: ResolvedSettings, error: FailedRunError, worker: WarmWorker | None, cache: Path
    ) -> None:
        """Store that a setting takes more than its limit.

        Errors of the database are ignored: the next run at the limit finds the same again.
        """
        is_of_the_picture = error.stage in _PICTURE_STAGES or asked.settings.engine_spec.is_stock
        is_of_another = worker is not None and worker.is_stretched
        if not isinstance(error, OverLimitError) or not self._are_remembered:
            return
        key = _key_of(asked)
        if key is None or is_of_the_picture or is_of_another:
            return
        with contextlib.suppress(sqlite3.Error):
            self._open(cache).note_ended(key, asked.settings, error.reached_bytes)

    def _open(self, cache: Path) -> Measurements:
        """Open the database; rename the files of older versions on the first call."""
        if not self._is_open:
            self._is_open = True
            self._unsaid = set_older_aside(cache)
            if not self._are_remembered:  # a visitor cannot fix it, so it is only logged
                for text in self._unsaid:
                    _LOG.warning("%s", text)
                self._unsaid = ()
        return Measurements(cache)

    def _note_start(self, known: Measurements, key: str) -> None:
        """Store once that a setting ran here.

        Writing takes 10 to 40 ms, during which a visitor waits.
        """
        if key not in self._started:
            known.note_start(key)
            self._started.add(key)

    def _is_news(
        self, key: str, load_bytes: int, own_bytes: int, picture_bytes: int, asked: ResolvedSettings
    ) -> bool:
        """Return whether a run adds to what this slot's earlier runs showed.

        Therefore a long batch writes only a few times.
        """
        before = self._noted.get(key) or Peak(settings=asked.settings)
        now = Peak(
            settings=asked.settings,
            load_bytes=max(before.load_bytes, load_bytes),
            run_bytes=max(before.run_bytes, own_bytes),
            picture_bytes=max(before.picture_bytes, picture_bytes),
            runs=min(MIN_RUNS, before.runs + 1),
        )
        self._noted[key] = now
        return now != before

    def _see(self, key: str, peak_bytes: int) -> None:
        """Remember a peak until this process ends.

        It decides how much memory is freed for the setting, and does not cause a refusal.
        """
        highest = max(peak_bytes, self._seen.pop(key, 0))
        self._seen[key] = highest
        while len(self._seen) > _MAX_SEEN:
            del self._seen[next(iter(self._seen))]


def _key_of(asked: ResolvedSettings) -> str | None:
    """Return the measurement key; None: the file of the model is missing."""
    try:
        return asked.measurement_key
    except OSError:
        return None


def _current(known: Measurements, machine: Machine) -> list[Peak]:
    """List the peaks that were measured with the current versions and weights."""
    found = []
    for key, peak in known.all_peaks():
        with contextlib.suppress(ModelError, OSError):  # a deleted model cannot be suggested
            if resolve(peak.settings, machine).measurement_key == key:
                found.append(peak)
    return found


def picture_bytes_of(settings: Settings, outcomes: Sequence[dict[str, Any]]) -> float:
    """Return about how much memory the pictures of a run used, which ran one after another.

    The value is the maximum over the pictures, in bytes. It is infinite for the stock pipeline,
    which keeps several copies of the whole picture and does not report their size.
    """
    if settings.engine_spec.is_stock:
        return math.inf
    return float(max((one.get("picture_bytes", 0) for one in outcomes), default=0))
