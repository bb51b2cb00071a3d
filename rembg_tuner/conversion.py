"""Make what engines need of a model's file: `python -m rembg_tuner.conversion REQUEST`.

A process of its own, so that neither a page nor a measured worker carries the tools in its memory.
The request is JSON; the last line on stderr is the reason where it cannot be done.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rembg_tuner.cache import replacing
from rembg_tuner.errors import EngineError, ModelError, TunerError
from rembg_tuner.models import graph as graphs
from rembg_tuner.models.pnnx import find_pnnx
from rembg_tuner.models.spec import SIDE_COMMENT

if TYPE_CHECKING:
    import onnx

EXIT_UNFIT = 3
_PROBE_SIDE = 128  # enough for a graph that computes its sizes
_PNNX_TIMEOUT_S = 600.0


def fit(source: Path, target: Path, *, side: int, batch: int) -> None:
    """Write a copy of a graph whose input size and batch are free, having run it.

    Args:
        source: the ONNX file as released.
        target: where the copy goes.
        side: that it is made for, px; 0: its own.
        batch: that it is made for.

    Raises:
        ModelError: the graph does not take another size or batch.
    """
    model = graphs.load_graph(source)
    has_written_sizes = bool(graphs.written_sizes(model.graph))
    freed = graphs.free_input(model, side=side)
    graphs.save_graph(freed, target)
    try:
        # A graph with constants fits one size only; any other is as good a proof at a hundredth of the cost.
        _prove(target, side if has_written_sizes else min(side or _PROBE_SIDE, _PROBE_SIDE), batch)
    except TunerError as error:
        target.unlink(missing_ok=True)
        asked = f"network_size {side}" if side else f"batch_size {batch}"
        raise ModelError(
            f"this graph cannot take {asked}, it fails when run so: {error}; leave network_size at 0 and batch_size at 1"
        ) from error


def _prove(path: Path, side: int, batch: int) -> None:
    """Run a freed graph once, and look at what comes out.

    Raises:
        EngineError, ModelError: it fails, or its output has not the input's size and batch.
    """
    from rembg_tuner.engines import onnxruntime

    if not side:
        return
    shape = onnxruntime.probe(path, side=side, batch=batch)
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
    own = graphs.picture_input(model.graph).type.tensor_type.shape.dim[3].dim_value
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
        ModelError: the graph does not read, or does not take that side.
    """
    pnnx = find_pnnx()
    model = plain_graph(source, side=side)
    fixed = graphs.picture_input(model.graph).type.tensor_type.shape.dim[3].dim_value
    with tempfile.TemporaryDirectory(prefix="rembg-tuner-") as scratch:
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
            lines = (done.stdout + done.stderr).strip().splitlines() or ["it gave no reason"]
            raise EngineError(f"pnnx could not convert {source} for ncnn: {lines[-1].strip()}")
        weights, network = made
        with network.open("a", encoding="ascii") as file:
            file.write(f"{SIDE_COMMENT}{fixed}\n")
        for path, end in (
            (weights, ".bin"),
            (network, ".param"),
        ):  # the .param last: it marks a whole pair
            with replacing(target.with_suffix(end)) as whole, path.open("rb") as content:
                shutil.copyfileobj(content, whole)


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
        return EXIT_UNFIT
    except OSError as error:
        print(f"{target} cannot be written: {error.strerror}", file=sys.stderr)
        return EXIT_UNFIT
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
