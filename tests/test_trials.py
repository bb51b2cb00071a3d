"""Trials: storing them with all messages, reporting codes, and reading older versions."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from made_trials import make_trial

from rembg_tuner.base.errors import SettingsError
from rembg_tuner.base.messages import Message
from rembg_tuner.settings.results import CONCURRENT_RUN
from rembg_tuner.settings.settings import Settings
from rembg_tuner.tuning.trials import Trial, figures_of, label_of, read_trial
from rembg_tuner.web.locale.words import message_text

BUSY = (
    "the machine was busy with other work: load average 9.0 without our own workers, usable CPUs 2;"
    " times are longer than on a quiet machine"
)
COMPANY = "another slot was running at the same time, so this took longer than it would alone"
# As written by version 0.1.0, before messages had codes.
OLD = """{"number": 3, "settings": {"model": "u2netp", "engine": "onnxruntime", "provider": "cpu", "precision": "fp32",
"focus": "off", "focus_box": null, "focus_max_share": 0.2, "max_side": 0, "network_size": 128, "batch_size": 1,
"intra_op_threads": 0, "inter_op_threads": 0, "execution_mode": "sequential", "spinning": true, "cpu_mem_arena": true,
"mem_pattern": true, "arena_shrink": false, "light_mode": true, "timeout_s": 30.0, "memory_limit_bytes": null},
"effective": {"threads": 2}, "time_s": 0.1, "time_low_s": 0.09, "time_high_s": 0.12, "spread": 0.1, "n": 3, "workers_s": [],
"peak_bytes": 150000000, "load_s": 0.2, "agreement": 0.98, "boundary_f": 0.9, "mae": 0.01, "pictures": [{"input": "a.png",
"times_s": [0.1, 0.09, 0.12], "mae": 0.01, "iou": 0.98, "boundary_f": 0.9, "has_foreground": true, "thumbnail": null}],
"warnings": ["the machine was busy with other work: load average 9.0 without our own workers, usable CPUs 2; times are longer than on a quiet machine", "another slot was running at the same time, so this took longer than it would alone"],
"failure": "", "failure_kind": "", "date": "2026-10-01", "was_measured_before": false}"""


def test_a_row_of_before_is_read() -> None:
    """Its sentences become messages with the codes that other code looks for.

    An empty failure becomes None.
    """
    trial = read_trial(json.loads(OLD))
    assert trial.is_measured
    assert trial.failure is None
    assert [str(one) for one in trial.warnings] == [BUSY, COMPANY]
    assert [one.code for one in trial.warnings] == ["machine_busy", "concurrent_run"]
    older = read_trial(
        {**json.loads(OLD), "warnings": ["no clear foreground: 0.1", "something else"]}
    )
    assert [one.code for one in older.warnings] == ["no_foreground", None]
    failed = read_trial(
        {**json.loads(OLD), "failure": "the run was cancelled", "failure_kind": "cancelled"}
    )
    assert not failed.is_measured
    assert str(failed.failure) == "the run was cancelled"


def test_a_trial_is_kept_whole_and_told_by_code() -> None:
    """A stored trial is read back equal, and its public form has code and sentence."""
    warned = replace(make_trial(0, 100, 0.1, 0.99), warnings=(CONCURRENT_RUN,))
    failed = Trial(
        number=1,
        settings=Settings(),
        failure=Message("at {size:bytes}", code="memory_limit", size=2**20),
        failure_kind="out_of_memory",
    )
    for trial in (warned, failed):
        assert read_trial(json.loads(json.dumps(trial.to_kept()))) == trial
    assert warned.to_dict()["warnings"] == [{"code": "concurrent_run", "message": COMPANY}]
    assert warned.to_dict()["failure"] is None
    assert failed.to_dict()["failure"] == {"code": "memory_limit", "message": "at 1.0 MiB"}
    read = read_trial(json.loads(json.dumps(failed.to_dict())))
    assert read.failure is not None
    assert (str(read.failure), read.failure.code) == ("at 1.0 MiB", "memory_limit")


@pytest.mark.parametrize("value", [[1], "text", [["nested"]], {"code": 1}])
def test_what_is_no_message_is_refused(value: object) -> None:
    """The error names the field and its content."""
    with pytest.raises(SettingsError, match="a trial's warnings cannot be"):
        read_trial({**json.loads(OLD), "warnings": value})


def test_a_setting_is_told_in_either_language() -> None:
    """The names of knobs and values, their numbers and the figures are translated."""
    settings = Settings(
        engine="onnxruntime",
        precision="int8",
        batch_size=2,
        intra_op_threads=3,
        spinning=False,
        network_size=256,
        focus="auto",
    )
    names = (
        "engine",
        "precision",
        "batch_size",
        "intra_op_threads",
        "spinning",
        "network_size",
        "focus",
    )
    label = label_of(settings, names)
    assert (
        str(label)
        == "onnxruntime · int8 · batch size 2 pictures · 3 threads · no spinning · 256 px · focus"
        " auto"
    )
    assert (
        message_text(label, "zh-CN")
        == "onnxruntime · int8 · 批量 2 张 · 3 个线程 · 自旋等待 关 · 256 px · 聚焦自动（auto）"
    )
    figures = figures_of(make_trial(0, 100, 0.1, 0.99))
    assert str(figures) == "100 MiB, 100 ms, agreement 0.990"
    assert message_text(figures, "zh-CN") == "100 MiB，100 ms，一致程度 0.990"
