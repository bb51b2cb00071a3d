"""Measure the parts of the write stage, each alone. Wants a quiet machine; about two minutes.

    python benchmarks/write_stage.py [--rounds N] [-o DIR]

The stage decodes the picture, enlarges the matte row by row, joins the two, and filters and
deflates the PNG. In turn, at each size, in one process set up as the measured worker is: the whole
stage; the decoding alone, its rows dropped; the mask's rows alone; joining alone; filtering and
deflating alone, in one thread. Joining and encoding run on several threads, so that the whole takes
less wall time than its parts together, if there are several CPUs. The figures go to
benchmarks/results/write-stage-DATE.json: CPU and wall seconds, medians.
"""

from __future__ import annotations

import os

os.environ |= {"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}  # as a worker has them

import argparse
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyvips

sys.path.insert(0, str(Path(__file__).parent.parent))

from rembg_tuner.imaging.compose import Composition, CutoutRows, write_cutout
from rembg_tuner.imaging.header import PictureHeader, read_header
from rembg_tuner.imaging.libvips import fetch_rows, start_libvips
from rembg_tuner.imaging.matte import PictureMatte
from rembg_tuner.imaging.png_writer import PngLayout, PngWriter
from rembg_tuner.imaging.source import opened
from rembg_tuner.runtime.runner import Runner
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.settings.host import read_host
from rembg_tuner.settings.presets import find_preset
from rembg_tuner.settings.requested import requested_settings
from rembg_tuner.settings.results import Result
from rembg_tuner.tuning.bench.contestants import FASTEST
from rembg_tuner.tuning.bench.pictures import P12, P48, P1080
from rembg_tuner.worker.pipeline import Job

RESULTS = Path(__file__).parent / "results"
SIDE = 320
STRIP_ROWS = 32
DECODED_ROWS = 8
Part = Callable[[], object]


def make_matte(folder: Path) -> PictureMatte:
    """Cut the product shot out, and make its alpha a matte of the network's size."""
    output = folder / "cutout.png"
    settings, _ = requested_settings(find_preset(FASTEST), {}, read_machine())
    with Runner() as runner:
        run = runner.run(Job(input=str(P1080.make()), output=str(output)), settings)
    if not isinstance(run, Result):
        raise SystemExit(run.message)
    alpha = pyvips.Image.new_from_file(str(output))[3]
    small = alpha.thumbnail_image(SIDE, height=SIDE, size="force")
    return PictureMatte.of(small.numpy().astype(np.float32) / 255)


def parts_of(header: PictureHeader, matte: PictureMatte, folder: Path) -> dict[str, Part]:
    """Return the whole stage and its parts, as functions."""
    width, height = header.scaled(0)
    whole = Composition(header=header, matte=matte, max_side=0, background=None)
    mask = matte.mask(width, height)
    strips = [(top, min(top + STRIP_ROWS, height)) for top in range(0, height, STRIP_ROWS)]
    with opened(header, 0, folder) as picture:
        pixels = picture.bandjoin(255).numpy().reshape(height, 4 * width)
    finish = CutoutRows(mask, has_alpha=False, background=None)
    masks = [mask.rows(max(0, top - 1), bottom) for top, bottom in strips]
    known = CutoutRows(_KnownMask(masks, strips), has_alpha=False, background=None)

    def decode() -> None:
        with opened(header, 0, folder) as picture:
            for _ in fetch_rows(picture.bandjoin(255), DECODED_ROWS):
                pass

    def enlarge() -> None:
        rows = matte.mask(width, height)
        for top, bottom in strips:
            rows.rows(top, bottom)

    def join() -> None:
        for top, bottom in strips:
            known(_strip(pixels, top, bottom), top)

    def deflate() -> None:
        layout = PngLayout(width=width, height=height, bands=4)
        with PngWriter(
            io.BytesIO(), layout, finish=lambda rows, _: rows, row_bytes=4 * width, threads=1
        ) as png:
            for top, bottom in strips:
                png.write(cut[top:bottom].tobytes())
            png.close()

    cut = np.concatenate([finish(_strip(pixels, top, bottom), top)[1:] for top, bottom in strips])
    return {
        "whole": lambda: write_cutout(whole, folder / "out.png", is_cancelled=lambda: False),
        "decode": decode,
        "enlarge the matte": enlarge,
        "join": join,
        "filter and deflate": deflate,
    }


class _KnownMask:
    """A mask whose rows are computed already, so that joining is measured alone."""

    bands = 1

    def __init__(self, masks: list[Any], strips: list[tuple[int, int]]) -> None:
        self._rows = {max(0, top - 1): rows for rows, (top, _) in zip(masks, strips, strict=True)}
        self.width, self.height = masks[0].shape[1], strips[-1][1]

    def rows(self, top: int, bottom: int) -> Any:
        """Return rows `top` to `bottom`; those of a strip, and of the row above it."""
        return self._rows[top][: bottom - top]


def _strip(pixels: Any, top: int, bottom: int) -> Any:
    """Copy the rows of a strip with the one above, which is zeros at the top."""
    if top:
        return pixels[top - 1 : bottom].copy()
    return np.concatenate([np.zeros_like(pixels[:1]), pixels[:bottom]])


def measure(parts: dict[str, Part], rounds: int) -> dict[str, Any]:
    """Run the parts in turn; returns medians of CPU and wall seconds."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in parts}
    for index in range(-1, rounds):
        for name, part in parts.items():
            cpu_s, wall_s = time.process_time(), time.perf_counter()
            part()
            if index >= 0:
                taken[name].append((time.process_time() - cpu_s, time.perf_counter() - wall_s))
    return {
        name: {"cpu_s": median(c for c, _ in both), "wall_s": median(w for _, w in both)}
        for name, both in taken.items()
    }


def main() -> None:
    """Measure at three sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("-o", "--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    host = read_host()
    report: dict[str, Any] = {
        "cpu": host.cpu,
        "cores": host.usable_cpus,
        "features": sorted(host.features),
        "n": arguments.rounds,
        "sizes": {},
    }
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        matte = make_matte(folder)
        start_libvips(host.usable_cpus)
        for picture in (P1080, P12, P48):
            print(picture.name, file=sys.stderr, flush=True)
            parts = parts_of(read_header(picture.make()), matte, folder)
            report["sizes"][picture.name] = measure(parts, arguments.rounds)
    date = datetime.now(UTC).date().isoformat()
    text = json.dumps(report, indent=1)
    print(json.dumps(report["sizes"], indent=1))
    (arguments.output / f"write-stage-{date}.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
