"""Serve the page: open the lanes, build and launch it, and shut down with all workers."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import PresetError
from rembg_tuner.base.messages import Message
from rembg_tuner.runtime.meter import available_memory_bytes
from rembg_tuner.runtime.slots import MAX_WARM_BYTES, WarmUp, open_slots
from rembg_tuner.settings.address_space import save_address_space, shortage
from rembg_tuner.settings.host import read_host
from rembg_tuner.settings.presets import DEFAULT_PRESET, find_preset
from rembg_tuner.web.pages.choices import preset_settings
from rembg_tuner.web.pages.page_folder import PageFolder
from rembg_tuner.web.server.gradio_start import collection_paused, import_gradio

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    import gradio as gr

    from rembg_tuner.runtime.lanes import Lane
    from rembg_tuner.runtime.slots import RunnerSlot

MISUSE, FAILED = 2, 1
# Read by Gradio: a short history, and no concurrency limit (the lanes have their own).
_ENVIRONMENT = {
    "GRADIO_DEFAULT_CONCURRENCY_LIMIT": "none",
    "GRADIO_ANALYTICS_MAX_EVENTS": "200",
    "GRADIO_ANALYTICS_CACHE_FREQUENCY": "50",
}
# No proxy for this machine: Gradio checks at launch whether its own server responds.
_LOCAL = "127.0.0.1,localhost,::1"
_stopping = threading.Event()  # set when a signal requests the shutdown


def build_parser() -> argparse.ArgumentParser:
    """Create the argument parser of app.py."""
    parser = argparse.ArgumentParser(prog="app.py", description="Serve rembg tuner's page.")
    parser.add_argument(
        "--host",
        default=os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1"),
        help="address to listen on; 0.0.0.0 for every one; default: %(default)s",
    )
    parser.add_argument(
        "--port",
        type=int,
        default=int(os.environ.get("GRADIO_SERVER_PORT", "7860")),
        help="default: %(default)s",
    )
    parser.add_argument(
        "--preset",
        default=DEFAULT_PRESET,
        help="what a new visitor starts from; default: %(default)s",
    )
    parser.add_argument(
        "--slots",
        type=int,
        default=1,
        help="pictures at once; they share the CPUs, and each has a worker's memory; default: 1",
    )
    parser.add_argument(
        "--downloads",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="whether visitors may have models downloaded to this machine; default: no",
    )
    parser.add_argument(
        "--warm-up",
        action=argparse.BooleanOptionalAction,
        default=True,
        help=(
            "whether a worker with the preset's model is started with the server; default: yes,"
            " where 1 GiB of memory is free"
        ),
    )
    parser.add_argument("--no-ui", action="store_true", help="serve programs only (/cut)")
    return parser


def serve(words: Sequence[str] | None = None) -> int:
    """Serve until a signal stops the process.

    Args:
        words: the arguments; None: the arguments of the process.

    Returns:
        The exit code: 0 stopped by Ctrl-C, SIGTERM or SIGHUP; 1 the port cannot be used, or
        the memory limit is too low; 2 misuse.
    """
    parser = build_parser()
    arguments = parser.parse_args(words)
    if arguments.slots < 1:
        parser.error(str(Message("--slots must be at least 1, got {slots}", slots=arguments.slots)))
    try:
        find_preset(arguments.preset)
    except PresetError as error:
        parser.error(str(error))
    signal.signal(signal.SIGTERM, _interrupt)
    save_address_space()
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # set by nohup, to survive the terminal
        signal.signal(signal.SIGHUP, _interrupt)
    try:
        if signal.getsignal(signal.SIGINT) in (signal.SIG_DFL, signal.default_int_handler):
            signal.signal(signal.SIGINT, _interrupt)  # app.py uses SIG_DFL during the imports
        return _serve(arguments)
    except KeyboardInterrupt:
        return 0
    except Exception as error:
        if _stopping.is_set():  # a library converted the signal to another exception
            return 0
        told = shortage(error)
        if told is None:
            raise
        sys.stderr.write(f"rembg-tuner: {told}\n")
        return FAILED


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt for SIGINT, SIGTERM or SIGHUP, so that resources are closed."""
    _stopping.set()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _serve(arguments: argparse.Namespace) -> int:
    """Open the folder and the lanes, launch the page, and wait for a signal."""
    os.environ.update(_ENVIRONMENT)
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, (os.environ.get(name), _LOCAL)))
    with PageFolder() as folder, open_slots(arguments.slots) as slots_lane:
        os.environ["GRADIO_TEMP_DIR"] = str(folder.path)
        folder.start_sweeping()
        try:
            page = _launch(arguments, slots_lane, folder)
        except OSError:
            if _stopping.is_set():
                raise
            told = Message(
                "port {port} of {host} is taken or may not be used; choose another --port",
                port=arguments.port,
                host=arguments.host,
            )
            sys.stderr.write(f"rembg-tuner: {told}\n")
            return FAILED
        try:
            _tell(arguments)
            threading.Event().wait()
        finally:
            page.close(verbose=False)
    return 0


def _launch(
    arguments: argparse.Namespace, slots_lane: Lane[RunnerSlot], folder: PageFolder
) -> gr.Blocks:
    """Import Gradio, build the page and start to serve it.

    Raises:
        OSError: the port cannot be used.
    """
    has_cpu_left = read_host().usable_cpus > 1
    if has_cpu_left:  # the worker uses it while this process imports Gradio
        _warm_up(arguments, slots_lane)
    with collection_paused():
        import_gradio()  # it reads the environment
        from rembg_tuner.web.server.page_server import launch_page

        page = launch_page(arguments, slots_lane, folder)
    if not has_cpu_left:
        _warm_up(arguments, slots_lane)
    return page


def _warm_up(arguments: argparse.Namespace, slots_lane: Lane[RunnerSlot]) -> None:
    """Start the worker for the preset of new visitors, so that their first run need not wait.

    It is skipped if the free memory is below the maximum of warm workers, since a visitor may
    choose another setting.
    """
    memory = read_host().usable_memory_bytes
    free = min(available_memory_bytes(), memory or MAX_WARM_BYTES)
    if arguments.warm_up and free >= MAX_WARM_BYTES:
        slots_lane.prepare(WarmUp(preset_settings(arguments.preset)))


def _tell(arguments: argparse.Namespace) -> None:
    """Print the URL of the page to stderr."""
    host = arguments.host if arguments.host not in ("0.0.0.0", "::") else "127.0.0.1"
    what = Message("/cut for programs") if arguments.no_ui else Message("page")
    told = Message(
        "rembg tuner's {what} is at http://{host}:{port} (Ctrl-C ends it)",
        what=what,
        host=host,
        port=arguments.port,
    )
    sys.stderr.write(f"{told}\n")
    sys.stderr.flush()
