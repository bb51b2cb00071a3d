"""Every text that `export` writes is run, or read by what will read it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import pyvips

from rembg_tuner.capabilities import look_at_this_machine
from rembg_tuner.cli import main
from rembg_tuner.errors import SettingsError
from rembg_tuner.export import FILE_NAMES, MARGIN, TARGETS, Measured, export, limits_of
from rembg_tuner.measurement import Result
from rembg_tuner.models.catalogue import EMBEDDED_FOLDER
from rembg_tuner.pipeline import Job
from rembg_tuner.presets import Capabilities, find_preset, read_presets, resolve
from rembg_tuner.runner import Runner
from rembg_tuner.settings import Settings
from rembg_tuner.units import MIB
from rembg_tuner.yaml_files import read_mapping

ROOT = Path(__file__).parent.parent
COFFEE = ROOT / "examples" / "coffee.png"
MEASURED = Measured(
    peak_bytes=161 * MIB, time_s=0.088, n=7, date="2026-11-24", cpu="a CPU", cores=2
)
INT8_FILES = frozenset({"u2netp openvino", "u2netp onnxruntime"})
WITHOUT_INT8 = Capabilities(
    engines=("openvino", "onnxruntime"), precisions=frozenset({"fp32"}), int8_models=INT8_FILES
)
WITH_INT8 = Capabilities(
    engines=("openvino", "onnxruntime"),
    precisions=frozenset({"fp32", "int8"}),
    int8_models=INT8_FILES,
)


def alpha(path: Path) -> np.ndarray:
    """Read a cut-out's alpha, 0 to 255."""
    found: np.ndarray = pyvips.Image.new_from_file(str(path))[3].numpy().astype(np.float64)
    return found


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(Settings(engine="onnxruntime"), id="onnxruntime"),
        pytest.param(
            Settings(
                engine="onnxruntime", cpu_mem_arena=False, mem_pattern=False, spinning=False,
                intra_op_threads=1, network_size=256,
            ),
            id="onnxruntime-256-no-arena",
        ),
        pytest.param(Settings(engine="onnxruntime", precision="int8"), id="onnxruntime-int8"),
        pytest.param(Settings(engine="openvino"), id="openvino"),
        pytest.param(
            Settings(engine="openvino", precision="int8", network_size=288, intra_op_threads=1),
            id="openvino-int8-288",
        ),
        pytest.param(Settings(engine="openvino", max_side=300), id="openvino-max-side"),
    ],
)  # fmt: skip
def test_the_script_cuts_out_as_the_product_does(settings: Settings, tmp_path: Path) -> None:
    """Alone in a Python of its own; alpha differs by at most 2 of 255 on average."""
    made = export(settings, "python", measured=None)
    script = tmp_path / made.file_name
    script.write_text(made.text)
    done = subprocess.run(
        [sys.executable, "-I", str(script), str(COFFEE), str(tmp_path / "theirs.png")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    with Runner() as runner:
        run = runner.run(Job(input=str(COFFEE), output=str(tmp_path / "ours.png")), settings)
    assert isinstance(run, Result), run
    ours, theirs = alpha(tmp_path / "ours.png"), alpha(tmp_path / "theirs.png")
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).mean() <= 2
    assert "rembg_tuner" not in script.read_text().split("MODEL =")[0]


def test_the_compose_file_is_one(tmp_path: Path) -> None:
    """By the compose specification's schema, as check-jsonschema carries it."""
    file = tmp_path / "compose.yaml"
    made = export(find_settings("fastest"), "compose", measured=MEASURED, name="fastest")
    file.write_text(made.text)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "check_jsonschema",
            "--builtin-schema",
            "vendor.compose-spec",
            str(file),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    service = read_mapping(file)["services"]["rembg-tuner"]  # type: ignore[index]
    assert service["user"] == "1000"
    assert "healthz" in service["healthcheck"]["test"][-1]
    assert service["read_only"] is True
    limits = service["deploy"]["resources"]["limits"]
    reserved, limit = limits_of(MEASURED)
    assert limits == {"cpus": "2", "memory": f"{limit // MIB}M", "pids": 512}
    assert reserved * (1 + MARGIN) <= limit < reserved * (1 + MARGIN) + 33 * MIB


def find_settings(name: str) -> Settings:
    """Give a preset's settings on this machine."""
    return resolve(find_preset(name), {}, look_at_this_machine())[0]


def test_the_composes_preset_starts_the_page_with_the_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the image's build writes, by a shell as there, read as the page in the container will read it."""
    settings = Settings(
        model="u2netp", engine="onnxruntime", network_size=256, cpu_mem_arena=False, spinning=False
    )
    made = export(settings, "compose", measured=MEASURED, name="tuned")
    (tmp_path / "compose.yaml").write_text(made.text)
    service = read_mapping(tmp_path / "compose.yaml")["services"]["rembg-tuner"]  # type: ignore[index]
    built = service["build"]["dockerfile_inline"].replace("$$", "$")
    assert built in export(settings, "dockerfile", measured=MEASURED, name="tuned").text
    assert '"--preset", "tuned"' in built
    (tmp_path / "tuned.yaml").write_bytes(preset_of(built))
    monkeypatch.setenv("REMBG_TUNER_PRESETS", str(tmp_path / "tuned.yaml"))
    read_presets.cache_clear()
    try:
        assert find_settings("tuned") == settings
        assert "balanced" in read_presets()
    finally:
        monkeypatch.undo()
        read_presets.cache_clear()


def test_the_preset_reads_back(tmp_path: Path) -> None:
    """Equal settings, and the figures, on a machine that has the number format."""
    settings = Settings(model="u2netp", engine="openvino", precision="bf16", intra_op_threads=1)
    able = Capabilities(engines=("openvino",), precisions=frozenset({"fp32", "bf16"}))
    for measured in (MEASURED, None):
        text = export(settings, "preset", measured=measured, name="mine").text
        (tmp_path / "presets.yaml").write_text(text)
        read_presets.cache_clear()
        preset = read_presets(tmp_path / "presets.yaml")["mine"]
        assert resolve(preset, {}, able)[0] == settings
        assert (preset.measured is None) == (measured is None)


def test_the_env_file_is_one_for_a_shell(tmp_path: Path) -> None:
    """Sourced by a shell, it sets what it says."""
    made = export(Settings(engine="rembg", intra_op_threads=2), "env", measured=None)
    file = tmp_path / made.file_name
    file.write_text(made.text)
    done = subprocess.run(
        ["sh", "-c", f"set -a; . {file}; env"], capture_output=True, text=True, check=True
    )
    assert "OMP_NUM_THREADS=2" in done.stdout.splitlines()
    assert any(line.startswith("REMBG_TUNER_PRESETS=") for line in done.stdout.splitlines())


def test_rembgs_own_command_runs_and_what_it_cannot_carry_is_said(tmp_path: Path) -> None:
    """The command as it stands, by rembg's own program, with the model that is in the tree."""
    settings = Settings(engine="rembg", intra_op_threads=1, cpu_mem_arena=False, max_side=512)
    made = export(settings, "rembg", measured=None)
    assert "max_side 512" in " ".join(made.notes)
    assert "cpu_mem_arena False" in " ".join(made.notes)
    file = tmp_path / made.file_name
    file.write_text(made.text)
    pyvips.Image.new_from_file(str(COFFEE)).write_to_file(str(tmp_path / "in.jpg"))
    place = Path(sys.executable).parent
    done = subprocess.run(
        ["sh", str(file)],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{place}:{os.environ['PATH']}", "U2NET_HOME": str(ROOT / "rembg_tuner" / "models"), "NO_PROXY": "*"},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.png").is_file()


@pytest.mark.parametrize(
    ("settings", "target", "words"),
    [
        pytest.param(Settings(), "compose", "run the setting first", id="unmeasured"),
        pytest.param(Settings(model="u2net", engine="onnxruntime", provider="cuda"), "dockerfile", "provider cuda", id="gpu"),
        pytest.param(Settings(model="silueta", engine="openvino", precision="int8"), "dockerfile", "silueta-int8.onnx is a file of your own", id="own-int8"),
        pytest.param(Settings(engine="rembg"), "python", "not rembg", id="rembg"),
        pytest.param(Settings(), "helm", "must be one of", id="target"),
    ],
)  # fmt: skip
def test_what_cannot_be_exported_says_what_to_do(
    settings: Settings, target: str, words: str
) -> None:
    """One sentence with the way out."""
    with pytest.raises(SettingsError, match=words):
        export(settings, target, measured=None)


def test_the_dockerfile_holds_one_model_and_this_preset() -> None:
    """Instructions only, the preset in one line, no model but the one that is wanted."""
    made = export(Settings(model="silueta", engine="openvino"), "dockerfile", measured=None)
    lines = [line for line in made.text.splitlines() if line and not line.startswith("#")]
    known = ("FROM", "RUN", "USER", "ENV", "WORKDIR", "COPY", "EXPOSE", "HEALTHCHECK", "CMD", " ")
    assert all(line.startswith(known) for line in lines)
    assert "RUN python -m rembg_tuner models get silueta" in made.text
    assert b'"model": "silueta"' in preset_of(made.text)
    assert made.notes[0] == "the image holds silueta and the program's own u2netp (7 MiB), and no other model"  # fmt: skip


def test_the_programs_own_models_are_as_large_as_the_images_note_says() -> None:
    """Of u2netp's files, and none of another model's; the note of an image with u2netp names no second."""
    files = list(EMBEDDED_FOLDER.glob("*.onnx"))
    assert all(file.name.startswith("u2netp") for file in files)
    assert round(sum(file.stat().st_size for file in files) / MIB) == 7
    made = export(Settings(engine="openvino"), "compose", measured=MEASURED)
    assert "the image holds the program's own u2netp (7 MiB), and no other model" in made.notes


def test_a_presets_name_is_quoted_where_it_stands_in_the_dockerfile() -> None:
    """A name with a space and quotes is one word to the shell, and to app.py."""
    text = export(Settings(), "dockerfile", measured=None, name="""Ann's "own" one""").text
    command = next(line for line in text.splitlines() if line.startswith("CMD "))
    assert json.loads(command.removeprefix("CMD "))[-1] == """Ann's "own" one"""
    warm = next(line for line in text.splitlines() if " cut " in line).removeprefix("RUN python ")
    done = subprocess.run(["sh", "-c", f"printf '%s\\n' {warm}".partition(" &&")[0]], capture_output=True, text=True, check=True)  # fmt: skip
    assert """Ann's "own" one""" in done.stdout.splitlines()


def preset_of(dockerfile: str) -> bytes:
    """Run the line that writes the preset, as the image's shell does."""
    line = next(line for line in dockerfile.splitlines() if line.startswith("RUN printf"))
    command = line.removeprefix("RUN ").rpartition(" > ")[0]
    return subprocess.run(["sh", "-c", command], capture_output=True, check=True).stdout


@pytest.mark.parametrize("target", TARGETS)
def test_the_command_writes_each(
    target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """To a folder under its usual name, or to standard output."""
    monkeypatch.setattr("rembg_tuner.cli.export.look_at_this_machine", lambda: WITH_INT8)
    assert main(["export", "fastest", "--to", target, "-o", str(tmp_path)]) == 0
    text = (tmp_path / FILE_NAMES[target]).read_text()
    assert main(["export", "fastest", "--to", target]) == 0
    assert text in capsys.readouterr().out


@pytest.mark.parametrize(
    ("able", "precision", "file"),
    [
        pytest.param(WITH_INT8, "int8", "u2netp-int8.onnx", id="int8"),
        pytest.param(WITHOUT_INT8, "fp32", "u2netp.onnx", id="fp32"),
    ],
)
def test_a_script_takes_the_format_that_auto_is_here(
    able: Capabilities, precision: str, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name stands in a note, its file in the text."""
    monkeypatch.setattr("rembg_tuner.export.look_at_this_machine", lambda: able)
    made = export(Settings(engine="openvino", precision="auto"), "python", measured=None)
    assert f"precision auto is {precision} on this machine, and the script takes that" in made.notes
    assert f"PRECISION = '{precision}'" in made.text
    assert made.files == (str(EMBEDDED_FOLDER / file),)


def test_the_files_of_this_machine_that_a_text_names_are_told() -> None:
    """The model's place in a script, and an own model's in a preset; nothing else names one."""
    own = "/srv/own.onnx"
    assert export(Settings(model=own, engine="openvino"), "preset", measured=None).files == (own,)
    for target in TARGETS:
        made = export(Settings(engine="onnxruntime"), target, measured=MEASURED)
        assert made.files == ((str(EMBEDDED_FOLDER / "u2netp.onnx"),) if target == "python" else ())
        assert all(file in made.text for file in made.files)


@pytest.mark.parametrize("target", ["rembg", "python"])
def test_limits_that_only_the_runner_keeps_are_named(target: str) -> None:
    """One or both, in one sentence that fits either."""
    one = export(Settings(engine="onnxruntime", timeout_s=9.0), target, measured=None)
    assert one.notes[-1] == "only rembg tuner's runner keeps timeout_s, nothing does here"
    both = Settings(engine="onnxruntime", timeout_s=9.0, memory_limit_bytes=400 * MIB)
    assert "keeps timeout_s and memory_limit_bytes, nothing" in export(both, target, measured=None).notes[-1]  # fmt: skip
    assert not any("runner" in note for note in export(Settings(engine="onnxruntime"), target, measured=None).notes)  # fmt: skip
