"""Convert a model for ncnn with pnnx; runs in `rembg_tuner.worker.conversion`'s process."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import EngineError
from rembg_tuner.base.messages import Message, quoted
from rembg_tuner.engines.ncnn.pnnx import find_pnnx
from rembg_tuner.engines.ncnn.session import probe
from rembg_tuner.engines.plain_graphs import plain_graph, run_plain
from rembg_tuner.engines.protocols import answer_difference
from rembg_tuner.models import graph as graphs
from rembg_tuner.models.spec import SIDE_COMMENT

if TYPE_CHECKING:
    from rembg_tuner.imaging.matte import RawOutput

_MAX_DIFFERENCE = 0.01  # of the output's range, on noise; fp32 engines differ by about 1e-5
_PNNX_TIMEOUT_S = 600.0


def convert(source: Path, target: Path, *, side: int) -> None:
    """Convert a graph for ncnn.

    pnnx folds the constants, infers the shapes and writes the network; its weights stay float32.

    Args:
        source: the released ONNX file.
        target: the path of the network's `.param` file; its `.bin` file is written beside it.
        side: of the input, px; 0: the graph's own.

    Raises:
        EngineError: pnnx is not installed, failed, or created a network with other outputs.
        ModelError: the graph cannot be read, cannot be run, or does not take that side.
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
            lines = (done.stdout + done.stderr).strip().splitlines()
            reason = quoted(lines[-1].strip()) if lines else Message("no reason was given")
            raise EngineError(
                Message(
                    "pnnx could not convert {path} for ncnn: {reason}", path=source, reason=reason
                )
            )
        weights, network = made
        _check_answer(network, run_plain(plain, source, side=fixed), source, fixed)
        with network.open("a", encoding="ascii") as file:
            file.write(f"{SIDE_COMMENT}{fixed}\n")
        weights.replace(target.with_suffix(".bin"))
        network.replace(target)


def _check_answer(network: Path, reference: RawOutput, source: Path, side: int) -> None:
    """Compare pnnx's network with the graph, because pnnx silently misreads some operators.

    Raises:
        EngineError: their outputs differ.
    """
    difference = answer_difference(probe(network, side=side), reference)
    if difference > _MAX_DIFFERENCE:
        raise EngineError(
            Message(
                "what pnnx made of {path} for ncnn answers otherwise than the model itself does (by"
                " {difference:.3f} of its range); choose engine onnxruntime or openvino",
                path=source,
                difference=difference,
            )
        )
