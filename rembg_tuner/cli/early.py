"""Launch the worker that a command will most likely need, before the command is imported.

Each imports for a fifth of a second, so they do it at the same time. The engine is guessed from the
words; after a wrong guess that worker is ended and the right one is started.
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
        The worker; an empty one if none will be needed, if it is not clear which, or if no process
        can be started, which the runner reports later.
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
    """Return the engine whose worker a command line will most likely need; None: it is not clear.

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
    """Return a preset's engine and then the others by rank; none if the preset's is not ours."""
    ranked = [spec.name for spec in by_rank()]
    engine = None if preset is None else _engine_of(preset)
    if engine is None:
        return ranked
    return [engine, *ranked] if engine in ENGINES and not ENGINES[engine].is_stock else []


def _engine_of(preset: str) -> str | None:
    """Return the engine that a preset names; None: it names none, or the preset is unknown."""
    found = (_engine_in(text, preset) for text in _preset_files())
    return next((engine for engine in found if engine is not None), None)


def _value_of(flag: str, words: Sequence[str]) -> str | None:
    """Return the last value of a flag; None: it is not given."""
    found = None
    for i, word in enumerate(words):
        if word == flag and i + 1 < len(words):
            found = words[i + 1]
        elif word.startswith(f"{flag}="):
            found = word.removeprefix(f"{flag}=")
    return found


def _preset_files() -> Iterator[str]:
    """Yield the preset files' texts in the order of precedence; see `presets.read_presets`."""
    package = __file__.rsplit(os.sep, 2)[0]
    own = (f"{package}/../presets.yaml", f"{package}/presets.yaml")
    for path in (os.environ.get(_MORE_PRESETS_VARIABLE), *own):
        try:
            if path:
                with open(path, encoding="utf-8") as file:  # noqa: PTH123  # pathlib takes a while to import
                    yield file.read()
        except (OSError, ValueError):
            continue  # missing, or the command will report what is wrong with it


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
        # The measured figures have an engine too, followed by its version.
        if key == "engine" and " " not in value:
            return value
    return None


def _may_be_launched(engine: str) -> bool:
    """Return whether an engine is installed, and is not stock, whose environment takes longer."""
    spec = ENGINES.get(engine)
    return spec is not None and not spec.is_stock and all(map(_is_installed, spec.packages))


def _is_installed(package: str) -> bool:
    """Return whether a package is installed."""
    return any(os.path.isdir(f"{folder}/{package}") for folder in sys.path)  # noqa: PTH112  # as above
