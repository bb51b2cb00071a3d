"""Results and failures: the names in their JSON, and the peak of a setting."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, replace

import pytest

from rembg_tuner.base.messages import Message
from rembg_tuner.settings.building import build_settings
from rembg_tuner.settings.results import (
    Environment,
    Failure,
    MatteAgreement,
    Result,
    message_to_dict,
    read_message,
    setting_peak_bytes,
)
from rembg_tuner.settings.settings import Settings

SETTINGS = Settings(engine="onnxruntime", max_side=512)
RESULT = Result(
    input="coffee.jpg",
    output="coffee.png",
    preview=None,
    before_preview=None,
    run_index=0,
    settings=SETTINGS,
    effective={"engine": "onnxruntime", "intra_op_threads": 2, "precision": None},
    stages_s={"read_small": 0.01, "predict": 0.2, "write": 0.1},
    total_s=0.31,
    load_s=0.2,
    start_s=0.3,
    cpu_s=0.5,
    baseline_rss_bytes=50_000_000,
    load_peak_rss_bytes=90_000_000,
    peak_rss_bytes=200_000_000,
    retained_rss_bytes=None,
    rss_file_bytes=None,
    peak_source="vmhwm",
    output_bytes=1000,
    agreement=MatteAgreement(reference="u2net", mae=0.01, iou=0.98, boundary_f=None),
    warnings=(Message("no clear foreground: {high}", code="no_foreground", high=0.2),),
    environment=Environment(
        cpu="a CPU",
        cores=2,
        quota=1.5,
        memory_limit=None,
        versions={"python": "3.11"},
        load_average=0.1,
    ),
    curve=((0.0, 50_000_000), (0.02, 60_000_000)),
)


def test_a_result_has_the_names_that_others_rely_on() -> None:
    """The JSON has the names of the design, in its order, and the curve."""
    assert list(RESULT.to_dict()) == [
        "input",
        "output",
        "preview",
        "before_preview",
        "run_index",
        "settings",
        "effective",
        "stages_s",
        "total_s",
        "load_s",
        "start_s",
        "cpu_s",
        "baseline_rss_bytes",
        "load_peak_rss_bytes",
        "peak_rss_bytes",
        "retained_rss_bytes",
        "rss_file_bytes",
        "peak_source",
        "output_bytes",
        "agreement",
        "warnings",
        "environment",
        "curve",
    ]


def test_a_failure_has_the_names_that_others_rely_on() -> None:
    """The JSON has the names of the design, in its order."""
    failure = Failure(
        kind="timeout",
        message=Message("too slow"),
        stage="predict",
        input="coffee.jpg",
        settings=SETTINGS,
        run_index=3,
    )
    told = failure.to_dict()
    assert list(told) == ["kind", "code", "message", "stage", "input", "settings", "run_index"]
    assert told["settings"] == SETTINGS.to_dict()
    assert (told["code"], told["message"]) == ("timeout", "too slow")
    coded = replace(failure, message=failure.message.with_code("run_deadline"))
    assert (coded.code, coded.to_dict()["code"]) == ("run_deadline", "run_deadline")


def test_a_message_is_read_as_every_version_kept_it() -> None:
    """Messages are read as public JSON, as data, and as the plain sentence of older versions."""
    one = Message("{n} of {name}", code="a_code", n=1, name="x")
    public = read_message(message_to_dict(one))
    assert (str(public), public.code) == ("1 of x", "a_code")
    assert read_message(one.to_json()) == one
    assert (str(read_message("a: {b}")), read_message("a: {b}").code) == ("a: {b}", None)
    with pytest.raises(ValueError, match="a message cannot be"):
        read_message([1])


def test_a_result_is_json_and_unknown_is_null() -> None:
    """A result converts to JSON, where an unknown value is null, never 0."""
    told = json.loads(json.dumps(RESULT.to_dict(), allow_nan=False))
    assert told["retained_rss_bytes"] is None
    assert told["environment"]["memory_limit"] is None
    assert told["agreement"] == {"reference": "u2net", "mae": 0.01, "iou": 0.98, "boundary_f": None}
    assert told["warnings"] == [{"code": "no_foreground", "message": "no clear foreground: 0.2"}]
    assert build_settings(told["settings"]) == SETTINGS


def test_a_result_does_not_change() -> None:
    """A measured number cannot be changed."""
    with pytest.raises(FrozenInstanceError):
        RESULT.total_s = 0.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("load_peaks", "run_peaks", "peak"),
    [
        pytest.param([90, 90, 90], [369, 578, 577], 578, id="second-run-is-highest"),
        pytest.param([600, 600], [369, 578], 600, id="load-is-highest"),
        pytest.param([None, None], [369, None], 369, id="what-is-known-counts"),
        pytest.param([90, None], [None, None], 90, id="load-alone-is-known"),
        pytest.param([None], [None], None, id="nothing-is-known"),
        pytest.param([], [], None, id="no-runs"),
    ],
)
def test_a_settings_peak_is_the_highest_of_load_and_runs(
    load_peaks: list[int | None], run_peaks: list[int | None], peak: int | None
) -> None:
    """The peak is the highest of the load's and all runs' peaks; unknown ones are ignored."""
    results = [
        replace(RESULT, load_peak_rss_bytes=load, peak_rss_bytes=run, run_index=i)
        for i, (load, run) in enumerate(zip(load_peaks, run_peaks, strict=True))
    ]
    assert setting_peak_bytes(results) == peak
