"""The command line: `main` parses, calls the rooms below, prints, and gives the exit code.

0 done, 1 failed, 2 misuse, 124 timed out, 130 interrupted.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING

from rembg_tuner.cli.arguments import build_parser
from rembg_tuner.errors import PresetError, SettingsError, TunerError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

FAILED, MISUSE, INTERRUPTED = 1, 2, 130


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        words: the arguments; None: those of the process.
    """
    arguments = build_parser().parse_args(words)
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except (SettingsError, PresetError) as error:
        problems = error.problems if isinstance(error, SettingsError) else (str(error),)
        for problem in problems:
            print(f"rembg-tuner: {problem}", file=sys.stderr)
        return MISUSE
    except TunerError as error:
        print(f"rembg-tuner: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("rembg-tuner: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Who read our output has left; without this the interpreter would complain of it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return code


def _run(arguments: argparse.Namespace) -> int:
    """Import one command and run it; the others' imports would slow its start."""
    module = importlib.import_module(f"rembg_tuner.cli.{arguments.command}")
    code: int = module.run(arguments)
    return code
