"""What a Python that this program starts needs, to find this program from any folder."""

from __future__ import annotations

import os
from pathlib import Path

_ROOT = str(Path(__file__).parents[2])


def child_environment() -> dict[str, str]:
    """Give this process's environment, with this program's folder first on the module path."""
    paths = [_ROOT, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}
