"""Find the convolutions that must stay in floats; independent of graphs, engines and pictures."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from rembg_tuner.base.errors import SettingsError
from rembg_tuner.base.messages import Message
from rembg_tuner.base.units import format_guess_range

_STRETCHES = 12  # approximately the number of stages of U2-Net
_MAX_LEFT_OUT = 12
_LOOKED_INTO = 4  # the worst stretches, whose convolutions are tried one by one


# A candidate takes 1.4 to 3.1 times as long as its pictures in fp32, measured with u2netp and both
# engines on a busy CPU.
_CANDIDATE_SHARES = (1.0, 4.0)
_OVERHEAD_S = 1.0  # of a candidate of a very small network
_LATER_SHARE = 0.5  # of the first candidate's time: later ones have most convolutions in floats


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanAgreement:
    """Agreement of a candidate's mattes with fp32's, averaged over the judged pictures.

    Attributes:
        iou: intersection over union, 0 to 1; 1 for equal mattes.
        mae: mean absolute error, 0 to 1; 0 for equal mattes.
    """

    iou: float
    mae: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The agreement at which the search stops.

    Attributes:
        iou: the minimum, from 0 to 1.
        mae: the maximum, from 0 to 1.
    """

    iou: float = 0.97
    mae: float = 0.02

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            SettingsError: a value is not from 0 to 1.
        """
        given = {"--least-iou": self.iou, "--most-difference": self.mae}
        problems = [
            Message("{flag} must be from 0 to 1, got {value:g}", flag=flag, value=value)
            for flag, value in given.items()
            if not 0 <= value <= 1  # also true of NaN
        ]
        if problems:
            raise SettingsError(problems)

    def is_met(self, agreement: MeanAgreement) -> bool:
        """Return whether an agreement reaches the target."""
        return agreement.iou >= self.iou and agreement.mae <= self.mae


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatConvolution:
    """A convolution that stays in floats.

    Attributes:
        node: its name.
        costs_mae, costs_iou: loss of agreement if only this convolution is in int8.
    """

    node: str
    costs_mae: float
    costs_iou: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """The result of a search.

    Attributes:
        left_out: the convolutions that stay in floats: the graph's last one, then by decreasing
            loss of agreement.
        everything: agreement with all convolutions in int8.
        agreement: agreement with these left out.
    """

    left_out: tuple[FloatConvolution, ...]
    everything: MeanAgreement
    agreement: MeanAgreement


@dataclass(slots=True, kw_only=True)
class Pace:
    """The time that candidates take, to estimate the remaining time.

    Attributes:
        picture_s: time of one picture in fp32, seconds; used until the first candidate was tried.
        pictures: number of pictures that a candidate runs on.
        closing: the work after the search, as a number of candidates.
        clock: returns seconds.
        spent_s: time of each candidate so far, seconds.
    """

    picture_s: float
    pictures: int
    closing: float
    clock: Callable[[], float] = time.perf_counter
    spent_s: list[float] = field(default_factory=list)

    def candidate_s(self) -> tuple[float, float]:
        """Return the estimated shortest and longest time of another candidate, seconds."""
        if not self.spent_s:
            low, high = (share * self.pictures * self.picture_s for share in _CANDIDATE_SHARES)
            return low, high + _OVERHEAD_S
        if len(self.spent_s) == 1:
            return _LATER_SHARE * self.spent_s[0], self.spent_s[0]
        return min(self.spent_s), max(self.spent_s)

    def left_text(self, least: int, most: int) -> str:
        """Return the estimated remaining time as text.

        Args:
            least: minimum number of candidates that follow.
            most: maximum number of candidates that follow.
        """
        low, high = self.candidate_s()
        return format_guess_range(low * (least + self.closing), high * (most + self.closing))


def find_left_out(
    convolutions: list[str],
    judge: Callable[[list[str]], MeanAgreement],
    *,
    target: Target,
    tell: Callable[[str], None],
    pace: Pace,
) -> SearchResult:
    """Find a small set of convolutions that must stay in floats.

    The loss that a part of the network causes is measured with only this part in int8. With all
    others in int8 too, the effect of one part is not visible if two parts each spoil the matte.
    The search first puts each stretch (a number of consecutive convolutions) alone into int8, then
    each convolution of the worst stretches. It then leaves out the worst convolutions, one more at
    a time, until the target is met. The graph's last convolution is always left out first: no later
    operator corrects its error, and it takes little time in floats.

    Args:
        convolutions: names, in execution order.
        judge: returns the agreement with the given convolutions left out.
        target: the search stops when it is met.
        tell: called at the start with the estimated time, and after each candidate with its
            agreement, the maximum number of candidates and the estimated remaining time.
        pace: the time of each candidate is added to it.
    """
    last, stretches = convolutions[-1], _stretches(convolutions[:-1])
    looked_into = sum(len(names) for names in stretches[:_LOOKED_INTO])
    ranking = 2 + len(stretches) + looked_into  # candidates before the first is left out
    most = ranking + min(_MAX_LEFT_OUT, looked_into + 1)
    number = count(1)
    tell(
        f"about {pace.left_text(1, most)} in all, for 1 to {most} candidates and the whole set of"
        " pictures; corrected after each candidate"
    )

    def try_one(called: str, left_out: list[str]) -> MeanAgreement:
        started = pace.clock()
        agreement, done = judge(left_out), next(number)
        pace.spent_s.append(pace.clock() - started)
        is_last = target.is_met(agreement) and (done == 1 or done > ranking)
        min_left = max(1, ranking + 1 - done)
        left = pace.left_text(0, 0) if is_last else pace.left_text(min_left, most - done)
        tell(f"candidate {done} of at most {most}, {called}: {_text(agreement)}; about {left} left")
        return agreement

    def try_alone(names: list[str]) -> MeanAgreement:
        called = names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
        return try_one(
            f"{called} alone in int8", [name for name in convolutions if name not in set(names)]
        )

    everything = try_one("all in int8", [])
    if target.is_met(everything):
        return SearchResult(left_out=(), everything=everything, agreement=everything)
    tried = [(try_alone(names), names) for names in stretches]
    tried.sort(key=lambda pair: -pair[0].mae)
    suspects = [name for _, names in tried[:_LOOKED_INTO] for name in names]
    alone = {name: try_alone([name]) for name in suspects}
    in_order = [last, *sorted(alone, key=lambda name: -alone[name].mae)]
    alone[last] = try_alone([last])
    ranked = [
        FloatConvolution(node=name, costs_mae=alone[name].mae, costs_iou=1 - alone[name].iou)
        for name in in_order
    ]
    best, best_count = everything, 0
    for i in range(1, min(_MAX_LEFT_OUT, len(ranked)) + 1):
        agreement = try_one(
            f"{i} left out, {ranked[i - 1].node} the last", [one.node for one in ranked[:i]]
        )
        if agreement.mae < best.mae:
            best, best_count = agreement, i
        if target.is_met(agreement):
            break
    return SearchResult(left_out=tuple(ranked[:best_count]), everything=everything, agreement=best)


def _stretches(names: list[str]) -> list[list[str]]:
    """Split a list into at most `_STRETCHES` parts of equal length; the last may be shorter."""
    length = max(1, -(-len(names) // _STRETCHES))
    return [names[i : i + length] for i in range(0, len(names), length)]


def _text(agreement: MeanAgreement) -> str:
    """Return an agreement as text."""
    return f"IoU {agreement.iou:.4f}, mean difference {agreement.mae:.4f}"
