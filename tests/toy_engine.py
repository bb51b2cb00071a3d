"""An example engine, written as a contributor would add one, for tests.

It returns the mean of the channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from rembg_tuner.base.messages import Message
from rembg_tuner.engines.spec import NETWORK_KNOBS, EngineSpec, Need, Script
from rembg_tuner.engines.table import ENGINES

if TYPE_CHECKING:
    from rembg_tuner.engines.protocols import EngineRequest, NetworkEngine
    from rembg_tuner.imaging.matte import RawOutput
    from rembg_tuner.imaging.network_input import NetworkInput
    from rembg_tuner.settings.settings import Value

# It has no telemetry and loads nothing.
_SCRIPT = Script(
    block="import sys\nfrom pathlib import Path",
    imports="",
    body=(
        'def load():\n    """Return nothing."""\n\n\ndef predict(network, tensor):\n    """Return'
        ' the mean of the channels."""\n    return tensor.mean(axis=1, keepdims=True)\n'
    ),
    packages={"cpu": ()},
)


class EchoEngine:
    """An engine that returns the mean of the channels."""

    warnings: tuple[Message, ...] = ()

    def __init__(self, request: EngineRequest) -> None:
        """Store the network size."""
        self.side = request.settings.network_size or request.model.side or 0
        self.effective: dict[str, Value] = {"engine": "echo", "precision": "fp32"}

    def predict(self, network_input: NetworkInput) -> RawOutput:
        """Return the mean of the channels."""
        return cast("RawOutput", network_input.mean(axis=1, keepdims=True))

    def cancel(self) -> None:
        """Do nothing, since a prediction takes no time."""

    def close(self) -> None:
        """Do nothing, since no resource is held."""


def _open(request: EngineRequest) -> NetworkEngine:
    """Open the engine."""
    return EchoEngine(request)


SPEC = EngineSpec(
    name="echo",
    rank=9,
    pipeline="network",
    packages={"numpy": ("numpy",)},
    install="pip install numpy",
    precisions={"fp32": Need()},
    knobs=NETWORK_KNOBS,
    detail=lambda _found: Message("returns the mean of the channels"),
    script=lambda: _SCRIPT,
    axes={"precision": ("fp32",)},
    imports=lambda: {"numpy": "2"},
    open=_open,
)


def add() -> None:
    """Add the engine to the table; call it before any module except the table is imported."""
    ENGINES[SPEC.name] = SPEC
