"""Serve rembg tuner's page: `python app.py --host --port --preset --slots [--no-ui]`."""

from __future__ import annotations

import sys

from rembg_tuner.server.launch import serve

if __name__ == "__main__":
    sys.exit(serve())
