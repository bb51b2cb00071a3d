"""What a Python that this program starts needs, to find this program from any folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_ROOT = str(Path(__file__).parents[2])


def child_environment() -> dict[str, str]:
    """Give this process's environment, with this program's folder first on the module path.

    A name that is not UTF-8 is the same file in both processes only if both read names in the same encoding,
    and messages are UTF-8 whatever the user wants on the terminal.
    """
    paths = [_ROOT, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONIOENCODING"}
    return {
        **inherited,
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
        "PYTHONUTF8": "1" if sys.getfilesystemencoding() == "utf-8" else "0",
    }
