"""Budgets: the limits of a setting's memory and time, and its minimum agreement."""

from __future__ import annotations

import math
import reprlib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, TypeVar

from rembg_tuner.base.errors import SettingsError
from rembg_tuner.base.messages import Message, join_parts
from rembg_tuner.base.units import format_bytes, format_exact_bytes, format_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rembg_tuner.tuning.trials import Trial

DEFAULT_MIN_AGREEMENT = 0.97  # also the minimum for a model's int8 form
ANY = "any"  # removes a budget
_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgets:
    """The limits that a recommended setting must keep.

    Attributes:
        max_memory_bytes: limit of the peak, more than 0; None: no limit.
        max_time_s: limit of the median time of a run, more than 0; None: no limit.
        min_agreement: minimum IoU with the reference, 0 to 1; None or 0: no limit, so that an
            unknown agreement is accepted.
        models: models whose licence is allowed; None: all.
    """

    max_memory_bytes: int | None = None
    max_time_s: float | None = None
    min_agreement: float | None = DEFAULT_MIN_AGREEMENT
    models: frozenset[str] | None = None

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            SettingsError: lists every problem.
        """
        costs = {"max_memory_bytes": self.max_memory_bytes, "max_time_s": self.max_time_s}
        problems = [
            Message(
                "{budget} must be more than 0, or {any}, got {value}",
                budget=name,
                any=ANY,
                value=value,
            )
            for name, value in costs.items()
            if value is not None and not 0 < value < math.inf
        ]
        if self.min_agreement is not None and not 0 <= self.min_agreement <= 1:
            problems.append(
                Message(
                    "min_agreement must be from 0 to 1, or {any}, got {value}",
                    any=ANY,
                    value=self.min_agreement,
                )
            )
        if problems:
            raise SettingsError(problems)

    def text(self, *, with_bytes: bool = False) -> Message:
        """Return the budgets as text: `agreement at least 0.970, peak at most 300 MiB`.

        Args:
            with_bytes: add the exact bytes of the peak, to show how a size was parsed.
        """
        parts: list[Message] = []
        if self.min_agreement:
            parts.append(Message("agreement at least {least:.3f}", least=self.min_agreement))
        if self.max_memory_bytes is not None:
            write = format_exact_bytes if with_bytes else format_bytes
            parts.append(Message("peak at most {most}", most=write(self.max_memory_bytes)))
        if self.max_time_s is not None:
            parts.append(Message("time at most {most:seconds}", most=self.max_time_s))
        if with_bytes and self.models is not None:
            parts.append(Message("licence free for commercial use"))
        if not parts:
            return Message("any memory, time and agreement")
        return Message("{budgets}", budgets=join_parts(parts))

    def fits(self, trial: Trial) -> bool:
        """Return whether a measured trial keeps every budget.

        An unknown agreement does not keep `min_agreement`.
        """
        return all(share is None for share in self._excesses(trial))

    def distance(self, trial: Trial) -> tuple[float, ...]:
        """Return the distance of a measured trial from the budgets; tuples are compared in order.

        Returns:
            First the maximum over the missed budgets of (peak / max - 1), (time / max - 1) and ((1
            - agreement) / (1 - min) - 1), where a missed minimum agreement of 1 counts as infinite.
            Then, for ties, 1 - agreement if the first value is infinite, and the other shares.
        """
        shares = sorted((one for one in self._excesses(trial) if one is not None), reverse=True)
        if not shares:
            return (0.0, 0.0, 0.0, 0.0)
        disagreement = _disagreement(trial) if math.isinf(shares[0]) else 0.0
        return (shares[0], disagreement, *[*shares, 0.0, 0.0][1:3])

    def keeps_others(self, trial: Trial, axis: int) -> bool:
        """Return whether a trial keeps all budgets except one: 0 memory, 1 time, 2 agreement."""
        return all(share is None for i, share in enumerate(self._excesses(trial)) if i != axis)

    def _excesses(self, trial: Trial) -> tuple[float | None, float | None, float | None]:
        """Return the shares by which memory, time and agreement miss their budgets; None: kept."""
        peak, time_s, _ = trial.costs()
        return (
            _over(peak, self.max_memory_bytes),
            _over(time_s, self.max_time_s),
            self._agreement_excess(trial),
        )

    def _agreement_excess(self, trial: Trial) -> float | None:
        """Return the share by which the disagreement exceeds the allowed one; None: it does not."""
        if not self.min_agreement or (
            trial.agreement is not None and trial.agreement >= self.min_agreement
        ):
            return None
        allowed = 1 - self.min_agreement
        return max(0.0, _disagreement(trial) / allowed - 1) if allowed else math.inf

    def missed(self, trial: Trial) -> list[str]:
        """Return the names of the budgets that a measured trial misses."""
        shares = zip(("memory", "time", "agreement"), self._excesses(trial), strict=True)
        return [name for name, share in shares if share is not None]

    def misses(self, trial: Trial) -> list[Message]:
        """Return a text for each budget that a measured trial misses."""
        peak, time_s, _ = trial.costs()
        memory, time, agreement = self._excesses(trial)
        texts = []
        if memory is not None and self.max_memory_bytes is not None:
            shown = _apart(
                int(peak), self.max_memory_bytes, format_bytes, lambda size: f"{size:,} bytes"
            )
            texts.append(Message("peak {peak} of {most} allowed", peak=shown[0], most=shown[1]))
        if time is not None and self.max_time_s is not None:
            shown = _apart(time_s, self.max_time_s, format_seconds, lambda value: f"{value} s")
            texts.append(Message("time {time} of {most} allowed", time=shown[0], most=shown[1]))
        if agreement is not None and self.min_agreement is not None:
            texts.append(_missed_agreement(trial.agreement, self.min_agreement))
        return texts

    def to_dict(self) -> dict[str, object]:
        """Return the fields by name, ready for JSON."""
        models = None if self.models is None else sorted(self.models)
        return {
            "max_memory_bytes": self.max_memory_bytes,
            "max_time_s": self.max_time_s,
            "min_agreement": self.min_agreement,
            "models": models,
        }


def read_budgets(content: Mapping[str, object]) -> Budgets:
    """Build budgets from the result of `Budgets.to_dict`; missing budgets have their defaults.

    Raises:
        SettingsError: a budget is invalid.
    """
    values = {item.name: content[item.name] for item in fields(Budgets) if item.name in content}
    models = values.pop("models", None)
    wrong = [
        name
        for name, value in values.items()
        if value is not None and type(value) not in (int, float)
    ]
    if wrong or not (models is None or isinstance(models, list)):
        raise SettingsError(
            [Message("the budgets cannot be {content}", content=reprlib.repr(content))]
        )
    names = None if models is None else frozenset(map(str, models))
    return Budgets(**values, models=names)  # type: ignore[arg-type]  # checked above


def _over(value: float, maximum: float | None) -> float | None:
    """Return the share by which a value exceeds its maximum; None: it does not exceed it."""
    return None if maximum is None or value <= maximum else value / maximum - 1


def _disagreement(trial: Trial) -> float:
    """Return 1 - agreement, where an unknown agreement counts as 0."""
    return 1 - (trial.agreement or 0.0)


def _missed_agreement(agreement: float | None, minimum: float) -> Message:
    """Return the text of a missed agreement."""
    if agreement is None:
        return Message("agreement, which is unknown: the reference shows no clear foreground")
    shown = _apart(agreement, minimum, lambda share: f"{share:.3f}", str)
    return Message(
        "agreement {agreement}, at least {least} wanted", agreement=shown[0], least=shown[1]
    )


def _apart(
    value: _Number, limit: _Number, write: Callable[[_Number], str], exact: Callable[[_Number], str]
) -> tuple[str, str]:
    """Format two numbers; exactly if rounding would make them look the same."""
    rounded = write(value), write(limit)
    return rounded if rounded[0] != rounded[1] else (exact(value), exact(limit))
