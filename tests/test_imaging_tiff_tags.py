"""TIFF directories are read within limits, even in hostile files."""

from __future__ import annotations

import contextlib
import struct
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rembg_tuner.base.errors import PictureError
from rembg_tuner.imaging.tiff import inspect
from rembg_tuner.imaging.tiff_tags import (
    MAX_DIRECTORIES,
    MAX_READ_BYTES,
    TagError,
    TagReader,
    read_pages,
)
from rembg_tuner.imaging.views import PictureFile

if TYPE_CHECKING:
    from pathlib import Path


class _Bytes:
    """A file in memory that counts the bytes read."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)
        self.taken = 0

    def read_at(self, offset: int, length: int) -> bytes:
        """Read as `PictureFile` does."""
        data = self._data[offset : offset + length]
        self.taken += len(data)
        return data


def _reader(data: bytes) -> TagReader:
    return TagReader(cast("PictureFile", _Bytes(data)))


def _inspect(path: Path) -> None:
    with PictureFile(path) as file:
        inspect(path, file)


def _entry(code: int, kind: int, count: int, value: int) -> bytes:
    return struct.pack("<HHII", code, kind, count, value)


def _directory(*entries: bytes, following: int = 0) -> bytes:
    return struct.pack("<H", len(entries)) + b"".join(entries) + struct.pack("<I", following)


def _file(*directories: bytes, first: int = 8) -> bytes:
    return b"II*\0" + struct.pack("<I", first) + b"".join(directories)


def test_numbers_of_every_type_are_read() -> None:
    """Values in the entry and after it are read; rationals become quotients, text is skipped."""
    behind = 8 + len(_directory(*[b"\0" * 12] * 5))
    data = _file(
        _directory(
            _entry(256, 3, 1, 640),
            _entry(258, 3, 3, behind),
            _entry(282, 5, 1, behind + 6),
            _entry(271, 2, 6, behind + 14),
            _entry(999, 99, 1, 0),
        )
    ) + struct.pack("<3HII6s", 8, 8, 8, 144, 2, b"Maker\0")
    reader = _reader(data)
    directory = reader.directory(reader.first_offset)
    assert reader.numbers(directory, 256) == (640,)
    assert reader.numbers(directory, 258) == (8, 8, 8)
    assert reader.numbers(directory, 282) == (72,)
    assert reader.text(directory, 271) == "Maker"
    assert reader.numbers(directory, 271) == reader.numbers(directory, 257) == ()
    assert 999 not in directory.tags


def test_directories_that_lead_to_each_other_end() -> None:
    """A loop of directories is followed once, and its pages are found."""
    one = _directory(_entry(256, 3, 1, 4), following=8 + 18)
    two = _directory(_entry(256, 3, 1, 5), following=8)
    pages = read_pages(_reader(_file(one, two)))
    assert [page.width for page in pages] == [4, 5]


def test_a_long_chain_of_directories_is_cut() -> None:
    """At most the limit of directories is read."""
    chain = [_directory(_entry(256, 3, 1, i), following=8 + 18 * (i + 1)) for i in range(500)]
    pages = read_pages(_reader(_file(*chain)))
    assert len(pages) == MAX_DIRECTORIES


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(_file(first=0), "it has no TIFF directory", id="none"),
        pytest.param(_file(first=2**31), "lies outside the file", id="far"),
        pytest.param(_file(struct.pack("<H", 0)), "has 0 entries", id="empty"),
        pytest.param(_file(struct.pack("<H", 65535)), "has 65535 entries", id="huge"),
        pytest.param(
            _file(_directory(_entry(256, 3, 2**31, 8))), "lies outside the file", id="count"
        ),
        pytest.param(b"II*\0\x08", "lies outside the file", id="short"),
    ],
)
def test_a_damaged_directory_is_a_sentence(tmp_path: Path, data: bytes, reason: str) -> None:
    """Each damaged directory is refused with the reason and the file name."""
    path = tmp_path / "a.tif"
    path.write_bytes(data)
    with pytest.raises(PictureError, match=f"is damaged or cut short: .*{reason}") as caught:
        _inspect(path)
    assert str(caught.value).startswith(str(path))


_TAGS = st.sampled_from(
    [
        254,
        255,
        256,
        257,
        258,
        259,
        262,
        271,
        273,
        277,
        278,
        279,
        284,
        322,
        323,
        324,
        330,
        332,
        338,
        339,
        529,
        530,
        532,
        34675,
        50706,
    ]
)
_NUMBERS = st.one_of(st.integers(0, 9), st.integers(0, 600), st.integers(0, 2**32 - 1))
_ENTRIES = st.builds(_entry, _TAGS, st.integers(0, 20), _NUMBERS, _NUMBERS)
_DIRECTORIES = st.builds(
    lambda entries, following: _directory(*entries, following=following),
    st.lists(_ENTRIES, max_size=24),
    _NUMBERS,
)
_HOSTILE = st.one_of(
    st.binary(max_size=300).map(lambda rest: b"II*\0" + rest),
    st.binary(max_size=300).map(lambda rest: b"MM\0+\0\x08\0\0" + rest),
    st.builds(
        lambda found, rest: _file(*found) + rest,
        st.lists(_DIRECTORIES, min_size=1, max_size=4),
        st.binary(max_size=200),
    ),
)


@settings(max_examples=400, deadline=None)
@given(_HOSTILE)
def test_no_file_raises_anything_else(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    """Reading returns a picture or raises one clear message."""
    path = tmp_path_factory.getbasetemp() / "hostile.tif"
    path.write_bytes(data)
    with contextlib.suppress(PictureError):
        _inspect(path)


@settings(max_examples=200, deadline=None)
@given(_HOSTILE)
def test_no_file_makes_it_read_without_end(data: bytes) -> None:
    """The number of bytes read stays below the limit."""
    file = _Bytes(data + bytes(1000))
    with contextlib.suppress(TagError):
        reader = TagReader(cast("PictureFile", file))
        for page in read_pages(reader):
            for code in page.directory.tags:
                reader.numbers(page.directory, code)
    assert file.taken <= MAX_READ_BYTES
