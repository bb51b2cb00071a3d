"""Find the program that converts networks for ncnn."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from rembg_tuner.base.errors import EngineError
from rembg_tuner.base.messages import Message


def find_pnnx() -> Path:
    """Find the pnnx program in its package, which cannot be imported without PyTorch.

    Raises:
        EngineError: it is not installed.
    """
    spec = find_spec("pnnx")
    folders = list(spec.submodule_search_locations or []) if spec else []
    program = next((path for folder in folders if (path := Path(folder) / "pnnx").is_file()), None)
    if program is None:
        raise EngineError(
            Message(
                "engine ncnn needs pnnx to convert a model at its first use; pip install --no-deps"
                " pnnx (its PyTorch is not needed), or choose another engine"
            )
        )
    return program
