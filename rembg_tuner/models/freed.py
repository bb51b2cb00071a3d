"""Copies of graphs whose input size was freed, made once and kept in the cache."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from rembg_tuner.children import child_environment
from rembg_tuner.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

HEIGHT, WIDTH = "height", "width"  # the names of the freed dimensions
_FREE_TIMEOUT_S = 180.0


def freed_copy(source: Path, target: Path) -> Path:
    """Write a copy of a graph with its input size free, unless it is there already.

    Args:
        source: the ONNX file as released.
        target: where the copy goes; kept from one start to the next.

    Raises:
        ModelError: the graph does not take another size, or is no ONNX.
    """
    if target.is_file():
        return target
    command = [sys.executable, "-P", "-m", "rembg_tuner.models.graph", str(source), str(target)]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=_FREE_TIMEOUT_S,
            env=child_environment(),
        )
    except subprocess.TimeoutExpired as error:
        raise ModelError(
            f"{source} could not be given a free input size within {_FREE_TIMEOUT_S:g} s; leave network_size at 0"
        ) from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no reason was given"]
        raise ModelError(lines[-1])
    return target
