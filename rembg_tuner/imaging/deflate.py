"""Compress bytes with isal where it is installed, else with zlib; the door to isal.

isal (Intel's ISA-L) deflates the rows of a PNG in a fifth of zlib's time, to about the same size.
Both offer the interface of Python's zlib module and give up the GIL while they work.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_RAW_DEFLATE = -15  # zlib's code for its largest window without header and checksum
# By measurement (benchmarks/png_writer.py): the fastest whose files are at most 2 % larger than
# those of libvips before, by the median of 24 pictures. isal: 3 takes twice as long as 2 and makes
# larger files. zlib: 1 is at 4 %.
_LEVELS = {"isal": 2, "zlib": 2}


def _load_library() -> tuple[Any, str, str]:
    """Return the module that compresses, its name and its version."""
    try:
        import isal
        from isal import isal_zlib
    except ImportError:  # a platform without a wheel
        return zlib, "zlib", zlib.ZLIB_RUNTIME_VERSION
    return isal_zlib, "isal", str(isal.__version__)


_library, LIBRARY, VERSION = _load_library()
adler32 = _library.adler32
crc32 = _library.crc32


def deflate(data: npt.NDArray[np.uint8]) -> tuple[bytes, bytes]:
    """Compress bytes to a part of a raw deflate stream.

    The part ends with a full flush: at a whole byte, and with nothing after it referring to it.
    Parts that are compressed independently can therefore follow each other in one stream.

    Args:
        data: uint8, contiguous.

    Returns:
        The part, in two pieces.
    """
    compressor = _library.compressobj(_LEVELS[LIBRARY], zlib.DEFLATED, _RAW_DEFLATE)
    return compressor.compress(data), compressor.flush(zlib.Z_FULL_FLUSH)
