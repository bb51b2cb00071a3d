"""Several pictures together: one run of the network for all of them."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.base.errors import EngineError, OutputError, PictureError, SettingsError
from rembg_tuner.imaging import compose, network_input
from rembg_tuner.worker import looks
from rembg_tuner.worker.pipeline import Undone, begin, finish, look

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rembg_tuner.engines.protocols import NetworkEngine
    from rembg_tuner.models.spec import ModelSpec
    from rembg_tuner.settings.settings import Settings
    from rembg_tuner.worker.pipeline import Job, Outcome, Picture, Stages
    from rembg_tuner.worker.read_ahead import ReadAhead

# What goes wrong with one picture alone: it cannot be read or written, its box lies outside, or the
# network has no answer for it.
_OF_ONE_PICTURE = (PictureError, OutputError, SettingsError, EngineError)


def cut_out_together(
    jobs: list[Job],
    settings: Settings,
    engine: NetworkEngine,
    model: ModelSpec,
    stages: Stages,
    *,
    ahead: ReadAhead | None = None,
) -> list[Outcome | Undone]:
    """Cut several pictures out, with one run of the network for all of them.

    With `ahead`, pictures that it has read are not read again, and it reads the next ones while
    these are written, unless one of these is decoded or encoded whole. Each picture's `predict` and
    `focus`, and what those runs add to its `cpu_s`, are its share of them. If one picture fails,
    the others are still done.

    Returns:
        For each job what it made, or what went wrong with it.

    Raises:
        CancelledError, EngineError, ModelError: none of them could be done.
    """
    outcomes: dict[int, Outcome | Undone] = {}
    pictures: dict[int, Picture] = {}
    own_stages = [stages.of_one() for _ in jobs]
    # Take all of those first: then nothing is read ahead while the others are read.
    known = [
        ahead.take(job, own) if ahead else None for job, own in zip(jobs, own_stages, strict=True)
    ]
    for i, (job, own) in enumerate(zip(jobs, own_stages, strict=True)):
        with _failing_alone(outcomes, i, own):
            pictures[i] = known[i] or begin(job, settings, engine, model, own)
    if pictures:
        _answer_together(pictures, outcomes, settings, engine, model, stages)
    if any(_is_whole(one, settings) for one in pictures.values()):
        ahead = None
    for i, picture in pictures.items():
        if picture.looking is not None:
            with _failing_alone(outcomes, i, picture.stages):
                outcomes[i] = finish(picture, picture.looking, settings, ahead)
    return [outcomes[i] for i in range(len(jobs))]


@contextmanager
def _failing_alone(outcomes: dict[int, Outcome | Undone], i: int, stages: Stages) -> Iterator[None]:
    """Keep what goes wrong with one picture as its outcome."""
    try:
        yield
    except _OF_ONE_PICTURE as error:
        outcomes[i] = Undone(error=error, stage=stages.current)


def _is_whole(picture: Picture, settings: Settings) -> bool:
    """Return whether a picture is decoded or encoded whole."""
    output = Path(picture.job.output)
    return bool(compose.whole_bytes(picture.header, settings.max_side, output))


def _answer_together(  # as `cut_out_together`, with what it has so far
    pictures: dict[int, Picture],
    outcomes: dict[int, Outcome | Undone],
    settings: Settings,
    engine: NetworkEngine,
    model: ModelSpec,
    stages: Stages,
) -> None:
    """Run the network for several pictures, and look again at them; those without an answer fail."""
    cpu_before = stages.cpu_clock()
    with stages.stage("predict"):
        raw = engine.predict(network_input.join([one.tensor for one in pictures.values()]))
    share_s = (stages.cpu_clock() - cpu_before) / len(pictures)
    looking = []
    for (i, picture), answer in zip(pictures.items(), raw, strict=True):
        picture.cpu_s += share_s
        picture.stages.seconds["predict"] = stages.seconds["predict"] / len(pictures)
        with _failing_alone(outcomes, i, picture.stages):
            looking.append(look(picture, answer, settings, model))
    if any(one.box is not None for one in looking):
        with stages.stage("focus"):
            looks.take_looks(looking, engine, model, stages)
