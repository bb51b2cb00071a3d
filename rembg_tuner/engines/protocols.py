"""The request that opens an engine, and the methods of an opened engine.

An engine reports its actual settings (`effective`): they are read back from the library, not copied
from the request.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from rembg_tuner.base.errors import ModelError
from rembg_tuner.base.messages import Message
from rembg_tuner.models.spec import check_square, open_size

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rembg_tuner.imaging.matte import RawOutput
    from rembg_tuner.imaging.network_input import NetworkInput
    from rembg_tuner.models.spec import ModelSpec
    from rembg_tuner.settings.settings import Settings, Value


# Metadata of a graph, written by `models quantize`: an engine reads its number format from it.
INT8_MARK = "rembg_tuner.precision"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRequest:
    """The request that opens an engine.

    Attributes:
        model_digest: the model's SHA-256 in hex, as just verified.
        threads: number of CPUs that this process may use; replaces 0 threads.
        cache: a folder for compiled models.
        cpu: the processor's name and features, see `Host.cpu_identity`; files compiled for one
            processor are not used on another.
        tell: called with the name of a long phase of the engine, such as TensorRT's build.
    """

    settings: Settings
    model: ModelSpec
    model_digest: str
    threads: int
    cache: Path
    cpu: Mapping[str, object]
    tell: Callable[[str], None] = lambda _phase: None


class Engine(Protocol):
    """A loaded model that can be stopped while it runs.

    Attributes:
        effective: the actual settings as the library reports them, by the settings' names; None:
            the library does not have the setting.
        warnings: for the user: differences from the requested settings, and notes.
    """

    effective: dict[str, Value]
    warnings: tuple[Message, ...]

    def cancel(self) -> None:
        """Stop the running prediction, from another thread; does nothing if none is running."""

    def close(self) -> None:
        """Release the session's memory."""


class NetworkEngine(Engine, Protocol):
    """An engine that runs only the network; this program processes the pictures."""

    side: int

    def predict(self, network_input: NetworkInput) -> RawOutput:
        """Run the network once.

        Args:
            network_input: float32 (n, 3, side, side), n from 1 to the settings' batch_size.

        Returns:
            float32 (n, c, h, w): the first output of the network.

        Raises:
            EngineError: the library failed.
            ModelError: the network does not produce mattes.
            CancelledError: `cancel` was called meanwhile.
        """


class StockEngine(Engine, Protocol):
    """An engine with a complete pipeline, for comparison."""

    def remove_background(self, picture: bytes, max_side: int) -> tuple[bytes, float]:
        """Cut out a picture.

        Args:
            picture: the content of a picture file.
            max_side: the longest side to which it is scaled down first, px; 0: original size.

        Returns:
            The content of a PNG file, and the seconds spent in the network.

        Raises:
            PictureError: the picture cannot be read.
            EngineError: the library failed.
            CancelledError: `cancel` was called meanwhile.
        """


def resolve_side(request: EngineRequest, *, width: int = 0, height: int = 0) -> int:
    """Return the side of the network's input, px: requested, the graph's or the catalogue's.

    Args:
        request: the request that opens the engine.
        width: of the graph's input, px; 0: it is open.
        height: of the graph's input, px; 0: it is open.

    Raises:
        ModelError: the input is not square, or no size is known.
    """
    path = Path(request.model.path)
    check_square(path, width, height)
    side = request.settings.network_size or height or width or request.model.side
    if not side:
        raise open_size(path)
    return side


def pictures_of(output: RawOutput, path: str) -> RawOutput:
    """Return a network's first output with a channel axis.

    Args:
        output: float32 (n, c, h, w) or (n, h, w).
        path: the model's file, for the message.

    Returns:
        float32 (n, c, h, w).

    Raises:
        ModelError: it has another shape, so the network does not produce mattes.
    """
    if output.ndim not in (3, 4):
        raise ModelError(
            Message(
                "{path} does not produce a matte: its first output has the shape {shape}, and one"
                " of three or four dimensions is required",
                path=Path(path),
                shape=str(output.shape),
            )
        )
    return output if output.ndim == 4 else output[:, None]


def fill_up(network_input: NetworkInput, batch: int) -> NetworkInput:
    """Repeat the last picture until the batch is full.

    Returns:
        float32 (batch, 3, h, w).
    """
    missing = batch - len(network_input)
    if not missing:
        return network_input
    return np.concatenate([network_input, *[network_input[-1:]] * missing])


def noise(*, side: int, batch: int = 1) -> NetworkInput:
    """Create an input to test a network with: normally distributed noise, always the same.

    Returns:
        float32 (batch, 3, side, side).
    """
    tried: NetworkInput = np.random.default_rng(0).standard_normal(
        (batch, 3, side, side), np.float32
    )
    return tried


def answer_difference(answer: RawOutput, reference: RawOutput) -> float:
    """Return the difference between two engines' outputs for the same input.

    Args:
        answer: any shape; axes of length one are ignored.
        reference: the output to compare with, as `answer`.

    Returns:
        The mean absolute difference as a fraction of the reference's range; infinite if the shapes
        differ.
    """
    a, b = np.squeeze(answer), np.squeeze(reference)
    if a.shape != b.shape:
        return float("inf")
    low, high = float(b.min()), float(b.max())
    return float(np.abs(a - b).mean()) / max(high - low, 1e-6)
