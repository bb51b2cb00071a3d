"""NNCF's static int8 for OpenVINO; the only door to nncf."""

from __future__ import annotations

import contextlib
import logging
import sys
from importlib.metadata import version as version_of
from typing import TYPE_CHECKING, Any

import nncf

if TYPE_CHECKING:
    from rembg_tuner.imaging.network_input import NetworkInput


def versions() -> dict[str, str]:
    """Give the versions of what makes the graph."""
    return {name: version_of(name) for name in ("nncf", "onnx")}


def quantize(
    model: Any, inputs: list[NetworkInput], *, input_name: str, left_out: list[str]
) -> Any:
    """Quantise a graph: weights by channel and symmetric, activations asymmetric, biases corrected.

    Args:
        model: an onnx.ModelProto with one input, opset 13 or newer.
        inputs: what the ranges are taken from, each float32 (1, 3, side, side).
        input_name: of the graph's input.
        left_out: nodes that stay in float32.

    Returns:
        Another onnx.ModelProto.

    Source: Kozlov et al., Neural Network Compression Framework, arXiv:2002.08679.
    """
    logging.getLogger("nncf").setLevel(logging.ERROR)
    scope = {"ignored_scope": nncf.IgnoredScope(names=left_out)} if left_out else {}
    # Its progress bars go to standard output, where --json's document stands alone.
    with contextlib.redirect_stdout(sys.stderr):
        return nncf.quantize(
            model,
            nncf.Dataset(inputs, lambda one: {input_name: one}),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(inputs),
            fast_bias_correction=True,
            **scope,
        )
