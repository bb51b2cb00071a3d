"""Networks that tests create."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from pathlib import Path


def bright_things(path: Path, *, side: int = 64, gain: float = 40.0) -> Path:
    """Write a network that returns bright pixels as the foreground.

    It has two convolutions and a sigmoid.
    """
    first = np.full((4, 3, 3, 3), 1 / 27, np.float32)
    second = np.full((1, 4, 1, 1), gain / 4, np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["a"], name="first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("Conv", ["r", "w2", "b2"], ["c"], name="second"),
        helper.make_node("Sigmoid", ["c"], ["y"]),
    ]
    weights = {
        "w1": first,
        "b1": np.full(4, 3.0, np.float32),
        "w2": second,
        "b2": np.full(1, -3.0 * gain, np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "bright",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, side, side])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, side, side])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    path.with_suffix(".json").write_text(
        json.dumps({"side": side, "mean": [0.5] * 3, "std": [1, 1, 1]})
    )
    return path
