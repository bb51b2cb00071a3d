"""Flags that several commands share: their declarations, parsers and values."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from rembg_tuner.base.files import open_cache
from rembg_tuner.base.messages import plural
from rembg_tuner.base.units import MIB, format_exact_bytes, parse_bytes, parse_seconds
from rembg_tuner.batch.plan import find_images
from rembg_tuner.cli.console import log
from rembg_tuner.models.catalogue import read_catalogue
from rembg_tuner.runtime.measurements import set_older_aside
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.settings.presets import DEFAULT_PRESET, find_preset
from rembg_tuner.settings.requested import requested_settings
from rembg_tuner.settings.settings import KNOBS, default_text, flag_of, type_of
from rembg_tuner.tuning.budgets import ANY, DEFAULT_MIN_AGREEMENT, Budgets
from rembg_tuner.tuning.stats import MAX_COUNT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rembg_tuner.base.messages import Message
    from rembg_tuner.batch.plan import Found
    from rembg_tuner.runtime.known_peaks import HistoryUse
    from rembg_tuner.settings.settings import Settings

Lifted = Literal["any"]  # a budget given as `any`; without the flag it is None
LIFTED: Final = "any"
BUDGET_FLAGS = {"memory": "--max-memory", "time": "--max-latency", "agreement": "--min-agreement"}
_MAX_PERCENT = 10_000  # 100 times the record; a larger value is not useful
_BOOLEANS = {"on": True, "off": False}
_STARTS_FROM_DEFAULTS = ("model", "engine")  # without --preset, they start from the defaults
_Value = TypeVar("_Value")
Parser = argparse.ArgumentParser

# Parsers: from a word of the command line to a value.


def explained(read: Callable[[str], _Value]) -> Callable[[str], _Value]:
    """Return a parser whose ValueError is shown to the user; argparse drops its text otherwise."""

    def read_word(word: str) -> _Value:
        try:
            return read(word)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return read_word


def reader_of(name: str) -> Callable[[str], Any]:
    """Return the parser of a knob's value."""
    if name.endswith("_bytes"):
        return explained(parse_bytes)
    return explained(parse_seconds) if name.endswith("_s") else type_of(name)


def list_reader_of(name: str) -> Callable[[str], list[Any]]:
    """Return the parser of a comma-separated list of a knob's values; boxes use semicolons."""
    separator, plural_name = (";", "semicolons") if name == "focus_box" else (",", "commas")
    read = _BOOLEANS.__getitem__ if type_of(name) is bool else reader_of(name)

    def read_list(word: str) -> list[Any]:
        parts = [part.strip() for part in word.split(separator)]
        if "" in parts:
            raise ValueError(f"a value is missing between the {plural_name}, got {word!r}")
        try:
            return [read(part) for part in parts]
        except KeyError as error:
            raise ValueError(f"on or off is needed, got {error}") from None

    return read_list


def whole_number(minimum: int, maximum: int = MAX_COUNT) -> Callable[[str], int]:
    """Return the parser of a whole number within a range."""

    def read(word: str) -> int:
        if not (word.isascii() and word.isdigit() and minimum <= int(word) <= maximum):
            raise ValueError(
                f"a whole number from {minimum} to {maximum:,} is needed, got {word!r}"
            )
        return int(word)

    return explained(read)


def _number(word: str, maximum: float, needed: str) -> float:
    """Parse a number from 0 to a maximum."""
    try:
        value = float(word)
    except ValueError:
        value = -1.0
    if not 0 <= value <= maximum:
        raise ValueError(f"{needed} is needed, got {word!r}")
    return value


def read_overlap(word: str) -> float:
    """Parse an overlap of two mattes, from 0 to 1."""
    return _number(word, 1, "a number from 0 to 1")


def read_share(word: str) -> float:
    """Parse a percentage, with or without a percent sign, as a share: 25% is 0.25."""
    needed = f"a percentage from 0 to {_MAX_PERCENT:,}, such as 25%,"
    return _number(word.removesuffix("%").rstrip(), _MAX_PERCENT, needed) / 100


def _read_agreement(word: str) -> float:
    """Parse a minimum agreement."""
    return _number(word, 1, "a number from 0 to 1, or any,")


def _read_memory(word: str) -> int:
    """Parse a memory budget of at least 1 MiB; a number without a unit counts as bytes.

    Raises:
        ValueError: it is smaller, or not a size.
    """
    size = parse_bytes(word)
    if size < MIB:
        given = plural("{n} byte", "{n:,} bytes", n=size)
        raise ValueError(
            "a budget of memory is 1 MiB or more, with its unit, such as 300MiB, or any, got"
            f" {word!r}, which is {given}"
        )
    return size


def _read_time(word: str) -> float:
    """Parse a time budget above 0 with its unit.

    Raises:
        ValueError: it is 0, has no unit, or is not a time.
    """
    time_s = parse_seconds(word)
    if not time_s or word[-1].isdigit():
        raise ValueError(
            f"a budget of time is more than 0, with its unit, such as 300ms, or any, got {word!r}"
        )
    return time_s


def _budget(read: Callable[[str], _Value]) -> Callable[[str], _Value | Lifted]:
    """Return a parser that also accepts `any`, which removes the budget."""
    return explained(lambda word: LIFTED if word.strip().lower() == ANY else read(word))


# Shared flags.


def add_json(parser: Parser, what: str = "print one JSON document") -> None:
    """Declare --json."""
    parser.add_argument("--json", action="store_true", help=what)


def add_preset(parser: Parser, summary: str = "") -> None:
    """Declare --preset."""
    text = f"{summary}default: {DEFAULT_PRESET}"
    parser.add_argument("--preset", metavar="NAME", help=text)


def add_count(parser: Parser, flag: str, default: int, summary: str) -> None:
    """Declare a flag that takes a number of at least 1."""
    parser.add_argument(
        flag,
        type=whole_number(1),
        default=default,
        metavar="N",
        help=f"{summary}default: %(default)s",
    )


def add_ignore_history(parser: Parser) -> None:
    """Declare --ignore-history."""
    parser.add_argument(
        "--ignore-history",
        action="store_true",
        help=(
            "start settings that took more than the memory limit here before; the limit is kept"
            " while they run"
        ),
    )


def add_cutting_flags(parser: Parser) -> None:
    """Declare the flags of the commands that cut out pictures."""
    add_preset(parser, "start from a preset; ")
    parser.add_argument(
        "--background",
        metavar="COLOUR",
        help="put it on a colour: white, #rrggbb; default: transparent",
    )
    add_ignore_history(parser)
    add_json(parser)
    add_knobs(parser)


def add_knobs(parser: Parser) -> None:
    """Declare one flag for each knob."""
    groups: dict[str, argparse._ArgumentGroup] = {}
    for name, knob in KNOBS.items():
        if knob.group not in groups:
            groups[knob.group] = parser.add_argument_group(knob.group)
        is_boolean = type_of(name) is bool
        allowed = "" if is_boolean else f" ({knob.allowed_text()})"
        options: dict[str, Any] = (
            {"action": argparse.BooleanOptionalAction}
            if is_boolean
            else {"type": reader_of(name), "metavar": knob.unit.upper() or name.upper()}
        )
        groups[knob.group].add_argument(
            flag_of(name),
            dest=f"knob_{name}",
            default=None,
            help=f"{knob.summary}{allowed}; default: {default_text(name)}".replace("%", "%%"),
            **options,
        )


def add_axes(parser: Parser) -> None:
    """Declare one flag for each knob that takes a list of values."""
    axes = parser.add_argument_group("axes", "each a list of values, separated by commas")
    for name, knob in KNOBS.items():
        axes.add_argument(
            flag_of(name),
            dest=f"knob_{name}",
            type=explained(list_reader_of(name)),
            metavar="V,V,...",
            help=knob.summary.replace("%", "%%"),
        )


def add_budgets(parser: Parser, description: str | None = None) -> None:
    """Declare the flags of the budgets."""
    budgets = parser.add_argument_group("budgets", description)
    rows = (
        ("memory", _read_memory, "SIZE", "peak, such as 520MiB or 545MB", ANY),
        ("time", _read_time, "TIME", "median of a run, such as 300ms", ANY),
        ("agreement", _read_agreement, "IOU", "with the reference, 0 to 1", DEFAULT_MIN_AGREEMENT),
    )
    for name, read, metavar, summary, default in rows:
        budgets.add_argument(
            BUDGET_FLAGS[name],
            type=_budget(read),
            metavar=metavar,
            help=f"{summary}; any lifts it; default: {default}",
        )
    budgets.add_argument(
        "--commercial",
        action=argparse.BooleanOptionalAction,
        default=None,
        help=(
            "only models whose licence allows commercial use; --no-commercial lifts it; default:"
            " any licence"
        ),
    )


# Values of the parsed flags.


def given_knobs(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the knobs that were set by flag."""
    return {
        name: value for name in KNOBS if (value := getattr(arguments, f"knob_{name}")) is not None
    }


def log_sizes(given: Mapping[str, Any]) -> None:
    """Log parsed sizes in bytes, since 300MB and 300M differ.

    Args:
        given: knobs by name, each with its value or, for a sweep, a list of values.
    """
    for name, value in given.items():
        if name.endswith("_bytes"):
            sizes = value if isinstance(value, list) else [value]
            log(f"{name}: {', '.join(map(format_exact_bytes, sizes))}")


def parse_settings(arguments: argparse.Namespace) -> tuple[Settings, tuple[Message, ...]]:
    """Return the settings requested by the preset and the knobs' flags, with their warnings.

    Raises:
        SettingsError, PresetError: the arguments are invalid.
    """
    given = given_knobs(arguments)
    log_sizes(given)
    name = arguments.preset
    if name is None and not any(knob in given for knob in _STARTS_FROM_DEFAULTS):
        name = DEFAULT_PRESET
    return requested_settings(None if name is None else find_preset(name), given, read_machine())


def given_budgets(arguments: argparse.Namespace) -> list[str]:
    """Return the flags of budgets that were given."""
    flags = [*BUDGET_FLAGS.values(), "--commercial"]
    return [flag for flag in flags if getattr(arguments, flag[2:].replace("-", "_")) is not None]


def parse_budgets(arguments: argparse.Namespace, start: Budgets | None = None) -> Budgets:
    """Return the budgets requested by the flags, and log their parsed values.

    Args:
        arguments: parsed, with the budgets' flags.
        start: a sweep's own budgets, used for missing flags; None: the defaults.
    """
    start = start or Budgets()
    models = start.models if arguments.commercial is None else None
    if arguments.commercial:
        entries = read_catalogue()
        models = frozenset(name for name, entry in entries.items() if entry.commercial == "yes")
    budgets = Budgets(
        max_memory_bytes=_given_or(arguments.max_memory, start.max_memory_bytes),
        max_time_s=_given_or(arguments.max_latency, start.max_time_s),
        min_agreement=_given_or(arguments.min_agreement, start.min_agreement),
        models=models,
    )
    log(f"budgets: {budgets.text(with_bytes=True)}")
    return budgets


def _given_or(given: _Value | Lifted | None, start: _Value | None) -> _Value | None:
    """Return a budget's value: that of the flag, None for `any`, or `start` without the flag."""
    if given is None:
        return start
    return None if given == LIFTED else given


def find_and_log(names: Sequence[str]) -> Found:
    """List the pictures of folders and those named one by one.

    Files of a folder that have a picture's suffix but not its content are logged.

    Raises:
        SettingsError: there are no pictures, or a folder cannot be read.
    """
    found = find_images(names)
    for one in found.skipped:
        if one.has_picture_suffix:
            log(
                f"rembg-tuner: {one.input} is left out: it is called a picture, and does not read"
                " as one"
            )
    return found


def history_use(arguments: argparse.Namespace) -> HistoryUse:
    """Return how earlier peaks on this machine are used; see `KnownPeaks`."""
    return "ignored" if arguments.ignore_history else "own"


def log_older_measurements() -> None:
    """Rename the files of older versions before trials are measured, and log this."""
    for text in set_older_aside(open_cache()[0]):
        log(f"warning: {text}")
