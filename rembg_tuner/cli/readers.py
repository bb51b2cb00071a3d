"""Words of the command line read as values, with the reason where one cannot be."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from rembg_tuner.settings import type_of
from rembg_tuner.units import MIB, parse_bytes, parse_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

_BOOLEANS = {"on": True, "off": False}


def reader_of(name: str) -> type | object:
    """Give what reads a knob's value from a word."""
    if name.endswith("_bytes"):
        return named(parse_bytes, "size")
    if name.endswith("_s"):
        return named(parse_seconds, "duration")
    return type_of(name)


def list_reader_of(name: str) -> Callable[[str], list[object]]:
    """Give what reads a knob's values from a word with commas."""
    read = _BOOLEANS.__getitem__ if type_of(name) is bool else reader_of(name)

    def read_list(word: str) -> list[object]:
        values: list[object] = []
        for part in word.split(","):
            if not part.strip():
                raise ValueError(f"a value is missing between the commas, got {word!r}")
            try:
                values.append(read(part.strip()))  # type: ignore[operator]  # a reader takes a word
            except KeyError:
                raise ValueError(f"on or off is needed, got {part!r}") from None
        return values

    return read_list


def named(read: object, name: str) -> object:
    """Let argparse show the reason that a reader gives."""

    def read_word(word: str) -> object:
        try:
            return read(word)  # type: ignore[operator]  # a reader takes a word
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    read_word.__name__ = name
    return read_word


def read_count(word: str) -> int:
    """Read a number of at least 1."""
    if not (word.isascii() and word.isdigit()) or int(word) < 1:
        raise argparse.ArgumentTypeError(f"a whole number from 1 on is needed, got {word!r}")
    return int(word)


def read_count_or_none(word: str) -> int:
    """Read a number of at least 0."""
    if not (word.isascii() and word.isdigit()):
        raise argparse.ArgumentTypeError(f"a whole number from 0 on is needed, got {word!r}")
    return int(word)


def read_share(word: str) -> float:
    """Read a number from 0 to 1."""
    try:
        value = float(word)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"a number from 0 to 1 is needed, got {word!r}")
    return value


def read_memory_budget(word: str) -> int:
    """Read a peak that a worker could have; a number without its unit would be bytes."""
    size = parse_bytes(word)
    if size < MIB:
        raise ValueError(f"a budget of memory is 1 MiB or more, with its unit, such as 300MiB, got {word!r}")  # fmt: skip
    return size


def read_time_budget(word: str) -> float:
    """Read a time that a run could take."""
    time_s = parse_seconds(word)
    if (
        not time_s or word[-1].isdigit()
    ):  # without its unit it would be seconds, and milliseconds are meant
        raise ValueError(
            f"a budget of time is more than 0, with its unit, such as 300ms, got {word!r}"
        )
    return time_s
