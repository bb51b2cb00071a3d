"""Files made from a model and kept in the cache: resized graphs, converted networks."""

from __future__ import annotations

import hashlib
import json
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.child_process import AnswerTimeoutError, ChildProcess
from rembg_tuner.base.errors import CancelledError, EngineError, ModelError
from rembg_tuner.base.files import has_its_sum, making_folder, write_sum
from rembg_tuner.base.messages import Message
from rembg_tuner.base.spawning import child_environment
from rembg_tuner.engines.table import ENGINES
from rembg_tuner.models.spec import EXIT_BAD_MODEL, verify

if TYPE_CHECKING:
    from collections.abc import Callable

    from rembg_tuner.engines.spec import Derived
    from rembg_tuner.models.spec import ModelSpec
    from rembg_tuner.settings.settings import Settings

_TIMEOUT_S = 600.0
_FORM = 3  # increased when the content changes, so that older files are not used


def wanted_of(settings: Settings, model: ModelSpec) -> Derived | None:
    """Return the derived file that a run needs; None: the released file is used."""
    derive = ENGINES[settings.engine].derive
    return derive(settings, model) if derive else None


def prepare(
    settings: Settings,
    model: ModelSpec,
    cache: Path,
    *,
    is_cancelled: Callable[[], bool],
    on_start: Callable[[], None],
) -> ModelSpec:
    """Return a model whose `graph_path` is the file that the engine loads; make it if needed.

    Args:
        settings: engine, network_size and batch_size are read.
        model: the model on disk.
        cache: the folder of the derived files.
        is_cancelled: called 20 times per second during the conversion.
        on_start: called before a conversion starts.

    Raises:
        ModelError: the file is damaged, or does not support another size.
        EngineError: a required tool is not installed, or it failed.
        OSError: the derived file cannot be written.
        CancelledError: `is_cancelled` returned true.
    """
    wanted = wanted_of(settings, model)
    if wanted is None:
        return model
    key = [verify(model), _FORM, sorted(wanted.request().items())]
    name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
    target = cache / f"{wanted.do}-{name}{wanted.endings[0]}"
    parts = [target.with_suffix(ending) for ending in wanted.endings]
    if not all(has_its_sum(path) for path in parts):  # missing, damaged, or one of a pair
        on_start()
        _make(wanted, Path(model.path), target, is_cancelled)
    return replace(model, graph_path=str(target))


def _make(wanted: Derived, source: Path, target: Path, is_cancelled: Callable[[], bool]) -> None:
    """Make the files in a temporary folder, and rename them when they are complete."""
    with making_folder(target.parent) as scratch:
        _convert(wanted, source, scratch / target.name, is_cancelled)
        for made in list(scratch.iterdir()):
            write_sum(made)
        for made in scratch.iterdir():
            made.replace(target.with_name(made.name))


def _convert(wanted: Derived, source: Path, target: Path, is_cancelled: Callable[[], bool]) -> None:
    """Run the `conversion` module in a child process.

    Raises:
        CancelledError: it was cancelled.
        ModelError, EngineError: it exceeded the time limit, failed or was killed.
    """
    request = json.dumps({**wanted.request(), "source": str(source), "target": str(target)})
    command = (sys.executable, "-P", "-m", "rembg_tuner.worker.conversion", request)
    process = ChildProcess(command, child_environment())
    try:
        said = process.read_to_end(_TIMEOUT_S, is_cancelled=is_cancelled)
    except CancelledError as error:
        cancelled = Message("the run was cancelled while its model was converted")
        raise CancelledError(cancelled) from error
    except AnswerTimeoutError as error:
        raise ModelError(
            Message(
                "the model could not be converted within {limit_s:g} s; leave network_size at 0, or"
                " choose another engine",
                limit_s=_TIMEOUT_S,
            )
        ) from error
    finally:
        process.close()
    code = process.exit_code or 0
    if code < 0:
        raise EngineError(
            Message(
                "the process that converts the model was ended by {signal}; the system may have run"
                " out of memory; choose a smaller network_size or batch_size",
                signal=signal.Signals(-code).name,
            )
        )
    if code:
        kind = ModelError if code == EXIT_BAD_MODEL else EngineError
        raise kind(_reason_of("".join(said.strip().splitlines()[-1:])))


def _reason_of(line: str) -> Message:
    """Parse the reason that `conversion` wrote."""
    try:
        return Message.from_json(json.loads(line))
    except ValueError:
        return Message("no reason was given")
