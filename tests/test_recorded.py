"""Requirements on the recorded measurements.

A new record that falls short of a requirement fails a test.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rembg_tuner.models.agreement import agreement_with_fp32

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results"


def newest(name: str) -> dict[str, Any]:
    """Read the newest record of a benchmark."""
    found: dict[str, Any] = json.loads(sorted(RESULTS.glob(f"{name}-*.json"))[-1].read_text())
    return found


ENGINES = newest("engines")


@pytest.mark.parametrize("form", ["onnxruntime int8", "openvino int8"])
def test_int8_keeps_the_picture(form: str) -> None:
    """int8 mattes agree with fp32's, and with u2net's as well as fp32's do.

    The nine pictures were not used for the calibration.
    """
    agreement = ENGINES["agreement"][form]
    assert agreement["with_own_fp32"]["iou"] >= 0.97
    assert agreement["with_own_fp32"]["mae"] <= 0.012
    fp32 = ENGINES["agreement"][f"{form.split()[0]} fp32"]
    assert agreement["with_u2net"]["iou"] >= fp32["with_u2net"]["iou"] - 0.005


def test_int8_halves_the_time_in_openvino() -> None:
    """int8 takes at most half of fp32's time, in a worker of at most 240 MiB."""
    int8, fp32 = (ENGINES["u2netp"][f"openvino {form}"] for form in ("int8", "fp32"))
    assert int8["predict_p50_s"] <= 0.5 * fp32["predict_p50_s"]
    assert int8["peak_mib"] <= 240


@pytest.mark.parametrize(
    ("form", "most"),
    [("openvino fp32", 0.005), ("ncnn fp32", 0.005), ("openvino bf16", 0.02), ("ncnn bf16", 0.02)],
)
def test_engines_agree_with_onnx_runtime(form: str, most: float) -> None:
    """The mean difference over the nine pictures is at most the limit."""
    assert ENGINES["agreement"][form]["with_onnxruntime_fp32"]["mae"] <= most


def test_ours_agrees_with_rembgs_sessions() -> None:
    """The difference is at most 2 of 255, for every model and engine that was run."""
    assert ENGINES["stock"]
    assert max(row["mae"] for row in ENGINES["stock"].values()) <= 2 / 255


def test_memory_grows_with_the_square_of_the_networks_side() -> None:
    """The fitted exponent is about two in every engine, as in the article's "16 times"."""
    exponents = {name: way["exponent"] for name, way in ENGINES["sizes"].items()}
    assert all(1.8 <= exponent <= 2.2 for exponent in exponents.values()), exponents


def test_isnet_in_bf16() -> None:
    """It is at least 1.8 times as fast as ONNX Runtime's defaults, at 0.55 of the peak or less."""
    bf16, stock = ENGINES["isnet"]["openvino bf16"], ENGINES["isnet"]["onnxruntime"]
    assert stock["predict_p50_s"] >= 1.8 * bf16["predict_p50_s"]
    assert bf16["peak_mib"] <= 0.55 * stock["peak_mib"]


def test_u2nets_size_in_bf16() -> None:
    """It takes at most 0.6 of the time and of the peak of ONNX Runtime's defaults."""
    bf16, stock = ENGINES["u2net_like"]["openvino bf16"], ENGINES["u2net_like"]["onnxruntime"]
    assert bf16["predict_p50_s"] <= 0.6 * stock["predict_p50_s"]
    assert bf16["peak_mib"] <= 0.6 * stock["peak_mib"]


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_int8_keeps_the_picture_with_avx2_only(engine: str, tmp_path: Path) -> None:
    """The record meets the limits and equals agreement.yaml, which `precision auto` uses."""
    found = newest("avx2-agreement")[engine]
    assert found["iou"] >= 0.97
    assert found["mae"] <= 0.012
    shipped = agreement_with_fp32("u2netp", engine, "int8", tmp_path, int8_kind="avx2")
    assert shipped is not None
    assert (shipped.mae, shipped.iou) == (found["mae"], found["iou"])


def test_int8_is_faster_and_smaller_with_avx2_only() -> None:
    """int8 takes less time and memory in OpenVINO, the engine that was timed."""
    network = newest("avx2-agreement")["openvino_network"]
    assert network["int8"]["p50_s"] <= 0.7 * network["fp32"]["p50_s"]
    assert network["int8"]["process_peak_mib"] <= 0.8 * network["fp32"]["process_peak_mib"]
