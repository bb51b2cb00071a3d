"""Serve rembg tuner's page: `python app.py --host --port --preset --slots [--no-ui]`."""

from __future__ import annotations

import sys

from rembg_tuner.address_space import PAGE_MIN_BYTES, refusal


def main() -> int:
    """Serve the page, unless its libraries cannot be loaded within the process's limit."""
    told = refusal(PAGE_MIN_BYTES)
    if told is not None:
        sys.stderr.write(f"rembg-tuner: {told}\n")
        return 1
    from rembg_tuner.server.launch import serve

    return serve()


if __name__ == "__main__":
    sys.exit(main())
