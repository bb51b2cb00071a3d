"""The command line: `main` parses, calls the rooms below, prints, and returns the exit code.

0 done, 1 failed, 2 misuse, 124 timed out, 129 hung up (SIGHUP), 130 interrupted (SIGINT), 143
terminated (SIGTERM); of several the first of 143, 130, 129, 124, 1.

Python's own handler of SIGINT, which prints a traceback, is replaced before anything is imported:
`signal` without its enums is part of the interpreter.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # a part of the interpreter without stubs
import gc
import sys

TYPE_CHECKING = False  # `typing` itself takes a while to import
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from rembg_tuner.cli.stopping import Stops
    from rembg_tuner.runtime.launching import EarlyWorker


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        words: the arguments; None: those of the process.
    """
    is_process = words is None
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        # There is nothing to clean up yet, and an exception would be raised inside an import.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if is_process:
        # while modules are imported it finds nothing, and takes a twentieth of the time
        gc.disable()
    from rembg_tuner.cli.early import launch_early

    try:
        with launch_early(sys.argv[1:] if is_process else ()) as early:
            return _main_within_limits(words, early)
    finally:
        if is_process:
            _freeze(
                sys.argv[1:2]
            )  # at the interpreter's end nothing is searched for cycles, which takes 15 ms
        else:  # the process's own end needs no handler
            signal.signal(signal.SIGINT, before)


def _main_within_limits(words: Sequence[str] | None, early: EarlyWorker) -> int:
    """Run the command line, and tell a shortage of address space in a sentence."""
    from rembg_tuner.settings.address_space import save_address_space, shortage

    save_address_space()
    try:
        return _main(words, early)
    except (ImportError, MemoryError, OSError, RuntimeError, SystemError) as error:
        told = shortage(error)
        if told is None:
            raise
        sys.stderr.write(f"rembg-tuner: {told}\n")
        return 1


def _main(words: Sequence[str] | None, early: EarlyWorker) -> int:
    """Parse, import the one command that is asked for (the others' imports would slow its start), and run it."""
    import contextlib
    import importlib

    from rembg_tuner.base.errors import OutputError
    from rembg_tuner.cli.arguments import build_parser
    from rembg_tuner.cli.console import flush, log, prepare_streams
    from rembg_tuner.cli.exits import FAILED
    from rembg_tuner.cli.stopping import stoppable
    from rembg_tuner.settings.address_space import refusal

    prepare_streams()
    try:
        arguments = build_parser(_first_of(words)).parse_args(words)
    except SystemExit:  # the help was written, perhaps to a reader that has left
        try:
            with contextlib.suppress(BrokenPipeError):
                flush()
        except OutputError as error:
            log(f"rembg-tuner: {error}")
            return FAILED
        raise
    told = refusal(_least_address_space(arguments))
    if told is not None:
        log(f"rembg-tuner: {told}")
        return FAILED
    arguments.early = early
    module = importlib.import_module(f"rembg_tuner.cli.{arguments.command}")
    if not gc.isenabled():
        _freeze([arguments.command])  # what was imported stays, and is not looked through
        gc.enable()
    with stoppable() as stops:
        code = _run(module.run, arguments, stops)
    return stops.exit_code or code


def _freeze(command: Sequence[str]) -> None:
    """Leave all present objects out of garbage collection, in the commands whose start is to be short.

    Others may load libraries, onnx among them, that write a report to standard error at the
    interpreter's end where objects of theirs are left.
    """
    from rembg_tuner.cli.early import COMMANDS

    if command and command[0] in COMMANDS:
        gc.freeze()


def _first_of(words: Sequence[str] | None) -> str | None:
    """Return the command line's first word; None: it has none."""
    return next(iter(sys.argv[1:] if words is None else words), None)


def _least_address_space(arguments: argparse.Namespace) -> int:
    """Return the bytes of address space without which a command cannot work."""
    from rembg_tuner.settings.address_space import QUANTIZE_MIN_BYTES, WORKER_MIN_BYTES

    if arguments.command == "models":
        return QUANTIZE_MIN_BYTES if arguments.action in ("quantize", "agreement") else 0
    return 0 if arguments.command in ("doctor", "presets") else WORKER_MIN_BYTES


def _run(
    command: Callable[[argparse.Namespace], int], arguments: argparse.Namespace, stops: Stops
) -> int:
    """Run a command, and write what went wrong."""
    from rembg_tuner.base.errors import PresetError, SettingsError, TunerError
    from rembg_tuner.cli.console import flush, log
    from rembg_tuner.cli.exits import FAILED, INTERRUPTED, MISUSE
    from rembg_tuner.cli.stopping import StoppedError, stop_word
    from rembg_tuner.settings.address_space import with_limit

    try:
        code = command(arguments)
        flush()
    except KeyboardInterrupt as error:
        log(f"rembg-tuner: {stop_word(error)}")
        return INTERRUPTED
    except BrokenPipeError:  # who read our output has left
        return FAILED
    except Exception as error:
        if stops.number is not None:  # an import or a library made another error of the signal's
            log(f"rembg-tuner: {stop_word(StoppedError(stops.number))}")
            return FAILED
        if not isinstance(error, TunerError):
            raise
        is_misuse = isinstance(error, SettingsError | PresetError)
        told = error.message if is_misuse else with_limit(error.message, error.kind)
        problems = error.problems if isinstance(error, SettingsError) else (told,)
        log(*(f"rembg-tuner: {problem}" for problem in problems))
        return MISUSE if is_misuse else FAILED
    return code
