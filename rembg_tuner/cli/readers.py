"""Words of the command line read as values, with the reason where one cannot be."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Final, Literal

from rembg_tuner.base.messages import plural
from rembg_tuner.base.units import MIB, parse_bytes, parse_seconds
from rembg_tuner.settings.settings import type_of
from rembg_tuner.tuning.budgets import ANY
from rembg_tuner.tuning.stats import MAX_COUNT

if TYPE_CHECKING:
    from collections.abc import Callable

Lifted = Literal["any"]  # a budget given as `any`; one that is not given is None
LIFTED: Final = "any"
_MAX_PERCENT = 10_000  # a hundred times the record; more is no comparison
_BOOLEANS = {"on": True, "off": False}


def reader_of(name: str) -> type | object:
    """Give what reads a knob's value from a word."""
    if name.endswith("_bytes"):
        return named(parse_bytes, "size")
    if name.endswith("_s"):
        return named(parse_seconds, "duration")
    return type_of(name)


def list_reader_of(name: str) -> Callable[[str], list[object]]:
    """Give what reads a knob's values from a word with commas.

    Boxes, which have commas, stand by semicolons.
    """
    mark = ";" if name == "focus_box" else ","
    read = _BOOLEANS.__getitem__ if type_of(name) is bool else reader_of(name)

    def read_list(word: str) -> list[object]:
        values: list[object] = []
        for part in word.split(mark):
            if not part.strip():
                marks = "commas" if mark == "," else "semicolons"
                raise ValueError(f"a value is missing between the {marks}, got {word!r}")
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
    return _read_whole(word, least=1)


def read_count_or_none(word: str) -> int:
    """Read a number of at least 0."""
    return _read_whole(word, least=0)


def read_seed(word: str) -> int:
    """Read a seed that numpy's random numbers can have, which the guided search uses."""
    return _read_whole(word, least=0, most=2**32 - 1)


def _read_whole(word: str, *, least: int, most: int = MAX_COUNT) -> int:
    """Read a whole number from a minimum to a maximum."""
    if not (word.isascii() and word.isdigit() and least <= int(word) <= most):
        raise argparse.ArgumentTypeError(
            f"a whole number from {least} to {most:,} is needed, got {word!r}"
        )
    return int(word)


def read_agreement_budget(word: str) -> float | Lifted:
    """Read a minimum agreement, from 0 to 1, or `any`."""
    if _is_any(word):
        return LIFTED
    try:
        value = float(word)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"a number from 0 to 1, or any, is needed, got {word!r}")
    return value


def read_overlap(word: str) -> float:
    """Read an overlap of two mattes, from 0 to 1."""
    value = _read_number(word)
    if value is None or value > 1:
        raise ValueError(f"a number from 0 to 1 is needed, got {word!r}")
    return value


def read_share(word: str) -> float:
    """Read a percentage, with or without its sign, as a share: 25% is 0.25."""
    value = _read_number(word.removesuffix("%").rstrip())
    if value is None or value > _MAX_PERCENT:
        raise ValueError(
            f"a percentage from 0 to {_MAX_PERCENT:,}, such as 25%, is needed, got {word!r}"
        )
    return value / 100


def _read_number(word: str) -> float | None:
    """Read a number from 0 on; None: it is not one."""
    try:
        value = float(word)
    except ValueError:
        return None
    return value if value >= 0 else None  # nan is not


def read_memory_budget(word: str) -> int | Lifted:
    """Read a peak that a worker could have, or `any`; a number without its unit would be bytes."""
    if _is_any(word):
        return LIFTED
    size = parse_bytes(word)
    if size < MIB:
        given = plural("{n} byte", "{n:,} bytes", n=size)
        raise ValueError(
            "a budget of memory is 1 MiB or more, with its unit, such as 300MiB, or any, got"
            f" {word!r}, which is {given}"
        )
    return size


def read_time_budget(word: str) -> float | Lifted:
    """Read a time that a run could take, or `any`."""
    if _is_any(word):
        return LIFTED
    time_s = parse_seconds(word)
    if (
        not time_s or word[-1].isdigit()
    ):  # without its unit it would be seconds, and milliseconds are meant
        raise ValueError(
            f"a budget of time is more than 0, with its unit, such as 300ms, or any, got {word!r}"
        )
    return time_s


def _is_any(word: str) -> bool:
    """Return whether a word lifts a budget."""
    return word.strip().lower() == ANY
