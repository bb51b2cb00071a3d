"""Focus in the pipeline: inputs, results, several pictures together, and cancels between passes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import pytest
from PIL import Image, ImageFilter
from test_engines import opened
from test_pipeline import MODEL, NETWORK, SIDE, Brightness, LeftHalf, Raw, silent

from rembg_tuner.base.boxes import Box, box_in_picture, stored_box
from rembg_tuner.base.errors import CancelledError, EngineError, PictureError, SettingsError
from rembg_tuner.models.catalogue import find_model
from rembg_tuner.settings.settings import Settings
from rembg_tuner.worker.pipeline import Job, Outcome, Undone, run_job
from rembg_tuner.worker.together import cut_out_together

if TYPE_CHECKING:
    import numpy.typing as npt

    from rembg_tuner.worker.pipeline import Stages

    Pixels = npt.NDArray[np.uint8]

AUTO = Settings(engine="onnxruntime", focus="auto")
SUBJECT = (300, 200, 420, 330)  # px of 1000 x 700, bright on dark
_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def _picture(
    *subjects: tuple[int, int, int, int], size: tuple[int, int] = (1000, 700)
) -> Image.Image:
    """Return a dark picture with bright ellipses."""
    pixels = np.full((size[1], size[0], 3), 20, np.uint8)
    y, x = np.mgrid[: size[1], : size[0]]
    for left, top, right, bottom in subjects:
        across = (2 * x + 1 - left - right) / (right - left)
        down = (2 * y + 1 - top - bottom) / (bottom - top)
        pixels[across**2 + down**2 < 1] = (230, 220, 240)
    return Image.fromarray(pixels)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """Write a picture with a small subject."""
    path = tmp_path / "small.png"
    _picture(SUBJECT).save(path)
    return path


def _cut(
    path: Path, settings: Settings, engine: LeftHalf | None = None, *, stages: Stages | None = None
) -> tuple[Outcome, Pixels]:
    """Cut a picture out; return the outcome and the alpha."""
    output = path.with_suffix(".out.png")
    job = Job(input=str(path), output=str(output))
    outcome = run_job(job, settings, engine or Brightness(), MODEL, stages or silent())
    with Image.open(output) as cutout:
        return outcome, np.asarray(cutout)[:, :, 3]


def _errors(alpha: Pixels, picture: Image.Image) -> int:
    """Count the pixels on the wrong side of the subject's edge."""
    return int(np.count_nonzero((alpha > 127) != (np.asarray(picture)[:, :, 0] > 127)))


def test_a_small_subject_is_looked_at_again(picture: Path) -> None:
    """Its edge is better; the result has the number of passes, and the stage `focus` its time."""
    outcome, alpha = _cut(picture, AUTO)
    assert list(outcome.stages_s) == [
        "read_small",
        "normalise",
        "predict",
        "matte",
        "focus",
        "write",
    ]
    assert outcome.focus is not None
    assert outcome.focus["passes"] in (2, 3)
    left, top, width, height = outcome.focus["box"]
    assert Box(left, top, width, height).joined(Box(300, 200, 120, 130)) == Box(
        left, top, width, height
    )
    assert outcome.focus["share"] == pytest.approx(width * height / 700_000, abs=1e-4)
    plain, first = _cut(picture, NETWORK)
    assert "focus" not in plain.stages_s
    assert plain.focus == {**outcome.focus, "passes": 1}
    assert _errors(alpha, _picture(SUBJECT)) < _errors(first, _picture(SUBJECT)) / 2


@pytest.mark.parametrize(
    "settings", [AUTO, Settings(engine="onnxruntime", focus="auto", focus_max_share=0.01)]
)
def test_a_large_subject_costs_and_changes_nothing(settings: Settings, tmp_path: Path) -> None:
    """Above the maximum share the file equals that without focus, byte for byte."""
    subject = (100, 50, 900, 650) if settings is AUTO else SUBJECT
    path = tmp_path / "large.png"
    _picture(subject).save(path)
    _cut(path, NETWORK)
    before = path.with_suffix(".out.png").read_bytes()
    outcome, _ = _cut(path, settings)
    assert path.with_suffix(".out.png").read_bytes() == before
    assert outcome.focus is not None
    assert outcome.focus["passes"] == 1
    assert "focus" not in outcome.stages_s


def test_a_box_by_hand_is_all_that_is_looked_at(picture: Path) -> None:
    """The network runs once, on the box; outside it the mask is 0."""
    engine = Brightness()
    settings = Settings(engine="onnxruntime", focus="box", focus_box="25%,150,250,35%")
    outcome, alpha = _cut(picture, settings, engine)
    assert outcome.focus == {"passes": 1, "box": [250, 150, 250, 245], "share": 0.0875}
    assert "focus" not in outcome.stages_s
    assert alpha[265, 360] > 200
    whole = _picture(SUBJECT)
    assert _errors(alpha, whole) < _errors(_cut(picture, NETWORK)[1], whole) / 2
    beside = Settings(engine="onnxruntime", focus="box", focus_box="0,0,350,265")
    alpha = _cut(picture, beside)[1]
    assert alpha[240, 340] > 200
    assert not alpha[265:].any()
    assert not alpha[:, 350:].any()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param(
            "1000,0,50,50",
            "focus_box 1000,0,50,50 lies outside a.png, which is 1000 x 700 px; choose a box in it",
            id="outside",
        ),
        pytest.param(
            "100%,0,50,50",
            "focus_box 100%,0,50,50 lies outside a.png, which is 1000 x 700 px; choose a box in it",
            id="outside-by-share",
        ),
        pytest.param(
            "990,0,50,50",
            "focus_box 990,0,50,50 covers only 10 x 50 px of a.png, which is 1000 x 700 px; choose"
            " a box of at least 16 x 16 px",
            id="too-little-inside",
        ),
        pytest.param(
            "0,0,1%,50",
            "focus_box 0,0,1%,50 covers only 10 x 50 px of a.png, which is 1000 x 700 px; choose a"
            " box of at least 16 x 16 px",
            id="too-small-a-share",
        ),
    ],
)
def test_a_box_must_lie_in_the_picture(text: str, problem: str) -> None:
    """The box must overlap the picture by at least 16 x 16 px; the error has the picture's size."""
    with pytest.raises(SettingsError, match="focus_box") as caught:
        box_in_picture(text, Box(0, 0, 1000, 700), Path("a.png"))
    assert str(caught.value) == problem
    assert box_in_picture("900,600,500,500", Box(0, 0, 1000, 700), Path("a.png")) == Box(
        900, 600, 100, 100
    )


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("focus", ["auto", "box"])
def test_a_turned_picture_is_cut_out_as_the_upright_one(
    orientation: int, focus: str, picture: Path, tmp_path: Path
) -> None:
    """The box refers to the upright picture, whatever the EXIF orientation."""
    box = {"focus_box": "250,150,250,245"} if focus == "box" else {}
    settings = Settings(engine="onnxruntime", focus=focus, **box)  # type: ignore[arg-type]
    upright = _cut(picture, settings)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = _picture(SUBJECT)
    if orientation != 1:
        stored = stored.transpose(_TRANSPOSES[orientation])
    turned = tmp_path / "turned.png"
    stored.save(turned, exif=exif)
    outcome, alpha = _cut(turned, settings)
    assert outcome.focus == upright[0].focus
    assert alpha.shape == upright[1].shape
    difference = np.abs(alpha.astype(int) - upright[1])
    assert difference.max() <= 4
    assert difference.mean() < 0.02


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_box_is_found_in_the_picture_as_it_is_stored(orientation: int) -> None:
    """The stored box contains the pixels of the upright box."""
    upright = np.arange(35).reshape(5, 7)
    as_pixels = Image.fromarray(upright.astype(np.uint8))
    stored = as_pixels.transpose(_TRANSPOSES[orientation]) if orientation > 1 else as_pixels
    box = stored_box(Box(1, 2, 4, 2), Box(0, 0, 7, 5), orientation)
    part = np.asarray(stored)[box.top : box.bottom, box.left : box.right]
    assert sorted(part.ravel()) == sorted(upright[2:4, 1:5].ravel())


def test_pictures_are_looked_at_together_as_alone(tmp_path: Path) -> None:
    """Each file equals that of the picture alone: a small subject, a large one, and three subjects.

    A damaged picture fails alone.
    """
    apart = ((60, 60, 160, 160), (450, 80, 560, 170), (800, 500, 900, 620))
    contents = [(SUBJECT,), ((100, 50, 900, 650),), apart]
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path, subjects in zip(paths, contents, strict=True):
        _picture(*subjects).save(path)
    alone = [(_cut(path, AUTO)[0], path.with_suffix(".out.png").read_bytes()) for path in paths]
    (tmp_path / "bad.png").write_bytes(paths[0].read_bytes()[:300])
    jobs = [
        Job(input=str(path), output=str(path.with_suffix(".together.png")))
        for path in (*paths, tmp_path / "bad.png")
    ]
    engine = Brightness()
    engine.inputs = []
    came = cut_out_together(jobs, AUTO, engine, MODEL, silent())
    assert isinstance(came[3], Undone)
    assert isinstance(came[3].error, PictureError)
    for path, one, (before, content) in zip(paths, came, alone, strict=False):
        assert isinstance(one, Outcome)
        assert one.focus == before.focus
        assert path.with_suffix(".together.png").read_bytes() == content
    focused = [isinstance(one, Outcome) and "focus" in one.stages_s for one in came]
    assert focused == [True, False, True, False]
    assert alone[2][0].focus is not None
    assert alone[2][0].focus["passes"] >= 4


def test_a_box_outside_one_picture_leaves_the_others(tmp_path: Path) -> None:
    """Pictures that run together share a box but not a size, so only the one outside it fails."""
    paths = [tmp_path / "large.png", tmp_path / "small.png"]
    _picture(SUBJECT).save(paths[0])
    Image.new("RGB", (40, 30)).save(paths[1])
    boxed = replace(AUTO, focus="box", focus_box="100,100,200,200")
    jobs = [Job(input=str(path), output=str(path.with_suffix(".together.png"))) for path in paths]
    came = cut_out_together(jobs, boxed, Brightness(), MODEL, silent())
    assert isinstance(came[0], Outcome)
    assert isinstance(came[1], Undone)
    assert came[1].error.kind == "invalid_settings"


class _Second(Brightness):
    """A network that answers the first pass, and misbehaves in the second."""

    def __init__(self, act: str, stages: Stages | None = None) -> None:
        """Set what the second pass does: cancel `stages`, return NaN, or return zeros."""
        super().__init__()
        self._act, self._stages_to_cancel = act, stages
        self.looks = 0

    def predict(self, network_input: npt.NDArray[np.float32]) -> Raw:
        """Return a matte, or misbehave from the second pass on."""
        self.looks += 1
        if self.looks == 1:
            return super().predict(network_input)
        if self._stages_to_cancel is not None:
            self._stages_to_cancel.cancelled.set()
        return np.full(
            (len(network_input), 1, SIDE, SIDE), np.nan if self._act == "nan" else 0, np.float32
        )


def test_a_cancel_between_two_looks_writes_nothing(picture: Path) -> None:
    """A cancelled run starts no other pass, and reports the stage `focus`."""
    stages = silent()
    # two subjects, so that a third pass is due
    _picture((60, 60, 160, 160), (800, 500, 900, 620)).save(picture)
    engine = _Second("cancel", stages)
    with pytest.raises(CancelledError):
        _cut(picture, AUTO, engine, stages=stages)
    assert engine.looks == 2
    assert stages.current == "focus"
    assert not picture.with_suffix(".out.png").exists()


def test_a_second_answer_that_is_no_number_is_told(picture: Path, tmp_path: Path) -> None:
    """A second pass with NaN is an error; among pictures run together only its own fails."""
    with pytest.raises(EngineError, match="NaN or infinity"):
        _cut(picture, AUTO, _Second("nan"))
    large = tmp_path / "large.png"
    _picture((100, 50, 900, 650)).save(large)
    jobs = [
        Job(input=str(path), output=str(path.with_suffix(".t.png"))) for path in (picture, large)
    ]
    came = cut_out_together(jobs, AUTO, _Second("nan"), MODEL, silent())
    assert isinstance(came[0], Undone)
    assert isinstance(came[0].error, EngineError)
    assert came[0].stage == "focus"
    assert isinstance(came[1], Outcome)


def test_a_second_look_that_finds_nothing_keeps_the_file(picture: Path) -> None:
    """The file equals that without focus, byte for byte."""
    _cut(picture, NETWORK)
    before = picture.with_suffix(".out.png").read_bytes()
    outcome, _ = _cut(picture, AUTO, _Second("zeros"))
    assert picture.with_suffix(".out.png").read_bytes() == before
    assert outcome.focus is not None
    assert outcome.focus["passes"] == 2


@pytest.mark.parametrize(
    ("engine", "precision"),
    [
        pytest.param("onnxruntime", "fp32", id="onnxruntime"),
        pytest.param("openvino", "fp32", id="openvino", marks=pytest.mark.slow),
        pytest.param("openvino", "int8", id="openvino-int8"),
        pytest.param("ncnn", "fp32", id="ncnn", marks=pytest.mark.slow),
    ],
)
def test_every_engine_looks_again(
    engine: str, precision: str, own_cache: Path, tmp_path: Path
) -> None:
    """Every engine runs u2netp again on a small ball, and its edge improves."""
    if engine == "ncnn":
        pytest.importorskip("ncnn")
    settings = Settings(engine=engine, precision=precision)  # type: ignore[arg-type]
    model = find_model("u2netp", int8_for=engine if precision == "int8" else None)
    network = opened(settings, model, own_cache)
    whole = _picture((700, 500, 860, 660), size=(1600, 1100))
    path = tmp_path / "ball.jpg"
    whole.filter(ImageFilter.GaussianBlur(1)).save(path, quality=95)
    errors = []
    for focus in ("off", "auto"):
        output = tmp_path / f"{focus}.png"
        asked = Settings(**{**settings.to_dict(), "focus": focus})  # type: ignore[arg-type]
        outcome = run_job(Job(input=str(path), output=str(output)), asked, network, model, silent())
        with Image.open(output) as cutout:
            errors.append(_errors(np.asarray(cutout)[:, :, 3], whole))
    assert outcome.focus is not None
    assert cast("int", outcome.focus["passes"]) >= 2
    assert errors[1] < errors[0]
    network.close()
