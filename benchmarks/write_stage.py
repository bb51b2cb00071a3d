"""Measure the write stage and each of its parts separately.

    python benchmarks/write_stage.py [--rounds N] [-o DIR]

Run it on an idle machine; it takes about two minutes.

The stage decodes the picture, enlarges the matte row by row, joins both, and filters and deflates
the PNG. These are measured alternately at each size, in one process with the environment of a
worker: the whole stage; decoding, with its rows discarded; the rows of the mask; joining; filtering
and deflating in one thread. In the whole stage, joining and encoding use several threads. With
several CPUs, it therefore takes less wall time than the sum of its parts. The results are written
to benchmarks/results/write-stage-DATE.json: medians of CPU and wall seconds.
"""

from __future__ import annotations

import os

os.environ |= {"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}  # as in a worker

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
    """Cut out the product shot, and return its alpha as a matte of the network's size."""
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
    """Return the whole stage and its parts as functions by name."""
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
    """A mask with precomputed rows, so that joining is measured separately."""

    bands = 1

    def __init__(self, masks: list[Any], strips: list[tuple[int, int]]) -> None:
        self._rows = {max(0, top - 1): rows for rows, (top, _) in zip(masks, strips, strict=True)}
        self.width, self.height = masks[0].shape[1], strips[-1][1]

    def rows(self, top: int, bottom: int) -> Any:
        """Return rows `top` to `bottom`: a strip and the row above it."""
        return self._rows[top][: bottom - top]


def _strip(pixels: Any, top: int, bottom: int) -> Any:
    """Copy the rows of a strip and the row above it, which is zero for the first strip."""
    if top:
        return pixels[top - 1 : bottom].copy()
    return np.concatenate([np.zeros_like(pixels[:1]), pixels[:bottom]])


def measure(parts: dict[str, Part], rounds: int) -> dict[str, Any]:
    """Run the parts alternately; return medians of CPU and wall seconds."""
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
    """Measure at three sizes, print the report, and write it as JSON."""
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
