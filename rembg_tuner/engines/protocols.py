"""What an engine is opened with, and what it then can do.

It says afterwards what it really does (`effective`), read back from the library and not from what
was asked.
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


# What `models quantize` writes into a graph's metadata, so that an engine can read back what it
# runs.
INT8_MARK = "rembg_tuner.precision"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRequest:
    """What an engine is opened with.

    Attributes:
        model_digest: the model's SHA-256 in hex, as just verified.
        threads: CPUs this process may use; what 0 threads means.
        cache: a folder for compiled models.
        cpu: the processor's name and features, see `Host.cpu_identity`; what is compiled for one
            processor is not used on another.
        tell: called with the name of a phase of its own that takes long, such as TensorRT's build.
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
        effective: what the library says of itself, by the settings' names; None for what it has
            not.
        warnings: for the user: what is other than asked, or worth knowing.
    """

    effective: dict[str, Value]
    warnings: tuple[Message, ...]

    def cancel(self) -> None:
        """Stop the prediction that runs now, from another thread; nothing if none does."""

    def close(self) -> None:
        """Release the session's memory."""


class NetworkEngine(Engine, Protocol):
    """An engine that runs the network alone; the pictures are ours."""

    side: int

    def predict(self, network_input: NetworkInput) -> RawOutput:
        """Run the network once.

        Args:
            network_input: float32 (n, 3, side, side), n from 1 to the settings' batch_size.

        Returns:
            float32 (n, c, h, w): the first output, as the network gave it.

        Raises:
            EngineError: the library failed.
            ModelError: the network makes no mattes.
            CancelledError: `cancel` was called meanwhile.
        """


class StockEngine(Engine, Protocol):
    """An engine that has a whole pipeline of its own, to be measured against."""

    def remove_background(self, picture: bytes, max_side: int) -> tuple[bytes, float]:
        """Cut a picture out.

        Args:
            picture: a file's bytes.
            max_side: the longest side it is scaled down to first, px; 0: as it is.

        Returns:
            A PNG's bytes, and the seconds spent in the network.

        Raises:
            PictureError, EngineError, CancelledError.
        """


def resolve_side(request: EngineRequest, *, width: int = 0, height: int = 0) -> int:
    """Return the side of the network's input, px: requested, else the graph's, else the catalogue's.

    Args:
        request: what the engine is opened with.
        width: of the graph's input, px; 0: it is open.
        height: likewise.

    Raises:
        ModelError: the input is not square, or none of them says.
    """
    path = Path(request.model.path)
    check_square(path, width, height)
    side = request.settings.network_size or height or width or request.model.side
    if not side:
        raise open_size(path)
    return side


def pictures_of(output: RawOutput, path: str) -> RawOutput:
    """Return a network's first output with its channels' axis.

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
                "{path} does not produce a matte: its first output has the shape {shape}, and one of"
                " three or four dimensions is required",
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
    """Return the difference of two engines' answers to the same input.

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
