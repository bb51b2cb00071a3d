"""The command line's grammar; every knob's flag is derived from its declaration."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from rembg_tuner import __version__
from rembg_tuner.presets import DEFAULT_PRESET, Capabilities, find_preset, resolve
from rembg_tuner.settings import KNOBS, default_text, flag_of, type_of
from rembg_tuner.units import parse_bytes, parse_seconds

if TYPE_CHECKING:
    from rembg_tuner.settings import Settings

_STARTS_FROM_DEFAULTS = ("model", "engine")  # given without --preset, the knobs' own defaults hold


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="rembg-tuner",
        description="Find the cheapest background removal that still looks right.",
        epilog="exit codes: 0 done, 1 failed, 2 misuse, 124 timed out, 130 interrupted",
    )
    parser.add_argument("--version", action="version", version=f"rembg-tuner {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_cut(commands)
    presets = commands.add_parser("presets", help="list the presets and what was measured of them")
    presets.add_argument("--json", action="store_true", help="print one JSON document")
    doctor = commands.add_parser("doctor", help="tell what this machine has and what is installed")
    doctor.add_argument("--json", action="store_true", help="print one JSON document")
    _add_bench(commands)
    return parser


def _add_cut(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `cut`."""
    cut = commands.add_parser(
        "cut",
        help="cut pictures out, and tell what it took",
        description="Cut pictures out of their background, one at a time, each measured.",
    )
    cut.add_argument(
        "images", nargs="+", metavar="IMAGE", help="JPEG, PNG, WebP, AVIF, TIFF or GIF"
    )
    cut.add_argument(
        "-o",
        "--output",
        metavar="FILE|DIR",
        help="where to write: a file (.png, .webp, .jpg), or a folder for <stem>.png; "
        "default: <stem>.cutout.png beside each picture",
    )
    cut.add_argument(
        "--preset", metavar="NAME", help=f"start from a preset; default: {DEFAULT_PRESET}"
    )
    cut.add_argument(
        "--background",
        metavar="COLOUR",
        help="put it on a colour: white, #rrggbb; default: transparent",
    )
    cut.add_argument(
        "--repeat", type=_count, default=1, metavar="N", help="run each picture N times; default: 1"
    )
    cut.add_argument("--json", action="store_true", help="print one JSON document")
    add_knobs(cut)


def _add_bench(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare `bench`."""
    bench = commands.add_parser(
        "bench",
        help="measure ours against stock rembg, in turn, on pictures that it makes",
        description="Measure stock rembg and ours in turn (A B A B) at 1080p, 12 and 48 MP. Takes minutes; "
        "wants a quiet machine.",
    )
    bench.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        default="benchmarks/results",
        help="where the JSON goes; default: benchmarks/results",
    )
    bench.add_argument(
        "--rounds",
        type=_count,
        default=5,
        metavar="N",
        help="warm runs of each setting on each picture; default: 5",
    )
    bench.add_argument("--quick", action="store_true", help="1080p only, three rounds")
    bench.add_argument(
        "--presets",
        action="store_true",
        help="measure the presets and write them to presets.yaml instead",
    )
    bench.add_argument("--json", action="store_true", help="print the JSON document too")


def add_knobs(parser: argparse.ArgumentParser) -> None:
    """Give a parser one flag for each knob."""
    groups: dict[str, argparse._ArgumentGroup] = {}
    for name, knob in KNOBS.items():
        if knob.group not in groups:
            groups[knob.group] = parser.add_argument_group(knob.group)
        default = default_text(name)
        allowed = f" ({knob.allowed_text()})" if knob.choices or knob.low is not None else ""
        options: dict[str, object] = {
            "dest": f"knob_{name}",
            "default": None,
            "help": f"{knob.summary}{allowed}; default: {default}".replace("%", "%%"),
        }
        if type_of(name) is bool:
            options["action"] = argparse.BooleanOptionalAction
        else:
            options["type"] = _reader(name)
            options["metavar"] = knob.unit.upper() or name.upper()
        groups[knob.group].add_argument(flag_of(name), **options)  # type: ignore[arg-type]  # a table of keyword arguments


def _reader(name: str) -> type | object:
    """Give what reads a knob's value from a word."""
    if name.endswith("_bytes"):
        return _named(parse_bytes, "size")
    if name.endswith("_s"):
        return _named(parse_seconds, "duration")
    return type_of(name)


def _named(read: object, name: str) -> object:
    """Let argparse show the reason that a reader gives."""

    def read_word(word: str) -> object:
        try:
            return read(word)  # type: ignore[operator]  # a reader takes a word
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    read_word.__name__ = name
    return read_word


def _count(word: str) -> int:
    """Read a number of at least 1."""
    if not word.isdigit() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"a whole number from 1 on is needed, got {word!r}")
    return int(word)


def given_knobs(arguments: argparse.Namespace) -> dict[str, object]:
    """Give the knobs that were set by flag."""
    return {
        name: value for name in KNOBS if (value := getattr(arguments, f"knob_{name}")) is not None
    }


def chosen_settings(
    arguments: argparse.Namespace, *, has_bf16: bool
) -> tuple[Settings, tuple[str, ...]]:
    """Make the settings that the arguments ask for.

    Args:
        arguments: parsed, with the knobs' flags and `preset`.
        has_bf16: whether the CPU computes in bfloat16 natively.

    Returns:
        The settings, and what was said while making them.

    Raises:
        SettingsError, PresetError: misuse.
    """
    given = given_knobs(arguments)
    name = arguments.preset
    if name is None and not any(knob in given for knob in _STARTS_FROM_DEFAULTS):
        name = DEFAULT_PRESET
    preset = find_preset(name) if name is not None else None
    return resolve(preset, given, Capabilities.of_here(has_bf16=has_bf16))
