"""Previews are made outside the run, do not change its figures, and cannot fail a cut-out."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pytest
from PIL import Image

from rembg_tuner.runtime.picture_processes import Previewer
from rembg_tuner.runtime.runner import Runner
from rembg_tuner.settings.results import Result
from rembg_tuner.settings.settings import Settings
from rembg_tuner.worker.pipeline import Job

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    Pixels = npt.NDArray[np.uint8]

ROOT = Path(__file__).parent.parent
ASTRONAUT = ROOT / "examples" / "astronaut.png"
QUICK = Settings(engine="onnxruntime", network_size=128)


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    """Start one worker for all tests."""
    with Runner() as runner:
        yield runner


def job_in(folder: Path) -> Job:
    """Return a job with both previews."""
    return Job(
        input=str(ASTRONAUT),
        output=str(folder / "out.png"),
        preview=str(folder / "after.webp"),
        before_preview=str(folder / "before.jpg"),
    )


def masked_in(folder: Path, picture: Path = ASTRONAUT) -> Job:
    """Return a job with its alpha as a mask."""
    return replace(job_in(folder), input=str(picture), preview=None, mask=str(folder / "mask.png"))


def alpha_of(path: Path) -> Pixels:
    """Return a file's alpha."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGBA"))[..., 3]


@pytest.mark.alone
def test_previews_add_nothing_to_a_runs_figures(runner: Runner, tmp_path: Path) -> None:
    """The worker's peak RSS is the same with previews and without."""
    with_them, without = (
        job_in(tmp_path),
        replace(job_in(tmp_path), preview=None, before_preview=None),
    )
    for _ in range(2):
        runner.run(without, QUICK)
    peaks = []
    for job in (without, with_them, without, with_them):
        run = runner.run(job, QUICK)
        assert isinstance(run, Result)
        peaks.append(run.peak_rss_bytes or 0)
    assert max(peaks) - min(peaks) <= 3 * 2**20
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "after.webp",
        "before.jpg",
        "out.png",
    ]


@pytest.mark.parametrize("engine", ["onnxruntime", "rembg"])
def test_both_show_the_run(engine: str, runner: Runner, tmp_path: Path) -> None:
    """The original has no alpha and the cut-out has one, of equal size, in both pipelines."""
    settings = QUICK if engine == "onnxruntime" else Settings(engine="rembg")
    run = runner.run(job_in(tmp_path), settings)
    assert isinstance(run, Result), run
    with (
        Image.open(tmp_path / "before.jpg") as before,
        Image.open(tmp_path / "after.webp") as after,
    ):
        assert (before.mode, after.mode) == ("RGB", "RGBA")
        assert before.size == after.size == (512, 512)
        assert after.getchannel("A").getextrema() == (0, 255)


def test_a_mask_is_the_cutouts_alpha(runner: Runner, tmp_path: Path) -> None:
    """The mask is black with 256 opacities, for use over the picture's JPEG.

    The JPEG is written once, and no other file is left.
    """
    job = masked_in(tmp_path)
    assert isinstance(runner.run(job, QUICK), Result)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["before.jpg", "mask.png", "out.png"]
    with Image.open(tmp_path / "mask.png") as mask:
        assert (mask.format, mask.mode, mask.info["transparency"]) == (
            "PNG",
            "P",
            bytes(range(256)),
        )
        assert mask.getpalette() == [0] * 768
    assert np.array_equal(alpha_of(tmp_path / "mask.png"), alpha_of(tmp_path / "out.png"))
    (tmp_path / "before.jpg").write_bytes(b"as it was")
    assert isinstance(runner.run(job, QUICK), Result)
    assert (tmp_path / "before.jpg").read_bytes() == b"as it was"


def test_a_mask_holds_the_pictures_own_alpha(runner: Runner, tmp_path: Path) -> None:
    """The mask includes the picture's alpha, multiplied as in the cut-out.

    The picture is shown with its transparency. Its colours are written as a JPEG without alpha.
    """
    with Image.open(ASTRONAUT) as astronaut:
        picture = astronaut.convert("RGB")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    picture.save(tmp_path / "faded.png")
    result = runner.run(masked_in(tmp_path, tmp_path / "faded.png"), QUICK)
    assert isinstance(result, Result)
    assert result.warnings == ()
    assert np.array_equal(alpha_of(tmp_path / "mask.png"), alpha_of(tmp_path / "out.png"))
    assert np.array_equal(alpha_of(tmp_path / "before.webp"), alpha_of(tmp_path / "faded.png"))
    with Image.open(tmp_path / "before.jpg") as colours:
        error = np.asarray(colours).astype(int) - np.asarray(picture.convert("RGB"))
    assert np.abs(error).mean() < 3


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        pytest.param("RGBA", "p.png", id="rgba"),
        pytest.param("LA", "p.png", id="grey"),
        pytest.param("RGBA", "p.tif", id="tiff"),
        pytest.param("RGBA", "p.webp", id="webp"),
    ],
)
def test_an_alpha_that_is_opaque_everywhere_is_none(
    mode: str, name: str, runner: Runner, tmp_path: Path
) -> None:
    """An opaque alpha channel is ignored: WebP would drop it, and the mask does not need it."""
    with Image.open(ASTRONAUT) as astronaut:
        astronaut.convert("L" if mode == "LA" else "RGB").convert(mode).save(tmp_path / name)
    result = runner.run(masked_in(tmp_path, tmp_path / name), QUICK)
    assert isinstance(result, Result)
    assert not any("preview" in text for text in map(str, result.warnings))
    assert not (tmp_path / "before.webp").exists()
    assert np.array_equal(alpha_of(tmp_path / "mask.png"), alpha_of(tmp_path / "out.png"))


def test_a_preview_that_cannot_be_written_leaves_the_cutout(runner: Runner, tmp_path: Path) -> None:
    """The failure is a warning, and the result and the output file are kept."""
    job = replace(job_in(tmp_path), before_preview=str(tmp_path / "absent" / "before.jpg"))
    run = runner.run(job, QUICK)
    assert isinstance(run, Result)
    assert run.preview is None
    assert any(
        "there is no preview: " in text and "cannot be written" in text
        for text in map(str, run.warnings)
    )
    assert (tmp_path / "out.png").is_file()
    assert isinstance(runner.run(job_in(tmp_path), QUICK), Result)


def test_a_previewer_that_was_killed_is_started_again(tmp_path: Path) -> None:
    """The next previews are made by a new process, and closing leaves no process."""
    shutil.copy(ASTRONAUT, tmp_path / "out.png")
    job, settings = job_in(tmp_path), Settings(engine="rembg")
    previewer = Previewer()
    previewer.start()
    assert previewer.make(job, settings) is None
    previewer._process.kill()
    assert previewer.make(job, settings) is None
    pid = previewer._process.pid
    previewer.close()
    assert not psutil.pid_exists(pid)


def test_a_damaged_picture_is_told(tmp_path: Path) -> None:
    """The reason is returned, and the next preview is made."""
    (tmp_path / "out.png").write_bytes(ASTRONAUT.read_bytes()[:50_000])
    previewer = Previewer()
    try:
        reason = previewer.make(job_in(tmp_path), Settings(engine="rembg"))
        assert reason is not None
        assert "is damaged or cut short" in str(reason)
        shutil.copy(ASTRONAUT, tmp_path / "out.png")
        assert previewer.make(job_in(tmp_path), Settings(engine="rembg")) is None
    finally:
        previewer.close()
