"""Request one cut-out from a page that is starting, as a client program does.

Usage: `python tests/ask_page.py ADDRESS`.
"""

from __future__ import annotations

import sys
import time
import urllib.request
from pathlib import Path

from gradio_client import Client, handle_file

EXAMPLE = Path(__file__).parent.parent / "examples" / "astronaut.png"
START_TIMEOUT_S = 60.0


def wait_for(address: str) -> None:
    """Wait until the page answers."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            urllib.request.urlopen(f"{address}/healthz", timeout=2).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
        else:
            return


def main(address: str) -> int:
    """Cut out the example; write its time, peak RSS and size to standard output."""
    wait_for(address)
    client = Client(address, verbose=False)
    file, result = client.predict(handle_file(str(EXAMPLE)), "balanced", {}, api_name="/cut")
    if file is None:
        sys.stderr.write(f"{result['kind']}: {result['message']}\n")
        return 1
    peak_mib = (result["peak_rss_bytes"] or 0) / 2**20
    size = Path(file).stat().st_size
    sys.stdout.write(f"{result['total_s']:.2f} s, {peak_mib:.0f} MiB, {size} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
