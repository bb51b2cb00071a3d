"""Each text that `export` writes is run, or parsed by the program that will read it."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from made_machines import make_machine
from made_trials import make_trial

from rembg_tuner.base.errors import SettingsError
from rembg_tuner.base.messages import Message
from rembg_tuner.base.units import MIB
from rembg_tuner.base.yaml_files import read_mapping
from rembg_tuner.cli.main import main
from rembg_tuner.export.container import MEMORY_MARGIN, limits_of
from rembg_tuner.export.targets import export
from rembg_tuner.export.values import FILE_NAMES, TARGETS, Export, Measured
from rembg_tuner.models.catalogue import EMBEDDED_FOLDER
from rembg_tuner.runtime.runner import Runner
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.settings.machine import Machine
from rembg_tuner.settings.presets import find_preset, read_presets
from rembg_tuner.settings.requested import requested_settings
from rembg_tuner.settings.results import Result
from rembg_tuner.settings.settings import Settings
from rembg_tuner.tuning.budgets import Budgets
from rembg_tuner.tuning.trials import Trial
from rembg_tuner.worker.pipeline import Job

ROOT = Path(__file__).parent.parent
COFFEE = ROOT / "examples" / "coffee.png"
MEASURED = Measured(
    peak_bytes=161 * MIB, time_s=0.088, n=7, date="2026-11-24", cpu="a CPU", cores=2
)
INT8_FILES = frozenset({"u2netp openvino", "u2netp onnxruntime"})
WITHOUT_INT8 = make_machine(engines=("openvino", "onnxruntime"), precisions=frozenset({"fp32"}))
WITH_INT8 = make_machine(
    engines=("openvino", "onnxruntime"),
    precisions=frozenset({"fp32", "int8"}),
    int8_models=INT8_FILES,
)


def alpha(path: Path) -> np.ndarray:
    """Read a cut-out's alpha, 0 to 255."""
    found: np.ndarray = pyvips.Image.new_from_file(str(path))[3].numpy().astype(np.float64)
    return found


def write_script(made: Export, folder: Path) -> Path:
    """Write a script and the files that it needs; return the script's path."""
    for name, path in made.beside:
        shutil.copy(path, folder / name)
    script = folder / made.file_name
    script.write_text(made.text)
    return script


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(Settings(engine="onnxruntime"), id="onnxruntime"),
        pytest.param(
            Settings(
                engine="onnxruntime",
                cpu_mem_arena=False,
                mem_pattern=False,
                spinning=False,
                intra_op_threads=1,
                network_size=256,
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
)
def test_the_script_cuts_out_as_the_product_does(settings: Settings, tmp_path: Path) -> None:
    """It runs in an isolated Python; alpha differs by at most 2 of 255 on average."""
    made = export(settings, "python", measured=None)
    script = write_script(made, tmp_path)
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
    """It is valid by the compose specification's schema in check-jsonschema."""
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
    assert reserved * (1 + MEMORY_MARGIN) <= limit < reserved * (1 + MEMORY_MARGIN) + 33 * MIB


def find_settings(name: str) -> Settings:
    """Return a preset's settings on this machine."""
    return requested_settings(find_preset(name), {}, read_machine())[0]


def test_the_composes_preset_starts_the_page_with_the_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell writes the preset as in the image's build, and it is read as by the page."""
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
    """The settings and the figures are read back equal on a machine with that number format."""
    settings = Settings(model="u2netp", engine="openvino", precision="bf16", intra_op_threads=1)
    able = make_machine(engines=("openvino",), precisions=frozenset({"fp32", "bf16"}))
    for measured in (MEASURED, None):
        text = export(settings, "preset", measured=measured, name="mine").text
        (tmp_path / "presets.yaml").write_text(text)
        read_presets.cache_clear()
        preset = read_presets(tmp_path / "presets.yaml")["mine"]
        assert requested_settings(preset, {}, able)[0] == settings
        assert (preset.measured is None) == (measured is None)


def test_the_env_file_is_one_for_a_shell(tmp_path: Path) -> None:
    """A shell that sources the file has its variables."""
    made = export(Settings(engine="rembg", intra_op_threads=2), "env", measured=None)
    file = tmp_path / made.file_name
    file.write_text(made.text)
    done = subprocess.run(
        ["sh", "-c", f"set -a; . {file}; env"], capture_output=True, text=True, check=True
    )
    assert "OMP_NUM_THREADS=2" in done.stdout.splitlines()
    assert any(line.startswith("REMBG_TUNER_PRESETS=") for line in done.stdout.splitlines())


def test_rembgs_own_command_runs_and_what_it_cannot_carry_is_said(tmp_path: Path) -> None:
    """The rembg program runs it with the embedded model; notes name the settings it ignores."""
    settings = Settings(engine="rembg", intra_op_threads=1, cpu_mem_arena=False, max_side=512)
    made = export(settings, "rembg", measured=None)
    assert "max_side 512" in " ".join(map(str, made.notes))
    assert "cpu_mem_arena False" in " ".join(map(str, made.notes))
    file = tmp_path / made.file_name
    file.write_text(made.text)
    pyvips.Image.new_from_file(str(COFFEE)).write_to_file(str(tmp_path / "in.jpg"))
    place = Path(sys.executable).parent
    done = subprocess.run(
        ["sh", str(file)],
        cwd=tmp_path,
        env={
            **os.environ,
            "PATH": f"{place}:{os.environ['PATH']}",
            "U2NET_HOME": str(ROOT / "rembg_tuner" / "models"),
            "NO_PROXY": "*",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out.png").is_file()


@pytest.mark.parametrize(
    ("settings", "target", "words"),
    [
        pytest.param(Settings(), "compose", "measure the setting first", id="unmeasured"),
        pytest.param(
            Settings(model="u2net", engine="onnxruntime", provider="cuda"),
            "dockerfile",
            "provider cuda",
            id="gpu",
        ),
        pytest.param(
            Settings(model="silueta", engine="openvino", precision="int8"),
            "dockerfile",
            "silueta-int8.onnx is your own file",
            id="own-int8",
        ),
        pytest.param(Settings(engine="rembg"), "python", "got rembg; use --to compose", id="rembg"),
        pytest.param(
            Settings(engine="openvino", focus="auto"),
            "python",
            "got focus auto: .* use --to compose or --to preset",
            id="focus",
        ),
        pytest.param(
            Settings(engine="onnxruntime", focus="box", focus_box="1,2,30,40"),
            "python",
            "got focus box: the script runs the network once",
            id="focus-box",
        ),
        pytest.param(Settings(), "helm", "must be one of", id="target"),
    ],
)
def test_what_cannot_be_exported_says_what_to_do(
    settings: Settings, target: str, words: str
) -> None:
    """The error says what to do instead."""
    with pytest.raises(SettingsError, match=words):
        export(settings, target, measured=None)


def test_the_dockerfile_holds_one_model_and_this_preset() -> None:
    """It has only instructions, the preset in one line, and the requested model."""
    made = export(Settings(model="silueta", engine="openvino"), "dockerfile", measured=None)
    lines = [line for line in made.text.splitlines() if line and not line.startswith("#")]
    known = ("FROM", "RUN", "USER", "ENV", "WORKDIR", "COPY", "EXPOSE", "HEALTHCHECK", "CMD", " ")
    assert all(line.startswith(known) for line in lines)
    assert "RUN python -m rembg_tuner models get silueta" in made.text
    assert b'"model": "silueta"' in preset_of(made.text)
    assert (
        str(made.notes[0])
        == "the image contains only the models silueta and u2netp (7 MiB), which comes with the program"
    )


def test_the_programs_own_models_are_as_large_as_the_images_note_says() -> None:
    """The embedded files are all u2netp's and take 7 MiB, as the image's note says.

    With u2netp the note names only one model.
    """
    files = list(EMBEDDED_FOLDER.glob("*.onnx"))
    assert all(file.name.startswith("u2netp") for file in files)
    assert round(sum(file.stat().st_size for file in files) / MIB) == 7
    made = export(Settings(engine="openvino"), "compose", measured=MEASURED)
    assert "the image contains only the model u2netp (7 MiB), which comes with the program" in map(
        str, made.notes
    )


def test_a_presets_name_is_quoted_where_it_stands_in_the_dockerfile() -> None:
    """A name with a space and quotes is one argument for the shell and for app.py."""
    text = export(Settings(), "dockerfile", measured=None, name="""Ann's "own" one""").text
    command = next(line for line in text.splitlines() if line.startswith("CMD "))
    assert json.loads(command.removeprefix("CMD "))[-1] == """Ann's "own" one"""
    warm = next(line for line in text.splitlines() if " cut " in line).removeprefix("RUN python ")
    done = subprocess.run(
        ["sh", "-c", f"printf '%s\\n' {warm}".partition(" &&")[0]],
        capture_output=True,
        text=True,
        check=True,
    )
    assert """Ann's "own" one""" in done.stdout.splitlines()


def preset_of(dockerfile: str) -> bytes:
    """Run the line that writes the preset in a shell, as the image's build does."""
    line = next(line for line in dockerfile.splitlines() if line.startswith("RUN printf"))
    command = line.removeprefix("RUN ").rpartition(" > ")[0]
    return subprocess.run(["sh", "-c", command], capture_output=True, check=True).stdout


@pytest.mark.parametrize("target", TARGETS)
def test_the_command_writes_each(
    target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each target is written to a folder under its usual name, or to standard output."""
    monkeypatch.setattr("rembg_tuner.cli.export.read_machine", lambda: WITH_INT8)
    assert main(["export", "fastest", "--to", target, "-o", str(tmp_path)]) == 0
    text = (tmp_path / FILE_NAMES[target]).read_text()
    assert main(["export", "fastest", "--to", target]) == 0
    assert text in capsys.readouterr().out


@pytest.mark.parametrize("name", ["balanced", "edge", "fastest"])
def test_a_presets_figures_are_exported_where_they_were_measured_of_its_settings(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With int8, the export has the preset's measured peak, picture, date and precision."""
    monkeypatch.setattr("rembg_tuner.cli.export.read_machine", lambda: WITH_INT8)
    expected = find_preset(name).measured
    assert expected is not None
    assert main(["export", name, "--to", "preset", "-o", str(tmp_path / "own.yaml")]) == 0
    measured = read_presets(tmp_path / "own.yaml")[name].measured
    assert measured is not None
    for key in ("peak_rss_mib", "picture", "date"):
        assert measured[key] == expected[key]
    assert measured.get("precision") == expected.get("precision")
    assert measured["picture"] == "1080p JPEG to PNG"
    assert main(["export", name, "--to", "compose"]) == 0
    said = capsys.readouterr()
    assert f"{expected['peak_rss_mib']} MiB measured peak" in said.out
    assert "does not hold" not in said.err


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        pytest.param("fastest", "its settings are others on this machine", id="left-out"),
        pytest.param(
            "balanced", "precision auto is fp32 on this machine, and was int8 there", id="auto"
        ),
        pytest.param(
            "edge",
            "precision auto is fp32 on this machine, and was int8 there",
            id="auto-onnxruntime",
        ),
    ],
)
def test_a_presets_figures_are_left_out_where_it_runs_otherwise(
    name: str, reason: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an int8 form, figures of other settings are left out, with the reason."""
    monkeypatch.setattr("rembg_tuner.cli.export.read_machine", lambda: WITHOUT_INT8)
    assert main(["export", name, "--to", "compose"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert f"what was measured of preset {name} does not hold here: {reason}" in said.err
    assert "measure the setting first" in said.err
    assert main(["export", name, "--to", "preset"]) == 0
    assert "measured: null" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("able", "precision", "file"),
    [
        pytest.param(WITH_INT8, "int8", "u2netp-int8.onnx", id="int8"),
        pytest.param(WITHOUT_INT8, "fp32", "u2netp.onnx", id="fp32"),
    ],
)
def test_a_script_takes_the_format_that_auto_is_here(
    able: Machine, precision: str, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A note has the format of `auto`, and the script its file."""
    monkeypatch.setattr("rembg_tuner.export.python_script.read_machine", lambda: able)
    made = export(Settings(engine="openvino", precision="auto"), "python", measured=None)
    assert f"precision auto is {precision} on this machine, and the script uses {precision}" in map(
        str, made.notes
    )
    assert f"PRECISION = '{precision}'" in made.text
    assert made.beside == ((file, str(EMBEDDED_FOLDER / file)),)


def test_the_files_of_this_machine_that_a_text_names_are_told() -> None:
    """Only a preset with an own model contains a path of this machine."""
    own = "/srv/own.onnx"
    assert export(Settings(model=own, engine="openvino"), "preset", measured=None).files == (own,)
    for target in TARGETS:
        made = export(Settings(engine="onnxruntime"), target, measured=MEASURED)
        assert made.files == ()
        assert str(EMBEDDED_FOLDER) not in made.text
        assert [name for name, _ in made.beside] == (["u2netp.onnx"] if target == "python" else [])


@pytest.mark.parametrize("target", ["rembg", "python"])
def test_limits_that_only_the_runner_keeps_are_named(target: str) -> None:
    """One note names timeout_s, or both limits."""
    one = export(Settings(engine="onnxruntime", timeout_s=9.0), target, measured=None)
    assert str(one.notes[-1]) == "only rembg tuner itself enforces timeout_s, not this export"
    both = Settings(engine="onnxruntime", timeout_s=9.0, memory_limit_bytes=400 * MIB)
    assert "enforces timeout_s and memory_limit_bytes, not" in str(
        export(both, target, measured=None).notes[-1]
    )
    assert not any(
        "runner" in str(note)
        for note in export(Settings(engine="onnxruntime"), target, measured=None).notes
    )


def write_sweep(folder: Path, **spoiled: object) -> Path:
    """Write the trials.json of a sweep that chose its second trial: cheap, with a low agreement."""
    trials = [
        make_trial(0, 200, 0.2, 0.99),
        make_trial(1, 100, 0.1, 0.6),
    ]
    content: dict[str, Any] = {
        "trials": [trial.to_dict() for trial in trials],
        "chosen": 1,
        "budgets": Budgets(min_agreement=0.5).to_dict(),
        "environment": {"date": "2026-02-03", "cpu": "their CPU", "cores": "8"},
        **spoiled,
    }
    folder.mkdir()
    (folder / "trials.json").write_text(json.dumps(content))
    return folder


def test_a_sweep_is_exported_as_it_chose_with_its_own_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The trial is chosen under the sweep's budgets; date, CPU and cores are its measurement's."""
    folder = write_sweep(tmp_path / "sweep")
    assert main(["export", str(folder), "--to", "preset", "-o", str(tmp_path / "own.yaml")]) == 0
    preset = read_presets(tmp_path / "own.yaml")["tuned"]
    assert preset.values["network_size"] == 96
    assert preset.measured is not None
    told = {
        key: preset.measured[key] for key in ("date", "cpu", "cores", "peak_rss_mib", "picture")
    }
    assert told == {
        "date": "2026-02-03",
        "cpu": "their CPU",
        "cores": 8,
        "peak_rss_mib": 100,
        "picture": "own pictures",
    }
    assert "misses" not in capsys.readouterr().err
    assert main(["export", str(folder), "--to", "compose", "-o", str(tmp_path)]) == 0
    service = read_mapping(tmp_path / "compose.yaml")["services"]["rembg-tuner"]  # type: ignore[index]
    assert service["deploy"]["resources"]["limits"]["cpus"] == "8"


@pytest.mark.parametrize(
    ("flags", "size"),
    [
        pytest.param(["--min-agreement", "0.9"], 64, id="fits"),
        pytest.param(["--max-memory", "1GiB"], 96, id="the-sweeps-own-agreement"),
        pytest.param(["--max-memory", "150MiB"], 96, id="memory"),
        pytest.param(["--min-agreement", "any"], 96, id="lifted"),
        pytest.param(["--commercial"], 96, id="commercial"),
    ],
)
def test_budgets_choose_anew_of_a_sweep(
    flags: list[str], size: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Budgets given by flags choose another trial, as in `recommend`."""
    folder = write_sweep(tmp_path / "sweep")
    assert main(["export", str(folder), "--to", "python", *flags]) == 0
    said = capsys.readouterr()
    assert f"SIDE = {size}" in said.out
    assert "misses" not in said.err


NOTHING_FITS = ["--max-memory", "150MiB", "--min-agreement", "0.97"]  # the first is a third over


def test_nothing_is_exported_where_nothing_fits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code is 1; the message has the nearest setting, what it misses, and advice."""
    folder, target = write_sweep(tmp_path / "sweep"), tmp_path / "compose.yaml"
    assert main(["export", str(folder), "--to", "compose", "-o", str(target), *NOTHING_FITS]) == 1
    said = capsys.readouterr()
    assert not target.exists()
    assert said.out == ""
    assert (
        "nothing fits: none of the 2 measured settings keeps the budgets (agreement at least 0.970, peak at"
        " most 150 MiB); the nearest is 64 px: " in said.err
    )
    assert (
        "it misses peak 200 MiB of 150 MiB allowed; export that one by --setting 0 or"
        " --allow-misses, or lift what it misses by --max-memory any" in said.err
    )
    assert "recommended" not in said.err


@pytest.mark.parametrize(
    ("flags", "size", "said"),
    [
        pytest.param(
            ["--allow-misses"],
            64,
            "nothing fits the budgets; trial 0, the nearest, is exported; it misses peak 200 MiB of"
            " 150 MiB allowed",
            id="allowed",
        ),
        pytest.param(
            ["--setting", "0"],
            64,
            "trial 0 is exported as named; it misses peak 200 MiB of 150 MiB allowed",
            id="number",
        ),
        pytest.param(
            ["--setting", "1"],
            96,
            "trial 1 is exported as named; it misses agreement 0.600, at least 0.970 wanted",
            id="other-number",
        ),
        pytest.param(["--setting", "96 PX"], 96, "trial 1 is exported as named", id="label"),
        pytest.param(["--max-memory", "any"], 64, "budgets: agreement at least 0.970", id="lifted"),
    ],
)
def test_a_setting_is_exported_by_name_or_where_misses_are_allowed(
    flags: list[str], size: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A note says what the exported trial misses."""
    folder = write_sweep(tmp_path / "sweep")
    assert main(["export", str(folder), "--to", "python", *NOTHING_FITS, *flags]) == 0
    told = capsys.readouterr()
    assert f"SIDE = {size}" in told.out
    assert said in told.err


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "7",
            (
                "--setting '7' is not a trial of this sweep, which has 0: onnxruntime · 64 px; 1:"
                " onnxruntime · 96 px; 2: openvino · 128 px"
            ),
        ),
        ("nope", "--setting 'nope' is not a trial of this sweep"),
        (
            "2",
            "trial 2 failed (it crashed), so it has no figures to export; name another --setting",
        ),
    ],
)
def test_a_setting_that_cannot_be_exported_is_told(
    name: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error lists the sweep's trials, or says why that one failed."""
    failed = Trial(
        number=2,
        settings=Settings(engine="openvino", network_size=128),
        failure=Message("it crashed"),
        failure_kind="crash",
    )
    trials = [make_trial(0, 200, 0.2, 0.99), make_trial(1, 100, 0.1, 0.6), failed]
    folder = write_sweep(tmp_path / "sweep", trials=[trial.to_dict() for trial in trials])
    assert main(["export", str(folder), "--to", "env", "--setting", name]) == 2
    assert said in capsys.readouterr().err


def test_a_sweep_that_measured_nothing_has_nothing_to_export(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code is 1 with the reason, also with --allow-misses."""
    folder = write_sweep(tmp_path / "sweep", trials=[], chosen=None)
    assert main(["export", str(folder), "--to", "env", "--allow-misses"]) == 1
    assert (
        f"nothing of the sweep in {folder} can be exported: nothing was measured"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("spoiled", "said"),
    [
        pytest.param(
            {"budgets": {"max_memory_bytes": 0}},
            "max_memory_bytes must be more than 0",
            id="no-budget",
        ),
        pytest.param({"environment": {"cpu": "x"}}, "number of cores", id="no-cores"),
    ],
)
def test_a_sweep_that_cannot_be_exported_says_why(
    spoiled: dict[str, object], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Missing or invalid values are not replaced by defaults."""
    assert main(["export", str(write_sweep(tmp_path / "s", **spoiled)), "--to", "env"]) == 2
    assert said in capsys.readouterr().err


def test_an_older_sweep_has_no_date(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The export says that the date is unknown."""
    folder = write_sweep(tmp_path / "sweep", environment={"cpu": "their CPU", "cores": "4"})
    assert main(["export", str(folder), "--to", "compose"]) == 0
    assert "100 MiB measured peak (date unknown, their CPU, n = 3)" in capsys.readouterr().out


def test_a_preset_has_no_budgets(capsys: pytest.CaptureFixture[str]) -> None:
    """Flags that choose from a sweep's trials are misuse with a preset."""
    words = ["export", "balanced", "--to", "env", "--max-memory", "1GiB", "--commercial"]
    assert main(words) == 2
    assert (
        "--max-memory, --commercial choose from a sweep's folder, and balanced is a preset"
        in capsys.readouterr().err
    )
    assert main(["export", "balanced", "--to", "env", "--setting", "1", "--allow-misses"]) == 2
    assert "--setting, --allow-misses choose from a sweep's folder" in capsys.readouterr().err


def test_an_image_for_ncnn_has_the_versions_that_are_tested() -> None:
    """The versions equal those in requirements-dev.txt or the Makefile."""
    text = export(Settings(engine="ncnn"), "dockerfile", measured=None).text
    pinned = re.findall(r"\b(ncnn|pnnx)==([\d.]+)", text)
    assert {name for name, _ in pinned} == {"ncnn", "pnnx"}
    known = (ROOT / "requirements-dev.txt").read_text() + (ROOT / "Makefile").read_text()
    assert all(f"{name}=={version}" in known for name, version in pinned)


def test_auto_that_ran_an_own_int8_form_has_no_image() -> None:
    """The image would run another format under a memory limit that was not measured with it."""
    settings = Settings(model="silueta", engine="openvino", precision="auto")
    measured = Measured(
        peak_bytes=100 * MIB,
        time_s=0.1,
        n=3,
        date="2026-02-03",
        cpu="a CPU",
        cores=2,
        precision="int8",
    )
    with pytest.raises(SettingsError, match=r"silueta-int8.onnx is your own file"):
        export(settings, "compose", measured=measured)
    assert export(settings, "compose", measured=replace(measured, precision="fp32")).text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param([], "usage: python cutout.py in.jpg out.png", id="nothing"),
        pytest.param(["in.jpg", "out.jpg"], "JPEG does not", id="jpeg"),
        pytest.param(["absent.jpg", "out.png"], "absent.jpg cannot be read", id="absent"),
    ],
)
def test_a_script_says_how_it_is_used(words: list[str], said: str, tmp_path: Path) -> None:
    """The script reports misuse without a traceback."""
    made = export(Settings(engine="onnxruntime"), "python", measured=None)
    write_script(made, tmp_path)
    done = subprocess.run(
        [sys.executable, "cutout.py", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_neither_preset_nor_sweep_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """The error names both, since the user may have meant either."""
    assert main(["export", "nowhere", "--to", "env"]) == 2
    said = capsys.readouterr().err
    assert "there is no preset 'nowhere'" in said
    assert "or name a sweep's folder, of which there is none called 'nowhere'" in said


def script_metadata(script: str) -> dict[str, Any]:
    """Return a script's inline metadata, found with PEP 723's regular expression."""
    block = re.search(
        r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)$\s(?P<content>(^#(| .*)$\s)+)^# ///$", script
    )
    assert block is not None
    assert block["type"] == "script"
    lines = block["content"].splitlines(keepends=True)
    return tomllib.loads("".join(line[2:] if line.startswith("# ") else line[1:] for line in lines))


@pytest.mark.parametrize(
    ("settings", "needed"),
    [
        pytest.param(Settings(engine="openvino"), {"openvino", "numpy", "pillow"}, id="openvino"),
        pytest.param(
            Settings(engine="onnxruntime"),
            {"onnx", "onnxruntime", "numpy", "pillow"},
            id="onnxruntime",
        ),
    ],
)
def test_a_script_names_its_packages(settings: Settings, needed: set[str]) -> None:
    """They are written as in PEP 723, with the installed versions and the required Python."""
    made = export(settings, "python", measured=None)
    found = script_metadata(made.text)
    assert found["requires-python"] == ">=3.11"
    assert {one.partition("==")[0] for one in found["dependencies"]} == needed
    assert all(
        version(name) == pinned
        for name, _, pinned in (one.partition("==") for one in found["dependencies"])
    )
    imported = {"PIL": "pillow"}
    roots = {
        node.names[0].name
        for node in ast.walk(ast.parse(made.text))
        if isinstance(node, ast.Import)
    }
    assert {imported.get(name, name) for name in roots - set(sys.stdlib_module_names)} | {
        "pillow"
    } == needed


def test_a_package_that_is_not_installed_is_not_pinned() -> None:
    """Its version is not pinned, and a note says so."""
    made = export(Settings(engine="onnxruntime", provider="cuda"), "python", measured=None)
    assert "onnxruntime-gpu" in script_metadata(made.text)["dependencies"]
    assert (
        "onnxruntime-gpu is not installed here, so the script does not require a specific version of it"
        in map(str, made.notes)
    )


def test_an_exported_script_runs_from_anywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`export -o` puts the model beside the script; both run from another folder after a move."""
    made, moved, work = tmp_path / "made", tmp_path / "moved", tmp_path / "work"
    made.mkdir()
    work.mkdir()
    assert main(["export", "edge", "--to", "python", "-o", str(made)]) == 0
    said = capsys.readouterr().err.splitlines()
    model = Path(said[1])
    assert said[0] == str(made / "cutout.py")
    assert model.parent == made
    assert model.match("u2netp*-256.onnx")
    assert "copy " not in "".join(said)
    made.rename(moved)
    link = work / "cut.py"
    link.symlink_to(moved / "cutout.py")
    done = subprocess.run(
        [sys.executable, "-I", str(link), str(COFFEE), "out.png"],
        cwd=work,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert (work / "out.png").is_file()
    (moved / model.name).write_bytes(b"another file")
    assert main(["export", "edge", "--to", "python", "-o", str(moved)]) == 1
    assert f"{model.name} is there already and is another file than" in capsys.readouterr().err


def test_a_script_without_its_model_says_so(tmp_path: Path) -> None:
    """The error has the path of the missing model."""
    (tmp_path / "cutout.py").write_text(
        export(Settings(engine="openvino"), "python", measured=None).text
    )
    done = subprocess.run(
        [sys.executable, "cutout.py", str(COFFEE), "out.png"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == f"{tmp_path / 'u2netp.onnx'} is missing: copy the model's file there\n"
