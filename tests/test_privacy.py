"""Nothing leaves the machine, and nothing is written outside the cache and the output."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from made_networks import bright_things
from watched import Watched

from rembg_tuner.base.errors import OutputError
from rembg_tuner.base.spawning import numba_environment
from rembg_tuner.export.targets import export
from rembg_tuner.models.catalogue import read_catalogue
from rembg_tuner.runtime.download import get_model
from rembg_tuner.settings.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parent.parent
COFFEE = ROOT / "examples" / "coffee.png"
ASK_PAGE = ROOT / "tests" / "ask_page.py"
TUNER = ("-m", "rembg_tuner")
SMALL_SWEEP = (
    "sweep",
    str(COFFEE),
    "--engine",
    "openvino,onnxruntime",
    "--network-size",
    "256",
    "--rounds",
    "1",
    "--confirm",
    "0",
    "-o",
    "sweep",
)
# This user can read what root reads and write what every user writes; it has no passwd entry.
NOBODY = (
    "setpriv",
    "--reuid=12345",
    "--regid=12345",
    "--clear-groups",
    "--bounding-set=-all,+dac_read_search",
    "--inh-caps=-all,+dac_read_search",
    "--ambient-caps=+dac_read_search",
    "env",
    "-u",
    "HOME",
)


def may_be_nobody() -> bool:
    """Return whether this process may run another as a user without a passwd entry."""
    return (
        bool(shutil.which("setpriv"))
        and subprocess.run([*NOBODY, "true"], capture_output=True, check=False).returncode == 0
    )


def run_quietly(folder: Path, words: Sequence[str], *, timeout_s: float = 100) -> str:
    """Run a Python command; check that it contacts no host and writes only to its folders.

    Returns:
        Its standard output.
    """
    watched = Watched.under(folder)
    done = watched.run(sys.executable, *words, timeout_s=timeout_s)
    assert done.returncode == 0, done.stderr
    assert_quiet(watched)
    return done.stdout


def assert_quiet(watched: Watched) -> None:
    """Check that a command contacted no host and wrote only its output and its cache."""
    assert watched.contacts() == []
    assert watched.outside(watched.work, watched.home / ".cache" / "rembg-tuner") == []


def test_cut_contacts_nobody(tmp_path: Path) -> None:
    """Its worker contacts no host either: OpenVINO's package would report at import."""
    run_quietly(tmp_path, [*TUNER, "cut", str(COFFEE), "--engine", "openvino", "-o", "out.png"])


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_the_exported_script_contacts_nobody(engine: str, tmp_path: Path) -> None:
    """The script imports the engine directly, without this program."""
    made = export(Settings(engine=engine), "python", measured=None)
    script = tmp_path / made.file_name
    script.write_text(made.text)
    for name, path in made.beside:
        shutil.copy(path, tmp_path / name)
    run_quietly(tmp_path, [str(script), str(COFFEE), "out.png"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["cut", str(COFFEE), "--engine", "ncnn", "-o", "out.png"], id="cut-ncnn"),
        pytest.param(["cut", str(COFFEE), "--engine", "rembg", "-o", "out.png"], id="cut-rembg"),
        pytest.param(["doctor"], id="doctor"),
        pytest.param(SMALL_SWEEP, id="sweep"),
    ],
)
def test_a_command_contacts_nobody(words: Sequence[str], tmp_path: Path) -> None:
    """Its child processes contact no host either: converter, pnnx, comparer, stock pipeline."""
    run_quietly(tmp_path, [*TUNER, *words])


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_quantize_contacts_nobody(engine: str, tmp_path: Path) -> None:
    """NNCF reports by OpenVINO's module; ONNX Runtime runs in this process here."""
    source = bright_things(tmp_path / "bright.onnx")
    run_quietly(
        tmp_path,
        [
            *TUNER,
            "models",
            "quantize",
            str(source),
            "--engine",
            engine,
            "--pictures",
            str(COFFEE.parent),
            "-o",
            "made",
        ],
    )


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask_page(address: str) -> str:
    """Request one cut-out from a page as a program does, and return the answer."""
    return subprocess.run(
        [sys.executable, str(ASK_PAGE), address],
        capture_output=True,
        text=True,
        check=True,
        timeout=90,
    ).stdout


@pytest.mark.slow
def test_the_page_contacts_nobody(tmp_path: Path) -> None:
    """Gradio would request its newest version, and its analytics would send events."""
    watched, port = Watched.under(tmp_path), free_port()
    process = watched.start(sys.executable, str(ROOT / "app.py"), "--port", str(port))
    try:
        assert "MiB" in ask_page(f"http://127.0.0.1:{port}")
        time.sleep(1)  # Gradio would send its requests in other threads
    finally:
        watched.end(process)
    assert_quiet(watched)


@dataclass(frozen=True, slots=True)
class Nobody:
    """A user without a passwd entry, as in a container, and an output folder."""

    work: Path
    home: tuple[str, ...]

    def command(self, words: Sequence[str]) -> tuple[list[str], dict[str, str]]:
        """Return a Python command as that user, and its environment."""
        environment = {"PATH": os.environ["PATH"], "TMPDIR": str(self.work)}
        return [*NOBODY, *self.home, sys.executable, *words], environment

    def run(self, *words: str) -> str:
        """Run this program and return its output."""
        command, environment = self.command([*TUNER, *words])
        done = subprocess.run(
            command,
            cwd=self.work,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    def written(self) -> list[str]:
        """List what is in the folder."""
        return sorted(path.name for path in self.work.iterdir())


@pytest.fixture
def nobody(request: pytest.FixtureRequest) -> Iterator[Nobody]:
    """Create a folder for this user; `request.param` sets HOME."""
    if not may_be_nobody():
        pytest.skip("needs root, and setpriv of util-linux")
    with tempfile.TemporaryDirectory(dir="/tmp") as made:
        Path(made).chmod(0o777)
        yield Nobody(Path(made), getattr(request, "param", ()))


@pytest.mark.slow
@pytest.mark.parametrize(
    "nobody",
    [pytest.param((), id="none"), pytest.param(("HOME=/nonexistent",), id="absent")],
    indirect=True,
)
def test_a_user_without_a_home_can_cut(nobody: Nobody) -> None:
    """The result has a warning that nothing is cached, with advice."""
    assert "set REMBG_TUNER_CACHE to a folder" in nobody.run("cut", str(COFFEE), "-o", "out.png")
    assert nobody.written() == ["out.png"]


@pytest.mark.slow
def test_a_user_without_a_home_can_do_the_rest(nobody: Nobody) -> None:
    """Doctor, sweep and the page leave only their output in the folder."""
    assert "set REMBG_TUNER_CACHE to a folder" in nobody.run("doctor")
    assert "recommended" in nobody.run(*SMALL_SWEEP)
    port = free_port()
    command, environment = nobody.command([str(ROOT / "app.py"), "--port", str(port)])
    page = subprocess.Popen(
        command, cwd=nobody.work, env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        assert "MiB" in ask_page(f"http://127.0.0.1:{port}")
    finally:
        page.terminate()
        said = page.communicate(timeout=30)[1]
    assert "Traceback" not in said
    assert nobody.written() == ["sweep"]


def test_numba_keeps_its_code_in_the_cache_where_the_library_cannot_hold_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numba's cache is not written below the home folder or a folder called `~`."""
    monkeypatch.setattr(os, "access", lambda *_: True)
    assert numba_environment(tmp_path) == {}
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert numba_environment(tmp_path) == {"NUMBA_CACHE_DIR": str(tmp_path / "numba")}


def test_no_folder_called_tilde_is_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without a home folder is told which variable names one for models."""
    for name in ("REMBG_HOME", "U2NET_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)

    def has_none(_: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", has_none)
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))  # the folders are cached per environment
    monkeypatch.chdir(tmp_path)
    entry = read_catalogue()["silueta"]
    assert "at $REMBG_HOME/models/silueta/silueta.onnx" in str(entry.get_text())
    with pytest.raises(
        OutputError, match=r"no home folder; set REMBG_HOME to a folder that can be written"
    ):
        get_model(entry, on_progress=lambda _: None)
    assert list(tmp_path.iterdir()) == []
