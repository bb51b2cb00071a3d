"""Run the contestants in turn, so that other load affects all of them: warm runs, cold starts."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from rembg_tuner.base.errors import EngineError
from rembg_tuner.base.files import CACHE_VARIABLE
from rembg_tuner.base.messages import Message
from rembg_tuner.models.catalogue import EMBEDDED_FOLDER
from rembg_tuner.runtime.meter import OwnLoad
from rembg_tuner.runtime.runner import Runner
from rembg_tuner.settings.results import MACHINE_BUSY, Result, read_message
from rembg_tuner.settings.settings import flag_of
from rembg_tuner.worker.pipeline import Job

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rembg_tuner.base.messages import Message
    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.tuning.bench.contestants import Contestant
    from rembg_tuner.tuning.bench.pictures import BenchPicture
    from rembg_tuner.tuning.bench.release_before import ReleaseBefore

# ONNX Runtime plans its memory pattern in the second run. Later pictures have the same network
# input and need only one run, to map the pages of their files.
_WARM_UPS, _WARM_UPS_NEXT = 2, 1
_STOCK_SCRIPT = """
import sys, rembg
session = rembg.new_session("u2netp")
open(sys.argv[2], "wb").write(rembg.remove(open(sys.argv[1], "rb").read(), session=session))
"""
_STARTED_KNOBS = ("engine", "precision", "network_size")
# Only the starts of the previous release that the comparison needs: each takes 1 s.
_STARTED_BEFORE = frozenset({"openvino fp32", "openvino int8"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The fields of a Result that the bench uses, of this release or of the previous one."""

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
        """Build a run from the fields of a Result by name."""
        fields = {name: result[name] for name in cls.__slots__}
        return cls(**{**fields, "warnings": tuple(map(read_message, result["warnings"]))})


@dataclass(frozen=True, slots=True, kw_only=True)
class Bout:
    """The runs of one contestant on one picture: its warm-ups and its timed rounds.

    Attributes:
        contestant: its name.
        picture: the name of the picture.
        warm_ups: the runs before the rounds.
        rounds: the timed runs.
        parent_cpu_s: CPU seconds of the measuring process in each round, including meter and
            waiting; empty for the previous release, which another process measures.
    """

    contestant: str
    picture: str
    warm_ups: list[Run]
    rounds: list[Run]
    parent_cpu_s: list[float]

    def peak_bytes(self) -> int | None:
        """Return the setting's peak, the highest of load and all runs; None: unknown."""
        runs = [*self.warm_ups, *self.rounds]
        peaks = [peak for run in runs for peak in (run.peak_rss_bytes, run.load_peak_rss_bytes)]
        return max((peak for peak in peaks if peak is not None), default=None)


class _Worker(Protocol):
    """The worker of one contestant."""

    def run(self, picture: Path, output: Path) -> Run:
        """Run a picture."""

    def restart(self) -> None:
        """Stop the worker; the next run starts another."""


class _OwnWorker:
    """A worker of this release."""

    def __init__(self, one: Contestant, runner: Runner) -> None:
        self._one, self._runner = one, runner

    def run(self, picture: Path, output: Path) -> Run:
        """Run a picture; see `_Worker`."""
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
        """Stop the worker; see `_Worker`."""
        self._runner.close()


class _EarlierWorker:
    """A worker of the previous release."""

    def __init__(self, one: Contestant, before: ReleaseBefore, load: OwnLoad) -> None:
        self._one, self._before, self._load = one, before, load

    def run(self, picture: Path, output: Path) -> Run:
        """Run a picture; see `_Worker`.

        Its load is added to our own load, so that it does not count as other work of the machine.
        """
        run = Run.of(self._before.run(self._one, picture, output))
        self._load.add(run.cpu_s, run.total_s)
        # Warnings without a code are dropped, since they may be about the load.
        kept = tuple(one for one in run.warnings if one.code not in (None, MACHINE_BUSY))
        return replace(run, warnings=kept)

    def restart(self) -> None:
        """Stop the worker; see `_Worker`."""
        self._before.restart(self._one)


def contest(
    entrants: list[Contestant],
    pictures: list[tuple[BenchPicture, int]],
    *,
    log: Callable[[str], None],
    before: ReleaseBefore | None = None,
) -> list[Bout]:
    """Run all entrants on all pictures, in turn in each round; every worker stays warm.

    Args:
        entrants: the contestants.
        pictures: each with its number of rounds, from the smallest to the largest, since allocated
            memory is not always released.
        log: called with a line for each step.
        before: runs the entrants of the previous release; None: it is not measured.

    Raises:
        EngineError: a run failed, so that the bench would be incomplete.
    """
    bouts: list[Bout] = []
    with ExitStack() as stack:
        folder = tempfile.TemporaryDirectory(prefix="rembg-tuner-bench-")
        output = Path(stack.enter_context(folder)) / "out.png"
        workers = _open_workers(entrants, before, stack)
        _compile(entrants, workers, pictures[0][0].make(), output, log)
        for index, (picture, rounds) in enumerate(pictures):
            warm_ups = _WARM_UPS_NEXT if index else _WARM_UPS
            bouts += _bouts(workers, picture, warm_ups, rounds, output, log)
    return bouts


def _open_workers(
    entrants: list[Contestant], before: ReleaseBefore | None, stack: ExitStack
) -> dict[str, _Worker]:
    """Create a worker for each contestant."""
    load = OwnLoad()
    workers: dict[str, _Worker] = {}
    for one in entrants:
        if not one.is_before:
            workers[one.name] = _OwnWorker(
                one, stack.enter_context(Runner(load=load, history="ignored"))
            )
        elif before is not None:
            workers[one.name] = _EarlierWorker(one, before, load)
    return workers


def _compile(
    entrants: list[Contestant],
    workers: dict[str, _Worker],
    picture: Path,
    output: Path,
    log: Callable[[str], None],
) -> None:
    """Start each contestant except stock once: the first start compiles, which raises its peak."""
    for one in entrants:
        if not one.settings.engine_spec.is_stock:
            log(f"first start: {one.name}")
            workers[one.name].run(picture, output)
            workers[one.name].restart()


def _bouts(
    workers: dict[str, _Worker],
    picture: BenchPicture,
    warm_ups: int,
    rounds: int,
    output: Path,
    log: Callable[[str], None],
) -> list[Bout]:
    """Run all contestants on one picture."""
    path = picture.make()
    bouts = {
        name: Bout(contestant=name, picture=picture.name, warm_ups=[], rounds=[], parent_cpu_s=[])
        for name in workers
    }
    for index in range(-warm_ups, rounds):
        log(f"{picture.name}: {'warm-up' if index < 0 else f'round {index + 1} of {rounds}'}")
        for name, worker in workers.items():
            began_s = time.process_time()
            run = worker.run(path, output)
            if index < 0:
                bouts[name].warm_ups.append(run)
                continue
            bouts[name].rounds.append(run)
            if isinstance(worker, _OwnWorker):
                bouts[name].parent_cpu_s.append(time.process_time() - began_s)
    return list(bouts.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdStarts:
    """Wall seconds from the start of a process to its end, with the file written.

    Attributes:
        picture: the name of the picture.
        stock_s: `rembg.new_session` and `remove` in a new Python process.
        ours_s: `rembg-tuner cut` in a new process, by name of the setting, without the first start.
        first_s: the first start, with an empty cache, including compilation.
    """

    picture: str
    stock_s: list[float]
    ours_s: dict[str, list[float]]
    first_s: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Start:
    """A command, and the additional variables of its environment."""

    command: list[str]
    environment: dict[str, str]

    def wall_s(self) -> float:
        """Run the command to its end, and return the wall seconds."""
        environment = starting_environment(U2NET_HOME=str(EMBEDDED_FOLDER), **self.environment)
        began = time.perf_counter()
        subprocess.run(
            self.command,
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
            process_group=0,  # only this process handles the terminal's Ctrl-C
        )
        return time.perf_counter() - began


def starting_environment(**more: str) -> dict[str, str]:
    """Return the environment of a timed start: that of this process, with more variables.

    Python stores the compiled modules of a program at its first start, and an installer stores
    those of its packages. With PYTHONDONTWRITEBYTECODE, only the program under test would compile
    its modules at each start; therefore the variable is removed.
    """
    return {
        name: text
        for name, text in {**os.environ, **more}.items()
        if name != "PYTHONDONTWRITEBYTECODE"
    }


def cold_starts(
    entrants: list[Contestant],
    picture: BenchPicture,
    *,
    rounds: int,
    log: Callable[[str], None],
    before: ReleaseBefore | None = None,
) -> ColdStarts:
    """Measure starts in turn: stock, then each of our settings, and again.

    Args:
        entrants: stock starts as its users start it, ours with flags for engine, precision and
            network size.
        picture: the picture to cut out.
        rounds: number of timed starts of each entrant.
        log: called with a line for each step.
        before: starts the entrants of the previous release; None: it is not measured.
    """
    path = picture.make()
    with tempfile.TemporaryDirectory(prefix="rembg-tuner-bench-") as folder:
        words = [str(path), "-o", str(Path(folder) / "out.png")]
        stock = _Start(
            command=[sys.executable, "-c", _STOCK_SCRIPT, words[0], words[2]], environment={}
        )
        starts = {
            one.name: _start_of(one, words, Path(folder), before)
            for one in entrants
            if _is_started(one)
        }
        first_s: dict[str, float] = {}
        for name, start in starts.items():
            log(f"first start: {name}")
            first_s[name] = start.wall_s()
        stock.wall_s()
        stock_s: list[float] = []
        ours_s: dict[str, list[float]] = {name: [] for name in starts}
        for index in range(rounds):
            log(f"cold starts, round {index + 1} of {rounds}")
            stock_s.append(stock.wall_s())
            for name, start in starts.items():
                ours_s[name].append(start.wall_s())
    return ColdStarts(picture=picture.name, stock_s=stock_s, ours_s=ours_s, first_s=first_s)


def _is_started(one: Contestant) -> bool:
    """Return whether the starts include a contestant."""
    if one.settings.engine_spec.is_stock or not one.settings.cpu_mem_arena:
        return False
    return not one.is_before or one.name.split(", ", 1)[-1] in _STARTED_BEFORE


def _start_of(
    one: Contestant, words: list[str], folder: Path, before: ReleaseBefore | None
) -> _Start:
    """Return the start of a contestant, with a cache that only its release uses."""
    command = ["-m", "rembg_tuner", "cut", *words, *_flags(one.settings)]
    if one.is_before and before is not None:
        environment = {**before.environment, CACHE_VARIABLE: str(folder / "cache-before")}
        # -P: the working folder, which may contain this release, must not be on the module path
        return _Start(command=[str(before.python), "-P", *command], environment=environment)
    return _Start(
        command=[sys.executable, *command], environment={CACHE_VARIABLE: str(folder / "cache")}
    )


def _flags(settings: Settings) -> list[str]:
    """Return the knobs that differ between contestants as flags."""
    values = settings.to_dict()
    return [word for name in _STARTED_KNOBS for word in (flag_of(name), str(values[name]))]
