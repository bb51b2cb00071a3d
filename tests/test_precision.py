"""The resolution of `precision auto`: the fastest measured format that is available."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from made_machines import INT8_OF_U2NETP, OLD_CPU, make_machine

from rembg_tuner.models.agreement import (
    AgreementWithFp32,
    agreement_with_fp32,
    remember_agreement,
)
from rembg_tuner.settings.precision import resolve_precision
from rembg_tuner.settings.settings import KNOBS, Settings

if TYPE_CHECKING:
    from pathlib import Path

    from rembg_tuner.settings.host import Int8Kind

EVERYTHING = make_machine(
    engines=("openvino", "onnxruntime", "ncnn"),
    precisions=frozenset({"fp32", "bf16", "fp16", "int8"}),
    int8_models=frozenset({"u2netp openvino", "u2netp onnxruntime"}),
)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        pytest.param({"engine": "openvino"}, "int8", id="openvino"),
        pytest.param({"engine": "onnxruntime"}, "int8", id="onnxruntime"),
        pytest.param({"engine": "ncnn"}, "fp32", id="ncnn-whose-bf16-takes-longer"),
        pytest.param({"engine": "onnxruntime", "precision": "fp32"}, "fp32", id="not-auto"),
    ],
)
def test_auto_is_what_was_measured_to_be_faster(
    asked: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    """A format with good agreement is chosen only if it was also measured to be faster."""
    settings = Settings(**{"precision": "auto", **asked})
    chosen, told = resolve_precision(settings, EVERYTHING)
    assert (chosen, told) == (expected, ())


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_auto_is_int8_on_a_cpu_with_avx2_only(engine: str, tmp_path: Path) -> None:
    """The agreement for such CPUs is recorded separately from that with VNNI, and is sufficient."""
    plain = make_machine(precisions=OLD_CPU, int8_models=INT8_OF_U2NETP, int8_kind="avx2")
    auto = Settings(engine=engine, precision="auto")
    chosen, told = resolve_precision(auto, plain)
    assert (chosen, told) == ("int8", ())
    recorded = [
        agreement_with_fp32("u2netp", engine, "int8", tmp_path, int8_kind=kind)
        for kind in ("avx2", "vnni")
    ]
    assert None not in recorded
    assert recorded[0] != recorded[1]


def test_an_own_int8_agreement_counts_for_its_kind_of_cpu_only(tmp_path: Path) -> None:
    """An agreement is recorded per kind of CPU, because both kinds may share a home folder.

    A figure of an older version without a kind applies to both.
    """
    file = tmp_path / "agreement.yaml"

    def read(kind: Int8Kind) -> AgreementWithFp32 | None:
        return agreement_with_fp32("silueta", "openvino", "int8", tmp_path, int8_kind=kind)

    file.write_text("silueta: {openvino: {int8: {mae: 0.01, iou: 0.9, pictures: 3}}}\n")
    older = AgreementWithFp32(mae=0.01, iou=0.9, pictures=3)
    assert (read("avx2"), read("vnni")) == (older, older)
    good = AgreementWithFp32(mae=0.002, iou=0.99, pictures=30)
    remember_agreement("silueta", "openvino", "int8", good, tmp_path, int8_kind="vnni")
    assert (read("avx2"), read("vnni")) == (None, good)
    bad = AgreementWithFp32(mae=0.03, iou=0.8, pictures=30)
    remember_agreement("silueta", "openvino", "int8", bad, tmp_path, int8_kind="avx2")
    assert (read("avx2"), read("vnni")) == (bad, good)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_ncnn_stays_in_fp32_whatever_agrees(precision: str, tmp_path: Path) -> None:
    """The user's own measurement of agreement does not show that a format is faster."""
    same = AgreementWithFp32(mae=0.0, iou=1.0, pictures=3)
    remember_agreement("u2netp", "ncnn", precision, same, tmp_path, int8_kind="vnni")
    auto = Settings(engine="ncnn", precision="auto")
    machine = make_machine(precisions=EVERYTHING.precisions, cache=tmp_path)
    assert resolve_precision(auto, machine)[0] == "fp32"


@pytest.mark.parametrize("provider", ["cuda", "tensorrt", "openvino"])
def test_auto_is_fp32_with_another_provider_and_says_so(provider: str, tmp_path: Path) -> None:
    """The CPU's int8 does not apply to another provider, whatever the CPU supports."""
    auto = Settings(engine="onnxruntime", provider=provider, precision="auto")  # type: ignore[arg-type]
    chosen, told = resolve_precision(auto, EVERYTHING)
    assert chosen == "fp32"
    assert tuple(map(str, told)) == (
        (
            f"precision auto is fp32 with provider {provider}: no other number format was measured"
            " with it"
        ),
    )


def test_the_knob_promises_no_more_than_was_measured() -> None:
    """The summary does not claim that every format saves time in every engine."""
    summary = KNOBS["precision"].summary
    assert "less than half" not in summary
    assert "ncnn's bf16 saves memory, not time" in summary
