"""Run the network on the boxes that `imaging.focus` requests.

The boxes of several pictures are processed in one run of the network, as are the pictures.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import EngineError, PictureError
from rembg_tuner.imaging import focus, matte, network_input, source

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rembg_tuner.base.boxes import Box
    from rembg_tuner.base.errors import TunerError
    from rembg_tuner.engines.protocols import NetworkEngine
    from rembg_tuner.imaging.focus import Focused
    from rembg_tuner.imaging.header import PictureHeader
    from rembg_tuner.imaging.matte import Channel
    from rembg_tuner.imaging.network_input import NetworkInput
    from rembg_tuner.models.spec import ModelSpec
    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.worker.pipeline import Stages


class Looking:
    """The runs of the network on one picture: the first, and those on boxes of it.

    Attributes:
        header: of the picture.
        box: the next box to run on; None: the matte is decided, or the picture failed.
        error: the reason why the picture failed; None: no error.
        seconds, cpu_s: wall and CPU time of the runs after the first, seconds.
    """

    def __init__(
        self, first: Channel, header: PictureHeader, settings: Settings, box: Box | None
    ) -> None:
        """Start from the network's first answer.

        Args:
            first: float32 (h, w), the raw foreground.
            header: of the picture.
            settings: of the run.
            box: the part of the picture that the first answer is for; None: the whole picture.
        """
        self.header = header
        self.box: Box | None = None
        self.error: TunerError | None = None
        self.seconds = self.cpu_s = 0.0
        self._focused: Focused | None = None
        if box is not None:
            self._focused = focus.look_at_box(first, box, header.whole)
        elif settings.focus == "auto":
            self._steps = focus.looks(first, header.whole, settings.focus_max_share)
            self._go_on(None)
        else:
            self._focused = focus.look_once(first, header.whole)

    @property
    def focused(self) -> Focused:
        """Return the final matte and its description.

        Raises:
            TunerError: the picture failed.
        """
        if self.error is not None:
            raise self.error
        assert self._focused is not None  # no further run is required
        return self._focused

    def take(self, answer: Channel) -> None:
        """Process the network's answer for `box`: float32 (h, w), the raw foreground."""
        self._go_on(answer)

    def _go_on(self, answer: Channel | None) -> None:
        """Request the next box from the generator of `imaging.focus`."""
        try:
            self.box = next(self._steps) if answer is None else self._steps.send(answer)
        except StopIteration as end:
            self.box, self._focused = None, end.value

    def read(self, side: int, model: ModelSpec) -> NetworkInput | None:
        """Read the box as the network's input.

        Returns:
            float32 (1, 3, side, side); None: it cannot be read, and `error` is set.
        """
        try:
            small = source.read_small(self.header, width=side, height=side, box=self.box)
        except PictureError as error:
            self.fail(error)
            return None
        return network_input.normalise(small, side=side, mean=model.mean, std=model.std)

    def fail(self, error: TunerError) -> None:
        """Mark the picture as failed."""
        self.error, self.box = error, None

    def add_time(self, seconds: float, cpu_s: float) -> None:
        """Add wall and CPU time, seconds."""
        self.seconds += seconds
        self.cpu_s += cpu_s


class _Clock:
    """Wall and CPU time since the last reading."""

    def __init__(self, cpu_clock: Callable[[], float]) -> None:
        """Start the clock; `cpu_clock` returns CPU seconds."""
        self._cpu_clock = cpu_clock
        self._read = (time.perf_counter(), cpu_clock())

    def lap(self) -> tuple[float, float]:
        """Return wall and CPU seconds since the last lap."""
        now, before = (time.perf_counter(), self._cpu_clock()), self._read
        self._read = now
        return now[0] - before[0], now[1] - before[1]


def take_looks(
    pictures: Sequence[Looking], engine: NetworkEngine, model: ModelSpec, run: Stages
) -> None:
    """Run the network on the requested boxes of pictures until each matte is decided.

    The time of each picture is its own reading and its share of the network's run.

    Args:
        pictures: those whose matte is decided are skipped.
        engine: runs the network.
        model: defines the normalisation and the postprocessing.
        run: the stages of the run.

    Raises:
        CancelledError: the run was cancelled.
        EngineError, ModelError: the network did not run.
    """
    while waiting := [one for one in pictures if one.box is not None]:
        _take_round(waiting, engine, model, run)


def _take_round(
    waiting: list[Looking], engine: NetworkEngine, model: ModelSpec, run: Stages
) -> None:
    """Run the network once, on the next box of each picture."""
    inputs: list[tuple[Looking, NetworkInput]] = []
    clock = _Clock(run.cpu_clock)
    for one in waiting:
        run.check()
        tensor = one.read(engine.side, model)
        one.add_time(*clock.lap())
        if tensor is not None:
            inputs.append((one, tensor))
    if not inputs:
        return
    run.check()
    answers = engine.predict(network_input.join([tensor for _, tensor in inputs]))
    wall_s, cpu_s = clock.lap()
    for (one, _), answer in zip(inputs, answers, strict=True):
        try:
            one.take(matte.foreground_of(answer, model.post))
        except EngineError as error:
            one.fail(error)
        own_s, own_cpu_s = clock.lap()
        one.add_time(own_s + wall_s / len(inputs), own_cpu_s + cpu_s / len(inputs))
