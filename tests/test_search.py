"""Grid, guided search and order, tested with recorded trials so that figures are exact."""

from __future__ import annotations

import json
import math
import random
import statistics
from pathlib import Path

import pytest
from hypervolume import hypervolume
from made_machines import INT8_OF_U2NETP, make_machine

from rembg_tuner.base.errors import SettingsError
from rembg_tuner.base.messages import Message
from rembg_tuner.cli.flags import list_reader_of
from rembg_tuner.runtime.diagnosis import ProviderState
from rembg_tuner.settings.building import build_settings
from rembg_tuner.settings.machine import Machine
from rembg_tuner.settings.resolve import resolve
from rembg_tuner.settings.settings import Settings, Value
from rembg_tuner.tuning.grid import default_axes, make_grid, shuffled
from rembg_tuner.tuning.plan import Plan
from rembg_tuner.tuning.search import GuidedSearch, WholeGrid
from rembg_tuner.tuning.trials import Trial

RECORDED = json.loads((Path(__file__).parent / "data" / "recorded-trials.json").read_text())
ABLE = make_machine(
    engines=("openvino", "onnxruntime"),
    precisions=frozenset({"bf16", "int8"}),
    int8_models=frozenset({"u2netp openvino", "u2netp onnxruntime"}),
)
CORNER = (1.05, 1.05, 1.05)  # just beyond the worst point of the grid; coordinates are 0 to 1


def recorded() -> dict[Settings, Trial]:
    """Read the recorded trials."""
    found = {}
    for i, row in enumerate(RECORDED["trials"]):
        settings = build_settings(row["settings"])
        found[settings] = Trial(
            number=i,
            settings=settings,
            time_s=row["time_s"],
            peak_bytes=row["peak_bytes"],
            agreement=row["agreement"],
            n=3,
        )
    return found


TRIALS = recorded()


def points() -> dict[Settings, tuple[float, ...]]:
    """Scale each trial's costs to 0 to 1, memory and time by their logarithms."""
    raw = {}
    for settings, trial in TRIALS.items():
        peak, time_s, disagreement = trial.costs()
        raw[settings] = (math.log(peak), math.log(time_s), disagreement)
    low = [min(point[i] for point in raw.values()) for i in range(3)]
    high = [max(point[i] for point in raw.values()) for i in range(3)]
    return {
        settings: tuple((point[i] - low[i]) / (high[i] - low[i]) for i in range(3))
        for settings, point in raw.items()
    }


POINTS = points()


def guided(seed: int, count: int) -> list[Settings]:
    """Run a search that gets the recorded trials as results."""
    search, asked = GuidedSearch(list(TRIALS), default_axes(), trials=count, seed=seed), []
    for _ in range(count):
        settings = search.next()
        assert settings is not None
        asked.append(settings)
        search.add(TRIALS[settings])
    return asked


def share(settings: list[Settings]) -> float:
    """Return the share of the grid's hypervolume that some of its settings have."""
    whole = hypervolume(list(POINTS.values()), CORNER)
    return hypervolume([POINTS[one] for one in settings], CORNER) / whole


@pytest.mark.slow
def test_a_quarter_of_the_grid_guided_finds_the_front() -> None:
    """It finds at least 97 % of the hypervolume, more than a random choice (15 seeds, median)."""
    count = len(TRIALS) // 4
    ours = [share(guided(seed, count)) for seed in range(15)]
    chance = [share(random.Random(seed).sample(list(TRIALS), count)) for seed in range(15)]
    print(  # noqa: T201  # the figures, shown with pytest -s
        f"{count} of {len(TRIALS)}: guided {statistics.median(ours):.3f}, by chance"
        f" {statistics.median(chance):.3f}"
    )
    assert statistics.median(ours) >= 0.97
    assert statistics.median(ours) > statistics.median(chance)


@pytest.mark.slow
def test_a_guided_search_never_repeats_itself_and_ends_with_the_grid() -> None:
    """Each setting is proposed once, until the whole grid was proposed."""
    asked = guided(3, len(TRIALS))
    assert len(set(asked)) == len(TRIALS)


def test_the_same_seed_asks_the_same() -> None:
    """The sequence depends on the seed only, so an interrupted sweep can be resumed."""
    assert guided(5, 12) == guided(5, 12)
    assert guided(5, 12) != guided(6, 12)


def test_a_failed_trial_is_not_asked_again() -> None:
    """A failed setting is not proposed again, and has no other effect on the search."""
    search = GuidedSearch(list(TRIALS)[:6], default_axes(), trials=6, seed=0)
    asked = []
    while (settings := search.next()) is not None:
        asked.append(settings)
        search.add(Trial(number=0, settings=settings, failure=Message("no"), failure_kind="crash"))
    assert len(asked) == len(set(asked)) == 6


def test_the_whole_grid_comes_in_an_order_by_chance() -> None:
    """Every setting is proposed once, in a random order that depends only on the seed."""
    grid = list(TRIALS)
    search, asked = WholeGrid(grid, 1), []
    while (settings := search.next()) is not None:
        asked.append(settings)
        search.add(TRIALS[settings])
    assert sorted(map(repr, asked)) == sorted(map(repr, grid))
    assert asked != grid
    assert shuffled(grid, 1) == asked


def test_a_grid_holds_what_can_run_and_nothing_twice() -> None:
    """Unsupported combinations are left out; settings that differ in unused knobs count once."""
    axes: dict[str, tuple[Value, ...]] = {
        "engine": ("onnxruntime", "openvino"),
        "precision": ("fp32", "bf16"),
        "cpu_mem_arena": (True, False),
    }
    found = make_grid(axes, Settings(), ABLE)
    assert found.left_out == ()  # bf16 is OpenVINO's
    told = [(one.engine, one.precision, one.cpu_mem_arena) for one in found.settings]
    assert told == [
        ("onnxruntime", "fp32", True),
        ("onnxruntime", "fp32", False),
        ("openvino", "fp32", True),
        ("openvino", "bf16", True),
    ]


def test_a_grid_of_nothing_says_why() -> None:
    """A missing engine, an unknown knob and too many values are rejected with the reason."""
    with pytest.raises(SettingsError, match="engine ncnn is not installed"):
        make_grid({"engine": ("ncnn",)}, Settings(), ABLE)
    with pytest.raises(SettingsError, match="'threads' is not a setting"):
        make_grid({"threads": (1,)}, Settings(), ABLE)
    many = dict.fromkeys(
        ("spinning", "cpu_mem_arena", "mem_pattern", "arena_shrink"), (True, False) * 40
    )
    assert (
        len(make_grid(many, Settings(engine="onnxruntime"), ABLE).settings) <= 16
    )  # duplicates count once
    wide = {
        "network_size": tuple(range(64, 2049, 32)),
        "intra_op_threads": tuple(range(256)),
        "inter_op_threads": (1, 2),
    }
    with pytest.raises(SettingsError, match="combine to more than 20,000; name fewer values"):
        make_grid(wide, Settings(engine="onnxruntime"), ABLE)
    with pytest.raises(SettingsError, match="more than 2,000 settings"):
        make_grid(
            {"network_size": tuple(range(64, 2049, 32)), "max_side": tuple(range(64, 164))},
            Settings(),
            ABLE,
        )


@pytest.mark.parametrize(
    ("axes", "able", "left_out"),
    [
        pytest.param(
            {"engine": ("openvino", "ncnn")},
            ABLE,
            (
                (
                    "engine ncnn is not possible here: engine ncnn is not installed; choose engine"
                    " openvino, onnxruntime"
                ),
            ),
            id="engine",
        ),
        pytest.param(
            {"engine": ("onnxruntime",), "precision": ("fp32", "bf16")},
            ABLE,
            (
                (
                    "precision bf16 is not possible here: engine onnxruntime does not support"
                    " precision bf16, only auto, fp32, fp16, int8"
                ),
            ),
            id="format-of-no-engine",
        ),
        pytest.param(
            {
                "model": ("u2net", "u2net_lite"),
                "engine": ("openvino",),
                "precision": ("fp32", "int8"),
            },
            ABLE,
            (),
            id="int8-of-one-model",
        ),
        pytest.param(
            {"model": ("u2net",), "engine": ("openvino",), "precision": ("fp32", "int8")},
            ABLE,
            (
                (
                    "precision int8 is not possible here: model u2net has no int8 form for engine"
                    " openvino; make it with `models quantize`"
                ),
            ),
            id="int8-of-no-model",
        ),
        pytest.param(
            {"engine": ("openvino",), "cpu_mem_arena": (True, False)},
            ABLE,
            (
                (
                    "cpu_mem_arena off is not possible here: engine openvino does not support"
                    " cpu_mem_arena; leave cpu_mem_arena out, or choose engine onnxruntime, rembg"
                ),
            ),
            id="knob-of-another-engine",
        ),
        pytest.param(
            {"engine": ("onnxruntime",), "inter_op_threads": (0, 2)},
            ABLE,
            (
                (
                    "inter_op_threads 2 is not possible here: inter_op_threads is used with"
                    " execution_mode parallel only, got 2 with sequential; set it to 0, or choose"
                    " parallel"
                ),
            ),
            id="knobs-that-do-not-go-together",
        ),
    ],
)
def test_a_value_that_no_setting_has_is_named(
    axes: dict[str, tuple[Value, ...]], able: Machine, left_out: tuple[str, ...]
) -> None:
    """The value is listed with the reason, unless it is possible in some combination."""
    found = make_grid(axes, Settings(), able)
    assert tuple(map(str, found.left_out)) == left_out
    assert found.settings


def test_a_provider_that_is_not_here_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider is listed with the way to get it.

    ONNX Runtime is queried only if the axis has another provider than cpu.
    """
    detail = Message("install onnxruntime-gpu")
    absent = [ProviderState(name="cuda", is_present=False, detail=detail)]
    asked: list[None] = []

    def ask() -> list[ProviderState]:
        asked.append(None)
        return absent

    monkeypatch.setattr("rembg_tuner.tuning.plan.provider_states", ask)
    base = Settings(engine="onnxruntime")
    plan = Plan(pictures=(), axes={"provider": ("cpu", "cuda")}, base=base)
    assert [one.provider for one in plan.grid()] == ["cpu"]
    assert [str(one) for one in plan.left_out()] == [
        "provider cuda is not possible here: execution provider cuda is not available; install"
        " onnxruntime-gpu"
    ]
    assert asked == [None]
    assert Plan(pictures=(), axes={"provider": ("cpu",)}, base=base).grid() == [base]
    assert asked == [None]


def test_whole_numbers_are_taken_for_seconds() -> None:
    """An integer on the axis timeout_s is converted to a float."""
    found = make_grid({"timeout_s": (10, 20)}, Settings(), ABLE)
    assert [one.timeout_s for one in found.settings] == [10.0, 20.0]


def test_focus_is_an_axis() -> None:
    """The stock pipeline does not support focus and counts once.

    Boxes contain commas, so semicolons separate them.
    """
    able = make_machine(engines=("openvino", "rembg"), precisions=frozenset({"fp32"}))
    axes: dict[str, list[Value]] = {"engine": ["openvino", "rembg"], "focus": ["off", "auto"]}
    made = make_grid(axes, Settings(engine="openvino"), able)
    assert [(one.engine, one.focus) for one in made.settings] == [
        ("openvino", "off"),
        ("openvino", "auto"),
        ("rembg", "off"),
    ]
    assert made.left_out == ()
    boxes = list_reader_of("focus_box")("0,0,50%,50%; 10,20,300,400")
    assert boxes == ["0,0,50%,50%", "10,20,300,400"]
    by_box = make_grid(
        {"focus_box": boxes},
        Settings(engine="openvino", focus="box", focus_box="1,2,30,40"),
        able,
    )
    assert [one.focus_box for one in by_box.settings] == boxes
    with pytest.raises(SettingsError, match="focus_max_share is used with focus auto only"):
        make_grid({"focus_max_share": [0.1, 0.3]}, Settings(engine="openvino"), able)
    with pytest.raises(ValueError, match="a value is missing between the semicolons"):
        list_reader_of("focus_box")("0,0,50%,50%;")


def test_what_is_the_same_here_is_measured_once() -> None:
    """Settings are compared by their resolved values: `auto` as int8, the own size, all CPUs.

    Each duplicate is listed, with its engine.
    """
    axes: dict[str, tuple[Value, ...]] = {
        "engine": ("openvino", "ncnn"),
        "precision": ("fp32", "int8", "auto"),
        "network_size": (320, 0),
        "intra_op_threads": (1, 2, 0),
    }
    machine = make_machine(int8_models=INT8_OF_U2NETP, cpus=2)
    found = make_grid(axes, Settings(), machine)
    assert (
        len(found.settings) == 3 * 2
    )  # two formats in one engine, one in the other, with 1 and 2 threads
    assert len({resolve(one, machine).worker_key for one in found.settings}) == 6
    assert tuple(map(str, found.left_out)) == (
        (
            "intra_op_threads 0 is left out with engine openvino, ncnn: it is the same as"
            " intra_op_threads 2 here"
        ),
        (
            "network_size 0 is left out with engine openvino, ncnn: it is the same as network_size"
            " 320 here"
        ),
        "precision auto is left out with engine openvino: it is the same as precision int8 here",
        "precision auto is left out with engine ncnn: it is the same as precision fp32 here",
    )
    only = make_grid({"max_side": (0, 512), "precision": ("fp32",)}, Settings(), machine)
    assert len(only.settings) == 2  # max_side makes another trial, not another worker
