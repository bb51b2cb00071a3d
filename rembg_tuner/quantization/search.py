"""Find which convolutions must stay in floats; knows nothing of graphs, engines or pictures."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from rembg_tuner.base.errors import SettingsError
from rembg_tuner.base.messages import Message
from rembg_tuner.base.units import format_guess_range

_STRETCHES = 12  # about as many as U2-Net has stages
_MOST_LEFT_OUT = 12
_LOOKED_INTO = 4  # of the stretches, the worst


# Measured with u2netp on a busy CPU, both engines: a candidate takes 1.4 to 3.1 times as long as
# its pictures in fp32 alone.
_CANDIDATE_SHARES = (1.0, 4.0)
_OVERHEAD_S = 1.0  # of a candidate of a tiny network
_LATER_SHARE = 0.5  # of the first candidate's time: the later have most convolutions in floats


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanAgreement:
    """How like fp32's the mattes of a candidate are: mean over the judged pictures."""

    iou: float
    mae: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is good enough.

    Attributes:
        iou: at least, from 0 to 1.
        mae: at most, from 0 to 1.
    """

    iou: float = 0.97
    mae: float = 0.02

    def __post_init__(self) -> None:
        """Refuse what no agreement can be held against.

        Raises:
            SettingsError: one of the two is not from 0 to 1.
        """
        given = {"--least-iou": self.iou, "--most-difference": self.mae}
        problems = [
            Message("{flag} must be from 0 to 1, got {value:g}", flag=flag, value=value)
            for flag, value in given.items()
            if not 0 <= value <= 1  # as is no NaN
        ]
        if problems:
            raise SettingsError(problems)

    def is_met(self, agreement: MeanAgreement) -> bool:
        """Tell whether an agreement is good enough."""
        return agreement.iou >= self.iou and agreement.mae <= self.mae


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatConvolution:
    """A convolution that stays in floats.

    Attributes:
        costs_mae, costs_iou: what it alone in int8, and all others in floats, costs in agreement.
    """

    node: str
    costs_mae: float
    costs_iou: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """What a search came to.

    Attributes:
        left_out: the convolutions that stay in floats: the last of the graph, then the worst first.
        everything: agreement with all of them in int8.
        agreement: with these left out.
    """

    left_out: tuple[FloatConvolution, ...]
    everything: MeanAgreement
    agreement: MeanAgreement


@dataclass(slots=True, kw_only=True)
class Pace:
    """The time that candidates take, for an estimate of the rest.

    Attributes:
        picture_s: what one picture takes in fp32, for the guess before any candidate was tried.
        pictures: that a candidate runs.
        closing: what follows the search, as a number of candidates.
        clock: which seconds are counted.
    """

    picture_s: float
    pictures: int
    closing: float
    clock: Callable[[], float] = time.perf_counter
    spent_s: list[float] = field(default_factory=list)

    def candidate_s(self) -> tuple[float, float]:
        """Return the shortest and the longest time of another candidate, seconds."""
        if not self.spent_s:
            low, high = (share * self.pictures * self.picture_s for share in _CANDIDATE_SHARES)
            return low, high + _OVERHEAD_S
        if len(self.spent_s) == 1:
            return _LATER_SHARE * self.spent_s[0], self.spent_s[0]
        return min(self.spent_s), max(self.spent_s)

    def left_text(self, least: int, most: int) -> str:
        """Return the remaining time, for people.

        Args:
            least: candidates that follow in any case.
            most: candidates that may follow.
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
    """Find the fewest convolutions that must stay in floats.

    What a part of a network does to the picture shows when it alone is in int8: leaving one out of
    many tells nothing where two of them each spoil the picture. So at first each stretch of the
    graph is put alone into int8, then each convolution of the worst stretches; the worst are left
    out, one more at a time, until the rest is good enough. The last convolution is always among
    them: nothing after it mends its error, and it costs next to nothing.

    Args:
        convolutions: names, in the order they run in.
        judge: measures agreement with some of them left out.
        target: the search ends when it is met.
        tell: called at the start with how long it may take, and after each candidate with what came
            of it, how many there may be, and how long it goes on.
        pace: is told what each candidate took.
    """
    last, stretches = convolutions[-1], _stretches(convolutions[:-1])
    looked_into = sum(len(names) for names in stretches[:_LOOKED_INTO])
    ranking = 2 + len(stretches) + looked_into  # candidates before any is left out for good
    most = ranking + min(_MOST_LEFT_OUT, looked_into + 1)
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
        least_left = max(1, ranking + 1 - done)
        left = pace.left_text(0, 0) if is_last else pace.left_text(least_left, most - done)
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
    for i in range(1, min(_MOST_LEFT_OUT, len(ranked)) + 1):
        agreement = try_one(
            f"{i} left out, {ranked[i - 1].node} the last", [one.node for one in ranked[:i]]
        )
        if agreement.mae < best.mae:
            best, best_count = agreement, i
        if target.is_met(agreement):
            break
    return SearchResult(left_out=tuple(ranked[:best_count]), everything=everything, agreement=best)


def _stretches(names: list[str]) -> list[list[str]]:
    """Cut a list into about a dozen stretches of one length."""
    length = max(1, -(-len(names) // _STRETCHES))
    return [names[i : i + length] for i in range(0, len(names), length)]


def _text(agreement: MeanAgreement) -> str:
    """Write an agreement for people."""
    return f"IoU {agreement.iou:.4f}, mean difference {agreement.mae:.4f}"
