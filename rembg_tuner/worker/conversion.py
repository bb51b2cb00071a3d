"""Make what engines need of a model's file: `python -m rembg_tuner.worker.conversion REQUEST`.

A process of its own, so that neither a page nor a measured worker carries the tools in its memory.
The request is JSON; the last line on standard output is the reason, a Message as JSON, where it
cannot be done, and the exit code tells the model's fault from the machine's. The target lies in a
folder that is thrown away where it ends otherwise than well, so nothing that was not shown to run
is left.
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
_PROBE_SIDE = 128  # enough for a graph that computes its sizes


def fit(source: Path, target: Path, *, side: int, batch: int) -> None:
    """Write a copy of a graph whose batch is free, and its input size where asked, having run it.

    Args:
        source: the ONNX file as released.
        target: where the copy goes.
        side: that it is made for, px; 0: its own.
        batch: that it is made for.

    Raises:
        EngineError, ModelError: the graph does not take another size or batch, or does not run at
        all.
    """
    from rembg_tuner.engines.onnxruntime.session import probe  # not loaded for ncnn

    model = graphs.load_graph(source, kinds=graphs.FP32_ONLY)  # as the engines want it
    own = graphs.own_side(model.graph)
    # A graph with constants fits one size only; any other is as good a proof at a hundredth of the
    # cost.
    is_any_size = side and not graphs.written_sizes(model.graph)
    proof = min(side, _PROBE_SIDE) if is_any_size else side or own
    graphs.save_graph(graphs.free_input(model, side=side, batch=batch), target)
    if not proof:  # which size it will be run at is not in the graph
        return
    try:
        answer = pictures_of(probe(target, side=proof, batch=batch), str(source))
        _check_shape(answer.shape, proof, batch)
    except TunerError as error:
        _run_as_released(source, model, proof)
        knob, value = ("network_size", side) if side else ("batch_size", batch)
        asked = Message("{knob} {value}", knob=Term(knob, "knob"), value=value)
        reason = error.message.with_paths({target: source})  # the copy is nobody's to look for
        if not own:  # network_size 0 is no way out: there the size is asked for
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
    """Run a graph of which nothing could be made.

    Where it makes no matte either, its own reason is told.

    Raises:
        EngineError, ModelError: it does not run, or gives no picture.
    """
    from rembg_tuner.engines.onnxruntime.session import probe

    own = graphs.own_side(model.graph)
    answer = probe(source, side=own or side, batch=graphs.own_batch(model.graph))
    pictures_of(answer, str(source))


def _check_shape(shape: tuple[int, ...], side: int, batch: int) -> None:
    """Check that the output is as large as the input.

    Raises:
        ModelError: it has another size or batch.
    """
    if (shape[0], *shape[-2:]) != (batch, side, side):
        raise ModelError(
            Message(
                "for {batch} of {side} x {side} px it gave {count} of {width} x {height}",
                batch=batch,
                side=side,
                count=shape[0],
                width=shape[-1],
                height=shape[-2],
            )
        )


def main(words: list[str]) -> int:
    """Handle one request."""
    request: dict[str, Any] = json.loads(words[0])
    source, target = Path(request.pop("source")), Path(request.pop("target"))
    do = request.pop("do")
    try:
        if do == FIT:
            fit(source, target, **request)
        else:
            convert = ENGINES[do].convert_with
            assert convert is not None  # who derives by its own name converts
            convert(source, target, **request)
    except TunerError as error:
        _tell(error.message)
        return EXIT_BAD_MODEL if isinstance(error, ModelError) else _EXIT_FAILED
    except OSError as error:
        _tell(Message("{path} cannot be written: {reason}", path=target, reason=error.strerror))
        return _EXIT_FAILED
    except Exception as error:  # noqa: BLE001  # the process's outer edge: the traceback stands above the sentence
        traceback.print_exc()
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        _tell(
            Message(
                "{path} could not be converted: an error nobody foresaw, please report it:"
                " {reason}",
                path=source,
                reason=Quoted(reason),
            )
        )
        return _EXIT_FAILED
    return 0


def _tell(message: Message) -> None:
    """Write why it cannot be done: for people on standard error, and on standard output as JSON."""
    print(message, file=sys.stderr)
    print(json.dumps(message.to_json()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
