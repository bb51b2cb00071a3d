"""The stored trials: outdated ones, equal settings, and folders of older versions."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fake_trial_runner import FakeTrialRunner
from made_trials import make_trial

from rembg_tuner.runtime.picture_processes import Comparer
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.settings.machine import LIBVIPS_PACKAGE
from rembg_tuner.settings.settings import Settings
from rembg_tuner.tuning import environment
from rembg_tuner.tuning.environment import context_of, older_trial_key, weights_key
from rembg_tuner.tuning.folder import PLAN_FILE, read_sweep_folder
from rembg_tuner.tuning.plan import Plan
from rembg_tuner.tuning.store import STORE_FILE, TrialStore
from rembg_tuner.tuning.sweep import open_sweep

if TYPE_CHECKING:
    from rembg_tuner.tuning.sweep import Sweep
    from rembg_tuner.tuning.trials import Trial

ROOT = Path(__file__).parent.parent
COFFEE = ROOT / "examples" / "coffee.png"
WEIGHTS = ROOT / "rembg_tuner" / "models" / "u2netp.onnx"
OLDER_SCHEMA = """CREATE TABLE trials (
    context TEXT NOT NULL, setting TEXT NOT NULL, number INTEGER NOT NULL, trial TEXT NOT NULL,
    PRIMARY KEY (context, setting)
)"""  # as written by release 0.1.0
FP32 = Settings(engine="onnxruntime", network_size=64)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Use an empty cache, without this machine's other sweeps."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("REMBG_TUNER_CACHE", str(folder))
    return folder


def version_after_upgrade(upgraded: str, package: str) -> str:
    """Return the version of a package on a machine with an upgraded package."""
    return "99" if package == upgraded else read_machine().version(package)


def trial_of(settings: Settings, number: int = 0) -> Trial:
    """Create a measured trial of settings."""
    return replace(make_trial(number, 100, 0.1, 0.9), settings=settings)


def test_an_upgrade_of_libvips_makes_a_trial_stale(tmp_path: Path) -> None:
    """An upgrade of the engine makes it outdated too; one of another engine does not."""
    machine, path = read_machine(), tmp_path / STORE_FILE
    TrialStore(path, machine=machine).add("here", trial_of(FP32))
    assert TrialStore(path, machine=machine).find("here", FP32) is not None
    for package, is_stale in ((LIBVIPS_PACKAGE, True), ("onnxruntime", True), ("ncnn", False)):
        other = replace(machine, version=partial(version_after_upgrade, package))
        store = TrialStore(path, machine=other)
        assert (store.find("here", FP32) is None) is is_stale
        assert (len(store.all("here")), len(store.others("here"))) == (
            (0, 1) if is_stale else (1, 0)
        )


def test_settings_that_mean_the_same_have_one_trial(tmp_path: Path) -> None:
    """The trial is found for any settings with equal resolved values, apart from the limits.

    The picture's size is part of the key.
    """
    machine = read_machine()
    store = TrialStore(tmp_path / STORE_FILE, machine=machine)
    store.add("here", trial_of(FP32))
    same = [
        replace(FP32, intra_op_threads=machine.cpus),
        replace(FP32, timeout_s=5.0, memory_limit_bytes=2**40),
    ]
    for settings in same:
        found = store.find("here", settings)
        assert found is not None
        assert found.settings == settings
    others = [
        replace(FP32, max_side=500),
        replace(FP32, network_size=96),
        replace(FP32, spinning=False),
    ]
    assert [store.find("here", settings) for settings in others] == [None] * 3
    assert store.find("there", FP32) is None
    store.add("here", trial_of(same[1], number=1))
    assert [trial.settings for trial in store.all("here")] == [FP32, same[1]]
    store.forget("here", same[0])
    assert store.all("here") == []


def test_other_weights_under_the_same_name_are_another_setting(tmp_path: Path) -> None:
    """The weights are compared by hash, so a new copy of the same file is equal."""
    own, path = tmp_path / "own.onnx", tmp_path / STORE_FILE
    shutil.copyfile(WEIGHTS, own)
    settings = replace(FP32, model=str(own))
    TrialStore(path).add("here", trial_of(settings))
    shutil.copyfile(WEIGHTS, own)
    assert TrialStore(path).find("here", settings) is not None
    shutil.copyfile(WEIGHTS.with_name("u2netp-int8.onnx"), own)
    assert TrialStore(path).find("here", settings) is None
    assert TrialStore(path).kept("here") == ([], 1)
    own.unlink()  # missing files are assumed to be unchanged
    assert len(TrialStore(path).kept("here")[0]) == 1


def open_made(
    folder: Path, bench: FakeTrialRunner, comparer: Comparer, *, resume: bool = False
) -> Sweep:
    """Open a sweep of three settings."""
    plan = Plan(
        pictures=(COFFEE,),
        axes={"network_size": (64, 96, 128)},
        base=Settings(engine="onnxruntime"),
        rounds=1,
        confirming=0,
    )
    return open_sweep(plan, folder, bench, comparer, resume=resume)


def run_all(sweep: Sweep) -> None:
    """Run a sweep to its end."""
    sweep.run(on_trial=lambda _: None, is_cancelled=lambda: False)


def test_a_sweep_after_an_upgrade_of_libvips_measures_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, comparer: Comparer
) -> None:
    """Without an upgrade, no setting is measured twice."""
    first = open_made(tmp_path / "one", FakeTrialRunner(), comparer)
    run_all(first)
    again = open_made(tmp_path / "two", FakeTrialRunner(), comparer)
    run_all(again)
    assert again.progress(0.0).remembered == 3
    versions = read_machine().version
    monkeypatch.setattr(
        "rembg_tuner.runtime.this_machine._version_of",
        lambda name: "99" if name == LIBVIPS_PACKAGE else versions(name),
    )
    upgraded = open_made(tmp_path / "three", FakeTrialRunner(), comparer)
    run_all(upgraded)
    assert upgraded.progress(0.0).remembered == 0
    resumed = open_made(tmp_path / "one", FakeTrialRunner(), comparer, resume=True)
    assert (len(resumed.trials), resumed.outdated) == (0, 3)


def test_a_trial_over_a_limit_is_measured(tmp_path: Path, comparer: Comparer) -> None:
    """A trial that was measured without a limit may exceed it."""
    base = Settings(engine="onnxruntime", network_size=64)
    remembered = []
    for i, knobs in enumerate(
        ({}, {"memory_limit_bytes": 2**20}, {"timeout_s": 0.01}, {"timeout_s": 9.0})
    ):
        limited = replace(base, **knobs)  # type: ignore[arg-type]
        plan = Plan(pictures=(COFFEE,), axes={"network_size": (64,)}, base=limited, rounds=1)
        sweep = open_sweep(plan, tmp_path / str(i), FakeTrialRunner(), comparer)
        run_all(sweep)
        remembered.append(sweep.progress(0.0).remembered)
    assert remembered == [0, 0, 0, 1]


def as_older_version_left_it(folder: Path, sweep: Sweep, context: str) -> None:
    """Write a sweep's folder as release 0.1.0 did, with the first two of its trials."""
    path = folder / STORE_FILE
    path.unlink()
    with closing(sqlite3.connect(path)) as file, file:
        file.execute(OLDER_SCHEMA)
        for trial in sweep.trials[:2]:
            content = {name: value for name, value in trial.to_dict().items() if name != "matte"}
            row = (context, older_trial_key(trial.settings), trial.number, json.dumps(content))
            file.execute("INSERT INTO trials VALUES (?, ?, ?, ?)", row)
    plan = json.loads((folder / PLAN_FILE).read_text())
    (folder / PLAN_FILE).write_text(json.dumps({**plan, "context": context}))


def older_context() -> str:
    """Return the context of the trials of `open_made` as release 0.1.0 did."""
    plan = Plan(pictures=(COFFEE,), axes={}, base=Settings(engine="onnxruntime"))
    name, settings = plan.reference_settings()
    reference = json.dumps([name, settings.to_dict(), weights_key(settings)])
    versions = [
        line for line in environment.describe_machine() if not line.startswith(LIBVIPS_PACKAGE)
    ]
    features = sorted(read_machine().features)
    return context_of([COFFEE], reference, rounds=1, machine=[*versions, *features, "1 slots"])


def test_a_sweep_of_an_older_version_is_read_and_resumed(
    tmp_path: Path, comparer: Comparer
) -> None:
    """Its trials count, reading writes nothing, and the other trials are measured."""
    folder = tmp_path / "s"
    done = open_made(folder, FakeTrialRunner(), comparer)
    run_all(done)
    as_older_version_left_it(folder, done, older_context())
    shutil.rmtree(tmp_path / "cache")
    content = (folder / STORE_FILE).read_bytes()
    assert [trial.number for trial in read_sweep_folder(folder).trials] == [0, 1]
    assert (folder / STORE_FILE).read_bytes() == content
    bench = FakeTrialRunner()
    resumed = open_made(folder, bench, comparer, resume=True)
    assert (len(resumed.trials), resumed.outdated) == (2, 0)
    run_all(resumed)
    assert len(bench.asked) == 2  # the reference, and one trial
    assert [trial.number for trial in read_sweep_folder(folder).trials] == [0, 1, 2]


def test_a_sweep_of_an_older_version_on_another_machine_is_measured_anew(
    tmp_path: Path, comparer: Comparer
) -> None:
    """Its trials are counted as outdated, and the older table is kept."""
    folder = tmp_path / "s"
    done = open_made(folder, FakeTrialRunner(), comparer)
    run_all(done)
    as_older_version_left_it(folder, done, "another machine's context")
    assert [trial.number for trial in read_sweep_folder(folder).trials] == [0, 1]
    resumed = open_made(folder, FakeTrialRunner(), comparer, resume=True)
    assert (len(resumed.trials), resumed.outdated) == (0, 2)
    run_all(resumed)
    assert len(read_sweep_folder(folder).trials) == 3
    with closing(sqlite3.connect(folder / STORE_FILE)) as file:
        assert file.execute("SELECT count(*) FROM trials").fetchone() == (2,)
