"""The command line: `main` parses, calls the rooms below, prints, and gives the exit code.

0 done, 1 failed, 2 misuse, 124 timed out, 130 interrupted.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rembg_tuner.cli.arguments import build_parser
from rembg_tuner.errors import PresetError, SettingsError, TunerError

if TYPE_CHECKING:
    from collections.abc import Sequence

FAILED, MISUSE, INTERRUPTED = 1, 2, 130


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        words: the arguments; None: those of the process.
    """
    arguments = build_parser().parse_args(words)
    try:
        match arguments.command:
            case "cut":
                from rembg_tuner.cli.cut import cut

                return cut(arguments)
            case "presets":
                from rembg_tuner.cli.presets import show_presets

                return show_presets(arguments)
            case "doctor":
                from rembg_tuner.cli.doctor import doctor

                return doctor(arguments)
            case _:
                from rembg_tuner.cli.bench import bench

                return bench(arguments)
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
        sys.stderr.close()  # who read our output has left: nobody is there to be told
        return FAILED
