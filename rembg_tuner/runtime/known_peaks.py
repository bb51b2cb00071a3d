"""The known peaks of settings: read before a run, noted after it."""

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

# In which the picture is decoded or encoded, so that it may be the picture that took the memory.
_PICTURE_STAGES = frozenset({"read_small", "focus", "write"})
HistoryUse = Literal["own", "ignored", "visitors"]
_MAX_SEEN = 200  # settings; a visitor can make up any number
_LOG = logging.getLogger(__name__)


class KnownPeaks:
    """Reads the measurements of this machine, and adds to them except on a server."""

    def __init__(self, history: HistoryUse = "own") -> None:
        """Know nothing of this slot's own runs yet.

        Args:
            history: "own": what will not fit is refused, and what a setting takes is kept for later
                starts. "ignored": the same, and nothing is refused. "visitors": nothing is kept,
                since a visitor's picture must not decide what the next visitor is refused.
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
            Its highest peak as far as it is known, its pictures included, bytes; 0: it was never
            run.

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
        """Note what a setting took in a run that went through.

        Its pictures' own share is kept apart.

        Returns:
            Warnings, where that could not be written, or older files were set aside.
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
        """Note that a setting takes more than its limit.

        What cannot be written is found out again.
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
        """Open the database; the files of older versions are set aside the first time."""
        if not self._is_open:
            self._is_open = True
            self._unsaid = set_older_aside(cache)
            if not self._are_remembered:  # a visitor can do nothing about it
                for text in self._unsaid:
                    _LOG.warning("%s", text)
                self._unsaid = ()
        return Measurements(cache)

    def _note_start(self, known: Measurements, key: str) -> None:
        """Note once that a setting went through here.

        Writing takes 10 to 40 ms, which a visitor waits.
        """
        if key not in self._started:
            known.note_start(key)
            self._started.add(key)

    def _is_news(
        self, key: str, load_bytes: int, own_bytes: int, picture_bytes: int, asked: ResolvedSettings
    ) -> bool:
        """Return whether a run says more than this slot's runs before.

        A long batch writes a few times only.
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
        """Remember a peak as long as this process lives, to make room by.

        Nothing is refused by it.
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
    """List the peaks that were measured with the versions and the weights of now."""
    found = []
    for key, peak in known.all_peaks():
        with contextlib.suppress(ModelError, OSError):  # a model that is gone cannot be offered
            if resolve(peak.settings, machine).measurement_key == key:
                found.append(peak)
    return found


def picture_bytes_of(settings: Settings, outcomes: Sequence[dict[str, Any]]) -> float:
    """Return about how much memory a run's pictures took by themselves, which they took one after another.

    The stock pipeline holds its picture whole, several times over, and does not say how much that
    is.
    """
    if settings.engine_spec.is_stock:
        return math.inf
    return float(max((one.get("picture_bytes", 0) for one in outcomes), default=0))
