"""How long a trial will take, before any was measured, and how long those that are left will."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import ModelError
from rembg_tuner.models.catalogue import find_model, read_catalogue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rembg_tuner.settings.settings import Settings

# Of two cores at 2.5 GHz, in fp32: u2netp's and u2net's time at 320 px; others by the input's area.
_START_S = 1.2
_RUN_S = 0.25
_GUESSED_SIDE = 320  # px
_LARGE_BYTES = 50_000_000
_LARGE_FACTOR = 2.4
_UNKNOWN_FACTOR = 2.5  # by which another machine may be faster or slower than those two cores
# Of the logarithm of a trial's duration over its guess, which knows no engine and no number format;
# as sure as if two trials had shown it.
_DEVIATION, _DEVIATION_TRIALS = 0.35, 2


def guess_trial_s(settings: Settings, *, pictures: int, rounds: int) -> float:
    """Guess a trial's duration by the model's size and its input's side, seconds.

    Args:
        settings: of the trial.
        pictures: how many.
        rounds: timed runs of each; the warm-up counts as one more.
    """
    own_side, size_bytes = _network(settings.model)
    side = settings.network_size or own_side
    run_s = _RUN_S * (side / _GUESSED_SIDE) ** 2
    if size_bytes > _LARGE_BYTES:
        run_s *= _LARGE_FACTOR
    return _START_S + (rounds + 1) * pictures * run_s


def _network(model: str) -> tuple[int, int]:
    """Give the side of a model's input (px) and its file's size (bytes).

    A small one's where unknown.
    """
    entry = read_catalogue().get(model)
    if entry is not None:
        return entry.side, entry.bytes or entry.about_bytes or 0
    try:
        spec = find_model(model)
        return spec.side or _GUESSED_SIDE, Path(spec.path).stat().st_size
    except (ModelError, OSError):  # its trials will say so
        return _GUESSED_SIDE, 0


def left_range_s(guessed_s: float, count: int, ratios: Sequence[float]) -> tuple[float, float]:
    """Guess between what durations the trials that are left will take, 19 times of 20, seconds.

    The guess is corrected by the geometric mean of the ratios. Its range is two standard errors of
    that mean and of the mean of those that are left.

    Args:
        guessed_s: the sum of the guesses of those that are left.
        count: how many are left.
        ratios: the duration of each trial measured now over its guess, more than 0; empty: none was
            measured.
    """
    if not count:
        return 0.0, 0.0
    if not ratios:
        return guessed_s / _UNKNOWN_FACTOR, guessed_s * _UNKNOWN_FACTOR
    logs = [math.log(ratio) for ratio in ratios]
    mean = statistics.fmean(logs)
    squares = sum((one - mean) ** 2 for one in logs) + _DEVIATION_TRIALS * _DEVIATION**2
    deviation = math.sqrt(squares / (len(logs) - 1 + _DEVIATION_TRIALS))
    half = 2 * deviation * math.sqrt(1 / len(logs) + 1 / count)
    return guessed_s * math.exp(mean - half), guessed_s * math.exp(mean + half)
