"""An engine as a contributor would add it: what comes out is the mean of the channels.

For tests.
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

# No telemetry, and nothing to load.
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
    """Returns the mean of the channels."""

    warnings: tuple[Message, ...] = ()

    def __init__(self, request: EngineRequest) -> None:
        """Take the size."""
        self.side = request.settings.network_size or request.model.side or 0
        self.effective: dict[str, Value] = {"engine": "echo", "precision": "fp32"}

    def predict(self, network_input: NetworkInput) -> RawOutput:
        """Average the channels."""
        return cast("RawOutput", network_input.mean(axis=1, keepdims=True))

    def cancel(self) -> None:
        """Do nothing: it takes no time."""

    def close(self) -> None:
        """Do nothing: it holds nothing."""


def _open(request: EngineRequest) -> NetworkEngine:
    """Open it."""
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
    """Put it into the table; before anything but the table is imported."""
    ENGINES[SPEC.name] = SPEC
