"""Sweeps: real measurements, resuming after a kill, the cache of trials, messages."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pyvips
from fake_trial_runner import FakeTrialRunner, made_failure
from made_machines import make_machine
from made_trials import make_trial

from rembg_tuner.base.errors import OutputError, SettingsError
from rembg_tuner.base.messages import Message
from rembg_tuner.cli.main import main
from rembg_tuner.imaging.comparisons import another_shape
from rembg_tuner.runtime.picture_processes import Comparer
from rembg_tuner.settings.building import build_settings
from rembg_tuner.settings.settings import Settings
from rembg_tuner.tuning.budgets import Budgets
from rembg_tuner.tuning.comparison import ComparisonRequest, NamedSettings, compare_settings
from rembg_tuner.tuning.environment import context_of, weights_key
from rembg_tuner.tuning.folder import read_sweep_folder
from rembg_tuner.tuning.measure import DirectTrialRunner, SweepContext, measure_trial
from rembg_tuner.tuning.plan import Plan
from rembg_tuner.tuning.reference import Reference, make_reference
from rembg_tuner.tuning.stats import left_range_s
from rembg_tuner.tuning.store import STORE_FILE, TrialStore
from rembg_tuner.tuning.sweep import open_sweep
from rembg_tuner.tuning.trials import Trial, label_of, read_trial

if TYPE_CHECKING:
    pass

ROOT = Path(__file__).parent.parent
COFFEE, CAT = ROOT / "examples" / "coffee.png", ROOT / "examples" / "chelsea.png"
WEIGHTS = ROOT / "rembg_tuner" / "models" / "u2netp.onnx"
AXES = ["--engine", "onnxruntime", "--network-size", "64,96,128", "--cpu-mem-arena", "on,off"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use an empty cache, without this machine's other sweeps."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("REMBG_TUNER_CACHE", str(folder))
    return folder


def sweep(*words: str) -> int:
    """Run the command sweep."""
    if "--confirm" not in words:
        words = ("--confirm", "0", *words)
    return main(["sweep", str(COFFEE), *AXES, "--rounds", "1", "--min-agreement", "0", *words])


def trials_in(folder: Path) -> list[Trial]:
    """Read the trials of a sweep from its store."""
    store = TrialStore(folder / STORE_FILE)
    [context] = store.contexts()
    return store.all(context)


@pytest.mark.slow
def test_a_sweep_measures_recommends_and_reports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sweep measures every setting of the axes, recommends one and writes the report files.

    The report is self-contained.
    """
    folder = tmp_path / "sweep"
    assert sweep("-o", str(folder), "--confirm", "2") == 0
    said = capsys.readouterr()
    assert "6 trials of 6 settings" in said.err
    assert " warm run " in said.out
    assert "recommended: " in said.out
    summary = read_sweep_folder(folder)
    trials = summary.trials
    assert len(trials) == 6
    assert all(trial.is_measured for trial in trials)
    assert sum(trial.n - 1 for trial in trials) >= 2
    written = json.loads((folder / "trials.json").read_text())
    assert trials[written["chosen"]].n >= 2
    assert [trial.to_dict() for trial in trials] == [
        read_trial(one).to_dict() for one in written["trials"]
    ]
    assert all(trial.agreement is not None and 0 <= trial.agreement <= 1 for trial in trials)
    by_size = {trial.settings.network_size: trial for trial in trials}
    assert (by_size[128].agreement or 0) > (by_size[64].agreement or 0)
    assert summary.budgets == Budgets(min_agreement=0)
    assert set(summary.environment) == {
        "date",
        "cpu",
        "cores",
        "versions",
        "memory_limit",
        "load_average",
    }
    assert date.fromisoformat(summary.environment["date"]).year >= 2026
    page = (folder / "report.html").read_text()
    assert page.count("data-trial=") == 6
    assert "http://" not in page
    assert "https://" not in page
    assert page.count("data:image/webp;base64,") == 6
    rows = list(csv.DictReader(io.StringIO((folder / "trials.csv").read_text())))
    assert [float(row["time_s"]) for row in rows] == [trial.time_s for trial in trials]
    assert main(["recommend", str(folder), "--max-memory", "1MiB", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert not found["fits"]
    assert "of 1.0 MiB allowed" in found["why"]


@pytest.mark.parametrize(
    ("spoiled", "said"),
    [
        pytest.param({"pictures": {}}, "a trial's pictures cannot be {}", id="pictures"),
        pytest.param({"pictures": [3]}, "3 is not a trial", id="picture"),
        pytest.param({"time_s": "abc"}, "a trial's time_s cannot be 'abc'", id="word"),
        pytest.param({"time_s": math.nan}, "a trial's time_s cannot be nan", id="nan"),
        pytest.param({"agreement": math.inf}, "a trial's agreement cannot be inf", id="infinite"),
        pytest.param({"peak_bytes": 0}, "time_s and peak_bytes cannot be 0", id="zero"),
        pytest.param({"peak_bytes": 10**400}, "a trial's peak_bytes cannot be 1", id="too-great"),
        pytest.param({"workers_s": [0.1, 0]}, "time_s and peak_bytes cannot be 0", id="worker"),
        pytest.param({"workers_s": [1e-320]}, "a trial's workers_s cannot be", id="too-small"),
        pytest.param({"agreement": 5}, "cannot be more than 1", id="share"),
        pytest.param({"peak_bytes": True}, "a trial's peak_bytes cannot be True", id="switch"),
        pytest.param({"settings": []}, "is not a trial", id="settings"),
        pytest.param({"colour": 1}, "a trial of another version", id="unknown"),
        pytest.param({"warnings": [1]}, "a trial's warnings cannot be [1]", id="warnings"),
    ],
)
@pytest.mark.parametrize("command", [["recommend"], ["export", "--to", "env"]])
def test_damaged_trials_are_told_and_not_used(
    command: list[str],
    spoiled: dict[str, object],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The error is one sentence with the file's name and the invalid value; the exit code is 2."""
    trial = {**make_trial(0, 150, 0.1, 0.99).to_dict(), **spoiled}
    document = {"trials": [trial], "chosen": 0, "budgets": Budgets().to_dict(), "environment": {}}
    (tmp_path / "trials.json").write_text(json.dumps(document))
    assert main([*command, str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert f"{tmp_path / 'trials.json'} does not contain the trials of a sweep (" in told
    assert said in told


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"trials": []}',
        '{"trials": {}, "budgets": {}, "environment": {}}',
        "\udcff",
        '{"trials": [], "budgets": {"min_agreement": "x"}, "environment": {}}',
        '{"trials": [], "budgets": {"max_time_s": NaN}, "environment": {}}',
    ],
)
def test_a_file_that_is_no_summary_is_told(text: str, tmp_path: Path) -> None:
    """Any other content raises an error with the file's name."""
    (tmp_path / "trials.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(SettingsError, match="does not contain the trials of a sweep"):
        read_sweep_folder(tmp_path)


@pytest.mark.slow
def test_killed_in_the_middle_and_resumed(tmp_path: Path) -> None:
    """After SIGKILL no trial is lost or repeated, and the order continues."""
    folder = tmp_path / "sweep"
    words = [
        sys.executable,
        "-m",
        "rembg_tuner",
        "sweep",
        str(COFFEE),
        *AXES,
        "--rounds",
        "1",
        "--min-agreement",
        "0",
        "--again",
        "--confirm",
        "0",
        "-o",
        str(folder),
    ]
    with subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("2/6"):
                time.sleep(0.3)  # during the third trial
                process.send_signal(signal.SIGKILL)
                break
    before = trials_in(folder)
    assert 2 <= len(before) < 6
    assert main(["recommend", str(folder)]) == 0
    resume = [sys.executable, "-m", "rembg_tuner", "sweep", "--resume", "-o", str(folder)]
    done = subprocess.run(resume, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{len(before)} trials done before" in done.stderr
    after = trials_in(folder)
    assert after[: len(before)] == before
    assert len(after) == 6
    assert max(Counter(trial.settings for trial in after).values()) == 1
    assert [trial.number for trial in after] == list(range(6))


@pytest.mark.slow
def test_what_was_measured_here_is_not_measured_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another sweep reuses the trials and reports it; --again measures them again."""
    assert sweep("-o", str(tmp_path / "one")) == 0
    capsys.readouterr()
    assert sweep("-o", str(tmp_path / "two")) == 0
    assert capsys.readouterr().err.count("(measured before)") == 6
    seen = [
        one.thumbnail
        for trial in read_sweep_folder(tmp_path / "two").trials
        for one in trial.pictures
    ]
    assert all(path and Path(path).is_file() and "two" in path for path in seen)
    assert sweep("-o", str(tmp_path / "three"), "--again", "--trials", "2") == 0
    said = capsys.readouterr().err
    assert "2 trials of 6 settings" in said
    assert "(measured before)" not in said


def test_another_sweep_is_not_mixed_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder with a sweep is rejected without --resume, or with other axes."""
    folder = str(tmp_path / "sweep")
    assert sweep("-o", folder, "--trials", "1") == 0
    assert sweep("-o", folder) == 2
    assert "--resume" in capsys.readouterr().err
    assert sweep("-o", folder, "--trials", "1", "--spinning", "off", "--resume") == 2
    assert "--spinning off contradicts " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--network-size", "100"], "must be 0 or 64 to 2048 px, a multiple of 32"),
        (["--cpu-mem-arena", "maybe"], "on or off is needed"),
        (["--min-agreement", "2"], "a number from 0 to 1, or any, is needed"),
        (["--reference", "nobody"], "is not a preset, a model or a file"),
    ],
)
def test_misuse_is_told(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code is 2, before any work."""
    try:
        code = main(["sweep", str(COFFEE), "-o", str(tmp_path / "s"), *words])
    except SystemExit as end:
        code = int(str(end.code))
    assert code == 2
    assert said in capsys.readouterr().err


def test_a_trial_that_fails_is_a_row_with_its_reason(tmp_path: Path, comparer: Comparer) -> None:
    """The trial has the failure, and a failed reference raises an error."""
    settings = Settings(engine="onnxruntime")
    failure = made_failure(settings, "out_of_memory", Message("it took too much"), str(COFFEE))
    bench = FakeTrialRunner(change=lambda *_: [failure])
    ground = SweepContext(
        pictures=(COFFEE,), reference=Reference(name="none"), folder=tmp_path, comparer=comparer
    )
    trial = measure_trial(4, settings, ground, bench)
    assert (str(trial.failure), trial.failure_kind) == ("it took too much", "out_of_memory")
    assert not trial.is_measured
    with pytest.raises(OutputError, match="it took too much"):
        make_reference([COFFEE], settings, "u2netp", bench, tmp_path, max_pixels={})


def test_several_pictures_and_one_without_foreground(tmp_path: Path, comparer: Comparer) -> None:
    """Figures are means over the pictures; one without foreground is left out of the agreement."""
    grey = tmp_path / "grey.png"
    (pyvips.Image.black(200, 150) + 128).cast("uchar").copy(interpretation="b-w").write_to_file(
        str(grey)
    )
    plan = Plan(
        pictures=(COFFEE, CAT, grey),
        axes={"network_size": (128,)},
        base=Settings(engine="onnxruntime"),
        rounds=2,
    )
    opened = open_sweep(plan, tmp_path / "s", DirectTrialRunner(), comparer)
    [trial] = opened.run(on_trial=lambda _: None, is_cancelled=lambda: False)
    assert [len(one.times_s) for one in trial.pictures] == [2, 2, 2]
    judged = [one for one in trial.pictures if one.has_foreground]
    assert trial.agreement == pytest.approx(sum(one.iou or 0 for one in judged) / len(judged))
    assert trial.pictures[0].has_foreground
    assert not trial.pictures[2].has_foreground
    assert opened.context.reference.without_foreground == {str(grey)}


@pytest.mark.slow
def test_a_cancelled_sweep_keeps_what_is_done(tmp_path: Path, comparer: Comparer) -> None:
    """Cancellation is checked before each trial."""
    plan = Plan(
        pictures=(COFFEE,),
        axes={"network_size": (64, 96, 128)},
        base=Settings(engine="onnxruntime"),
        rounds=1,
    )
    opened = open_sweep(plan, tmp_path / "s", DirectTrialRunner(), comparer)
    opened.run(on_trial=lambda _: None, is_cancelled=lambda: len(opened.trials) >= 2)
    assert len(opened.trials) == 2
    assert 0 < opened.progress(1.0).left_s[0] < opened.progress(1.0).left_s[1]


def test_a_hosts_limit_of_pixels_holds_for_every_run(tmp_path: Path, comparer: Comparer) -> None:
    """The limit applies to the reference and the trials, and is not part of the plan."""
    plan = Plan(
        pictures=(COFFEE,),
        axes={"network_size": (64,)},
        base=Settings(engine="onnxruntime"),
        rounds=1,
        max_pixels=lambda path: 1_000_000 + len(path.name),
    )
    assert plan == replace(plan, max_pixels=None)
    assert "max_pixels" not in plan.to_dict()
    bench = FakeTrialRunner()
    opened = open_sweep(plan, tmp_path / "s", bench, comparer)
    opened.run(on_trial=lambda _: None, is_cancelled=lambda: False)
    limits = [job.max_pixels for _, jobs in bench.asked for job in jobs]
    assert limits == [1_000_010] * 3  # the reference, a warm-up and a run


def test_a_hosts_limit_of_pixels_ends_a_sweep_of_a_larger_picture(
    tmp_path: Path, comparer: Comparer
) -> None:
    """The worker rejects the picture, and the sweep ends with an error."""
    plan = Plan(
        pictures=(COFFEE,),
        axes={"network_size": (64,)},
        base=Settings(engine="onnxruntime"),
        rounds=1,
        max_pixels=lambda _: 1000,
    )
    with pytest.raises(OutputError, match="more than the 0 MP allowed"):
        open_sweep(plan, tmp_path / "s", DirectTrialRunner(), comparer)


def test_a_hosts_limit_of_pixels_holds_for_what_others_are_compared_with(
    tmp_path: Path, comparer: Comparer
) -> None:
    """The limit applies to the run of the reference setting too."""
    entries = tuple(
        NamedSettings(name=f"of-{side}", settings=Settings(engine="onnxruntime", network_size=side))
        for side in (64, 96)
    )
    question = ComparisonRequest(
        picture=COFFEE,
        entries=entries,
        reference="own",
        rounds=1,
        max_pixels=500_000,
        reference_settings=Settings(engine="onnxruntime"),
    )
    bench = FakeTrialRunner()
    compared = compare_settings(question, tmp_path, bench, comparer)
    assert all(one.trial.is_measured for one in compared)
    assert {job.max_pixels for _, jobs in bench.asked for job in jobs} == {500_000}


def test_a_pages_thumbnails_stay_in_its_own_folder(
    tmp_path: Path, own_cache: Path, comparer: Comparer
) -> None:
    """No thumbnail of a visitor's picture is written to the cache.

    A cached trial without a thumbnail still has its figures.
    """
    plan = Plan(
        pictures=(COFFEE,),
        axes={"network_size": (64,)},
        base=Settings(engine="onnxruntime"),
        rounds=1,
    )
    swept, bench, copy = tmp_path / "swept", FakeTrialRunner(), tmp_path / "copy.png"
    copy.write_bytes(COFFEE.read_bytes())
    opened = open_sweep(plan, tmp_path / "one", bench, comparer, thumbnails=swept)
    opened.run(on_trial=lambda _: None, is_cancelled=lambda: False)
    assert len(list(swept.iterdir())) == 1
    assert list(own_cache.rglob("*.webp")) == []
    shutil.rmtree(swept)
    other = replace(plan, pictures=(copy,))
    opened = open_sweep(other, tmp_path / "two", bench, comparer, thumbnails=swept)
    [trial] = opened.run(on_trial=lambda _: None, is_cancelled=lambda: False)
    assert opened.progress(0.0).remembered == 1
    assert (trial.pictures[0].thumbnail, trial.pictures[0].input) == (None, str(copy))


def test_the_caches_thumbnails_are_bounded(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch, comparer: Comparer
) -> None:
    """The newest thumbnails are kept."""
    monkeypatch.setattr("rembg_tuner.tuning.store.MAX_THUMBNAILS", 2)
    folder = own_cache / "trial-thumbnails"
    folder.mkdir(parents=True)
    for i in range(3):
        (folder / f"{i}.webp").write_bytes(b"old")
        os.utime(folder / f"{i}.webp", (i, i))
    plan = Plan(
        pictures=(COFFEE,),
        axes={"network_size": (64,)},
        base=Settings(engine="onnxruntime"),
        rounds=1,
    )
    opened = open_sweep(plan, tmp_path / "s", FakeTrialRunner(), comparer)
    opened.run(on_trial=lambda _: None, is_cancelled=lambda: False)
    assert {path.name for path in folder.iterdir()} >= {"2.webp"}
    assert len(list(folder.iterdir())) == 2


def test_what_is_remembered_is_bounded(tmp_path: Path) -> None:
    """The oldest trials are removed first, and a trial that is written again counts as new."""
    store = TrialStore(tmp_path / STORE_FILE)
    trials = [make_trial(i, 100, 0.1, 0.9) for i in range(4)]
    for trial in (*trials, trials[0]):
        store.add("here", trial)
    store.keep_newest(2)
    assert {trial.number for trial in store.all("here")} == {0, 3}


def test_the_weights_of_a_setting_are_the_files_it_may_run(tmp_path: Path) -> None:
    """They are the int8 model for int8, both for auto, and None for a missing file.

    The record beside a model is part of the key.
    """
    own = tmp_path / "own.onnx"
    shutil.copyfile(WEIGHTS, own)

    def told(precision: str) -> list[list[object] | None]:
        settings = build_settings({"model": str(own), "engine": "openvino", "precision": precision})
        found: list[list[object] | None] = json.loads(weights_key(settings))
        return found

    [plain] = told("fp32")
    assert plain is not None
    assert told("bf16") == [plain]
    assert told("int8") == [None]
    assert told("auto") == [plain, None]
    shutil.copyfile(WEIGHTS.with_name("u2netp-int8.onnx"), tmp_path / "own-int8.onnx")
    shutil.copyfile(WEIGHTS.with_name("u2netp-int8.json"), tmp_path / "own-int8.json")
    [eight] = told("int8")
    assert eight not in (None, plain)
    assert told("auto") == [plain, eight]
    (tmp_path / "own.json").write_text('{"side": 288}')
    assert told("fp32") != [plain]
    assert json.loads(weights_key(Settings(model="nobodys"))) == [None]


def test_a_guess_grows_with_the_model_and_its_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """The estimate grows with the side of the network and with the size of the model."""
    monkeypatch.setattr("rembg_tuner.tuning.plan.read_machine", make_machine)
    pictures = (COFFEE, CAT)

    def guess(model: str, *sides: int) -> float:
        plan = Plan(
            pictures=pictures,
            axes={"network_size": sides},
            base=Settings(model=model, engine="onnxruntime"),
            confirming=0,
        )
        return plan.guess_s()

    assert guess("u2netp", 320) == pytest.approx(1.2 + 8 * 0.25)
    assert guess("u2netp", 0) == guess("u2netp", 320)
    assert guess("u2netp", 160, 320) == pytest.approx(2 * 1.2 + 8 * 0.25 * 1.25)
    assert guess("isnet-general-use", 0) == pytest.approx(1.2 + 8 * 0.25 * 2.4 * 3.2**2)
    assert guess(str(WEIGHTS), 320) == guess("u2netp", 320)


def test_what_is_left_is_corrected_by_what_was_measured() -> None:
    """The range is around the estimate, and after the first trial around its measured time.

    It narrows with each trial that agrees.
    """
    low, high = left_range_s(100.0, 20, [])
    assert (low, high) == (40.0, 250.0)
    first = left_range_s(100.0, 20, [0.2])
    assert math.sqrt(first[0] * first[1]) == pytest.approx(20.0)
    assert first[1] / first[0] < high / low
    third = left_range_s(100.0, 20, [0.2, 0.2, 0.2])
    assert third[1] / third[0] < first[1] / first[0]
    spread = left_range_s(100.0, 20, [0.05, 0.2, 0.8])
    assert spread[1] / spread[0] > third[1] / third[0]
    assert left_range_s(0.0, 0, [0.2]) == (0.0, 0.0)


def test_a_sweep_corrects_its_guess_after_the_first_trial(
    tmp_path: Path, comparer: Comparer
) -> None:
    """The estimate is scaled by the measured time of the first trial relative to its estimate."""
    plan = Plan(
        pictures=(COFFEE,),
        axes={"network_size": (64, 96, 128)},
        base=Settings(engine="onnxruntime"),
        rounds=1,
        confirming=0,
    )
    opened = open_sweep(plan, tmp_path / "s", FakeTrialRunner(), comparer)
    assert opened.progress(0.0).left_s == pytest.approx(plan.guess_range_s())
    opened.run(on_trial=lambda _: None, is_cancelled=lambda: len(opened.trials) >= 1)
    assert len(opened._ratios) == 1
    opened._ratios[0] = 0.1  # a machine ten times as fast, whatever the real one is
    low, high = opened.progress(0.0).left_s
    left = [
        guess
        for settings, guess in plan.guesses_s().items()
        if settings != opened.trials[0].settings
    ]
    assert math.sqrt(low * high) == pytest.approx(0.1 * sum(left))
    assert high < plan.guess_range_s()[1] / 4


def test_limits_are_told_as_people_do() -> None:
    """The timeout is in seconds, and the memory limit in MiB."""
    names = ("timeout_s", "memory_limit_bytes")
    told = str(label_of(Settings(timeout_s=0.01, memory_limit_bytes=150_000_000), names))
    assert told == "timeout 0.01 s · memory limit 143 MiB"
    assert str(label_of(Settings(), names)) == "timeout 30 s · no memory limit"


@pytest.mark.parametrize(
    ("width", "height", "is_refused"),
    [
        pytest.param(600, 400, False, id="same"),
        pytest.param(1200, 800, False, id="larger"),
        pytest.param(100, 66, False, id="rounded-down"),
        pytest.param(7, 5, False, id="tiny"),
        pytest.param(600, 403, False, id="under-a-hundredth"),
        pytest.param(600, 406, True, id="over-a-hundredth"),
        pytest.param(400, 600, True, id="turned"),
        pytest.param(770, 595, True, id="another"),
    ],
)
def test_a_mask_has_its_pictures_shape(
    width: int, height: int, is_refused: bool, tmp_path: Path
) -> None:
    """The aspect ratio must agree within 1 %, or within a pixel."""
    mask = tmp_path / "mask.png"
    pyvips.Image.black(width, height).write_to_file(str(mask))
    said = another_shape(mask, COFFEE)
    assert (said is not None) == is_refused
    if said is not None:
        assert f"{width} x {height} px" in str(said)
        assert "600 x 400 px" in str(said)


def test_the_context_is_pictures_reference_rounds_and_machine(tmp_path: Path) -> None:
    """A change of any part changes the context; a copy of a picture under another name does not."""
    copy = tmp_path / "copy.png"
    copy.write_bytes(COFFEE.read_bytes())
    here = context_of([COFFEE], "u2netp", rounds=3, machine=["cpu"])
    assert context_of([copy], "u2netp", rounds=3, machine=["cpu"]) == here
    others = {
        context_of([CAT], "u2netp", rounds=3, machine=["cpu"]),
        context_of([COFFEE], "u2net", rounds=3, machine=["cpu"]),
        context_of([COFFEE], "u2netp", rounds=4, machine=["cpu"]),
        context_of([COFFEE], "u2netp", rounds=3, machine=["other"]),
    }
    assert len(others) == 4
    assert here not in others


@pytest.mark.slow
def test_compare_tells_how_presets_differ(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first agrees with itself, maps and cut-outs are kept, and a mask can be the reference."""
    folder = tmp_path / "compared"
    words = ["compare", str(COFFEE), "--presets", "balanced,smallest", "--rounds", "1"]
    assert main([*words, "-o", str(folder), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    first, second = document["compared"]
    assert first["trial"]["agreement"] == 1.0
    assert first["stars"] == 5
    assert 0.9 < second["trial"]["agreement"] < 1
    assert Path(second["difference"]).is_file()
    assert main([*words, "--reference", first["cutout"], "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["compared"][1]["trial"]["agreement"] == pytest.approx(second["trial"]["agreement"])
    assert main(["compare", str(COFFEE), "--presets", "balanced"]) == 2
    assert "two to six" in capsys.readouterr().err


def test_the_comparer_says_what_does_not_read(tmp_path: Path, comparer: Comparer) -> None:
    """The error names the file, the next comparison works, and a killed comparer restarts."""
    with pytest.raises(OutputError, match=r"absent\.png could not be compared"):
        comparer.compare(str(tmp_path / "absent.png"), None, thumbnail=str(tmp_path / "t.webp"))
    found = comparer.compare(str(COFFEE), str(COFFEE), difference=str(tmp_path / "d.webp"))
    assert (found.mae, found.iou, found.boundary_f) == (0, 1, 1)
    os.kill(comparer._process.pid, signal.SIGKILL)
    comparer._process.wait(20)
    assert comparer.compare(str(COFFEE), None).iou is None
