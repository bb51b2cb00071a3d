"""What the settings of a slot are known to take: asked before a run, noted after it."""

from __future__ import annotations

import contextlib
import math
import sqlite3
from typing import TYPE_CHECKING, Any

from rembg_tuner.messages import Message, Quoted
from rembg_tuner.running.history import History, why_not_fit
from rembg_tuner.running.watch import FailedRunError, OverLimitError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rembg_tuner.running.warm import WarmWorker
    from rembg_tuner.settings import PeakKey, Settings

# In which the picture is decoded or encoded, so that it may be the picture that took the memory.
_PICTURE_STAGES = frozenset({"read_small", "write"})
_MAX_SEEN = 200  # settings; a visitor can make up any number


class KnownPeaks:
    """Reads the history of this machine, and adds to it unless the slot is a server's."""

    def __init__(self, *, are_remembered: bool) -> None:
        """Know nothing of this slot's own runs yet.

        Args:
            are_remembered: whether what a setting takes is kept for later starts. False on a server: a
                visitor's picture must not decide what the next visitor is refused.
        """
        self._are_remembered = are_remembered
        self._seen: dict[PeakKey, int] = {}
        self._started: set[PeakKey] = set()

    def refuse_what_will_not_fit(self, settings: Settings, limit: int | None, cache: Path) -> int:
        """Look up what a setting took here before.

        Returns:
            Its highest peak as far as it is known, bytes; 0 where it was never run.

        Raises:
            FailedRunError: that is more than the limit.
        """
        seen = self._seen.get(settings.peak_key(), 0)
        try:
            own = History(cache).look_up(settings)
            is_known_too_large = own is not None and limit is not None and own.peak_bytes > limit
            peaks = History(cache).all() if is_known_too_large else []
        except sqlite3.Error:  # what cannot be read tells nothing; the limit is kept while it runs
            return seen
        reason = None if limit is None else why_not_fit(settings, limit, peaks)
        if reason is not None:
            raise FailedRunError("out_of_memory", reason, "prepare")
        return max(seen, 0 if own is None else own.peak_bytes)

    def note(self, settings: Settings, worker: WarmWorker, cache: Path) -> Message | None:
        """Note what a setting took in a run that went through; its pictures' own share is left out.

        Returns:
            A warning where that could not be written.
        """
        self._see(settings, worker.peak_bytes)
        peak_bytes = worker.peak_of(settings)
        if not peak_bytes or worker.meter.peak_source != "vmhwm":
            return None
        history, key = History(cache), settings.peak_key()
        try:
            if self._are_remembered:
                history.remember(settings, peak_bytes)
            elif key not in self._started:  # once: writing takes 10 to 40 ms, which a visitor waits
                history.remember_started(settings)
                self._started.add(key)
        except sqlite3.Error as error:
            return Message(
                "what this setting took was not noted in {cache}: {error}",
                code="peak_not_noted",
                cache=cache,
                error=Quoted(str(error)),
            )
        return None

    def note_ended(self, settings: Settings, error: FailedRunError, cache: Path) -> None:
        """Note that a setting takes more than its limit; what cannot be written is found out again."""
        is_of_the_picture = error.stage in _PICTURE_STAGES or settings.engine_spec.is_stock
        if not isinstance(error, OverLimitError) or is_of_the_picture or not self._are_remembered:
            return
        with contextlib.suppress(sqlite3.Error):
            History(cache).remember_ended(settings, error.reached_bytes)

    def _see(self, settings: Settings, peak_bytes: int) -> None:
        """Remember a peak as long as this process lives, to make room by; nothing is refused by it."""
        key = settings.peak_key()
        highest = max(peak_bytes, self._seen.pop(key, 0))
        self._seen[key] = highest
        while len(self._seen) > _MAX_SEEN:
            del self._seen[next(iter(self._seen))]


def whole_bytes_of(settings: Settings, outcomes: Sequence[dict[str, Any]]) -> float:
    """Return about how much memory a run's pictures took by themselves.

    The stock pipeline holds its picture whole, several times over, and does not say how much that is.
    """
    if settings.engine_spec.is_stock:
        return math.inf
    return float(sum(one.get("whole_bytes", 0) for one in outcomes))
