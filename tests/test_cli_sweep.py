"""`sweep` and `compare` with a fake trial runner.

What they announce, refuse, keep and print.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import pyvips
from fake_trial_runner import FakeTrialRunner, KilledError
from made_machines import make_machine

from rembg_tuner.base.messages import Message
from rembg_tuner.cli.main import main
from rembg_tuner.cli.recommend import cut_command
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.settings.results import MACHINE_BUSY
from rembg_tuner.settings.settings import Settings
from rembg_tuner.tuning.folder import PLAN_FILE, lock_folder

ROOT = Path(__file__).parent.parent
COFFEE = ROOT / "examples" / "coffee.png"
CAT = ROOT / "examples" / "chelsea.png"
WEIGHTS = ROOT / "rembg_tuner" / "models" / "u2netp.onnx"


@pytest.fixture(autouse=True)
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeTrialRunner:
    """Replace the trial runner by a fake one, and use an empty cache."""
    monkeypatch.setenv("REMBG_TUNER_CACHE", str(tmp_path / "cache"))
    made = FakeTrialRunner(tmp_path / "left")
    monkeypatch.setattr("rembg_tuner.cli.sweep.DirectTrialRunner", lambda *_: made)
    monkeypatch.setattr("rembg_tuner.cli.compare.DirectTrialRunner", lambda *_: made)
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the path of a sweep's folder."""
    return tmp_path / "sweep"


@pytest.fixture
def mask(tmp_path: Path) -> Path:
    """Write a mask for the coffee picture at half its size."""
    path = tmp_path / "coffee-mask.png"
    with_square(300, 200, path)
    return path


def with_square(width: int, height: int, path: Path) -> None:
    """Write a mask with a rectangle in its middle."""
    made = pyvips.Image.black(width, height).draw_rect(
        255, width // 4, height // 4, width // 2, height // 2, fill=True
    )
    made.copy(interpretation="b-w").write_to_file(str(path))


def sweep(folder: Path, *words: str) -> int:
    """Sweep the coffee picture on ONNX Runtime; return the exit code."""
    given = ["sweep", str(COFFEE), "-o", str(folder), "--rounds", "1", "--min-agreement", "0"]
    engine = [] if "--engine" in words else ["--engine", "onnxruntime"]
    if "--confirm" not in words:
        given += ["--confirm", "0"]
    try:
        return main([*given, *engine, *words])
    except SystemExit as end:  # argparse's own error
        return int(str(end.code))


# The model's weights


def test_other_weights_under_the_same_name_are_measured_anew(
    folder: Path,
    mask: Path,
    tmp_path: Path,
    bench: FakeTrialRunner,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """New and resumed sweeps measure again; the resumed one says so."""
    own = tmp_path / "own.onnx"
    shutil.copyfile(WEIGHTS, own)
    words = ["--model", str(own), "--network-size", "64,96", "--reference", str(mask)]
    assert sweep(folder, *words) == 0
    assert sweep(tmp_path / "same", *words) == 0
    assert len(bench.asked) == 2
    own.write_bytes(own.read_bytes() + b"another")
    capsys.readouterr()
    assert sweep(tmp_path / "other", *words) == 0
    assert "(measured before)" not in capsys.readouterr().err
    assert len(bench.asked) == 4
    assert sweep(folder, *words, "--resume") == 0
    told = capsys.readouterr().err
    assert (
        f"2 trials in {folder} were measured on another machine, with other versions, or with other"
        " weights" in told
    )
    assert "done before" not in told
    assert sweep(folder, *words, "--resume") == 0
    told = capsys.readouterr().err
    assert "2 trials done before" in told
    assert "with other weights" not in told


def test_the_references_weights_are_part_of_what_is_remembered(
    folder: Path, tmp_path: Path, bench: FakeTrialRunner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another file of the reference model changes agreements, so the trial is measured again."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("U2NET_HOME", str(home))
    monkeypatch.setenv("MODEL_CHECKSUM_DISABLED", "1")
    (home / "silueta.onnx").write_bytes(b"one")
    words = ["--network-size", "64", "--reference", "silueta"]
    assert sweep(folder, *words) == 0
    (home / "silueta.onnx").write_bytes(b"another")
    assert sweep(tmp_path / "two", *words) == 0
    assert [settings.model for settings, _ in bench.asked] == ["silueta", "u2netp"] * 2


# Values of flags


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(
            ["--network-size", "192,200"],
            "network_size must be 0 or 64 to 2048 px, a multiple of 32, got 200",
            id="size",
        ),
        pytest.param(
            ["--engine", "openvino,foo"],
            "engine must be one of onnxruntime, openvino, ncnn, rembg, got 'foo'",
            id="engine",
        ),
        pytest.param(
            ["--intra-op-threads", "1,2,999"],
            "intra_op_threads must be 0 to 256 threads, got 999",
            id="threads",
        ),
        pytest.param(
            ["--precision", "fp32,fp8"],
            "precision must be one of auto, fp32, bf16, fp16, int8, got 'fp8'",
            id="precision",
        ),
        pytest.param(
            ["--max-memory", "0"],
            "a budget of memory is 1 MiB or more, with its unit, such as 300MiB, or any, got '0',"
            " which is 0 bytes",
            id="no-memory",
        ),
        pytest.param(
            ["--max-memory", "300"],
            "a budget of memory is 1 MiB or more, with its unit, such as 300MiB, or any, got '300',"
            " which is 300 bytes",
            id="bytes",
        ),
        pytest.param(
            ["--max-latency", "0"],
            "a budget of time is more than 0, with its unit, such as 300ms, or any, got '0'",
            id="no-time",
        ),
        pytest.param(
            ["--max-latency", "500"],
            "with its unit, such as 300ms, or any, got '500'",
            id="no-time-unit",
        ),
        pytest.param(["--max-latency", "0ms"], "a budget of time is more than 0", id="no-ms"),
    ],
)
def test_a_value_that_cannot_be_is_misuse(
    words: list[str],
    said: str,
    folder: Path,
    bench: FakeTrialRunner,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An invalid value is reported before any measurement, not dropped from its axis."""
    assert sweep(folder, *words) == 2
    assert said in capsys.readouterr().err
    assert bench.asked == []


def test_a_value_that_this_machine_cannot_do_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A value that this machine does not support is left out, with the reason, before the sweep."""
    here = read_machine()
    able = replace(here, precisions=frozenset({"fp32"}))
    monkeypatch.setattr("rembg_tuner.tuning.plan.read_machine", lambda: able)
    assert sweep(folder, "--engine", "openvino", "--precision", "fp32,bf16") == 0
    told = capsys.readouterr().err.splitlines()
    assert (
        told[1]
        == "left out: precision bf16 is not possible here: this precision needs a CPU with native"
        " bf16, and this CPU does not have it"
    )
    assert told[2].startswith("1 trial of 1 setting,")


# The sweep's folder


def test_a_start_that_failed_leaves_the_folder_free(
    folder: Path, bench: FakeTrialRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    """After an unknown reference, a missing mask or Ctrl-C, the corrected command works."""
    assert sweep(folder, "--network-size", "64", "--reference", "nope") == 2
    assert sweep(folder, "--network-size", "64", "--reference", str(ROOT / "docs")) == 1
    bench.error = KeyboardInterrupt()
    assert sweep(folder, "--network-size", "64") == 130
    assert not (folder / PLAN_FILE).exists()
    bench.error = None
    capsys.readouterr()
    assert sweep(folder, "--network-size", "64") == 0
    assert "already contains a sweep" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(
            ["--rounds", "2"], "--rounds 2 contradicts {plan}, which has rounds 1;", id="rounds"
        ),
        pytest.param(["--seed", "7"], "--seed 7 contradicts {plan}, which has seed 0;", id="seed"),
        pytest.param(
            ["--network-size", "64"],
            "--network-size 64 contradicts {plan}, which has network_size 64,96;",
            id="axis",
        ),
        pytest.param(
            ["--spinning", "on,off"],
            "--spinning on,off contradicts {plan}, which has spinning on;",
            id="new-axis",
        ),
        pytest.param(
            [str(CAT)],
            "IMAGE {cat} contradicts {plan}, which has the pictures {coffee};",
            id="picture",
        ),
        pytest.param(
            ["--reference", "u2net"],
            "--reference u2net contradicts {plan}, which has the model in fp32 as its reference;",
            id="reference",
        ),
        pytest.param(
            ["--preset", "article-onnx"],
            "--preset article-onnx (mem_pattern off) contradicts {plan}, which has mem_pattern on;",
            id="preset",
        ),
        pytest.param(
            ["--trials", "1"],
            "--trials 1 contradicts {plan}, which has all of its settings;",
            id="trials",
        ),
        pytest.param(
            ["--again"],
            "--again contradicts {plan}, which has trials taken from what was measured",
            id="again",
        ),
    ],
)
def test_a_flag_that_contradicts_a_resumed_plan_is_named(
    words: list[str],
    said: str,
    folder: Path,
    bench: FakeTrialRunner,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The error has both values, and nothing is measured."""
    assert sweep(folder, "--network-size", "64,96") == 0
    asked = len(bench.asked)
    assert main(["sweep", "--resume", "-o", str(folder), *words]) == 2
    filled = said.format(plan=folder / PLAN_FILE, cat=CAT, coffee=COFFEE)
    assert filled in capsys.readouterr().err
    assert len(bench.asked) == asked


def test_a_sweep_is_resumed_without_a_word_of_what_it_was(
    folder: Path,
    bench: FakeTrialRunner,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A resumed sweep takes pictures, axes, rounds, seed and budgets from its plan, in any folder.

    Equal flags are allowed.
    """
    monkeypatch.chdir(COFFEE.parent)
    words = [
        "--engine",
        "onnxruntime",
        "--network-size",
        "64,96,128",
        "--rounds",
        "2",
        "--seed",
        "5",
    ]
    words += ["--confirm", "0", "--max-memory", "50MiB", "--min-agreement", "0", "-o", str(folder)]
    bench.interrupt_after = 3  # the reference and two trials are done
    assert main(["sweep", COFFEE.name, *words]) == 130
    told = capsys.readouterr().err
    assert (
        f"interrupted; 2 trials kept, continue with: rembg-tuner sweep --resume -o {folder}" in told
    )
    bench.interrupt_after = None
    monkeypatch.chdir(folder)
    assert main(["sweep", "--resume", "-o", str(folder)]) == 1  # nothing fits the plan's budgets
    said = capsys.readouterr()
    assert "of each of 1 picture after a warm-up; Ctrl-C" in said.err  # no estimate
    assert re.search(r"2 trials done before; about .* left\n", said.err)
    assert "(seed 5), 2 runs of each of 1 picture" in said.err
    assert "budgets: peak at most 50 MiB (52,428,800 bytes)" in said.err
    assert "nothing fits" in said.out
    swept = [settings.network_size for settings, jobs in bench.asked if "trial-" in jobs[0].output]
    assert sorted(swept) == [64, 96, 128]
    again = ["sweep", str(COFFEE), "--resume", "--network-size", "96,128,64", "--rounds", "2"]
    assert main([*again, "-o", str(folder), "--max-memory", "any"]) == 0
    assert json.loads((folder / PLAN_FILE).read_text())["budgets"]["max_memory_bytes"] is None


def test_nothing_to_resume_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--resume without a sweep, and a sweep without pictures, are misuse with advice."""
    assert main(["sweep", "--resume", "-o", str(folder)]) == 2
    assert (
        f"{folder} holds no sweep to resume (plan.json is not there); name pictures"
        in capsys.readouterr().err
    )
    assert main(["sweep", "-o", str(folder)]) == 2
    assert "a sweep needs pictures; name pictures or folders" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pictures", []),
        ("pictures", ["a\0.png"]),
        ("reference", "\ud800.png"),
        ("axes", {"engine": []}),
        ("rounds", 0),
        ("rounds", 10**30),
        ("seed", "x"),
        ("trials", 0),
        ("base", {"model": 3}),
        ("budgets", {"min_agreement": 2}),
    ],
)
def test_a_plan_that_cannot_be_is_told(
    name: str, value: object, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error names the file and the invalid value."""
    assert sweep(folder, "--network-size", "64") == 0
    plan = json.loads((folder / PLAN_FILE).read_text())
    (folder / PLAN_FILE).write_text(json.dumps({**plan, name: value}))
    assert main(["sweep", "--resume", "-o", str(folder)]) == 2
    said = capsys.readouterr().err
    assert f"{folder / PLAN_FILE} cannot be read, so its sweep cannot be resumed (" in said
    reasons = {
        "base": "model must be text, got 3",
        "budgets": "min_agreement must be from 0 to 1, or any, got 2",
    }
    reason = reasons.get(name, f"its {name} cannot be {value!r}")
    assert f" cannot be resumed ({reason}); name another -o" in said


def kill(folder: Path, bench: FakeTrialRunner, *words: str) -> None:
    """Sweep until the fake trial runner simulates SIGKILL; restore the folder of that moment."""
    with pytest.raises(KilledError):
        sweep(folder, *words)
    shutil.rmtree(folder)
    bench.left.rename(folder)


def test_a_killed_sweep_recommends_what_it_has(
    folder: Path, bench: FakeTrialRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    """`recommend` and `export` read a killed sweep from its store, with its own budgets.

    Then it can be resumed.
    """
    bench.kill_after = 2  # the reference and the first trial are done
    words = ["--network-size", "64,96,128", "--max-memory", "150MiB"]
    kill(folder, bench, *words)
    assert not (folder / "trials.json").exists()
    capsys.readouterr()
    assert main(["recommend", str(folder)]) == 0
    said = capsys.readouterr()
    assert (
        f"1 of 3 trials of the sweep in {folder} are done; continue with: rembg-tuner sweep --resume"
        f" -o {folder}" in said.err
    )
    assert "budgets: peak at most 150 MiB" in said.err
    assert "recommended: trial 0, " in said.out
    assert main(["export", str(folder), "--to", "compose"]) == 0
    assert "100 MiB measured peak" in capsys.readouterr().out
    bench.kill_after = None
    assert main(["sweep", "--resume", "-o", str(folder)]) == 0
    assert "1 trial done before" in capsys.readouterr().err


@pytest.mark.parametrize("kill_after", [0, 1], ids=["in-the-reference", "in-the-first-trial"])
def test_a_sweep_killed_before_its_first_trial_is_told(
    kill_after: int, folder: Path, bench: FakeTrialRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    """`recommend` and `export` exit with 1 and a message; the sweep can be resumed."""
    bench.kill_after = kill_after
    kill(folder, bench, "--network-size", "64,96")
    capsys.readouterr()
    for words in (["recommend", str(folder)], ["export", str(folder), "--to", "env"]):
        assert main(words) == 1
        said = capsys.readouterr()
        assert f"0 of 2 trials of the sweep in {folder} are done; continue with: " in said.err
        assert "nothing was measured, so nothing can be recommended" in said.out + said.err
    bench.kill_after = None
    assert main(["sweep", "--resume", "-o", str(folder)]) == 0


def test_trials_of_other_weights_are_not_recommended(
    folder: Path, mask: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are counted in a message; if the weights are missing, the trials stay."""
    own = tmp_path / "own.onnx"
    shutil.copyfile(WEIGHTS, own)
    assert sweep(folder, "--model", str(own), "--network-size", "64", "--reference", str(mask)) == 0
    own.unlink()
    assert main(["recommend", str(folder)]) == 0
    own.write_bytes(b"another")
    (folder / "trials.json").unlink()
    capsys.readouterr()
    assert main(["recommend", str(folder)]) == 1
    assert "1 trial in" in capsys.readouterr().err


def test_a_search_can_be_lengthened(folder: Path, bench: FakeTrialRunner) -> None:
    """A resumed sweep may have a higher --trials."""
    sizes = ["--network-size", "64,96,128", "--again"]
    assert sweep(folder, *sizes, "--trials", "1") == 0
    assert sweep(folder, *sizes, "--trials", "2", "--resume") == 0
    swept = [settings for settings, jobs in bench.asked if "trial-" in jobs[0].output]
    assert len(set(swept)) == len(swept) == 2
    assert json.loads((folder / PLAN_FILE).read_text())["trials"] == 2


@pytest.mark.parametrize("content", [b"\xff\xfe", b"{", b"[]"], ids=["bytes", "cut", "list"])
def test_a_damaged_plan_is_told(
    content: bytes, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error names the file."""
    folder.mkdir()
    (folder / PLAN_FILE).write_bytes(content)
    assert sweep(folder, "--network-size", "64", "--resume") == 2
    assert (
        f"{folder / PLAN_FILE} cannot be read, so its sweep cannot be resumed"
        in capsys.readouterr().err
    )


# Reference masks


def test_a_mask_of_another_shape_is_refused(
    folder: Path, tmp_path: Path, bench: FakeTrialRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    """`sweep` and `compare` refuse it with both sizes, before any measurement."""
    mask = tmp_path / "other.png"
    with_square(770, 595, mask)
    said = (
        f"the mask {mask} has 770 x 595 px, which is another shape than the 600 x 400 px of"
        f" {COFFEE}"
    )
    assert sweep(folder, "--network-size", "64", "--reference", str(mask)) == 2
    assert said in capsys.readouterr().err
    words = ["compare", str(COFFEE), "--presets", "balanced,smallest", "--reference", str(mask)]
    assert main([*words, "-o", str(tmp_path / "compared")]) == 2
    assert "770 x 595 px, which is another shape than the 600 x 400 px" in capsys.readouterr().err
    assert bench.asked == []


def test_compare_takes_the_mask_named_as_the_picture(
    tmp_path: Path, mask: Path, bench: FakeTrialRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    """`compare` finds masks in a folder, as `sweep` does, and reports a missing one."""
    masks = tmp_path / "masks"
    masks.mkdir()
    words = ["compare", str(COFFEE), "--presets", "balanced,smallest", "--reference", str(masks)]
    assert main([*words, "--json"]) == 1
    assert f"there is no mask named coffee.* in {masks}" in capsys.readouterr().err
    assert bench.asked == []
    shutil.copyfile(mask, masks / "coffee.png")
    assert main([*words, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["reference"] == "coffee.png"
    assert all(one["trial"]["agreement"] > 0.95 for one in document["compared"])


def test_a_picture_whose_mask_is_empty_is_named(folder: Path, tmp_path: Path) -> None:
    """The description of the sweep names it as left out of the averages."""
    empty = tmp_path / "empty.png"
    pyvips.Image.black(600, 400).copy(interpretation="b-w").write_to_file(str(empty))
    assert sweep(folder, "--network-size", "64", "--reference", str(empty)) == 0
    how = json.loads((folder / "trials.json").read_text())["how"]
    assert f"Left out of the averages because they have no clear foreground: {COFFEE}." in how


# Output


def test_a_sweep_tells_how_far_it_is(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each trial's line has the knobs and the time left; repeated trials have their own lines.

    Trials that were measured before are counted.
    """
    axes = ["--network-size", "64,96", "--intra-op-threads", "1,2"]
    assert sweep(folder, *axes, "--confirm", "4") == 0
    said = capsys.readouterr()
    told = [line for line in said.err.splitlines() if line[1:3] == "/4"]
    assert len(told) == 4
    assert all("px" in line and "thread" in line for line in told)
    assert all(" s left" in line for line in told)  # the best are still measured again
    again = [line for line in said.err.splitlines() if line.startswith("again ")]
    assert len(again) == 4
    assert all("(100 ms, 100 ms in its workers)" in line for line in again)
    assert (
        "On this machine, 19 of 20 times a warm run takes 100 ms to 100 ms (from 8 workers"
        in said.out
    )
    assert "measured on this machine before" not in said.err
    assert (
        "run it: rembg-tuner cut PICTURE --model u2netp --engine onnxruntime --network-size"
        in said.out
    )
    assert sweep(tmp_path / "again", *axes, "--confirm", "4") == 0
    said = capsys.readouterr()
    assert (
        "4 of 4 trials were measured on this machine before; --again measures them again"
        in said.err
    )
    assert "\nagain " not in said.err  # several workers have measured them already


def test_nothing_is_measured_again_if_not_wanted(
    folder: Path, bench: FakeTrialRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each setting runs in one worker, no time is left after the last, and no range is printed."""
    assert sweep(folder, "--network-size", "64,96", "--confirm", "0") == 0
    said = capsys.readouterr()
    assert len(bench.asked) == 3  # the reference and two trials
    last = next(line for line in said.err.splitlines() if line.startswith("2/2"))
    assert "left" not in last
    assert "warm run" not in said.out
    assert "then the best again" not in said.err
    assert "measured again" not in (folder / "report.html").read_text()
    assert sweep(folder, "--network-size", "64", "--confirm", "-1") == 2


@pytest.mark.parametrize(
    ("flag", "word", "most"),
    [
        ("--rounds", "9" * 30, "1 to 1,000,000"),
        ("--trials", "1000001", "1 to 1,000,000"),
        ("--confirm", "9" * 30, "0 to 1,000,000"),
        ("--seed", "-1", "0 to 4,294,967,295"),
        ("--seed", "4294967296", "0 to 4,294,967,295"),
    ],
)
def test_a_count_that_cannot_be_is_misuse(
    flag: str, word: str, most: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error has the allowed range, not an error of NumPy or of a list's length."""
    with pytest.raises(SystemExit, match="2"):
        main(["sweep", str(CAT), flag, word, "-o", str(folder)])
    assert (
        f"argument {flag}: a whole number from {most} is needed, got '{word}'"
        in capsys.readouterr().err
    )
    assert not folder.exists()


def test_two_sweeps_do_not_share_a_folder(
    folder: Path, bench: FakeTrialRunner, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second sweep is refused before any measurement, and works after the first has ended."""
    with lock_folder(folder):
        assert sweep(folder, "--network-size", "64") == 2
        assert (
            f"another sweep is running in {folder}; wait until it ends, or name another -o"
            in capsys.readouterr().err
        )
    assert bench.asked == []
    assert sweep(folder, "--network-size", "64") == 0


def test_other_budgets_start_from_the_sweeps_own(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`recommend` and `export` keep the sweep's budgets unless a flag changes them."""
    assert sweep(folder, "--network-size", "64") == 0  # --min-agreement 0
    capsys.readouterr()
    assert main(["recommend", str(folder), "--max-memory", "500MiB"]) == 0
    assert "keep the budgets (peak at most 500 MiB)" in capsys.readouterr().out
    assert main(["export", str(folder), "--to", "env", "--max-memory", "500MiB"]) == 0
    assert "nearest" not in capsys.readouterr().err


def test_where_nothing_fits_a_sweep_fails_and_names_the_nearest(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`sweep`, `recommend` and `export` exit with 1, and print no command to run.

    The report recommends nothing.
    """
    assert sweep(folder, "--network-size", "64,96", "--max-memory", "50MB") == 1
    said = capsys.readouterr()
    assert "budgets: peak at most 48 MiB (50,000,000 bytes)" in said.err
    assert (
        "nothing fits: none of the 2 measured settings keeps the budgets (peak at most 48 MiB); the"
        " nearest is " in said.out
    )
    for words in (["recommend", str(folder)], ["export", str(folder), "--to", "compose"]):
        assert main(words) == 1
        told = capsys.readouterr()
        said = type(said)(said.out + told.out, said.err + told.err)
    assert "it misses peak 100 MiB of 48 MiB allowed" in said.out
    assert f"lift what it misses: rembg-tuner recommend {folder} --max-memory any" in said.out
    assert f"or take it by name: rembg-tuner export {folder} --to compose --setting " in said.out
    for forbidden in ("run it:", "ship it:", "recommended"):
        assert forbidden not in said.out + said.err
    page = (folder / "report.html").read_text()
    assert "Nothing is recommended: " in page
    assert 'class="chosen"' not in page
    assert "<td>100 MiB</td>" in page
    content = json.loads((folder / "trials.json").read_text())
    assert (content["chosen"], content["fits"]) == (None, False)
    assert content["misses"] == ["peak 100 MiB of 48 MiB allowed"]
    assert main(["recommend", str(folder), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["chosen"] is None
    assert found["nearest"]["number"] == content["nearest"]
    assert main(["recommend", str(folder), "--max-memory", "any"]) == 0
    assert "recommended: trial " in capsys.readouterr().out


def test_the_commands_to_run_next_keep_the_budgets_that_were_given(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The commands that `recommend` prints contain the budgets given by flags, and work."""
    assert sweep(folder, "--network-size", "64,96", "--max-memory", "50MB") == 1
    capsys.readouterr()
    lifted = ["--max-memory", "any", "--max-latency", "59.5s", "--commercial"]
    assert main(["recommend", str(folder), *lifted]) == 0
    [ship] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("ship it: ")]
    assert main(shlex.split(ship)[3:]) == 0
    assert "peak at most" not in capsys.readouterr().err
    assert (
        main(["recommend", str(folder), "--max-latency", "59.5s", "--min-agreement", "0.25"]) == 1
    )
    [lift] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("lift ")]
    words = shlex.split(lift)
    assert main(words[words.index("recommend") :]) == 0
    assert "budgets: agreement at least 0.250, time at most 59.50 s" in capsys.readouterr().err


def test_sizes_are_told_as_they_were_read(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Sizes are printed in bytes: MB is 10^6, M and MiB are 2^20."""
    assert sweep(folder, "--network-size", "64", "--memory-limit-bytes", "300MB,300M") == 0
    read = "memory_limit_bytes: 286 MiB (300,000,000 bytes), 300 MiB (314,572,800 bytes)"
    assert read in capsys.readouterr().err.splitlines()


def test_a_sweep_says_that_the_machine_was_busy(
    folder: Path,
    tmp_path: Path,
    bench: FakeTrialRunner,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A warning appears before the sweep, at each trial, beside the figures and in the report.

    `compare` warns too.
    """
    monkeypatch.setattr("rembg_tuner.runtime.meter.load_average", lambda: 1000.0)
    bench.warnings = (
        Message(
            "the machine was busy with other work: load average 9.0 without our own workers, usable"
            " CPUs 2; times are longer than on a quiet machine",
            code=MACHINE_BUSY,
        ),
    )
    assert sweep(folder, "--network-size", "64,96") == 0
    said = capsys.readouterr()
    assert "warning: the machine was busy with other work: load average 1000.0 without" in said.err
    assert said.err.count("(the machine was busy with other work)") == 2
    assert said.out.count("(machine busy)") == 2
    told = "2 of 2 trials ran while the machine was busy with other work"
    assert told in said.out
    page = (folder / "report.html").read_text()
    assert told in page
    assert page.count(", machine busy</td>") == 2
    assert main(["recommend", str(folder)]) == 0
    assert told in capsys.readouterr().out
    words = ["compare", str(COFFEE), "--presets", "balanced,smallest", "--rounds", "1"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert out.count("(machine busy)") == 2
    assert out.count(str(bench.warnings[0])) == 1


def test_a_budget_is_lifted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`any` lifts a budget, and --no-commercial the licence's; the others stay."""
    words = ["--max-memory", "1MiB", "--max-latency", "1ms", "--min-agreement", "1", "--commercial"]
    assert sweep(folder, "--network-size", "64", *words) == 1
    read = (
        "budgets: agreement at least 1.000, peak at most 1.0 MiB (1,048,576 bytes), time at most"
        " 1.0 ms, licence free for commercial use"
    )
    assert read in capsys.readouterr().err
    lifted = ["--max-memory", "any", "--max-latency", "ANY", "--min-agreement", "any"]
    assert main(["recommend", str(folder), *lifted]) == 0
    assert "budgets: licence free for commercial use" in capsys.readouterr().err
    assert main(["export", str(folder), "--to", "env", *lifted, "--no-commercial"]) == 0
    assert "budgets: any memory, time and agreement" in capsys.readouterr().err


def test_what_a_preset_lost_here_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`compare` and `sweep` warn about a preset's dropped values, as `cut` does."""
    plain = make_machine()
    for room in ("compare", "sweep_plan"):
        monkeypatch.setattr(f"rembg_tuner.cli.{room}.read_machine", lambda: plain)
    assert sweep(folder, "--network-size", "64", "--preset", "fastest") == 0
    assert "preset fastest: " in capsys.readouterr().err
    assert main(["compare", str(COFFEE), "--presets", "balanced,fastest", "--rounds", "1"]) == 0
    assert "preset fastest: " in capsys.readouterr().err


def test_what_is_called_a_picture_and_is_none_is_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder's file named like a picture that is not one is named; other files are ignored."""
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    shutil.copyfile(COFFEE, pictures / "coffee.png")
    (pictures / "bad.jpg").write_text("junk")
    (pictures / "notes.txt").write_text("junk")
    assert (
        main(
            [
                "sweep",
                str(pictures),
                "--engine",
                "onnxruntime",
                "--network-size",
                "64",
                "--rounds",
                "1",
                "--confirm",
                "0",
                "--min-agreement",
                "0",
                "-o",
                str(folder),
            ]
        )
        == 0
    )
    said = capsys.readouterr().err
    assert (
        f"{pictures / 'bad.jpg'} is left out: it is called a picture, and does not read as one"
        in said
    )
    assert "notes.txt" not in said
    assert "1 run of each of 1 picture after" in said


def test_the_command_of_a_setting_makes_that_setting() -> None:
    """The command has the model, the engine and all values that are not the default."""
    plain = Settings(engine="onnxruntime", model="my own.onnx")
    assert (
        cut_command(plain) == "rembg-tuner cut PICTURE --model 'my own.onnx' --engine onnxruntime"
    )
    changed = Settings(
        engine="onnxruntime",
        network_size=224,
        cpu_mem_arena=False,
        timeout_s=0.5,
        memory_limit_bytes=150_000_000,
    )
    assert (
        cut_command(changed)
        == "rembg-tuner cut PICTURE --model u2netp --engine onnxruntime --network-size 224 "
        "--no-cpu-mem-arena --timeout-s 0.5 --memory-limit-bytes 150000000"
    )


def test_compares_help_promises_what_it_writes(capsys: pytest.CaptureFixture[str]) -> None:
    """The help names the files that it writes, and no report."""
    with pytest.raises(SystemExit):
        main(["compare", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert "keep cut-outs, maps of differences and compare.json" in told
    assert "report" not in told
