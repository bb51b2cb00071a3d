"""How what settings took on this machine before is used by a command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rembg_tuner.base.files import open_cache
from rembg_tuner.cli.console import log
from rembg_tuner.runtime.measurements import set_older_aside

if TYPE_CHECKING:
    import argparse

    from rembg_tuner.runtime.known_peaks import HistoryUse


def add_ignore_history(command: argparse.ArgumentParser) -> None:
    """Declare --ignore-history."""
    command.add_argument(
        "--ignore-history",
        action="store_true",
        help=(
            "start settings that took more than the memory limit here before; the limit is kept"
            " while they run"
        ),
    )


def history_of(arguments: argparse.Namespace) -> HistoryUse:
    """Return what the flag asks for."""
    return "ignored" if arguments.ignore_history else "own"


def log_older_measurements() -> None:
    """Set the files of older versions aside before trials are measured, whose warnings are kept, and say so."""
    for text in set_older_aside(open_cache()[0]):
        log(f"warning: {text}")
