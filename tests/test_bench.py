"""The bench measures what this CPU has, and names what it left out."""

from __future__ import annotations

from rembg_tuner.bench.contest import entrants_here
from rembg_tuner.bench.report import BenchReport, format_report
from rembg_tuner.presets import Capabilities

PLAIN = Capabilities(
    engines=("openvino", "onnxruntime", "rembg"), precisions=frozenset({"fp32", "int8"})
)


def test_a_cpu_without_bf16_leaves_bf16_out() -> None:
    """With the reason; everything else takes part, int8 too."""
    entrants = entrants_here(PLAIN)
    assert [one.name for one in entrants.present] == [
        "stock rembg",
        "onnxruntime",
        "onnxruntime, no arena",
        "openvino fp32",
        "openvino int8",
    ]
    assert entrants.left_out == {
        "openvino bf16": "this CPU has no native bf16, and it is offered only on CPUs that have it"
    }


def test_a_cpu_with_bf16_leaves_nothing_out() -> None:
    """Both number formats are measured."""
    able = Capabilities(engines=PLAIN.engines, precisions=PLAIN.precisions | {"bf16"})
    entrants = entrants_here(able)
    assert entrants.left_out == {}
    assert [one.settings.precision for one in entrants.present][-2:] == ["bf16", "int8"]


def test_the_report_says_what_was_left_out_and_on_which_cpu() -> None:
    """Under the table, where a reader of the figures looks."""
    report = BenchReport(
        date="2026-11-25",
        commit=None,
        environment={"cpu": "a CPU", "cores": 2, "features": ["avx2"]},
        rows=[],
        cold_starts=None,
        left_out={"openvino bf16": "this CPU has no native bf16"},
    )
    text = format_report(report)
    assert text.startswith("a CPU, 2 cores without bf16 and VNNI, 2026-11-25;")
    assert text.endswith("Left out: openvino bf16 (this CPU has no native bf16).")
