"""Until there is a page: cut an example out, and print what it took."""

from __future__ import annotations

import sys
from pathlib import Path

from rembg_tuner.cli import main

if __name__ == "__main__":
    example = Path(__file__).parent / "examples" / "astronaut.png"
    output = Path("astronaut.cutout.png")
    code = main(["cut", str(example), "--repeat", "5", "-o", str(output), *sys.argv[1:]])
    if code == 0:
        print(f"the cut-out is {output.resolve()}; next: python -m rembg_tuner cut YOUR-PICTURE")
    sys.exit(code)
