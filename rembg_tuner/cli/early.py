"""Launch the worker that a command will most likely need before the command itself is imported.

Each imports for a fifth of a second, and so they do it at the same time. The guess is a cheap look
at the words, and nothing depends on its being right: a worker that is not wanted is ended, and the
right one is started.
"""

from __future__ import annotations

import os
import resource
import sys

from rembg_tuner.engines.table import ENGINES, by_rank
from rembg_tuner.runtime.launching import EarlyWorker, launch_worker, lean_environment

TYPE_CHECKING = False  # `typing` itself takes a while to import
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

COMMANDS = ("cut", "batch")  # of one worker each
_HELP = ("-h", "--h")  # begins --help, and what argparse takes for it
_DEFAULT_PRESET = "balanced"
_MORE_PRESETS_VARIABLE = "REMBG_TUNER_PRESETS"


def launch_early(words: Sequence[str]) -> EarlyWorker:
    """Launch the worker that a command line will most likely need.

    Args:
        words: the command and its arguments.

    Returns:
        The worker, or one that is none: where no worker will be needed, where it cannot be told
        which, and where no process can be started, which the runner finds out again and tells.
    """
    engine = guess_engine(words) if _may_launch() else None
    if engine is None:
        return EarlyWorker()
    try:
        worker = launch_worker(engine, lean_environment())
    except OSError:
        return EarlyWorker()
    from rembg_tuner.settings.host import oom_kill_count  # now that the worker is on its way

    worker.oom_kills = oom_kill_count()
    return EarlyWorker(engine, worker)


def _may_launch() -> bool:
    """Return whether the process's limits and descriptors are as usual.

    `main` looks at the others first.
    """
    if resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
        return False
    try:
        for descriptor in range(3):
            os.fstat(descriptor)
    except OSError:
        return False
    return True


def guess_engine(words: Sequence[str]) -> str | None:
    """Return the engine whose worker a command line will most likely need.

    None: none, or it cannot be told.

    Args:
        words: the command and its arguments.
    """
    if len(words) < 2 or words[0] not in COMMANDS or any(word.startswith(_HELP) for word in words):
        return None
    engine, preset = _value_of("--engine", words), _value_of("--preset", words)
    if engine is not None:
        return engine if _may_be_launched(engine) else None
    if preset is None and _value_of("--model", words) is None:
        preset = _DEFAULT_PRESET
    wanted = None if preset is None else _engine_of(preset)
    if wanted is not None and (wanted not in ENGINES or ENGINES[wanted].is_stock):
        return None
    able = (engine for engine in (wanted, *(spec.name for spec in by_rank())) if engine)
    return next((engine for engine in able if _may_be_launched(engine)), None)


def _engine_of(preset: str) -> str | None:
    """Return the engine that a preset names; None: it names none, or there is no such preset."""
    found = (_engine_in(text, preset) for text in _preset_files())
    return next((engine for engine in found if engine is not None), None)


def _value_of(flag: str, words: Sequence[str]) -> str | None:
    """Return the last value that a flag is given; None: it is not given."""
    found = None
    for i, word in enumerate(words):
        if word == flag and i + 1 < len(words):
            found = words[i + 1]
        elif word.startswith(f"{flag}="):
            found = word.removeprefix(f"{flag}=")
    return found


def _preset_files() -> Iterator[str]:
    """Read the files of presets, as `presets.read_presets` does, the one that goes before the other first."""
    package = __file__.rsplit(os.sep, 2)[0]
    own = (f"{package}/../presets.yaml", f"{package}/presets.yaml")
    for path in (os.environ.get(_MORE_PRESETS_VARIABLE), *own):
        try:
            if path:
                with open(path, encoding="utf-8") as file:  # noqa: PTH123  # pathlib takes a while to import
                    yield file.read()
        except (OSError, ValueError):
            continue  # it is not there, or the command will say what is wrong with it


def _engine_in(text: str, preset: str) -> str | None:
    r"""Find a preset's engine in a file of presets, as this program writes them; None: it is not found.

    >>> _engine_in("small:\n  settings:\n    engine: ncnn\nother:\n  for: all", "small")
    'ncnn'
    """
    _, _, rest = f"\n{text}".partition(f"\n{preset}:\n")
    for line in rest.splitlines():
        if line[:1].strip():  # the next preset
            return None
        key, _, value = line.strip().partition(": ")
        # What was measured has an engine too, with a version behind it.
        if key == "engine" and " " not in value:
            return value
    return None


def _may_be_launched(engine: str) -> bool:
    """Return whether an engine is installed, and is not the stock pipeline, whose environment takes longer to make."""
    spec = ENGINES.get(engine)
    return spec is not None and not spec.is_stock and all(map(_is_installed, spec.packages))


def _is_installed(package: str) -> bool:
    """Return whether a package is there."""
    return any(os.path.isdir(f"{folder}/{package}") for folder in sys.path)  # noqa: PTH112  # as above
