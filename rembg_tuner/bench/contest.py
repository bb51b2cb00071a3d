"""Run the contestants in turn, so that what the machine does besides falls on all alike."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.errors import EngineError
from rembg_tuner.measurement import Result
from rembg_tuner.models.catalogue import EMBEDDED_FOLDER
from rembg_tuner.pipeline import Job
from rembg_tuner.presets import unnative_text
from rembg_tuner.running.load import OwnLoad
from rembg_tuner.running.runner import Runner
from rembg_tuner.settings import STOCK_ENGINE, Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from rembg_tuner.bench.pictures import BenchPicture
    from rembg_tuner.presets import Capabilities

WARM_UPS = 2  # ONNX Runtime's memory pattern is planned in the second run
_STOCK_BENCH_TIMEOUT_S = 120.0
_STOCK_SCRIPT = """
import sys, rembg
session = rembg.new_session("u2netp")
open(sys.argv[2], "wb").write(rembg.remove(open(sys.argv[1], "rb").read(), session=session))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """One setting under a name; the first of a contest is what the others are compared with."""

    name: str
    settings: Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrants:
    """Who takes part in a contest here.

    Attributes:
        present: stock first.
        left_out: by name, why this machine cannot run one.
    """

    present: list[Contestant]
    left_out: dict[str, str]


def entrants_here(able: Capabilities) -> Entrants:
    """Choose the contestants that this machine can run, and name the others."""
    left_out = {
        one.name: reason
        for one in _contestants()
        if (reason := unnative_text(one.settings.precision, one.settings.engine, able)) is not None
    }
    present = [one for one in _contestants() if one.name not in left_out]
    return Entrants(present=present, left_out=left_out)


def _contestants() -> list[Contestant]:
    """List stock rembg and ours, in each engine and precision; all with u2netp."""
    slow = _STOCK_BENCH_TIMEOUT_S
    return [
        Contestant(name="stock rembg", settings=Settings(engine="rembg", timeout_s=slow)),
        Contestant(name="onnxruntime", settings=Settings(engine="onnxruntime", timeout_s=slow)),
        Contestant(
            name="onnxruntime, no arena",
            settings=Settings(engine="onnxruntime", cpu_mem_arena=False, timeout_s=slow),
        ),
        Contestant(name="openvino fp32", settings=Settings(engine="openvino", timeout_s=slow)),
        Contestant(
            name="openvino bf16",
            settings=Settings(engine="openvino", precision="bf16", timeout_s=slow),
        ),
        Contestant(
            name="openvino int8",
            settings=Settings(engine="openvino", precision="int8", timeout_s=slow),
        ),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bout:
    """The runs of one contestant on one picture: its warm-ups, and the rounds that count.

    Attributes:
        parent_cpu_s: CPU seconds of the measuring process in each round: meter, waiting and all.
    """

    contestant: str
    picture: str
    warm_ups: list[Result]
    rounds: list[Result]
    parent_cpu_s: list[float]


def contest(
    entrants: list[Contestant],
    pictures: list[BenchPicture],
    *,
    rounds: int,
    tell: Callable[[str], None],
) -> list[Bout]:
    """Run all entrants on all pictures, in turn within each round; every worker stays warm.

    Args:
        entrants: the contestants.
        pictures: from the smallest to the largest, since memory that was taken is not always given back.
        rounds: runs that count, of each on each.
        tell: told what is being done.

    Raises:
        EngineError: a run failed; a bench with holes would compare nothing.
    """
    bouts: list[Bout] = []
    with ExitStack() as stack:
        scratch = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="rembg-tuner-bench-"))
        )
        load = OwnLoad()
        runners = {one.name: stack.enter_context(Runner(load=load)) for one in entrants}
        for picture in pictures:
            path = picture.make()
            bout = {
                e.name: Bout(
                    contestant=e.name, picture=picture.name, warm_ups=[], rounds=[], parent_cpu_s=[]
                )
                for e in entrants
            }
            for round_index in range(-WARM_UPS, rounds):
                for entrant in entrants:
                    tell(
                        f"{picture.name}: {entrant.name}, {'warm-up' if round_index < 0 else f'round {round_index + 1} of {rounds}'}"
                    )
                    before = time.process_time()
                    result = _run(runners[entrant.name], entrant, path, scratch)
                    if round_index < 0:
                        bout[entrant.name].warm_ups.append(result)
                    else:
                        bout[entrant.name].rounds.append(result)
                        bout[entrant.name].parent_cpu_s.append(time.process_time() - before)
            bouts += bout.values()
    return bouts


def _run(runner: Runner, entrant: Contestant, picture: Path, scratch: Path) -> Result:
    """Run once."""
    result = runner.run(Job(input=str(picture), output=str(scratch / "out.png")), entrant.settings)
    if not isinstance(result, Result):
        raise EngineError(
            f"the bench stops, since {entrant.name} failed on {picture.name}: {result.message}"
        )
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdStarts:
    """Wall seconds from a process's start to its end, the file written, with nothing warm before.

    Attributes:
        stock_s: `rembg.new_session` and `remove` in a fresh Python.
        ours_s: `rembg-tuner cut` in a fresh process, by name of the setting, from the second start on.
        first_s: the very first start, with an empty cache: compiling included.
    """

    picture: str
    stock_s: list[float]
    ours_s: dict[str, list[float]]
    first_s: dict[str, float]


def cold_starts(
    entrants: list[Contestant],
    picture: BenchPicture,
    *,
    rounds: int,
    tell: Callable[[str], None],
) -> ColdStarts:
    """Measure starts in turn: stock, then each of ours, and again.

    Args:
        entrants: stock is started as its users start it, ours by engine and precision.
        picture: what is cut out.
        rounds: starts that count, of each.
        tell: told what is being done.
    """
    path = picture.make()
    flags = {
        one.name: ["--engine", one.settings.engine, "--precision", one.settings.precision]
        for one in entrants
        if one.settings.engine != STOCK_ENGINE and one.settings.cpu_mem_arena
    }
    stock_s: list[float] = []
    ours_s: dict[str, list[float]] = {name: [] for name in flags}
    first_s: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="rembg-tuner-bench-") as folder:
        out = str(Path(folder) / "out.png")
        fresh = {"REMBG_TUNER_CACHE": str(Path(folder) / "cache")}
        commands = {
            name: [sys.executable, "-m", "rembg_tuner", "cut", str(path), "-o", out, *words]
            for name, words in flags.items()
        }
        stock = [sys.executable, "-c", _STOCK_SCRIPT, str(path), out]
        for name, command in commands.items():
            tell(f"first start: {name}")
            first_s[name] = _wall(command, fresh)
        _wall(stock, {})
        for index in range(rounds):
            tell(f"cold starts, round {index + 1} of {rounds}")
            stock_s.append(_wall(stock, {}))
            for name, command in commands.items():
                ours_s[name].append(_wall(command, fresh))
    return ColdStarts(picture=picture.name, stock_s=stock_s, ours_s=ours_s, first_s=first_s)


def _wall(command: list[str], variables: dict[str, str]) -> float:
    """Run a command to its end and give the wall seconds."""
    environment = {**os.environ, "U2NET_HOME": str(EMBEDDED_FOLDER), **variables}
    started = time.perf_counter()
    subprocess.run(
        command,
        env=environment,
        check=True,
        stdout=subprocess.DEVNULL,
        process_group=0,  # the terminal's Ctrl-C is this process's to handle
    )
    return time.perf_counter() - started
