"""Cut out one picture in stages, and time each stage."""

from __future__ import annotations

import contextlib
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from rembg_tuner.base.boxes import box_in_picture
from rembg_tuner.base.errors import (
    CancelledError,
    OutputError,
    PictureError,
)
from rembg_tuner.base.files import replacing
from rembg_tuner.base.messages import Message
from rembg_tuner.imaging.formats import check_output, sniff

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyvips

    from rembg_tuner.base.boxes import Box
    from rembg_tuner.base.errors import TunerError
    from rembg_tuner.base.messages import Message
    from rembg_tuner.engines.protocols import NetworkEngine, StockEngine
    from rembg_tuner.imaging.header import PictureHeader
    from rembg_tuner.imaging.matte import RawOutput
    from rembg_tuner.imaging.network_input import NetworkInput
    from rembg_tuner.models.spec import ModelSpec
    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.worker.looks import Looking
    from rembg_tuner.worker.read_ahead import ReadAhead


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One picture and the paths of its outputs.

    Attributes:
        input, output: paths.
        background: the colour behind the cut-out; None: transparent.
        preview, mask, before_preview: paths of the files that the page shows: the cut-out as WebP,
            its alpha as PNG, and the picture itself. Another process writes them after the run,
            `before_preview` once per picture. None: not requested.
        max_pixels: the host's limit; None: the format's.
    """

    input: str
    output: str
    background: tuple[int, int, int] | None = None
    preview: str | None = None
    before_preview: str | None = None
    mask: str | None = None
    max_pixels: int | None = None

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """Create a job from its fields as JSON contains them."""
        background = content["background"]
        return cls(**{**content, "background": tuple(background) if background else None})

    @property
    def matte(self) -> str | None:
        """Return the path of the small matte that the preview is made from; None: not requested."""
        shown = self.preview or self.mask
        return None if shown is None else f"{shown}.matte.npy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of a job.

    Attributes:
        stages_s: wall seconds by stage.
        renamed_at: `perf_counter` when the output file was renamed to its final name.
        cpu_s: CPU seconds until then, all threads. For pictures run together: the picture's own
            time and its share of the network's run. The time of reading the next picture ahead is
            counted for that picture.
        output_bytes: size of the output file.
        warnings: about the picture.
        picture_bytes: estimated memory of the picture itself, independent of the setting; see
            `imaging.compose.picture_bytes`.
        focus: see `imaging.focus.Focused.to_dict`; None: the engine has its own pipeline.
    """

    stages_s: dict[str, float]
    renamed_at: float
    cpu_s: float
    output_bytes: int
    warnings: tuple[Message, ...]
    picture_bytes: int = 0
    focus: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Undone:
    """The error of one of several pictures, and the stage in which it occurred."""

    error: TunerError
    stage: str


class Stages:
    """The stages of one run: timed, reported when they start, and cancelled between stages.

    Attributes:
        cpu_clock: returns the run's CPU seconds.
        seconds: wall seconds by stage.
        current: the stage that runs.
        cancelled: set by another thread to cancel the run.
    """

    def __init__(
        self, tell: Callable[[str], None], *, cpu_clock: Callable[[], float] = time.process_time
    ) -> None:
        """Create stages; `tell` is called with the name of each stage when it starts."""
        self._tell = tell
        self.cpu_clock = cpu_clock
        self.seconds: dict[str, float] = {}
        self.current = "read_small"
        self.cancelled = threading.Event()

    def check(self) -> None:
        """Raise an error if the run was cancelled.

        Raises:
            CancelledError: it was.
        """
        if self.cancelled.is_set():
            raise CancelledError(Message("the run was cancelled"))

    def of_one(self) -> Stages:
        """Return stages for one of several pictures: separate times, shared cancellation."""
        one = Stages(self._follow, cpu_clock=self.cpu_clock)
        one.cancelled = self.cancelled
        return one

    def _follow(self, name: str) -> None:
        """Report the stage of one of the pictures as the current one."""
        self.current = name
        self._tell(name)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Run a block as a stage and time it.

        Raises:
            CancelledError: the run was cancelled.
        """
        self.check()
        self.current = name
        self._tell(name)
        started = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - started


@dataclass(slots=True, kw_only=True)
class Picture:
    """A picture that is being cut out.

    Attributes:
        job: its paths.
        stages: of its run.
        header: of the picture, as read.
        tensor: float32 (1, 3, side, side), the network's input.
        box: the part of the picture that the tensor covers; None: the whole picture.
        cpu_s: CPU seconds so far, all threads.
        looking: the runs on boxes of it; None: the network has not run yet.
    """

    job: Job
    stages: Stages
    header: PictureHeader
    tensor: NetworkInput
    box: Box | None
    cpu_s: float
    looking: Looking | None = None


def cut_out(
    job: Job, settings: Settings, engine: NetworkEngine, model: ModelSpec, stages: Stages
) -> Outcome:
    """Cut out one picture with a network engine and libvips.

    Raises:
        TunerError: a stage failed.
    """
    from rembg_tuner.worker import looks

    picture = begin(job, settings, engine, model, stages)
    cpu_before = stages.cpu_clock()
    with stages.stage("predict"):
        raw = engine.predict(picture.tensor)
    picture.cpu_s += stages.cpu_clock() - cpu_before
    looking = look(picture, raw[0], settings, model)
    if looking.box is not None:
        with stages.stage("focus"):
            looks.take_looks([looking], engine, model, stages)
    return finish(picture, looking, settings)


def begin(
    job: Job,
    settings: Settings,
    engine: NetworkEngine,
    model: ModelSpec,
    stages: Stages,
    *,
    read_small: Callable[..., pyvips.Image] | None = None,
) -> Picture:
    """Read a picture, or the box of it that the settings name, as the network's input.

    Args:
        job: the picture.
        settings: of the run.
        engine: its input size is used.
        model: its normalisation is used.
        stages: of the picture.
        read_small: replaces `source.read_small`; None: not replaced.
    """
    from rembg_tuner.imaging import network_input, source
    from rembg_tuner.imaging.header import read_header

    cpu_before = stages.cpu_clock()
    with stages.stage("read_small"):
        check_output(Path(job.output), job.background)
        header = read_header(Path(job.input), max_pixels=job.max_pixels)
        box = _given_box(settings, header)
        read = read_small or source.read_small
        small = read(header, width=engine.side, height=engine.side, box=box)
        empty = source.transparency_warning(small) if box is None else None
        if empty:
            header = replace(header, warnings=(*header.warnings, empty))
    with stages.stage("normalise"):
        tensor = network_input.normalise(small, side=engine.side, mean=model.mean, std=model.std)
    cpu_s = stages.cpu_clock() - cpu_before
    return Picture(job=job, stages=stages, header=header, tensor=tensor, box=box, cpu_s=cpu_s)


def _given_box(settings: Settings, header: PictureHeader) -> Box | None:
    """Return the box of setting focus_box in pixels; None: the whole picture.

    Raises:
        SettingsError: the box is not inside the picture.
    """
    if settings.focus_box is None:
        return None
    return box_in_picture(settings.focus_box, header.whole, header.path)


def look(picture: Picture, raw: RawOutput, settings: Settings, model: ModelSpec) -> Looking:
    """Convert the network's answer, float32 (c, h, w), into the first matte, and check it."""
    from rembg_tuner.imaging import matte
    from rembg_tuner.worker import looks

    cpu_before = picture.stages.cpu_clock()
    with picture.stages.stage("matte"):
        first = matte.foreground_of(raw, model.post)
        faint = matte.foreground_warning(first)
        header = picture.header
        if faint:
            picture.header = header = replace(header, warnings=(*header.warnings, faint))
        picture.looking = looks.Looking(first, header, settings, picture.box)
    picture.cpu_s += picture.stages.cpu_clock() - cpu_before
    return picture.looking


def finish(
    picture: Picture, looking: Looking, settings: Settings, ahead: ReadAhead | None = None
) -> Outcome:
    """Write the cut-out of a picture whose matte is decided; read the next pictures meanwhile."""
    from rembg_tuner.imaging import compose

    job, stages = picture.job, picture.stages
    if looking.seconds:
        stages.current, stages.seconds["focus"] = "focus", looking.seconds
    focused = looking.focused
    cpu_before = stages.cpu_clock()
    composition = compose.Composition(
        header=picture.header,
        matte=focused.matte,
        max_side=settings.max_side,
        background=job.background,
    )
    with stages.stage("write"):
        if ahead is not None:
            ahead.start()
        output_bytes = compose.write_cutout(
            composition, Path(job.output), is_cancelled=stages.cancelled.is_set
        )
    renamed_at = time.perf_counter()
    cpu_s = picture.cpu_s + looking.cpu_s + stages.cpu_clock() - cpu_before
    if job.matte is not None:
        # The cut-out is complete. Without the matte, the preview process reports an error.
        with contextlib.suppress(OutputError):
            composition.matte.save(Path(job.matte))
    return Outcome(
        stages_s=stages.seconds,
        renamed_at=renamed_at,
        cpu_s=cpu_s,
        output_bytes=output_bytes,
        warnings=picture.header.warnings,
        picture_bytes=compose.picture_bytes(picture.header, settings.max_side, Path(job.output)),
        focus=focused.to_dict(),
    )


def cut_out_by_stock(job: Job, settings: Settings, engine: StockEngine, stages: Stages) -> Outcome:
    """Cut out one picture with rembg's own pipeline: encoded bytes in, a PNG out.

    Raises:
        TunerError: the picture cannot be read, cut out or written.
    """
    cpu_before, started = time.process_time(), time.perf_counter()
    with stages.stage("predict"):
        output = Path(job.output)
        if output.suffix.lower() != ".png" or job.background is not None:
            raise OutputError(
                Message(
                    "engine rembg writes a transparent PNG only, not {name} on a colour; choose"
                    " another engine, or end the name in .png",
                    name=output.name,
                )
            )
        sniff(Path(job.input))
        picture = _read_bytes(Path(job.input))
        cutout, predict_s = engine.remove_background(picture, settings.max_side)
        stages.check()
        try:
            with replacing(output) as file:
                file.write(cutout)
        except OSError as error:
            raise OutputError(
                Message("{path} cannot be written: {reason}", path=output, reason=error.strerror)
            ) from error
    renamed_at, cpu_s = time.perf_counter(), time.process_time() - cpu_before
    return Outcome(
        stages_s={"predict": predict_s, "rest": renamed_at - started - predict_s},
        renamed_at=renamed_at,
        cpu_s=cpu_s,
        output_bytes=len(cutout),
        warnings=(),
    )


def _read_bytes(path: Path) -> bytes:
    """Return the bytes of a picture's file.

    Raises:
        PictureError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise PictureError(
            Message("{path} cannot be read: {reason}", path=path, reason=error.strerror)
        ) from error


def run_job(
    job: Job,
    settings: Settings,
    engine: NetworkEngine | StockEngine,
    model: ModelSpec,
    stages: Stages,
) -> Outcome:
    """Cut out one picture with the loaded engine, a network engine or rembg's own pipeline."""
    if settings.engine_spec.is_stock:
        return cut_out_by_stock(job, settings, cast("StockEngine", engine), stages)
    return cut_out(job, settings, cast("NetworkEngine", engine), model, stages)
