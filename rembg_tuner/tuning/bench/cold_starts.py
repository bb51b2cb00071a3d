"""Start each contestant from nothing, in turn, and time it until its file is written."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.files import CACHE_VARIABLE
from rembg_tuner.models.catalogue import EMBEDDED_FOLDER
from rembg_tuner.settings.settings import flag_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.tuning.bench.contestants import Contestant
    from rembg_tuner.tuning.bench.pictures import BenchPicture
    from rembg_tuner.tuning.bench.release_before import ReleaseBefore

_STOCK_SCRIPT = """
import sys, rembg
session = rembg.new_session("u2netp")
open(sys.argv[2], "wb").write(rembg.remove(open(sys.argv[1], "rb").read(), session=session))
"""
_STARTED_KNOBS = ("engine", "precision", "network_size")
# Of the release before, as many as the comparison needs: each start takes a second.
_STARTED_BEFORE = frozenset({"openvino fp32", "openvino int8"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ColdStarts:
    """Wall seconds from a process's start to its end, the file written, with nothing warm before.

    Attributes:
        stock_s: `rembg.new_session` and `remove` in a fresh Python.
        ours_s: `rembg-tuner cut` in a fresh process, by name of the setting, from the second start
            on.
        first_s: the very first start, with an empty cache: compiling included.
    """

    picture: str
    stock_s: list[float]
    ours_s: dict[str, list[float]]
    first_s: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Start:
    """A command, and its environment besides this process's own."""

    command: list[str]
    environment: dict[str, str]

    def wall_s(self) -> float:
        """Run it to its end and return the wall seconds."""
        environment = starting_environment(U2NET_HOME=str(EMBEDDED_FOLDER), **self.environment)
        began = time.perf_counter()
        subprocess.run(
            self.command,
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
            process_group=0,  # the terminal's Ctrl-C is this process's to handle
        )
        return time.perf_counter() - began


def starting_environment(**more: str) -> dict[str, str]:
    """Return this process's environment for a start that is timed, with more variables.

    Python keeps a program's compiled modules from its first start on, and an installer keeps those
    of its packages. Where PYTHONDONTWRITEBYTECODE is set, only the program under test would compile
    its modules at each start.
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
    tell: Callable[[str], None],
    before: ReleaseBefore | None = None,
) -> ColdStarts:
    """Measure starts in turn: stock, then each of ours, and again.

    Args:
        entrants: stock is started as its users start it, ours by engine, precision and network
            size.
        picture: what is cut out.
        rounds: starts that count, of each.
        tell: told what is being done.
        before: starts the entrants of the release before; None: there are none.
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
            tell(f"first start: {name}")
            first_s[name] = start.wall_s()
        stock.wall_s()
        stock_s: list[float] = []
        ours_s: dict[str, list[float]] = {name: [] for name in starts}
        for index in range(rounds):
            tell(f"cold starts, round {index + 1} of {rounds}")
            stock_s.append(stock.wall_s())
            for name, start in starts.items():
                ours_s[name].append(start.wall_s())
    return ColdStarts(picture=picture.name, stock_s=stock_s, ours_s=ours_s, first_s=first_s)


def _is_started(one: Contestant) -> bool:
    """Return whether a contestant takes part in the starts."""
    if one.settings.engine_spec.is_stock or not one.settings.cpu_mem_arena:
        return False
    return not one.is_before or one.name.split(", ", 1)[-1] in _STARTED_BEFORE


def _start_of(
    one: Contestant, words: list[str], folder: Path, before: ReleaseBefore | None
) -> _Start:
    """Return how a contestant is started, with a cache of its release alone."""
    command = ["-m", "rembg_tuner", "cut", *words, *_flags(one.settings)]
    if one.is_before and before is not None:
        environment = {**before.environment, CACHE_VARIABLE: str(folder / "cache-before")}
        # -P: the working folder, which may hold this release, must not come first
        return _Start(command=[str(before.python), "-P", *command], environment=environment)
    return _Start(
        command=[sys.executable, *command], environment={CACHE_VARIABLE: str(folder / "cache")}
    )


def _flags(settings: Settings) -> list[str]:
    """Write the knobs that differ between contestants as flags."""
    values = settings.to_dict()
    return [word for name in _STARTED_KNOBS for word in (flag_of(name), str(values[name]))]
