"""Convert a model's file for an engine: `python -m rembg_tuner.worker.conversion REQUEST`.

This is a separate process because the conversion tools would otherwise stay in the memory of the
page or of a measured worker. The request is JSON. On failure, the last line of standard output is
the reason, a Message as JSON, and the exit code distinguishes an unsuitable model
(`EXIT_BAD_MODEL`) from other errors. The caller deletes the target's folder on failure, so only
files that passed a test run are kept.
"""

from __future__ import annotations

import json
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rembg_tuner.base.errors import ModelError, TunerError
from rembg_tuner.base.messages import Message, Quoted, Term
from rembg_tuner.engines.protocols import pictures_of
from rembg_tuner.engines.spec import FIT
from rembg_tuner.engines.table import ENGINES
from rembg_tuner.models import graph as graphs
from rembg_tuner.models.spec import EXIT_BAD_MODEL

if TYPE_CHECKING:
    import onnx

_EXIT_FAILED = 1
_PROBE_SIDE = 128  # px, sufficient to test a graph that computes its sizes


def fit(source: Path, target: Path, *, side: int, batch: int) -> None:
    """Write a copy of a graph with a free batch axis and the requested input size, and test it.

    Args:
        source: the ONNX file as released.
        target: the path of the copy.
        side: requested input size, px; 0: the graph's.
        batch: requested batch size, used for the test run.

    Raises:
        EngineError, ModelError: the graph does not support the size or the batch, or does not run.
    """
    from rembg_tuner.engines.onnxruntime.session import probe  # not loaded for ncnn

    model = graphs.load_graph(source, kinds=graphs.FP32_ONLY)  # as the engines need it
    own = graphs.own_side(model.graph)
    # A graph with constant sizes supports one size only. Other graphs are tested at a smaller size,
    # which takes about a hundredth of the time.
    is_any_size = side and not graphs.written_sizes(model.graph)
    proof = min(side, _PROBE_SIDE) if is_any_size else side or own
    graphs.save_graph(graphs.free_input(model, side=side, batch=batch), target)
    if not proof:  # the graph does not contain the size at which it will run
        return
    try:
        answer = pictures_of(probe(target, side=proof, batch=batch), str(source))
        _check_shape(answer.shape, proof, batch)
    except TunerError as error:
        _run_as_released(source, model, proof)
        knob, value = ("network_size", side) if side else ("batch_size", batch)
        asked = Message("{knob} {value}", knob=Term(knob, "knob"), value=value)
        reason = error.message.with_paths({target: source})  # the copy is temporary
        if not own:  # network_size 0 does not help: the graph has no size
            raise ModelError(
                Message(
                    "this graph leaves its input size open and fails when run with {asked}:"
                    " {reason}; export it with its input size written down",
                    asked=asked,
                    reason=reason,
                )
            ) from error
        raise ModelError(
            Message(
                "this graph cannot take {asked}, it fails when run so: {reason}; leave network_size"
                " at 0 and batch_size at 1",
                asked=asked,
                reason=reason,
            )
        ) from error


def _run_as_released(source: Path, model: onnx.ModelProto, side: int) -> None:
    """Run the released graph after its copy failed.

    If it fails too, its error is raised instead of the copy's.

    Raises:
        EngineError, ModelError: it does not run, or does not return a picture.
    """
    from rembg_tuner.engines.onnxruntime.session import probe

    own = graphs.own_side(model.graph)
    answer = probe(source, side=own or side, batch=graphs.own_batch(model.graph))
    pictures_of(answer, str(source))


def _check_shape(shape: tuple[int, ...], side: int, batch: int) -> None:
    """Check that the output has the batch and the size of the input.

    Raises:
        ModelError: it has another size or batch.
    """
    if (shape[0], *shape[-2:]) != (batch, side, side):
        raise ModelError(
            Message(
                "for {batch} of {side} x {side} px it returned {count} of {width} x {height}",
                batch=batch,
                side=side,
                count=shape[0],
                width=shape[-1],
                height=shape[-2],
            )
        )


def main(words: list[str]) -> int:
    """Handle one request and return the exit code."""
    request: dict[str, Any] = json.loads(words[0])
    source, target = Path(request.pop("source")), Path(request.pop("target"))
    do = request.pop("do")
    try:
        if do == FIT:
            fit(source, target, **request)
        else:
            convert = ENGINES[do].convert_with
            assert convert is not None  # only engines with a converter are named in requests
            convert(source, target, **request)
    except TunerError as error:
        _tell(error.message)
        return EXIT_BAD_MODEL if isinstance(error, ModelError) else _EXIT_FAILED
    except OSError as error:
        _tell(Message("{path} cannot be written: {reason}", path=target, reason=error.strerror))
        return _EXIT_FAILED
    except Exception as error:  # noqa: BLE001  # the outer edge: the traceback is printed first
        traceback.print_exc()
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        _tell(
            Message(
                "{path} could not be converted: unexpected error, please report it: {reason}",
                path=source,
                reason=Quoted(reason),
            )
        )
        return _EXIT_FAILED
    return 0


def _tell(message: Message) -> None:
    """Write the reason for a failure: as text on standard error, and as JSON on standard output."""
    print(message, file=sys.stderr)
    print(json.dumps(message.to_json()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
