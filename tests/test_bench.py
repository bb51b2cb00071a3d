"""The bench measures what this CPU supports, beside stock rembg and the previous release."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from made_machines import make_machine

from rembg_tuner.base.errors import SettingsError
from rembg_tuner.settings.settings import Settings
from rembg_tuner.tuning.bench.contest import Bout, Run, _bouts
from rembg_tuner.tuning.bench.contestants import Contestant, entrants_here, with_the_release_before
from rembg_tuner.tuning.bench.pictures import BenchPicture
from rembg_tuner.tuning.bench.release_before import Release, ReleaseBefore
from rembg_tuner.tuning.bench.report import BenchReport, format_report, make_report
from tools.bench_tables import stage_table, summary_table
from tools.record_tables import (
    PAGE_START,
    limits_table,
    page_start_table,
    start_table,
    write_stage_table,
)

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parent.parent
PLAIN = make_machine(
    engines=("openvino", "onnxruntime", "rembg"),
    precisions=frozenset({"fp32", "int8"}),
    int8_models=frozenset({"u2netp openvino"}),
)


def test_a_cpu_without_bf16_leaves_bf16_out() -> None:
    """A CPU without bf16 leaves bf16 out, with the reason; everything else runs, int8 too."""
    entrants = entrants_here(PLAIN)
    assert [one.name for one in entrants.present] == [
        "stock rembg",
        "onnxruntime",
        "onnxruntime, no arena",
        "openvino fp32",
        "openvino int8",
        "fastest",
    ]
    assert entrants.left_out == {
        "openvino bf16": "this precision needs a CPU with native bf16, and this CPU does not have it"
    }


def test_a_cpu_with_bf16_leaves_nothing_out() -> None:
    """A CPU with bf16 measures both bf16 and int8."""
    entrants = entrants_here(replace(PLAIN, precisions=PLAIN.precisions | {"bf16"}))
    assert entrants.left_out == {}
    assert [one.settings.precision for one in entrants.present][-3:] == ["bf16", "int8", "int8"]


def test_avx2_has_no_bf16() -> None:
    """With OpenVINO limited to AVX2, bf16 is left out although the CPU supports it."""
    able = replace(PLAIN, precisions=PLAIN.precisions | {"bf16"})
    entrants = entrants_here(able, held_to="AVX2")
    assert entrants.left_out == {
        "openvino bf16": "OpenVINO is held to AVX2, which does not have it"
    }


def test_the_release_before_takes_its_turn_next_to_ours() -> None:
    """The previous release runs the same settings, and only those of OpenVINO."""
    everyone = with_the_release_before(entrants_here(PLAIN).present)
    assert [one.name for one in everyone][3:] == [
        "openvino fp32",
        "before, openvino fp32",
        "openvino int8",
        "before, openvino int8",
        "fastest",
        "before, fastest",
    ]
    assert everyone[-1].settings == everyone[-2].settings
    assert everyone[-1].is_before


class _Worker:
    """A worker that records its name at each run."""

    def __init__(self, name: str, ran: list[str]) -> None:
        self._name, self._ran = name, ran

    def run(self, *_: Path) -> Run:
        """Record the run and return invented figures."""
        self._ran.append(self._name)
        return made_run()

    def restart(self) -> None:
        """Do nothing."""


def made_run(total_s: float = 1.0, write_s: float = 0.5, peak: int = 100, size: int = 10) -> Run:
    """Create a run with these figures."""
    return Run(
        total_s=total_s,
        stages_s={
            "read_small": 0.1,
            "normalise": 0.0,
            "predict": 0.4,
            "matte": 0.0,
            "write": write_s,
        },
        cpu_s=1.0,
        start_s=0.1,
        load_s=0.1,
        peak_rss_bytes=peak,
        load_peak_rss_bytes=50,
        peak_source="vmhwm",
        output_bytes=size,
        warnings=(),
        environment={"cpu": "a CPU", "cores": 2, "versions": {}},
    )


def test_rounds_go_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Contestants run in the order A B A B; warm-ups follow it too, and do not count."""
    ran: list[str] = []
    monkeypatch.setattr(BenchPicture, "make", lambda _: tmp_path / "picture.jpg")
    workers = {name: _Worker(name, ran) for name in "AB"}
    picture = BenchPicture(name="tiny", width=8, height=8)
    bouts = _bouts(workers, picture, 1, 2, tmp_path / "out.png", print)  # type: ignore[arg-type]
    assert ran == ["A", "B"] * 3
    assert [(bout.contestant, len(bout.warm_ups), len(bout.rounds)) for bout in bouts] == [
        ("A", 1, 2),
        ("B", 1, 2),
    ]


def bout(name: str, **figures: float) -> Bout:
    """Create the bout of one contestant: three equal runs."""
    runs = [made_run(**figures) for _ in range(3)]  # type: ignore[arg-type]  # some are int
    return Bout(contestant=name, picture="1080p", warm_ups=[], rounds=runs, parent_cpu_s=[])


def made_report() -> BenchReport:
    """Create a report of stock rembg, one setting, and the same setting in the previous release."""
    bouts = [
        bout("stock rembg", total_s=4.0, peak=400, size=20),
        bout("openvino int8", total_s=1.0, write_s=0.2, peak=100, size=10),
        bout("before, openvino int8", total_s=2.0, write_s=0.5, peak=200, size=8),
    ]
    return make_report(bouts, None, {}, before=Release(version="0.1.0", commit="abc1234"))


def test_ratios_are_to_stock_and_to_the_same_setting_before() -> None:
    """Some figures are relative to stock, others to the same setting in the previous release."""
    row = made_report().rows[1]
    assert (row.times_as_fast, row.peak_share, row.size_ratio) == (4.0, 0.25, 0.5)
    assert row.of_before is not None
    assert asdict(row.of_before) == {"total": 0.5, "write": 0.4, "peak": 0.5, "output": 1.25}
    assert made_report().rows[0].of_before is None


def test_a_report_is_written_from_its_json() -> None:
    """The JSON of a report contains all that its tables need."""
    document = json.loads(json.dumps(made_report().to_dict()))
    text = format_report(document)
    assert "before: release 0.1.0, commit abc1234" in text
    assert "| 0.50, 0.40, 0.50, 1.25 |" in text
    assert "| openvino int8 | 1.00 s (4.0 x) |" in summary_table(document)
    assert "| 500 ms | 0.40 |" in stage_table(document)


def test_the_networks_rate_stands_beside_the_matrix_products() -> None:
    """GFLOP/s of network and sgemm are listed by thread count, with the CPU and the ISA limit."""
    fp32 = {"p50_s": 0.5, "low_s": 0.4, "high_s": 0.6, "gflops": 79.0, "of_sgemm": 0.93}
    sgemm = {"p50": 85.0, "low": 80.0, "high": 90.0}
    measured = {"n": 7, "sgemm_gflops": sgemm, "networks": {"openvino fp32": fp32}, "busy": []}
    found = {
        "cpu": "a CPU",
        "cores": 1,
        "features": ["avx2"],
        "date": "2026-11-26",
        "held_to": "AVX2",
        "side": 320,
        "gflop": 39.5,
        "threads": {"1": measured},
    }
    text = limits_table(found)
    assert "| 1 | numpy's sgemm, 2048 x 2048 | | 85 (80 to 90) | 100% |" in text
    assert "| 1 | u2netp, openvino fp32 | 500 ms | 79 | 93% |" in text
    assert "OpenVINO and OpenBLAS held to AVX2, ONNX Runtime not" in text


def test_the_parts_of_the_write_stage_stand_by_picture() -> None:
    """The table has the CPU time of each part, and the wall time of the whole."""
    parts = {"whole": {"cpu_s": 0.2, "wall_s": 0.1}, "decode": {"cpu_s": 0.05, "wall_s": 0.06}}
    found = {
        "cpu": "a CPU",
        "cores": 2,
        "features": [],
        "date": "2026-11-26",
        "n": 7,
        "sizes": {"12 MP": parts},
    }
    text = write_stage_table(found)
    assert "| picture | whole | decode | whole, wall |" in text
    assert "| 12 MP | 200 ms | 50 ms | 100 ms |" in text


def test_a_start_stands_beside_stocks_with_its_steps() -> None:
    """The time until the file is also a share of stock's; the steps and the ISA limit are named."""
    stock = {"file_s": 2.0, "exit_s": 2.1, "cpu_s": 2.5}
    found = {
        "cpu": "a CPU",
        "cores": 2,
        "features": [],
        "date": "2026-11-26",
        "n": 7,
        "onednn_max_cpu_isa": "AVX2",
        "medians": {"stock": stock, "now": {"file_s": 0.5, "exit_s": 0.6, "cpu_s": 0.7}},
        "steps": {"worker launched": 0.05},
    }
    text = start_table(found)
    assert "| `cut` | 500 ms | 25% | 600 ms | 700 ms |" in text
    assert "| worker launched | 50 ms |" in text
    assert "OpenVINO held to AVX2" in text


def test_the_report_says_what_was_left_out_and_on_which_cpu() -> None:
    """The CPU and the ISA limit are above the table, and what was left out is below it."""
    report = BenchReport(
        date="2026-11-25",
        commit=None,
        environment={"cpu": "a CPU", "cores": 2, "features": ["avx2"]},
        rows=[],
        cold_starts=None,
        left_out={"openvino bf16": "this CPU has no native bf16"},
        held_to="AVX2",
    )
    text = format_report(report.to_dict())
    assert text.startswith(
        "a CPU, 2 cores without bf16 and VNNI, 2026-11-25; OpenVINO held to AVX2"
    )
    assert text.endswith("Left out: openvino bf16 (this CPU has no native bf16).")


def make_checkout(folder: Path, python: str) -> Path:
    """Create a folder that looks like a checkout of this release, with a script as its Python."""
    (folder / "rembg_tuner").symlink_to(ROOT / "rembg_tuner")
    program = folder / ".venv" / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\n{python}\n", encoding="utf-8")
    program.chmod(0o755)
    return folder


def test_the_release_before_runs_in_its_own_interpreter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker runs and restarts, and no path of the checkout is in its record."""
    monkeypatch.setenv("PYTHONPATH", "/nonexistent")
    checkout = make_checkout(tmp_path, f'exec {shlex.quote(sys.executable)} "$@"')
    one = Contestant(name="ours", settings=Settings(engine="onnxruntime"), is_before=True)
    output = tmp_path / "out.png"
    with ReleaseBefore(checkout, tmp_path / "cache") as before:
        first = Run.of(before.run(one, ROOT / "examples" / "coffee.png", output))
        before.restart(one)
        again = before.run(one, ROOT / "examples" / "coffee.png", output)
        assert str(tmp_path) not in json.dumps(asdict(before.release))
    assert output.is_file()
    assert first.stages_s["predict"] > 0
    assert again["run_index"] == 0
    assert str(tmp_path) not in json.dumps(asdict(first), default=str)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        pytest.param(
            lambda folder: folder, "has no .venv/bin/python or no rembg_tuner/", id="no-checkout"
        ),
        pytest.param(
            lambda folder: make_checkout(
                folder, f'unset PYTHONPATH; exec {shlex.quote(sys.executable)} "$@"'
            ),
            "imports rembg_tuner from",
            id="another-release",
        ),
    ],
)
def test_what_is_no_earlier_release_is_refused(
    make: Callable[[Path], Path], said: str, tmp_path: Path
) -> None:
    """The error says what the folder must contain."""
    with pytest.raises(SettingsError, match=said):
        ReleaseBefore(make(tmp_path), tmp_path / "cache")


def test_the_page_start_table_stands_beside_the_release_before() -> None:
    """Each figure has its unit and its ratio to before; requests are grouped by kind."""
    kinds = {
        "Gradio's scripts": {"requests": 44, "bytes": 250_400},
        "the page": {"requests": 1, "bytes": 44_000},
    }
    figures = dict.fromkeys([name for name, _, _ in PAGE_START], 2.0)
    loads = {
        "first": {"kinds": kinds},
        "second": {"kinds": {"the page": {"requests": 1, "bytes": 300}}},
    }
    record = {
        "medians": {
            "before": figures,
            "now": {**figures, "served_s": 1.0, "first_load_bytes": 1000},
        },
        "loads": {"now": loads},
        **{"n": 7, "cpu": "A CPU", "cores": 2, "features": ["sse2", "avx2"], "date": "2026-11-26"},
    }
    table = page_start_table(record)
    assert "| from the start to the page's HTML | 2.00 s | 1.00 s | 0.50 |" in table
    assert "| sent for it | 0 kB | 1 kB | 500.00 |" in table
    assert "| Gradio's scripts | 44 | 250 | 0 | 0 |" in table
    assert "| the page | 1 | 44 | 1 | 0 |" in table
    del record["medians"]["before"]  # type: ignore[attr-defined]
    assert "| from the start to the page's HTML | | 1.00 s | |" in page_start_table(record)
