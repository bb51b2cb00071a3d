"""Recognize cameras' raw files, which are refused by name.

They hold sensor data, and a small preview.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import PictureError
from rembg_tuner.base.messages import Message, Term

if TYPE_CHECKING:
    from pathlib import Path

# Bytes at an offset by which a raw file is recognized, and its name.
_HEADS = (
    (0, b"IIU\0", "Panasonic or Leica RW2"),
    (0, b"IIRO", "Olympus ORF"),
    (0, b"IIRS", "Olympus ORF"),
    (0, b"MMOR", "Olympus ORF"),
    (0, b"FUJIFILMCCD-RAW", "Fujifilm RAF"),
    (0, b"\0MRM", "Minolta MRW"),
    (0, b"FOVb", "Sigma X3F"),
    (4, b"ftypcrx ", "Canon CR3"),
    (6, b"HEAPCCDR", "Canon CRW"),
    (0, b"II*\0\x10\0\0\0CR", "Canon CR2"),
)
# Phase One's second header, behind that of TIFF
_PHASE_ONE = re.compile(rb"(?s)(II\*\0.{4}IIII.waR|MM\0\*.{4}MMMMRaw)")
# Raw files that are TIFF files, by the beginning of tag Make in upper case.
_MAKERS = {
    "CANON": "Canon CR2",
    "EASTMAN KODAK": "Kodak DCR",
    "HASSELBLAD": "Hasselblad 3FR",
    "KODAK": "Kodak DCR",
    "LEAF": "Leaf MOS",
    "MAMIYA": "Mamiya MEF",
    "NIKON": "Nikon NEF",
    "PENTAX": "Pentax PEF",
    "PHASE ONE": "Phase One IIQ",
    "RICOH": "Pentax PEF",
    "SAMSUNG": "Samsung SRW",
    "SEIKO EPSON": "Epson ERF",
    "SONY": "Sony ARW",
}
_OTHER = "camera raw"
NAMES = {*(name for _, _, name in _HEADS), "Phase One IIQ", *_MAKERS.values(), _OTHER}


def raw_name(head: bytes) -> str | None:
    """Return the name of the raw format that a file's first bytes belong to.

    None: not a raw file.
    """
    for offset, magic, name in _HEADS:
        if head[offset:].startswith(magic):
            return name
    return "Phase One IIQ" if _PHASE_ONE.match(head) else None


def raw_name_by_maker(make: str) -> str:
    """Return the name of a maker's raw format; make is the text of TIFF tag Make."""
    begun = make.upper()
    return next((name for maker, name in _MAKERS.items() if begun.startswith(maker)), _OTHER)


def raw_error(path: Path, name: str) -> PictureError:
    """Return the error that refuses a raw file."""
    return PictureError(
        Message(
            "{path} is a raw file of a camera ({name}), which is not read; develop it and save it"
            " as JPEG, PNG or TIFF",
            path=path,
            name=Term(name, "camera"),
        )
    )
