"""Serve rembg tuner's page: `python app.py --host --port --preset --slots [--no-ui]`."""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # a part of the interpreter, without stubs
import sys


def main() -> int:
    """Serve the page; return 1 if the process's address space is too small for its libraries."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Until `serve` has something to clean up, Ctrl-C ends the process without a traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from rembg_tuner.settings.address_space import PAGE_MIN_BYTES, refusal

    told = refusal(PAGE_MIN_BYTES)
    if told is not None:
        sys.stderr.write(f"rembg-tuner: {told}\n")
        return 1
    from rembg_tuner.web.server.launch import serve

    return serve()


if __name__ == "__main__":
    sys.exit(main())
