"""What a Python that this program starts needs, to find this program from any folder."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # `typing` and `pathlib` take a while to import; see running.launching
if TYPE_CHECKING:
    from pathlib import Path

_ROOT = __file__.rsplit(os.sep, 3)[0]


def child_environment() -> dict[str, str]:
    """Give this process's environment, with this program's folder first on the module path.

    A name that is not UTF-8 is the same file in both processes only if both read names in the same
    encoding, and messages are UTF-8 whatever the user wants on the terminal.
    """
    paths = [_ROOT, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONIOENCODING"}
    return {
        **inherited,
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
        "PYTHONUTF8": "1" if sys.getfilesystemencoding() == "utf-8" else "0",
    }


def numba_environment(cache: Path) -> dict[str, str]:
    """Return where numba keeps the code that it compiles for rembg.

    By itself it takes the library's own folder, else one below the home folder, else a folder
    called `~` in the working folder. Where it cannot have the first, it gets ours.

    Args:
        cache: this program's cache folder.
    """
    from importlib.util import find_spec

    spec = find_spec("pymatting")  # the library whose functions are compiled
    places = spec.submodule_search_locations if spec is not None else None
    if places and all(os.access(place, os.W_OK) for place in places):
        return {}
    return {"NUMBA_CACHE_DIR": str(cache / "numba")}
