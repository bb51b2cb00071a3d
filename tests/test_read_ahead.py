"""Reading ahead while the previous pictures are written: pixels, figures and memory."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from threadpoolctl import threadpool_limits

from rembg_tuner.base.boxes import Box
from rembg_tuner.imaging import source
from rembg_tuner.models.spec import IMAGENET_MEAN, IMAGENET_STD, ModelSpec
from rembg_tuner.settings.settings import Settings
from rembg_tuner.worker import pipeline, read_ahead
from rembg_tuner.worker.pipeline import Job, Outcome, Stages, Undone, begin
from rembg_tuner.worker.read_ahead import ReadAhead
from rembg_tuner.worker.together import cut_out_together

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rembg_tuner.base.messages import Message
    from rembg_tuner.settings.settings import Value

ASTRONAUT = Path(__file__).parent.parent / "examples" / "astronaut.png"
SIDE = 64
SETTINGS = Settings(engine="onnxruntime")
MODEL = ModelSpec(
    name="none",
    path="none",
    graph_path="none",
    checksums={},
    side=SIDE,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
)


class Brightness:
    """An engine that returns the picture's brightness."""

    side = SIDE
    effective: dict[str, Value] = {}  # noqa: RUF012  # an instance's, as the Protocol has it
    warnings: tuple[Message, ...] = ()

    def predict(self, network_input: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the mean of the channels."""
        brightness: npt.NDArray[np.float32] = network_input.mean(axis=1, keepdims=True)
        return brightness

    def cancel(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


@pytest.fixture
def ahead() -> Iterator[ReadAhead]:
    """Create a reader, and stop it afterwards."""
    one = ReadAhead(Brightness(), MODEL)
    one.keep_only([], SETTINGS)
    yield one
    one.stop()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Create pictures of many kinds that can all be read ahead."""
    folder = tmp_path_factory.mktemp("pictures")
    with Image.open(ASTRONAUT) as astronaut:
        rgb = astronaut.convert("RGB").resize((701, 433))
    exif = Image.Exif()
    exif[0x0112] = 6
    alpha = Image.linear_gradient("L").resize(rgb.size)
    rgb.save(folder / "plain.jpg")
    rgb.save(folder / "turned.jpg", exif=exif)
    rgb.convert("L").save(folder / "grey.png")
    rgb.convert("CMYK").save(folder / "cmyk.jpg")
    Image.merge("RGBA", (*rgb.split(), alpha)).save(folder / "alpha.png")
    rgb.resize((40, 2000)).save(folder / "narrow.png")
    return sorted(folder.iterdir())


def run_batch(
    inputs: Sequence[Path], folder: Path, size: int, ahead: ReadAhead | None
) -> list[Outcome | Undone]:
    """Cut pictures out as `batch` does, `size` at once."""
    folder.mkdir(exist_ok=True)
    jobs = [Job(input=str(path), output=str(folder / f"{path.stem}.png")) for path in inputs]
    came: list[Outcome | Undone] = []
    for i in range(0, len(jobs), size):
        clock = time.process_time
        if ahead is not None:
            ahead.following, clock = jobs[i + size : i + 2 * size], ahead.cpu_clock
        stages = Stages(lambda _: None, cpu_clock=clock)
        came += cut_out_together(
            jobs[i : i + size], SETTINGS, Brightness(), MODEL, stages, ahead=ahead
        )
    return came


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """List the pictures that were read ahead, in the order of use."""
    names: list[str] = []
    take = ReadAhead.take

    def noting(self: ReadAhead, job: Job, stages: Stages) -> object:
        picture = take(self, job, stages)
        if picture is not None:
            names.append(Path(job.input).name)
        return picture

    monkeypatch.setattr(ReadAhead, "take", noting)
    return names


@pytest.mark.parametrize("size", [1, 2, 4])
def test_files_are_the_same_to_the_byte(
    pictures: list[Path], size: int, tmp_path: Path, ahead: ReadAhead, taken: list[str]
) -> None:
    """Files of pictures read ahead equal those read alone, byte by byte.

    Each picture has its own stages, which are timed once.
    """
    run_batch(pictures, tmp_path / "alone", size, None)
    came = run_batch(pictures, tmp_path / "ahead", size, ahead)
    assert taken == [path.name for path in pictures[size:]]
    for one, path in zip(came, pictures, strict=True):
        assert isinstance(one, Outcome)
        assert list(one.stages_s) == ["read_small", "normalise", "predict", "matte", "write"]
        files = [tmp_path / name / f"{path.stem}.png" for name in ("alone", "ahead")]
        assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        pytest.param("heavy.jpg", {"progressive": True}, id="decoded-whole"),
        pytest.param("heavy.tif", {}, id="tiff"),
        pytest.param("heavy.png", {"size": (8193, 2)}, id="wide"),
    ],
)
def test_a_picture_that_takes_memory_to_read_waits_for_its_turn(
    name: str,
    options: dict[str, Any],
    pictures: list[Path],
    tmp_path: Path,
    ahead: ReadAhead,
    taken: list[str],
) -> None:
    """It is not read ahead; while a picture that is decoded whole is written, no other is read."""
    heavy = tmp_path / name
    with Image.open(ASTRONAUT) as astronaut:
        rgb = astronaut.convert("RGB").resize(options.pop("size", astronaut.size))
    rgb.save(heavy, **options)
    came = run_batch([pictures[0], heavy, *pictures[1:3]], tmp_path / "out", 1, ahead)
    assert all(isinstance(one, Outcome) for one in came)
    read = [path.name for path in pictures[1:3]]
    assert taken == (read[1:] if "progressive" in options else read)


def test_nothing_is_read_while_a_picture_is_encoded_whole(
    pictures: list[Path], tmp_path: Path, ahead: ReadAhead
) -> None:
    """The WebP encoder keeps the whole picture in memory."""
    first, second = (Job(input=str(p), output=str(tmp_path / "out.webp")) for p in pictures[:2])
    ahead.following = [second]
    stages = Stages(lambda _: None)
    cut_out_together([first], SETTINGS, Brightness(), MODEL, stages, ahead=ahead)
    assert ahead.take(second, stages) is None


@pytest.mark.parametrize("damage", [slice(0, 40), slice(0, -900), slice(0, 0)])
def test_a_damaged_picture_is_told_at_its_turn(
    pictures: list[Path], damage: slice, tmp_path: Path, ahead: ReadAhead
) -> None:
    """The error equals that of the picture alone, and the pictures before and after succeed."""
    bad = tmp_path / "bad.png"
    bad.write_bytes((ASTRONAUT).read_bytes()[damage])
    inputs = [pictures[0], bad, pictures[1]]
    alone = run_batch([bad], tmp_path / "out", 1, None)[0]
    came = run_batch(inputs, tmp_path / "out", 1, ahead)
    assert [isinstance(one, Outcome) for one in came] == [True, False, True]
    assert isinstance(alone, Undone)
    assert isinstance(came[1], Undone)
    assert str(came[1].error) == str(alone.error)
    assert came[1].stage == alone.stage == "read_small"


@pytest.mark.alone
def test_cpu_time_is_each_pictures_own(
    pictures: list[Path], tmp_path: Path, ahead: ReadAhead, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CPU time of reading ahead is counted once, for the picture that is read."""
    begin = pipeline.begin

    def slow(*arguments: object, **more: object) -> object:
        picture = begin(*arguments, **more)  # type: ignore[arg-type]  # passed on unchanged
        until = time.thread_time() + 0.3
        while time.thread_time() < until:
            pass
        picture.cpu_s += 0.3
        return picture

    monkeypatch.setattr(read_ahead, "begin", slow)
    # As in the worker: a second OpenBLAS thread would keep spinning for a while after each product.
    with threadpool_limits(1):
        before = time.process_time()
        came = run_batch(pictures[:3], tmp_path / "out", 1, ahead)
        whole_s = time.process_time() - before
    shares = [one.cpu_s for one in came if isinstance(one, Outcome)]
    assert shares[0] < 0.3 <= min(shares[1:])
    assert sum(shares) == pytest.approx(whole_s, rel=0.1)


def test_a_cancel_ends_the_reading_at_its_next_strip(
    pictures: list[Path], tmp_path: Path, ahead: ReadAhead, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The waiting caller gets None for the unread picture; the next start reads it again."""
    job = Job(input=str(pictures[0]), output=str(tmp_path / "out.png"))
    held, go_on = threading.Event(), threading.Event()
    read_small = source.read_small

    def waiting(*arguments: object, **more: object) -> object:
        held.set()
        assert go_on.wait(30)
        return read_small(*arguments, **more)  # type: ignore[arg-type]  # passed on unchanged

    monkeypatch.setattr(source, "read_small", waiting)
    ahead.following = [job]
    ahead.start()
    assert held.wait(30)
    ahead.cancel()
    go_on.set()
    assert ahead.take(job, Stages(lambda _: None)) is None
    ahead.following = [job]
    ahead.start()
    assert ahead.take(job, Stages(lambda _: None)) is not None


def test_what_is_not_asked_for_next_is_dropped(
    pictures: list[Path], tmp_path: Path, ahead: ReadAhead
) -> None:
    """If another picture follows than announced, the announced one is discarded."""
    jobs = [Job(input=str(path), output=str(tmp_path / "out.png")) for path in pictures]
    ahead.following = jobs[:2]
    ahead.start()
    ahead.keep_only(jobs[:2], SETTINGS)
    assert ahead.take(jobs[0], Stages(lambda _: None)) is not None
    ahead.keep_only(jobs[2:], SETTINGS)
    assert ahead.take(jobs[1], Stages(lambda _: None)) is None


def test_what_was_read_for_another_box_is_dropped(
    pictures: list[Path], tmp_path: Path, ahead: ReadAhead
) -> None:
    """A picture read whole is discarded for its box, and reading ahead then reads the box."""
    job = Job(input=str(pictures[0]), output=str(tmp_path / "out.png"))
    boxed = replace(SETTINGS, focus="box", focus_box="100,50,300,200")
    ahead.following = [job]
    ahead.start()
    ahead.keep_only([job], boxed)
    assert ahead.take(job, Stages(lambda _: None)) is None
    ahead.following = [job]
    ahead.start()
    taken = ahead.take(job, Stages(lambda _: None))
    alone = begin(job, boxed, Brightness(), MODEL, Stages(lambda _: None))
    assert taken is not None
    assert taken.box == alone.box == Box(100, 50, 300, 200)
    assert np.array_equal(taken.tensor, alone.tensor)


def test_a_file_without_its_end_is_left_for_its_own_turn(
    pictures: list[Path], tmp_path: Path, ahead: ReadAhead, taken: list[str]
) -> None:
    """Files without an end are not read ahead: libvips keeps one error log for all threads."""
    plain = next(path for path in pictures if path.name == "plain.jpg").read_bytes()
    (tmp_path / "ended.jpg").write_bytes(plain[:-2])
    (tmp_path / "cut.jpg").write_bytes(plain[: len(plain) // 2])
    inputs = [pictures[0], tmp_path / "cut.jpg", tmp_path / "ended.jpg", pictures[1]]
    came = run_batch(inputs, tmp_path / "out", 1, ahead)
    assert taken == [pictures[1].name]
    assert [type(one) for one in came] == [Outcome, Undone, Outcome, Outcome]


def test_a_file_that_changed_after_it_was_read_ahead_is_read_again(
    pictures: list[Path], tmp_path: Path, ahead: ReadAhead
) -> None:
    """The matte belongs to the file's current content."""
    changing = tmp_path / "changing.png"
    with Image.open(ASTRONAUT) as astronaut:
        upright = astronaut.convert("RGB")
    upright.save(changing)
    ahead.following = [Job(input=str(changing), output=str(tmp_path / "a.png"))]
    ahead.start()
    for future in ahead._reads.values():
        assert future.result() is not None
    other = tmp_path / "other.png"
    upright.rotate(180).save(other)
    other.replace(changing)
    (came,) = run_batch([changing], tmp_path / "now", 1, ahead)
    assert isinstance(came, Outcome)
    run_batch([changing], tmp_path / "alone", 1, None)
    files = [tmp_path / name / "changing.png" for name in ("now", "alone")]
    assert files[0].read_bytes() == files[1].read_bytes()
