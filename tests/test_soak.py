"""The stress test and the article's table: arithmetic by examples, then real runs."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rembg_tuner.base.messages import Message
from rembg_tuner.base.units import MIB
from rembg_tuner.cli.article import describe_table
from rembg_tuner.cli.main import main
from rembg_tuner.settings.settings import Settings
from rembg_tuner.tuning.article import ArticleRow, ArticleTable, verdict_of
from rembg_tuner.tuning.stats import MIN_VERDICT_RUNS
from rembg_tuner.tuning.stress_test import (
    StressPlan,
    StressTest,
    draw_stress_test,
    fit_slope,
    run_stress_test,
)

if TYPE_CHECKING:
    from rembg_tuner.settings.results import Result

ROOT = Path(__file__).parent.parent
COFFEE = ROOT / "examples" / "coffee.png"
QUICK = Settings(engine="onnxruntime", network_size=64)


@given(st.integers(-1000, 1000), st.integers(0, 10**6), st.integers(3, 40))
def test_a_straight_line_is_found(slope: int, start: int, count: int) -> None:
    """The slope of a straight line is found with an error of 0."""
    found, error = fit_slope([(float(i), float(start + slope * i)) for i in range(count)])
    assert found == pytest.approx(slope, abs=1e-6)
    assert error == pytest.approx(0, abs=1e-3)


def test_growth_is_told_from_chance() -> None:
    """Growth in each run is growth, and variation up and down is not.

    Below the minimum number of runs there is no verdict.
    """

    def soak_of(values: list[float], runs: int = MIN_VERDICT_RUNS) -> StressTest:
        slope, error = fit_slope(list(enumerate(values)))
        return StressTest(
            times_s=(0.1,) * runs,
            rss_bytes=(1,) * runs,
            slope_bytes=slope,
            slope_error_bytes=error,
            idle_bytes=1,
            peak_bytes=1,
            pictures_per_s=2.0,
            p50_s=0.1,
            p95_s=None,
            failure=None,
        )

    assert soak_of([100.0, 110, 121, 129, 140]).verdict == "growing"
    assert soak_of([100.0, 90, 110, 95, 101]).verdict == "steady"
    few = soak_of([100.0, 110, 121, 129, 140], runs=MIN_VERDICT_RUNS - 1)
    assert few.to_dict()["verdict"] is None
    assert (
        few.to_dict()["no_verdict"]
        == "no verdict on growth from 199 runs: 200 are needed, because the first 100 fill"
        " allocators and caches"
    )
    assert soak_of([100.0, 110, 121]).to_dict()["no_verdict"] is None
    assert soak_of([1.0]).pictures_a_day == 172_800


def test_a_soak_of_real_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The result has figures of every run, a chart and the memory after an idle period."""
    words = ["soak", str(COFFEE), "--engine", "onnxruntime", "--network-size", "64", "--runs", "24"]
    assert main([*words, "--idle", "100ms", "-o", str(tmp_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["times_s"]) == len(found["rss_bytes"]) == 24
    assert found["peak_bytes"] >= max(found["rss_bytes"])
    assert found["p95_s"] >= found["p50_s"] > 0
    assert found["pictures_a_day"] == int(found["pictures_per_s"] * 86_400)
    assert found["idle_bytes"] > 10 * MIB
    assert found["verdict"] is None
    assert found["no_verdict"].startswith("no verdict on growth from 24 runs: 200 are needed")
    assert len(ET.parse(tmp_path / "soak.svg").findall(".//{*}polyline")) == 2


def test_a_soak_that_is_ended_keeps_what_was_done() -> None:
    """A cancelled test returns the finished runs."""
    told: list[int] = []

    def note(number: int, _: Result) -> None:
        told.append(number)

    found = run_stress_test(
        [COFFEE],
        QUICK,
        StressPlan(runs=50, idle_s=0),
        on_run=note,
        is_cancelled=lambda: len(told) >= 3,
    )
    assert isinstance(found, StressTest)
    assert told == [1, 2, 3]
    assert len(found.times_s) == 3
    assert found.failure is not None
    assert found.failure.code == "cancelled"
    assert draw_stress_test(found).startswith("<svg")


def table_of(*, is_real: bool, is_stand_in: bool, first: str, speed: float) -> ArticleTable:
    """Create a table with one of the article's rows, one of this program and one missing."""
    rows = (
        ArticleRow(
            name=first, time_s=1.0, low_s=0.9, high_s=1.1, n=5, peak_bytes=1000 * MIB, stars=5.0
        ),
        ArticleRow(
            name="fastest",
            time_s=1.0 / speed,
            low_s=0.1,
            high_s=0.2,
            n=5,
            peak_bytes=200 * MIB,
            stars=4.5,
        ),
        ArticleRow(name="article-onnx", why_not=Message("model u2net is not on disk; get it")),
    )
    return ArticleTable(
        rows=rows, first=first, is_real=is_real, is_stand_in=is_stand_in, verdict=Message("x")
    )


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (
            table_of(is_real=True, is_stand_in=False, first="article-default", speed=8),
            "1/4 and 6 times hold here",
        ),
        (
            table_of(is_real=True, is_stand_in=False, first="article-default", speed=5),
            "do not hold here",
        ),
        (
            table_of(is_real=False, is_stand_in=True, first="article-default", speed=8),
            "is not judged by it",
        ),
        (
            table_of(is_real=False, is_stand_in=False, first="article-light", speed=8),
            "models get u2net",
        ),
        (
            table_of(is_real=False, is_stand_in=False, first="article-default", speed=8),
            "not the released one",
        ),
    ],
)
def test_the_claim_is_judged_by_the_real_u2net_only(table: ArticleTable, said: str) -> None:
    """With a stand-in, or without u2net, only the ratio is reported."""
    verdict = str(verdict_of(table))
    assert said in verdict
    assert "20% of the memory" in verdict
    text = describe_table(table)
    assert "| model u2net is not on disk; get it |" in text


@pytest.mark.slow
@pytest.mark.alone
def test_the_articles_table_without_u2net(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table has u2netp's rows with ratios to the first, and the command that gets u2net."""
    monkeypatch.setenv("REMBG_HOME", str(tmp_path / "none"))
    monkeypatch.delenv("U2NET_HOME", raising=False)
    assert main(["article", str(COFFEE), "--rounds", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    rows = {row["name"]: row for row in found["rows"]}
    assert "models get u2net" in rows["article-default"]["why_not"]
    assert found["first"] == "article-light"
    assert rows["article-light"]["ratios"] == [1.0, 1.0]
    assert rows["article-light"]["stars"] == 5
    memory, speed = rows["fastest"]["ratios"]
    assert memory < 0.6
    assert speed > 0.5  # a quarter of the work; the benchmark measures by how much
    assert main(["article", str(COFFEE), "--stand-in"]) == 2
    assert "needs a file in u2net's place" in capsys.readouterr().err
