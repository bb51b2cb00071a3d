"""Run the contestants in turn, so that other work of the machine affects all alike."""

from __future__ import annotations

import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from rembg_tuner.base.errors import EngineError
from rembg_tuner.base.messages import Message
from rembg_tuner.runtime.load import OwnLoad
from rembg_tuner.runtime.runner import Runner
from rembg_tuner.settings.results import MACHINE_BUSY, Result, read_message
from rembg_tuner.worker.pipeline import Job

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rembg_tuner.base.messages import Message
    from rembg_tuner.tuning.bench.contestants import Contestant
    from rembg_tuner.tuning.bench.pictures import BenchPicture
    from rembg_tuner.tuning.bench.release_before import ReleaseBefore

# ONNX Runtime's memory pattern is planned in the second run; the network's input has one size, so
# that the next pictures need one run only, for the pages of their files.
_WARM_UPS, _WARM_UPS_NEXT = 2, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What the bench keeps of one run, of this release or of the one before.

    See `measurement.Result`.
    """

    total_s: float
    stages_s: dict[str, float]
    cpu_s: float
    start_s: float
    load_s: float
    peak_rss_bytes: int | None
    load_peak_rss_bytes: int | None
    peak_source: str
    output_bytes: int
    warnings: tuple[Message, ...]
    environment: dict[str, Any]

    @classmethod
    def of(cls, result: Mapping[str, Any]) -> Self:
        """Take the fields of a Result by name."""
        fields = {name: result[name] for name in cls.__slots__}
        return cls(**{**fields, "warnings": tuple(map(read_message, result["warnings"]))})


@dataclass(frozen=True, slots=True, kw_only=True)
class Bout:
    """The runs of one contestant on one picture: its warm-ups, and the rounds that count.

    Attributes:
        parent_cpu_s: CPU seconds of the measuring process in each round, meter and waiting
            included; empty for the release before, which another process measures.
    """

    contestant: str
    picture: str
    warm_ups: list[Run]
    rounds: list[Run]
    parent_cpu_s: list[float]

    def peak_bytes(self) -> int | None:
        """Return the setting's peak: the highest of load and all runs.

        None where it is not known.
        """
        runs = [*self.warm_ups, *self.rounds]
        peaks = [peak for run in runs for peak in (run.peak_rss_bytes, run.load_peak_rss_bytes)]
        return max((peak for peak in peaks if peak is not None), default=None)


class _Lane(Protocol):
    """The worker of one contestant."""

    def run(self, picture: Path, output: Path) -> Run:
        """Run a picture."""

    def restart(self) -> None:
        """End the worker; the next run starts another."""


class _OwnLane:
    """A worker of this release."""

    def __init__(self, one: Contestant, runner: Runner) -> None:
        self._one, self._runner = one, runner

    def run(self, picture: Path, output: Path) -> Run:
        """Run a picture; see `_Lane`."""
        job = Job(input=str(picture), output=str(output))
        result = self._runner.run(job, self._one.settings)
        if not isinstance(result, Result):
            raise EngineError(
                Message(
                    "{contestant} failed: {problem}",
                    contestant=self._one.name,
                    problem=result.message,
                )
            )
        return Run.of(result.to_dict())

    def restart(self) -> None:
        """End the worker; see `_Lane`."""
        self._runner.close()


class _BeforeLane:
    """A worker of the release before."""

    def __init__(self, one: Contestant, before: ReleaseBefore, load: OwnLoad) -> None:
        self._one, self._before, self._load = one, before, load

    def run(self, picture: Path, output: Path) -> Run:
        """Run a picture; see `_Lane`.

        Its load is ours, and our own load is no other work of its machine.
        """
        run = Run.of(self._before.run(self._one, picture, output))
        self._load.add(run.cpu_s, run.total_s)
        # Of a release whose warnings have no codes, which of them are of the load cannot be told.
        kept = tuple(one for one in run.warnings if one.code not in (None, MACHINE_BUSY))
        return replace(run, warnings=kept)

    def restart(self) -> None:
        """End the worker; see `_Lane`."""
        self._before.restart(self._one)


def contest(
    entrants: list[Contestant],
    pictures: list[tuple[BenchPicture, int]],
    *,
    tell: Callable[[str], None],
    before: ReleaseBefore | None = None,
) -> list[Bout]:
    """Run all entrants on all pictures, in turn within each round; every worker stays warm.

    Args:
        entrants: the contestants.
        pictures: each with its rounds, from the smallest to the largest, since memory that was
            taken is not always given back.
        tell: told what is being done.
        before: runs the entrants of the release before; None: there are none.

    Raises:
        EngineError: a run failed; a bench with holes would compare nothing.
    """
    bouts: list[Bout] = []
    with ExitStack() as stack:
        folder = tempfile.TemporaryDirectory(prefix="rembg-tuner-bench-")
        output = Path(stack.enter_context(folder)) / "out.png"
        lanes = _open_lanes(entrants, before, stack)
        _compile(entrants, lanes, pictures[0][0].make(), output, tell)
        for index, (picture, rounds) in enumerate(pictures):
            warm_ups = _WARM_UPS_NEXT if index else _WARM_UPS
            bouts += _bouts(lanes, picture, warm_ups, rounds, output, tell)
    return bouts


def _open_lanes(
    entrants: list[Contestant], before: ReleaseBefore | None, stack: ExitStack
) -> dict[str, _Lane]:
    """Give each contestant its own worker."""
    load = OwnLoad()
    lanes: dict[str, _Lane] = {}
    for one in entrants:
        if not one.is_before:
            lanes[one.name] = _OwnLane(
                one, stack.enter_context(Runner(load=load, history="ignored"))
            )
        elif before is not None:
            lanes[one.name] = _BeforeLane(one, before, load)
    return lanes


def _compile(
    entrants: list[Contestant],
    lanes: dict[str, _Lane],
    picture: Path,
    output: Path,
    tell: Callable[[str], None],
) -> None:
    """Start each of ours once: the first start compiles, which raises the peak of its load."""
    for one in entrants:
        if not one.settings.engine_spec.is_stock:
            tell(f"first start: {one.name}")
            lanes[one.name].run(picture, output)
            lanes[one.name].restart()


def _bouts(
    lanes: dict[str, _Lane],
    picture: BenchPicture,
    warm_ups: int,
    rounds: int,
    output: Path,
    tell: Callable[[str], None],
) -> list[Bout]:
    """Run all on one picture."""
    path = picture.make()
    bouts = {
        name: Bout(contestant=name, picture=picture.name, warm_ups=[], rounds=[], parent_cpu_s=[])
        for name in lanes
    }
    for index in range(-warm_ups, rounds):
        tell(f"{picture.name}: {'warm-up' if index < 0 else f'round {index + 1} of {rounds}'}")
        for name, lane in lanes.items():
            began_s = time.process_time()
            run = lane.run(path, output)
            if index < 0:
                bouts[name].warm_ups.append(run)
                continue
            bouts[name].rounds.append(run)
            if isinstance(lane, _OwnLane):
                bouts[name].parent_cpu_s.append(time.process_time() - began_s)
    return list(bouts.values())
