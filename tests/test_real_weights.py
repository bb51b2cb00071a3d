"""Real weights that are not part of the package: ISNet, and a network of u2net's size.

Tools beside the checkout create or download them.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import pyvips

from rembg_tuner.runtime.runner import Runner
from rembg_tuner.settings.results import Result
from rembg_tuner.settings.settings import EngineName, Settings
from rembg_tuner.worker.pipeline import Job

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    Alpha = npt.NDArray[np.float64]  # (h, w), 0 to 1

ROOT = Path(__file__).parent.parent
TOOLS = ROOT.parent / "shared" / "tools"
COFFEE = ROOT / "examples" / "coffee.png"
TIMEOUT_S = 300  # downloading 84 MB, and rembg's first import
pytestmark = [pytest.mark.model, pytest.mark.slow, pytest.mark.timeout(TIMEOUT_S)]


def make(tool: str, *words: str) -> None:
    """Run one of the tools; skip the test if it is missing or cannot download."""
    if not (TOOLS / tool).is_file():
        pytest.skip(f"{TOOLS / tool} is not here")
    done = subprocess.run(
        [sys.executable, str(TOOLS / tool), *words], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"{tool} got no weights: {done.stderr.strip().splitlines()[-1:]}")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Set the folder in which rembg and this program search for models."""
    folder = tmp_path_factory.mktemp("weights")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("U2NET_HOME", str(folder))
        patch.setenv("MODEL_CHECKSUM_DISABLED", "1")  # half precision, and a replacement
        yield folder


@pytest.fixture(scope="module")
def isnet(weights: Path) -> str:
    """Return a real model of 1024 px."""
    make("get_isnet.py", str(weights))
    return "isnet-general-use"


@pytest.fixture(scope="module")
def u2net(weights: Path) -> str:
    """Return a network of u2net's size; its mattes are noise, equal in every engine."""
    embedded = ROOT / "rembg_tuner" / "models" / "u2netp.onnx"
    make("make_u2net_like.py", str(embedded), str(weights / "u2net.onnx"))
    return "u2net"


def matte(model: str, engine: EngineName, folder: Path, *, size: int = 0) -> Alpha:
    """Return the alpha of the example's cut-out."""
    output = folder / f"{model}-{engine}.png"
    settings = Settings(model=model, engine=engine, network_size=size, timeout_s=120.0)
    with Runner() as runner:
        run = runner.run(Job(input=str(COFFEE), output=str(output)), settings)
    assert isinstance(run, Result), run.message
    assert run.effective["model"] == model
    found: Alpha = pyvips.Image.new_from_file(str(output))[3].numpy().astype(np.float64) / 255
    return found


@pytest.mark.parametrize("model", ["isnet", "u2net"])
def test_ours_is_rembgs_matte(model: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Mattes of rembg's session and of this program's engines agree for each architecture.

    The mean difference is at most 2 of 255.
    """
    name = request.getfixturevalue(model)
    theirs = matte(name, "rembg", tmp_path)
    for engine in ("onnxruntime", "openvino"):
        ours = matte(name, engine, tmp_path)
        assert np.abs(ours - theirs).mean() <= 2 / 255


def test_written_sizes_scale(isnet: str, tmp_path: Path) -> None:
    """ISNet's decoder has fixed sizes; at half its side, the network still finds the cup."""
    whole, half = (
        matte(isnet, "onnxruntime", tmp_path),
        matte(isnet, "onnxruntime", tmp_path, size=512),
    )
    both, either = (whole >= 0.5) & (half >= 0.5), (whole >= 0.5) | (half >= 0.5)
    assert both.sum() / either.sum() >= 0.8
