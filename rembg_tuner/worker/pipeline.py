"""One picture through, stage by stage, each stage timed."""

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
    """One picture and where its cut-out goes.

    Attributes:
        input, output: paths.
        background: the colour behind the cut-out; None: transparent.
        preview, mask, before_preview: where what a page shows is put, after the run and by another
            process: the cut-out as WebP, or its alpha as PNG, and the picture, which is written
            once; None: not wanted.
        max_pixels: a host's own limit; None: the format's.
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
        """Make it of its fields, as JSON carries them."""
        background = content["background"]
        return cls(**{**content, "background": tuple(background) if background else None})

    @property
    def matte(self) -> str | None:
        """Where the run leaves its small matte, of which the cut-out's preview is made."""
        shown = self.preview or self.mask
        return None if shown is None else f"{shown}.matte.npy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a job made.

    Attributes:
        stages_s: wall seconds by stage.
        renamed_at: `perf_counter` when the file took its name.
        cpu_s: CPU seconds up to then, all threads; of pictures run together each one's own, and its
            share of the network's run. The reading of a next picture is counted there, not here.
        picture_bytes: about how much memory the picture itself took, which is not the setting's;
            see `imaging.compose.picture_bytes`.
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
    """Why one of several pictures was not cut out, and the stage where that was found."""

    error: TunerError
    stage: str


class Stages:
    """The stages of one run: timed, told as they begin, and left when somebody cancels."""

    def __init__(
        self, tell: Callable[[str], None], *, cpu_clock: Callable[[], float] = time.process_time
    ) -> None:
        """Report each stage's name as it begins; `cpu_clock` counts the run's CPU seconds."""
        self._tell = tell
        self.cpu_clock = cpu_clock
        self.seconds: dict[str, float] = {}
        self.current = "read_small"
        self.cancelled = threading.Event()

    def check(self) -> None:
        """Leave if the run was cancelled.

        Raises:
            CancelledError: it was.
        """
        if self.cancelled.is_set():
            raise CancelledError(Message("the run was cancelled"))

    def of_one(self) -> Stages:
        """Return stages for one of several pictures: timed apart, told and cancelled together."""
        one = Stages(self._follow, cpu_clock=self.cpu_clock)
        one.cancelled = self.cancelled
        return one

    def _follow(self, name: str) -> None:
        """Follow the stage of one of the pictures."""
        self.current = name
        self._tell(name)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage."""
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
        header: of the picture, as read.
        tensor: float32 (1, 3, side, side), the network's input.
        box: the part of the picture that the tensor is of; None: the whole.
        looking: the looks at it, once the network has answered; None before.
        cpu_s: CPU seconds that it took so far, all threads.
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
    """Cut one picture out with a network engine and libvips.

    Raises:
        TunerError: of the kind that went wrong.
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
    """Read a picture, or the box that was given of it, as the network's input.

    Args:
        job: the picture.
        settings: of the run.
        engine: whose input it is.
        model: likewise.
        stages: of the picture.
        read_small: another reader than `source.read_small`.
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
    """Return the box that focus box looks at; None: the whole picture.

    Raises:
        SettingsError: the box does not lie in the picture.
    """
    if settings.focus_box is None:
        return None
    return box_in_picture(settings.focus_box, header.whole, header.path)


def look(picture: Picture, raw: RawOutput, settings: Settings, model: ModelSpec) -> Looking:
    """Begin the looks at a picture with the network's answer, float32 (c, h, w)."""
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
    """Write the cut-out of a picture whose matte is decided; read ahead meanwhile."""
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
        # The cut-out is done. Whoever makes the preview finds no matte then, and says so.
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
    """Cut one picture out by the stock pipeline: its bytes in, a PNG out.

    Raises:
        TunerError: of the kind that went wrong.
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
    """Read a picture for the stock pipeline, which wants its bytes."""
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
    """Cut one picture out with whichever engine is open."""
    if settings.engine_spec.is_stock:
        return cut_out_by_stock(job, settings, cast("StockEngine", engine), stages)
    return cut_out(job, settings, cast("NetworkEngine", engine), model, stages)
