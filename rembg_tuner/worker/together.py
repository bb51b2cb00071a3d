"""Cut out several pictures with one run of the network."""

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

# Errors of a single picture: it cannot be read or written, its box is outside, or the network's
# answer for it is invalid.
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
    """Cut out several pictures, with one run of the network for all of them.

    With `ahead`, pictures that it has read are not read again, and it reads the next ones while
    these are written, unless one of these is decoded or encoded whole. The stages `predict` and
    `focus` of each picture, and their part of its `cpu_s`, are its share of the common run. If one
    picture fails, the others are still processed.

    Returns:
        For each job, its result or its error.

    Raises:
        CancelledError: the run was cancelled.
        EngineError, ModelError: the network did not run, so all pictures failed.
    """
    outcomes: dict[int, Outcome | Undone] = {}
    pictures: dict[int, Picture] = {}
    own_stages = [stages.of_one() for _ in jobs]
    # Take these first: then no picture is being read ahead while the others are read.
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
    """Store an error of one picture as its outcome."""
    try:
        yield
    except _OF_ONE_PICTURE as error:
        outcomes[i] = Undone(error=error, stage=stages.current)


def _is_whole(picture: Picture, settings: Settings) -> bool:
    """Return whether a picture is decoded or encoded whole."""
    output = Path(picture.job.output)
    return bool(compose.whole_bytes(picture.header, settings.max_side, output))


def _answer_together(
    pictures: dict[int, Picture],
    outcomes: dict[int, Outcome | Undone],
    settings: Settings,
    engine: NetworkEngine,
    model: ModelSpec,
    stages: Stages,
) -> None:
    """Run the network for several pictures and on their boxes; store errors of single pictures."""
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
