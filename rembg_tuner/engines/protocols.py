"""What an engine is opened with, and what it then can do.

It says afterwards what it really does (`effective`), read back from the library and not from what
was asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from rembg_tuner.base.messages import Message
    from rembg_tuner.imaging.matte import RawOutput
    from rembg_tuner.imaging.network_input import NetworkInput
    from rembg_tuner.models.spec import ModelSpec
    from rembg_tuner.settings.settings import Settings, Value


def _tell_nobody(_phase: str) -> None:
    """Ignore a phase."""


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
    tell: Callable[[str], None] = _tell_nobody


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
