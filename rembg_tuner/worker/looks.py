"""The looks at pictures that `imaging.focus` asks for: read, and run through the network.

The network takes the looks at several pictures at once, as it takes the pictures.
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
    """The looks at one picture.

    Attributes:
        box: the part to look at next; None: the matte is decided.
        error: why the picture cannot be done; None: nothing went wrong.
        seconds, cpu_s: what the looks after the first took, wall and CPU, seconds.
    """

    def __init__(
        self, first: Channel, header: PictureHeader, settings: Settings, box: Box | None
    ) -> None:
        """Begin with the network's first answer.

        Args:
            first: float32 (h, w), the raw foreground.
            header: of the picture.
            settings: of the run.
            box: the part that the first answer is for; None: the whole picture.
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
        """Return what came of all looks.

        Raises:
            TunerError: the picture cannot be done.
        """
        if self.error is not None:
            raise self.error
        assert self._focused is not None  # no look is due
        return self._focused

    def take(self, answer: Channel) -> None:
        """Take the network's answer for `box`: float32 (h, w), the raw foreground."""
        self._go_on(answer)

    def _go_on(self, answer: Channel | None) -> None:
        """Ask the rule what comes next."""
        try:
            self.box = next(self._steps) if answer is None else self._steps.send(answer)
        except StopIteration as end:
            self.box, self._focused = None, end.value

    def read(self, side: int, model: ModelSpec) -> NetworkInput | None:
        """Read the part to look at as the network's input.

        None: it does not read, which `error` says.
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
        """Count time."""
        self.seconds += seconds
        self.cpu_s += cpu_s


class _Clock:
    """Wall and CPU time since it was read last."""

    def __init__(self, cpu_clock: Callable[[], float]) -> None:
        """Start it."""
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
    """Look again at pictures, together, until the matte of each is decided.

    Each one's time is that of its own reading and its share of the network's.

    Args:
        pictures: those whose matte is decided are left alone.
        engine: that runs the network.
        model: how its input and output are made.
        run: its stages.

    Raises:
        CancelledError: between two looks, or in one.
        EngineError, ModelError: the network did not run.
    """
    while waiting := [one for one in pictures if one.box is not None]:
        _take_round(waiting, engine, model, run)


def _take_round(
    waiting: list[Looking], engine: NetworkEngine, model: ModelSpec, run: Stages
) -> None:
    """Take the next look at each picture, with one run of the network."""
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
