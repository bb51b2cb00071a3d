"""The entry point of the command line: parse, run a command, print errors, return the exit code.

Exit codes: 0 done, 1 failed, 2 misuse, 124 timed out, 129 hung up (SIGHUP), 130 interrupted
(SIGINT), 143 terminated (SIGTERM). If several apply, the first of 143, 130, 129, 124, 1.

Python's own SIGINT handler, which prints a traceback, is replaced before other imports: `_signal`,
unlike `signal`, is part of the interpreter.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # part of the interpreter, has no stubs
import gc
import sys

TYPE_CHECKING = False  # importing `typing` takes time
if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from rembg_tuner.cli.exits import Stops
    from rembg_tuner.runtime.launching import EarlyWorker

# Every command with its help text. Its module has `add_flags(parser)` and `run(arguments)`.
COMMANDS = {
    "cut": "cut pictures out, and print what each took",
    "presets": "list the presets and their measured figures",
    "doctor": "print what this machine has and what is installed",
    "batch": "cut out a folder of pictures, several at once through the network",
    "models": "list, get, check and quantise models",
    "bench": "measure ours against stock rembg, in turn, on generated pictures",
    "compare": "two to six presets on one picture: time, peak, agreement, and where they differ",
    "sweep": "measure many settings on your pictures, recommend one, write a report",
    "recommend": "choose among a sweep's trials under other budgets; measures nothing",
    "export": "write what runs a preset, or what a sweep recommends, elsewhere",
    "article": "measure the article's tuning table here: u2net as rembg ships it, then ours",
    "soak": "many runs in one worker: does memory grow, how many pictures a day",
    "verify": "measure a saved preset again and compare it with its record; 1 outside the range",
}


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Args:
        words: the arguments; None: those of the process.
    """
    is_process = words is None
    words = sys.argv[1:] if words is None else words
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        # There is nothing to clean up yet, and an exception would be raised during an import.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if is_process:
        gc.disable()  # during the imports it finds nothing, and takes 5 % of the time
    from rembg_tuner.cli.early import launch_early

    try:
        with launch_early(words if is_process else ()) as early:
            return _main_within_limits(words, early)
    finally:
        if is_process:
            _freeze(words)  # a search for cycles at exit takes 15 ms
        else:  # the process ends, so its handler is not restored
            signal.signal(signal.SIGINT, before)


def _main_within_limits(words: Sequence[str], early: EarlyWorker) -> int:
    """Run the command line, and explain a lack of address space in one sentence."""
    from rembg_tuner.settings.address_space import save_address_space, shortage

    save_address_space()
    try:
        return _main(words, early)
    except (ImportError, MemoryError, OSError, RuntimeError, SystemError) as error:
        reason = shortage(error)
        if reason is None:
            raise
        sys.stderr.write(f"rembg-tuner: {reason}\n")
        return 1


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """Create the parser of the command line.

    Args:
        command: the command whose module is imported and whose flags are declared; the others are
            listed by name only, since their imports would slow down the start.
    """
    import argparse
    from importlib import import_module

    from rembg_tuner import __version__
    from rembg_tuner.base.escapes import escape_text

    class Parser(argparse.ArgumentParser):
        """A parser that escapes the user's words in its error messages."""

        def error(self, message: str) -> None:  # type: ignore[override]  # it exits
            """Write usage and message, and exit with 2."""
            super().error(escape_text(message))

    parser: argparse.ArgumentParser = Parser(
        prog="rembg-tuner",
        description="Find the cheapest background removal that still looks right.",
        epilog=(
            "exit codes: 0 done, 1 failed, 2 misuse, 124 timed out, 129 hung up, 130 interrupted,"
            " 143 terminated"
        ),
    )
    parser.add_argument("--version", action="version", version=f"rembg-tuner {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        one = commands.add_parser(name, help=summary)
        if name == command:
            module = import_module(f"rembg_tuner.cli.{name}")
            module.add_flags(one)
            one.set_defaults(run=module.run)
    return parser


def _main(words: Sequence[str], early: EarlyWorker) -> int:
    """Parse the arguments, and run the command."""
    import contextlib

    from rembg_tuner.base.errors import OutputError
    from rembg_tuner.cli.console import flush, log, prepare_streams
    from rembg_tuner.cli.exits import FAILED, stoppable
    from rembg_tuner.settings.address_space import refusal

    prepare_streams()
    if (reason := refusal(_min_address_space(words))) is not None:
        log(f"rembg-tuner: {reason}")
        return FAILED
    try:
        arguments = build_parser(next(iter(words), None)).parse_args(words)
    except SystemExit:  # the help was written, perhaps to a closed pipe
        try:
            with contextlib.suppress(BrokenPipeError):
                flush()
        except OutputError as error:
            log(f"rembg-tuner: {error}")
            return FAILED
        raise
    arguments.early = early
    if not gc.isenabled():
        _freeze(words)  # imported objects stay alive, so they need not be searched
        gc.enable()
    with stoppable() as stops:
        code = _run(arguments, stops)
    return stops.exit_code or code


def _freeze(words: Sequence[str]) -> None:
    """Exclude all current objects from garbage collection, for the commands that start fast.

    Other commands may load libraries, such as onnx, that print a report at exit if their objects
    still exist.
    """
    from rembg_tuner.cli.early import COMMANDS as FAST_COMMANDS

    if words and words[0] in FAST_COMMANDS:
        gc.freeze()


def _min_address_space(words: Sequence[str]) -> int:
    """Return the minimum address space of a command, bytes."""
    from rembg_tuner.settings.address_space import QUANTIZE_MIN_BYTES, WORKER_MIN_BYTES

    command, *others = words or [""]
    if command not in COMMANDS or command in ("doctor", "presets") or {"-h", "--help"} & {*others}:
        return 0
    if command == "models":
        return QUANTIZE_MIN_BYTES if {"quantize", "agreement"} & {*others} else 0
    return WORKER_MIN_BYTES


def _run(arguments: argparse.Namespace, stops: Stops) -> int:
    """Run a command, and print the error that ends it."""
    from rembg_tuner.base.errors import PresetError, SettingsError, TunerError
    from rembg_tuner.cli.console import flush, log
    from rembg_tuner.cli.exits import FAILED, INTERRUPTED, MISUSE, StoppedError, stop_word
    from rembg_tuner.settings.address_space import with_limit

    try:
        code: int = arguments.run(arguments)
        flush()
    except KeyboardInterrupt as error:
        log(f"rembg-tuner: {stop_word(error)}")
        return INTERRUPTED
    except BrokenPipeError:  # the reader of standard output has closed it
        return FAILED
    except Exception as error:
        if stops.number is not None:  # an import or a library replaced the signal's exception
            log(f"rembg-tuner: {stop_word(StoppedError(stops.number))}")
            return FAILED
        if not isinstance(error, TunerError):
            raise
        is_misuse = isinstance(error, SettingsError | PresetError)
        reason = error.message if is_misuse else with_limit(error.message, error.kind)
        problems = error.problems if isinstance(error, SettingsError) else (reason,)
        log(*(f"rembg-tuner: {problem}" for problem in problems))
        return MISUSE if is_misuse else FAILED
    return code
