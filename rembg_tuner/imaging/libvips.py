"""Set libvips up for one picture at a time and little memory."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pyvips

if TYPE_CHECKING:
    from collections.abc import Iterator

# libvips keeps three strips of 128 lines in each cache of a picture read from top to bottom: at 48
# MP that is 30 MiB more than with these, for the same time.
_LOW_STRIPS = (b"--vips-tile-height=16", b"--vips-fatstrip-height=8")


def start_libvips(threads: int) -> None:
    """Set libvips up: no cache of operations, a bounded pool, low strips.

    Args:
        threads: threads of its pool, at least 1.
    """
    pyvips.cache_set_max(0)
    use_threads(threads)
    library = _loaded_library()
    if library is not None:
        _parse_options(library, _LOW_STRIPS)


def use_threads(threads: int) -> None:
    """Bound libvips' pool of threads; holds for what is read or written from now on.

    Args:
        threads: at least 1.
    """
    pyvips.voperation.vips_lib.vips_concurrency_set(max(1, threads))


def pool_threads() -> int:
    """Return the threads of libvips' pool.

    Those that `start_libvips` set, else one for each CPU.
    """
    return int(pyvips.voperation.vips_lib.vips_concurrency_get())


def fetch_rows(image: pyvips.Image, rows: int) -> Iterator[memoryview]:
    """Compute an image from top to bottom in this thread only, some rows at a time.

    Raises:
        pyvips.Error: it cannot be decoded.
    """
    region = pyvips.Region.new(image)
    for top in range(0, image.height, rows):
        yield memoryview(region.fetch(0, top, image.width, min(rows, image.height - top)))


def libvips_version() -> str:
    """Give libvips' version."""
    return ".".join(str(pyvips.version(part)) for part in range(3))


def binding_version() -> str:
    """Give pyvips' version."""
    return str(pyvips.__version__)


def _loaded_library() -> ctypes.CDLL | None:
    """Find the libvips that pyvips has loaded; None where the system does not tell, or hides it."""
    if sys.platform != "linux":
        return None
    for line in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines():
        path = line.split(maxsplit=5)[-1]
        if Path(path).name.startswith("libvips") and ".so" in path:
            library = ctypes.CDLL(path)
            return library if hasattr(library, "vips_add_option_entries") else None
    return None


def _parse_options(library: ctypes.CDLL, options: tuple[bytes, ...]) -> None:
    """Give libvips command-line options, as its public `vips_add_option_entries` takes them.

    pyvips does not offer that function, so it is called past it, as libvips' own tools call it.
    """
    library.g_option_context_new.restype = ctypes.c_void_p
    library.g_option_group_new.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.g_option_context_new(None))
    group = ctypes.c_void_p(library.g_option_group_new(b"vips", b"", b"", None, None))
    library.vips_add_option_entries(group)
    library.g_option_context_add_group(context, group)
    words = (ctypes.c_char_p * (len(options) + 2))(b"rembg-tuner", *options, None)
    count = ctypes.c_int(len(options) + 1)
    error = ctypes.c_void_p(None)
    pointer = ctypes.cast(words, ctypes.POINTER(ctypes.c_char_p))
    library.g_option_context_parse(
        context, ctypes.byref(count), ctypes.byref(pointer), ctypes.byref(error)
    )
    library.g_option_context_free(context)
