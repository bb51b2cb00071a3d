"""Make what engines need of a model's file: `python -m rembg_tuner.conversion REQUEST`.

A process of its own, so that neither a page nor a measured worker carries the tools in its memory.
The request is JSON; the last line on stderr is the reason where it cannot be done, and the exit code
tells the model's fault from the machine's. The target lies in a folder that is thrown away where it ends
otherwise than well, so nothing that was not shown to run is left.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rembg_tuner.engines.arrays import answer_difference, pictures_of
from rembg_tuner.errors import EngineError, ModelError, TunerError
from rembg_tuner.models import graph as graphs
from rembg_tuner.models.pnnx import find_pnnx
from rembg_tuner.models.spec import EXIT_BAD_MODEL, SIDE_COMMENT

if TYPE_CHECKING:
    import onnx

    from rembg_tuner.imaging.matte import RawOutput

_EXIT_FAILED = 1
_PROBE_SIDE = 128  # enough for a graph that computes its sizes
_MOST_DIFFERENCE = 0.01  # of the answer's range, on noise; fp32 engines are some 1e-5 apart
_PNNX_TIMEOUT_S = 600.0


def fit(source: Path, target: Path, *, side: int, batch: int) -> None:
    """Write a copy of a graph whose batch is free, and its input size where asked, having run it.

    Args:
        source: the ONNX file as released.
        target: where the copy goes.
        side: that it is made for, px; 0: its own.
        batch: that it is made for.

    Raises:
        EngineError, ModelError: the graph does not take another size or batch, or does not run at all.
    """
    from rembg_tuner.engines.onnxruntime.session import probe  # not loaded for ncnn

    model = graphs.load_graph(source, kinds=graphs.FP32_ONLY)  # as the engines want it
    own = graphs.own_side(model.graph)
    # A graph with constants fits one size only; any other is as good a proof at a hundredth of the cost.
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
        asked = f"network_size {side}" if side else f"batch_size {batch}"
        reason = str(error).replace(str(target), str(source))  # the copy is nobody's to look for
        if not own:  # network_size 0 is no way out: there the size is asked for
            raise ModelError(
                f"this graph leaves its input size open and fails when run with {asked}: {reason}; export it with its input size written down"
            ) from error
        raise ModelError(
            f"this graph cannot take {asked}, it fails when run so: {reason}; leave network_size at 0 and batch_size at 1"
        ) from error


def _run_as_released(source: Path, model: onnx.ModelProto, side: int) -> None:
    """Run a graph of which nothing could be made: where it makes no matte either, its own reason is told.

    Raises:
        EngineError, ModelError: it does not run, or gives no picture.
    """
    from rembg_tuner.engines.onnxruntime.session import probe

    own = graphs.own_side(model.graph)
    answer = probe(source, side=own or side, batch=graphs.own_batch(model.graph))
    pictures_of(answer, str(source))


def _check_shape(shape: tuple[int, ...], side: int, batch: int) -> None:
    """Look whether what came out is as large as what went in.

    Raises:
        ModelError: it has another size or batch.
    """
    if (shape[0], *shape[-2:]) != (batch, side, side):
        raise ModelError(
            f"for {batch} of {side} x {side} px it gave {shape[0]} of {shape[-1]} x {shape[-2]}"
        )


def plain_graph(source: Path, *, side: int) -> onnx.ModelProto:
    """Make a graph as other tools like it: one output, fixed input, float32, nodes in order.

    Args:
        source: the ONNX file as released.
        side: of the input, px; 0: the graph's own.

    Raises:
        ModelError: it does not read, or does not take that side.
    """
    model = graphs.widen_to_fp32(graphs.keep_first_output(graphs.load_graph(source)))
    own = graphs.own_side(model.graph)
    if not (side or own):
        raise ModelError(f"{source} leaves its input size open; give --network-size")
    return graphs.fix_input(graphs.free_input(model, side=side), side=side or own)


def make_ncnn(source: Path, target: Path, *, side: int) -> None:
    """Convert a graph for ncnn.

    pnnx folds the constants, infers the shapes and writes the network; its weights stay float32.

    Args:
        source: the ONNX file as released.
        target: where the network's `.param` goes, and its `.bin` beside it.
        side: of the input, px; 0: the graph's own.

    Raises:
        EngineError: pnnx is not installed, or failed.
        ModelError: the graph does not read, does not run anywhere, or does not take that side.
    """
    pnnx = find_pnnx()
    model = plain_graph(source, side=side)
    fixed = graphs.own_side(model.graph)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        plain = Path(scratch) / "network.onnx"
        graphs.save_graph(model, plain)
        done = subprocess.run(
            [str(pnnx), plain.name, f"inputshape=[1,3,{fixed},{fixed}]", "fp16=0"],
            cwd=scratch,
            capture_output=True,
            text=True,
            check=False,
            timeout=_PNNX_TIMEOUT_S,
        )
        made = [Path(scratch) / f"network.ncnn.{end}" for end in ("bin", "param")]
        if done.returncode != 0 or not all(path.is_file() for path in made):
            run_plain(plain, source, side=fixed)
            lines = (done.stdout + done.stderr).strip().splitlines() or ["it gave no reason"]
            raise EngineError(f"pnnx could not convert {source} for ncnn: {lines[-1].strip()}")
        weights, network = made
        _check_answer(network, run_plain(plain, source, side=fixed), source, fixed)
        with network.open("a", encoding="ascii") as file:
            file.write(f"{SIDE_COMMENT}{fixed}\n")
        weights.replace(target.with_suffix(".bin"))
        network.replace(target)


def run_plain(plain: Path, source: Path, *, side: int) -> RawOutput:
    """Run a plain graph once on noise by ONNX Runtime; what is wrong with it is told of its source.

    Args:
        plain: what `plain_graph` made, saved.
        source: the ONNX file as released, for the message.
        side: of the input, px.

    Returns:
        Its answer, float32 (1, c, h, w).

    Raises:
        EngineError, ModelError: it does not run, or makes no matte.
    """
    from rembg_tuner.engines.onnxruntime.session import probe

    try:
        return pictures_of(probe(plain, side=side, batch=1), str(source))
    except (EngineError, ModelError) as error:
        raise type(error)(str(error).replace(str(plain), str(source))) from error


def _check_answer(network: Path, reference: RawOutput, source: Path, side: int) -> None:
    """Hold what pnnx made against the graph: some operators it takes for others without a word.

    Raises:
        EngineError: it answers otherwise.
    """
    from rembg_tuner.engines.ncnn.session import probe

    difference = answer_difference(probe(network, side=side), reference)
    if difference > _MOST_DIFFERENCE:
        raise EngineError(
            f"what pnnx made of {source} for ncnn answers otherwise than the model itself does (by {difference:.3f} of its range); choose engine onnxruntime or openvino"
        )


def main(words: list[str]) -> int:
    """Do one request."""
    request: dict[str, Any] = json.loads(words[0])
    source, target = Path(request.pop("source")), Path(request.pop("target"))
    do = request.pop("do")
    try:
        if do == "fit":
            fit(source, target, **request)
        else:
            make_ncnn(source, target, **request)
    except TunerError as error:
        print(error, file=sys.stderr)
        return EXIT_BAD_MODEL if isinstance(error, ModelError) else _EXIT_FAILED
    except OSError as error:
        print(f"{target} cannot be written: {error.strerror}", file=sys.stderr)
        return _EXIT_FAILED
    except Exception as error:  # noqa: BLE001  # the process's outer edge: the traceback stands above the sentence
        traceback.print_exc()
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        print(
            f"{source} could not be converted: an error nobody foresaw, please report it: {reason}",
            file=sys.stderr,
        )
        return _EXIT_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
