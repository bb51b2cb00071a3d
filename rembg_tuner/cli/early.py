"""Launch the worker that a command will probably need, before the command is imported.

The imports of the worker and of the command each take 0.2 s, so they run at the same time. The
engine is guessed from the arguments. After a wrong guess that worker is stopped, and another one is
started.
"""

from __future__ import annotations

import os
import resource
import sys

from rembg_tuner.engines.table import ENGINES, by_rank
from rembg_tuner.runtime.launching import EarlyWorker, launch_worker, lean_environment

TYPE_CHECKING = False  # importing `typing` takes time
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

COMMANDS = ("cut", "batch")  # commands with one worker each
_HELP = ("-h", "--h")  # prefixes of --help and of its abbreviations in argparse
_DEFAULT_PRESET = "balanced"
_MORE_PRESETS_VARIABLE = "REMBG_TUNER_PRESETS"


def launch_early(words: Sequence[str]) -> EarlyWorker:
    """Launch the worker that a command line will probably need.

    Args:
        words: the command and its arguments.

    Returns:
        The worker. It is empty if the command does not need a worker, if the engine cannot be
        guessed, or if the process cannot be started; the runner reports the latter.
    """
    engine = guess_engine(words) if _may_launch() else None
    if engine is None:
        return EarlyWorker()
    try:
        worker = launch_worker(engine, lean_environment())
    except OSError:
        return EarlyWorker()
    from rembg_tuner.settings.host import oom_kill_count  # imported while the worker starts

    worker.oom_kills = oom_kill_count()
    return EarlyWorker(engine, worker)


def _may_launch() -> bool:
    """Return whether the process has no address-space limit and all standard descriptors."""
    if resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
        return False
    try:
        for descriptor in range(3):
            os.fstat(descriptor)
    except OSError:
        return False
    return True


def guess_engine(words: Sequence[str]) -> str | None:
    """Return the engine whose worker a command line will probably need; None: unknown.

    Args:
        words: the command and its arguments.
    """
    if len(words) < 2 or words[0] not in COMMANDS or any(word.startswith(_HELP) for word in words):
        return None
    engine, preset = _value_of("--engine", words), _value_of("--preset", words)
    if engine is None and preset is None and _value_of("--model", words) is None:
        preset = _DEFAULT_PRESET
    candidates = [engine] if engine is not None else _candidates(preset)
    return next((name for name in candidates if _may_be_launched(name)), None)


def _candidates(preset: str | None) -> list[str]:
    """Return a preset's engine and then the others by rank; empty if it is stock or unknown."""
    ranked = [spec.name for spec in by_rank()]
    engine = None if preset is None else _engine_of(preset)
    if engine is None:
        return ranked
    return [engine, *ranked] if engine in ENGINES and not ENGINES[engine].is_stock else []


def _engine_of(preset: str) -> str | None:
    """Return the engine of a preset; None: the preset has none, or is unknown."""
    found = (_engine_in(text, preset) for text in _preset_files())
    return next((engine for engine in found if engine is not None), None)


def _value_of(flag: str, words: Sequence[str]) -> str | None:
    """Return the last value of a flag; None: the flag is missing."""
    found = None
    for i, word in enumerate(words):
        if word == flag and i + 1 < len(words):
            found = words[i + 1]
        elif word.startswith(f"{flag}="):
            found = word.removeprefix(f"{flag}=")
    return found


def _preset_files() -> Iterator[str]:
    """Yield the texts of the preset files in order of precedence; see `presets.read_presets`."""
    package = __file__.rsplit(os.sep, 2)[0]
    own = (f"{package}/../presets.yaml", f"{package}/presets.yaml")
    for path in (os.environ.get(_MORE_PRESETS_VARIABLE), *own):
        try:
            if path:
                # Not pathlib, whose import takes time.
                with open(path, encoding="utf-8") as file:  # noqa: PTH123
                    yield file.read()
        except (OSError, ValueError):
            continue  # missing, or invalid, which the command reports


def _engine_in(text: str, preset: str) -> str | None:
    r"""Return a preset's engine from the text of a preset file; None: it is not found.

    >>> _engine_in("small:\n  settings:\n    engine: ncnn\nother:\n  for: all", "small")
    'ncnn'
    """
    _, _, rest = f"\n{text}".partition(f"\n{preset}:\n")
    for line in rest.splitlines():
        if line[:1].strip():  # the next preset
            return None
        key, _, value = line.strip().partition(": ")
        # The measured figures have an engine entry too, with its version.
        if key == "engine" and " " not in value:
            return value
    return None


def _may_be_launched(engine: str) -> bool:
    """Return whether an engine is installed and not stock, whose environment is slow to prepare."""
    spec = ENGINES.get(engine)
    return spec is not None and not spec.is_stock and all(map(_is_installed, spec.packages))


def _is_installed(package: str) -> bool:
    """Return whether a package is installed."""
    # Not pathlib, whose import takes time.
    return any(os.path.isdir(f"{folder}/{package}") for folder in sys.path)  # noqa: PTH112
