"""One picture in this process: stages in order, reported and timed, and the files of a job."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from rembg_tuner.base.errors import (
    NO_FOREGROUND,
    CancelledError,
    EngineError,
    OutputError,
    PictureError,
    TunerError,
)
from rembg_tuner.base.messages import Message
from rembg_tuner.imaging.matte import PictureMatte
from rembg_tuner.models.spec import IMAGENET_MEAN, IMAGENET_STD, ModelSpec
from rembg_tuner.settings.results import has_code
from rembg_tuner.settings.settings import Settings
from rembg_tuner.worker.pipeline import Job, Outcome, Stages, Undone, run_job
from rembg_tuner.worker.together import cut_out_together

ASTRONAUT = Path(__file__).parent.parent / "examples" / "astronaut.png"
STAGES = ["read_small", "normalise", "predict", "matte", "write"]
SIDE = 64
NETWORK = Settings(engine="onnxruntime")
STOCK = Settings(engine="rembg")
MODEL = ModelSpec(
    name="none",
    path="none",
    graph_path="none",
    checksums={},
    side=SIDE,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
)
Raw = npt.NDArray[np.float32]  # (n, c, h, w)

if TYPE_CHECKING:
    from rembg_tuner.base.messages import Message
    from rembg_tuner.engines.protocols import NetworkEngine
    from rembg_tuner.models.spec import Post
    from rembg_tuner.settings.settings import Value


class Fake:
    """The members that every engine has and that these tests do not use."""

    effective: dict[str, Value] = {}  # noqa: RUF012  # an instance's, as the Protocol has it
    warnings: tuple[Message, ...] = ()

    def cancel(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class LeftHalf(Fake):
    """An engine that finds the left half of every picture."""

    side = SIDE

    def __init__(self, strength: float = 1.0, *, stages: Stages | None = None) -> None:
        """Return `strength` from every run; cancel `stages` during the run if given."""
        self.inputs: list[npt.NDArray[np.float32]] = []
        self._strength, self._stages = strength, stages

    def predict(self, network_input: npt.NDArray[np.float32]) -> Raw:
        """Return the left half."""
        self.inputs.append(network_input)
        if self._stages is not None:
            self._stages.cancelled.set()
        raw = np.zeros((len(network_input), 1, SIDE, SIDE), np.float32)
        raw[:, :, :, : SIDE // 2] = self._strength
        return raw


class Brightness(LeftHalf):
    """An engine that returns the picture's brightness."""

    def predict(self, network_input: npt.NDArray[np.float32]) -> Raw:
        """Return the mean of the channels."""
        brightness: Raw = network_input.mean(axis=1, keepdims=True)
        return brightness


class Broken(LeftHalf):
    """An engine whose library fails."""

    def predict(self, network_input: npt.NDArray[np.float32]) -> Raw:  # noqa: ARG002  # the Protocol's
        """Raise an error."""
        raise EngineError(Message("the library failed"))


class NoNumber(LeftHalf):
    """An engine whose output for the second picture contains NaN."""

    def predict(self, network_input: npt.NDArray[np.float32]) -> Raw:
        """Return the left half, with NaN in the second picture."""
        raw = super().predict(network_input)
        raw[1:2, 0, 3, 5] = np.nan
        return raw


class Busy(LeftHalf):
    """An engine that takes 0.3 s of CPU."""

    def predict(self, network_input: npt.NDArray[np.float32]) -> Raw:
        """Use 0.3 s of CPU time, then return the left half."""
        until = time.process_time() + 0.3
        while time.process_time() < until:
            pass
        return super().predict(network_input)


class Stock(Fake):
    """A stock pipeline that takes 20 ms in the network and 20 ms around it."""

    def __init__(self, *, stages: Stages | None = None) -> None:
        """Cancel `stages` during the run if given."""
        self.taken: list[tuple[bytes, int]] = []
        self._stages = stages

    def remove_background(self, picture: bytes, max_side: int) -> tuple[bytes, float]:
        """Return four bytes."""
        self.taken.append((picture, max_side))
        time.sleep(0.04)
        if self._stages is not None:
            self._stages.cancelled.set()
        return b"\x89PNG", 0.02


def silent() -> Stages:
    """Return stages without a listener."""
    return Stages(lambda _name: None)


def run(job: Job, *, engine: NetworkEngine | None = None, stages: Stages | None = None) -> Outcome:
    """Run a job through the network pipeline."""
    return run_job(job, NETWORK, engine or LeftHalf(), MODEL, stages or silent())


@pytest.mark.alone
def test_stages_are_told_as_they_begin_and_timed() -> None:
    """The name is reported before the work, and the seconds are recorded after it."""
    told: list[str] = []
    stages = Stages(told.append)
    with stages.stage("predict"):
        assert told == ["predict"]
        assert stages.current == "predict"
        assert stages.seconds == {}
        time.sleep(0.05)
    assert 0.05 <= stages.seconds["predict"] <= 0.5


def test_a_cancelled_run_begins_no_other_stage() -> None:
    """The current stage remains set for the Failure to report."""
    told: list[str] = []
    stages = Stages(told.append)
    with stages.stage("normalise"):
        stages.cancelled.set()
    with pytest.raises(CancelledError, match="the run was cancelled"), stages.stage("predict"):
        pytest.fail("the stage began")
    assert told == ["normalise"]
    assert stages.current == "normalise"


def test_a_picture_goes_through_every_stage_once(tmp_path: Path) -> None:
    """The cut-out has the engine's matte, the picture's size and the picture's colours."""
    told: list[str] = []
    engine = LeftHalf()
    output = tmp_path / "out.png"
    before = time.perf_counter()
    outcome = run(
        Job(input=str(ASTRONAUT), output=str(output)), engine=engine, stages=Stages(told.append)
    )
    assert told == STAGES
    assert list(outcome.stages_s) == STAGES
    assert all(seconds > 0 for seconds in outcome.stages_s.values())
    assert before < outcome.renamed_at <= time.perf_counter()
    assert sum(outcome.stages_s.values()) <= outcome.renamed_at - before
    assert outcome.output_bytes == output.stat().st_size
    assert outcome.cpu_s > 0
    assert outcome.warnings == ()
    assert [item.shape for item in engine.inputs] == [(1, 3, SIDE, SIDE)]
    assert engine.inputs[0].dtype == np.float32
    with Image.open(output) as cutout, Image.open(ASTRONAUT) as picture:
        assert (cutout.mode, cutout.size) == ("RGBA", picture.size)
        pixels, original = np.asarray(cutout), np.asarray(picture.convert("RGB"))
    assert (pixels[:, :224, 3] == 255).all()
    assert (pixels[:, 288:, 3] == 0).all()
    assert np.array_equal(pixels[:, :224, :3], original[:, :224])
    assert (pixels[:, 288:, :3] == 0).all()
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]


@pytest.mark.parametrize(
    ("strength", "is_warned"),
    [
        pytest.param(0.06, True, id="noise"),
        pytest.param(0.49, True, id="under"),
        pytest.param(0.51, False, id="over"),
    ],
)
def test_a_faint_answer_is_warned_of(strength: float, is_warned: bool, tmp_path: Path) -> None:
    """A weak output is reported, because full contrast would hide it."""
    job = Job(input=str(ASTRONAUT), output=str(tmp_path / "out.png"))
    warnings = run(job, engine=LeftHalf(strength)).warnings
    assert len(warnings) == is_warned
    assert has_code(NO_FOREGROUND, warnings) == is_warned


def test_a_picture_without_any_opacity_is_warned_of(tmp_path: Path) -> None:
    """A fully transparent picture is reported: its cut-out is empty."""
    with Image.open(ASTRONAUT) as picture:
        hidden = picture.convert("RGBA")
    hidden.putalpha(0)
    hidden.save(tmp_path / "hidden.png")
    job = Job(input=str(tmp_path / "hidden.png"), output=str(tmp_path / "out.png"))
    warnings = run(job).warnings
    assert len(warnings) == 1
    assert "transparency is 0 everywhere, so the cut-out is empty" in str(warnings[0])


def test_a_background_fills_what_was_cut_away(tmp_path: Path) -> None:
    """The result on a colour has no alpha channel."""
    output = tmp_path / "out.png"
    run(Job(input=str(ASTRONAUT), output=str(output), background=(10, 200, 30)))
    with Image.open(output) as cutout:
        assert cutout.mode == "RGB"
        assert cutout.getpixel((500, 10)) == (10, 200, 30)


def test_max_side_scales_the_result(tmp_path: Path) -> None:
    """The longest side equals max_side."""
    output = tmp_path / "out.png"
    settings = Settings(engine="onnxruntime", max_side=100)
    run_job(Job(input=str(ASTRONAUT), output=str(output)), settings, LeftHalf(), MODEL, silent())
    with Image.open(output) as cutout:
        assert cutout.size == (100, 100)


def test_a_run_leaves_its_matte_only_where_a_preview_is_wanted(tmp_path: Path) -> None:
    """The matte is written only if a preview is requested.

    Another process makes the previews, from the matte. No stage and no total includes them.
    """
    output = tmp_path / "out.png"
    run(Job(input=str(ASTRONAUT), output=str(output)))
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]
    job = Job(input=str(ASTRONAUT), output=str(output), preview=str(tmp_path / "after.webp"))
    outcome = run(job)
    assert list(outcome.stages_s) == STAGES
    assert sorted(path.name for path in tmp_path.iterdir()) == ["after.webp.matte.npy", "out.png"]
    assert job.matte is not None
    assert PictureMatte.load(Path(job.matte)).mask(30, 20).rows(0, 20).max() > 0


@pytest.mark.parametrize(
    ("input_name", "output_name", "error", "stage"),
    [
        pytest.param("absent.png", "out.png", PictureError, "read_small", id="absent"),
        pytest.param("astronaut.png", "out.bmp", OutputError, "read_small", id="format"),
        pytest.param("astronaut.png", "out.jpg", OutputError, "read_small", id="jpeg"),
        pytest.param("astronaut.png", "no/out.png", OutputError, "write", id="no-folder"),
    ],
)
def test_what_cannot_be_done_says_where_it_was_found(
    input_name: str, output_name: str, error: type[TunerError], stage: str, tmp_path: Path
) -> None:
    """Errors are raised before the network runs where possible, and no file is left."""
    stages = silent()
    job = Job(input=str(ASTRONAUT.with_name(input_name)), output=str(tmp_path / output_name))
    with pytest.raises(error):
        run(job, stages=stages)
    assert stages.current == stage
    assert list(tmp_path.iterdir()) == []


def test_a_hosts_pixel_limit_is_kept_before_decoding(tmp_path: Path) -> None:
    """One pixel above the limit is rejected, and the limit itself is accepted."""
    job = Job(input=str(ASTRONAUT), output=str(tmp_path / "out.png"), max_pixels=512 * 512)
    with pytest.raises(PictureError) as caught:
        run(replace(job, max_pixels=512 * 512 - 1))
    assert caught.value.kind == "too_large"
    assert run(job).output_bytes > 0


def test_a_cancel_in_the_network_writes_nothing(tmp_path: Path) -> None:
    """A run whose engine did not stop in time ends at the next stage."""
    stages = silent()
    job = Job(input=str(ASTRONAUT), output=str(tmp_path / "out.png"))
    with pytest.raises(CancelledError):
        run(job, engine=LeftHalf(stages=stages), stages=stages)
    assert stages.current == "predict"
    assert list(tmp_path.iterdir()) == []


def test_an_engines_failure_is_told_at_predict(tmp_path: Path) -> None:
    """The failed stage remains current and is not timed."""
    stages = silent()
    with pytest.raises(EngineError, match="the library failed"):
        run(
            Job(input=str(ASTRONAUT), output=str(tmp_path / "out.png")),
            engine=Broken(),
            stages=stages,
        )
    assert stages.current == "predict"
    assert list(stages.seconds) == ["read_small", "normalise"]


@pytest.mark.parametrize("strength", [np.nan, np.inf])
@pytest.mark.parametrize("post", ["minmax", "sigmoid", "classes"])
def test_an_answer_that_is_no_number_makes_no_cut_out(
    strength: float, post: Post, tmp_path: Path
) -> None:
    """Output with NaN or infinity raises an error instead of an empty cut-out.

    No file is written.
    """
    stages = silent()
    job = Job(input=str(ASTRONAUT), output=str(tmp_path / "out.png"))
    with pytest.raises(EngineError, match=r"NaN or infinity.*choose precision fp32"):
        run_job(job, NETWORK, LeftHalf(strength), replace(MODEL, post=post), stages)
    assert stages.current == "matte"
    assert list(tmp_path.iterdir()) == []


def test_one_picture_without_an_answer_keeps_no_other_from_being_done(tmp_path: Path) -> None:
    """Of three pictures run together, only the one whose output is NaN fails."""
    jobs = [Job(input=str(ASTRONAUT), output=str(tmp_path / f"{i}.png")) for i in range(3)]
    came = cut_out_together(jobs, NETWORK, NoNumber(), MODEL, silent())
    assert [isinstance(one, Outcome) for one in came] == [True, False, True]
    assert isinstance(came[1], Undone)
    assert isinstance(came[1].error, EngineError)
    assert came[1].stage == "matte"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.png", "2.png"]


@pytest.mark.parametrize("damage", [slice(0, 40), slice(0, -900), slice(0, 0)])
@pytest.mark.parametrize("place", [0, 1, 3])
def test_a_damaged_picture_leaves_the_other_files_as_they_would_be(
    tmp_path: Path, place: int, damage: slice
) -> None:
    """The other files are equal byte by byte, for any position of the damaged picture."""
    jobs = []
    for i in range(3):
        picture = tmp_path / f"{i}.png"
        with Image.open(ASTRONAUT) as astronaut:
            astronaut.rotate(90 * i).resize((233, 171)).save(picture)
        jobs.append(Job(input=str(picture), output=str(tmp_path / f"alone-{i}.png")))
    for job in jobs:
        cut_out_together([job], NETWORK, Brightness(), MODEL, silent())
    bad = tmp_path / "bad.png"
    bad.write_bytes((tmp_path / "0.png").read_bytes()[damage])
    together = [replace(job, output=job.output.replace("alone", "together")) for job in jobs]
    together.insert(place, Job(input=str(bad), output=str(tmp_path / "bad-out.png")))
    came = cut_out_together(together, NETWORK, Brightness(), MODEL, silent())
    undone = [one.error if isinstance(one, Undone) else None for one in came]
    assert [isinstance(one, PictureError) for one in undone] == [i == place for i in range(4)]
    assert not (tmp_path / "bad-out.png").exists()
    for i in range(3):
        alone, other = (tmp_path / f"{name}-{i}.png" for name in ("alone", "together"))
        assert alone.read_bytes() == other.read_bytes()


@pytest.mark.alone
def test_cpu_time_of_pictures_run_together_is_each_ones_share(tmp_path: Path) -> None:
    """The shares sum to the total, and the network's time is divided evenly."""
    jobs = [Job(input=str(ASTRONAUT), output=str(tmp_path / f"{i}.png")) for i in range(3)]
    before = time.process_time()
    came = cut_out_together(jobs, NETWORK, Busy(), MODEL, silent())
    whole_s = time.process_time() - before
    shares = [one.cpu_s for one in came if isinstance(one, Outcome)]
    assert len(shares) == 3
    assert all(0.1 <= share < 0.3 for share in shares)
    assert sum(shares) == pytest.approx(whole_s, rel=0.05)


# The stock pipeline


@pytest.mark.alone
def test_the_stock_pipeline_gets_bytes_and_its_time_is_split(tmp_path: Path) -> None:
    """The input is the file's bytes; the network's seconds are predict, and all others are rest."""
    engine, output = Stock(), tmp_path / "out.png"
    settings = Settings(engine="rembg", max_side=300)
    job = Job(input=str(ASTRONAUT), output=str(output))
    outcome = run_job(job, settings, engine, MODEL, silent())
    assert engine.taken == [(ASTRONAUT.read_bytes(), 300)]
    assert output.read_bytes() == b"\x89PNG"
    assert outcome.output_bytes == 4
    assert outcome.stages_s["predict"] == 0.02
    assert 0.02 <= outcome.stages_s["rest"] <= 0.5


@pytest.mark.parametrize(
    ("input_name", "output_name", "background", "error", "words"),
    [
        pytest.param("absent.png", "out.png", None, PictureError, "does not exist", id="absent"),
        pytest.param("CREDITS.md", "out.png", None, PictureError, "not a picture", id="text"),
        pytest.param("coffee.png", "out.jpg", None, OutputError, "transparent PNG", id="jpeg"),
        pytest.param("coffee.png", "out.png", (0, 0, 0), OutputError, "on a colour", id="colour"),
        pytest.param(
            "coffee.png", "no/out.png", None, OutputError, "cannot be written", id="no-folder"
        ),
    ],
)
def test_what_the_stock_pipeline_cannot_do_is_refused(
    input_name: str,
    output_name: str,
    background: tuple[int, int, int] | None,
    error: type[TunerError],
    words: str,
    tmp_path: Path,
) -> None:
    """The errors have the usual messages, and no file is left."""
    job = Job(
        input=str(ASTRONAUT.with_name(input_name)),
        output=str(tmp_path / output_name),
        background=background,
    )
    with pytest.raises(error, match=words):
        run_job(job, STOCK, Stock(), MODEL, silent())
    assert list(tmp_path.iterdir()) == []


def test_a_cancel_in_the_stock_pipeline_writes_nothing(tmp_path: Path) -> None:
    """The result of rembg is discarded."""
    stages = silent()
    job = Job(input=str(ASTRONAUT), output=str(tmp_path / "out.png"))
    with pytest.raises(CancelledError):
        run_job(job, STOCK, Stock(stages=stages), MODEL, stages)
    assert list(tmp_path.iterdir()) == []
