"""Arrays that networks take and give: shapes, batches, noise to try them with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rembg_tuner.base.errors import ModelError
from rembg_tuner.base.messages import Message

if TYPE_CHECKING:
    from rembg_tuner.imaging.matte import RawOutput
    from rembg_tuner.imaging.network_input import NetworkInput


def pictures_of(output: RawOutput, path: str) -> RawOutput:
    """Give a network's first output with its channels' axis.

    Args:
        output: float32 (n, c, h, w) or (n, h, w).
        path: the model's file, for the message.

    Returns:
        float32 (n, c, h, w).

    Raises:
        ModelError: it has another shape, so the network makes no mattes.
    """
    if output.ndim not in (3, 4):
        raise ModelError(
            Message(
                "{path} does not make a matte: its first output has the shape {shape}, and one of"
                " three or four dimensions is needed",
                path=Path(path),
                shape=str(output.shape),
            )
        )
    return output if output.ndim == 4 else output[:, None]


def fill_up(network_input: NetworkInput, batch: int) -> NetworkInput:
    """Repeat the last picture until there are as many as the session takes.

    Float32 (batch, 3, h, w).
    """
    missing = batch - len(network_input)
    if not missing:
        return network_input
    return np.concatenate([network_input, *[network_input[-1:]] * missing])


def noise(*, side: int, batch: int = 1) -> NetworkInput:
    """Make what a network is tried with.

    Float32 (batch, 3, side, side), normal, the same every time.
    """
    tried: NetworkInput = np.random.default_rng(0).standard_normal(
        (batch, 3, side, side), np.float32
    )
    return tried


def answer_difference(answer: RawOutput, reference: RawOutput) -> float:
    """Tell how far two engines' answers to the same input are apart.

    Args:
        answer: of any shape whose axes of one are not counted.
        reference: likewise.

    Returns:
        The mean absolute difference as a share of the reference's range; infinite where the shapes
        differ.
    """
    a, b = np.squeeze(answer), np.squeeze(reference)
    if a.shape != b.shape:
        return float("inf")
    low, high = float(b.min()), float(b.max())
    return float(np.abs(a - b).mean()) / max(high - low, 1e-6)
