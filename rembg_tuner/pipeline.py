"""One picture through, stage by stage, each stage timed."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from rembg_tuner.cache import replacing
from rembg_tuner.errors import CancelledError, OutputError, PictureError
from rembg_tuner.imaging.formats import check_output, sniff

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rembg_tuner.engines import NetworkEngine, StockEngine
    from rembg_tuner.models.spec import ModelSpec
    from rembg_tuner.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One picture and where its cut-out goes.

    Attributes:
        input, output: paths.
        background: the colour behind the cut-out; None: transparent.
        preview, before_preview: where what a page shows is put, after the run and by another process;
            None: not wanted.
        max_pixels: a host's own limit; None: the format's.
    """

    input: str
    output: str
    background: tuple[int, int, int] | None = None
    preview: str | None = None
    before_preview: str | None = None
    max_pixels: int | None = None

    @property
    def matte(self) -> str | None:
        """Where the run leaves its small matte, of which the cut-out's preview is made."""
        return None if self.preview is None else f"{self.preview}.matte.npy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a job made.

    Attributes:
        stages_s: wall seconds by stage.
        renamed_at: `perf_counter` when the file took its name.
        cpu_s: CPU seconds up to then, all threads.
    """

    stages_s: dict[str, float]
    renamed_at: float
    cpu_s: float
    output_bytes: int
    warnings: tuple[str, ...]


class Stages:
    """The stages of one run: timed, told as they begin, and left when somebody cancels."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        """Tell each stage's name as it begins."""
        self._tell = tell
        self.seconds: dict[str, float] = {}
        self.current = "read_small"
        self.cancelled = threading.Event()

    def check(self) -> None:
        """Leave if the run was cancelled.

        Raises:
            CancelledError: it was.
        """
        if self.cancelled.is_set():
            raise CancelledError("the run was cancelled")

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage."""
        self.check()
        self.current = name
        self._tell(name)
        started = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - started


def cut_out(
    job: Job, settings: Settings, engine: NetworkEngine, model: ModelSpec, stages: Stages
) -> Outcome:
    """Cut one picture out with a network engine and libvips.

    Raises:
        TunerError: of the kind that went wrong.
    """
    from rembg_tuner.imaging import compose, matte, network_input, source

    cpu_before = time.process_time()
    with stages.stage("read_small"):
        output = Path(job.output)
        check_output(output, job.background)
        header = source.read_header(Path(job.input), max_pixels=job.max_pixels)
        small = source.read_small(header, width=engine.side, height=engine.side)
    with stages.stage("normalise"):
        tensor = network_input.normalise(small, side=engine.side, mean=model.mean, std=model.std)
    with stages.stage("predict"):
        raw = engine.predict(tensor)
    with stages.stage("matte"):
        composition = compose.Composition(
            header=header,
            matte=matte.scale_to_matte(raw),
            max_side=settings.max_side,
            background=job.background,
        )
        faint = matte.foreground_warning(raw)
    with stages.stage("write"):
        output_bytes = compose.write_cutout(
            composition, output, is_cancelled=stages.cancelled.is_set
        )
    renamed_at, cpu_s = time.perf_counter(), time.process_time() - cpu_before
    if job.matte is not None:
        matte.save_matte(Path(job.matte), composition.matte)
    return Outcome(
        stages_s=stages.seconds,
        renamed_at=renamed_at,
        cpu_s=cpu_s,
        output_bytes=output_bytes,
        warnings=(*header.warnings, *([faint] if faint else [])),
    )


def cut_out_by_stock(job: Job, settings: Settings, engine: StockEngine, stages: Stages) -> Outcome:
    """Cut one picture out by the stock pipeline: its bytes in, a PNG out.

    Raises:
        TunerError: of the kind that went wrong.
    """
    cpu_before, started = time.process_time(), time.perf_counter()
    with stages.stage("predict"):
        output = Path(job.output)
        if output.suffix.lower() != ".png" or job.background is not None:
            raise OutputError(
                f"engine rembg writes a transparent PNG only, not {output.name} on a colour; choose another engine, or end the name in .png"
            )
        sniff(Path(job.input))
        picture = _read_bytes(Path(job.input))
        cutout, predict_s = engine.remove_background(picture, settings.max_side)
        stages.check()
        try:
            with replacing(output) as file:
                file.write(cutout)
        except OSError as error:
            raise OutputError(f"{output} cannot be written: {error.strerror}") from error
    renamed_at, cpu_s = time.perf_counter(), time.process_time() - cpu_before
    return Outcome(
        stages_s={"predict": predict_s, "rest": renamed_at - started - predict_s},
        renamed_at=renamed_at,
        cpu_s=cpu_s,
        output_bytes=len(cutout),
        warnings=(),
    )


def _read_bytes(path: Path) -> bytes:
    """Read a picture for the stock pipeline, which wants its bytes."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise PictureError(f"{path} cannot be read: {error.strerror}") from error


def run_job(
    job: Job,
    settings: Settings,
    engine: NetworkEngine | StockEngine,
    model: ModelSpec,
    stages: Stages,
) -> Outcome:
    """Cut one picture out with whichever engine is open."""
    if settings.engine == "rembg":
        return cut_out_by_stock(job, settings, cast("StockEngine", engine), stages)
    return cut_out(job, settings, cast("NetworkEngine", engine), model, stages)
