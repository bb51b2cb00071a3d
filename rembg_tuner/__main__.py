"""`python -m rembg_tuner`: the command line."""

from __future__ import annotations

import sys

from rembg_tuner.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
