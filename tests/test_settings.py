"""The laws of Settings: accepted values come back equal, and rejected ones are named."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, replace
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as given_with
from hypothesis import strategies as st
from made_machines import make_machine

from rembg_tuner.base.errors import SettingsError
from rembg_tuner.engines import table
from rembg_tuner.settings.building import build_settings
from rembg_tuner.settings.check import checked_settings
from rembg_tuner.settings.resolve import resolve
from rembg_tuner.settings.settings import (
    ENGINE_NAMES,
    KNOBS,
    Settings,
    best_installed_engine,
    default_of,
    default_text,
    flag_of,
    installed_engines,
    is_honoured,
    is_optional,
    type_of,
)

if TYPE_CHECKING:
    from rembg_tuner.settings.settings import Value

# On a busy machine, drawing alone can take long.
UNHURRIED = given_with(deadline=None, suppress_health_check=[HealthCheck.too_slow])

RANGES = {
    name: (knob.low, knob.high)
    for name, knob in KNOBS.items()
    if knob.low is not None and knob.high is not None
}
WORDS = {name: knob.choices for name, knob in KNOBS.items() if knob.choices}
SWITCHES = [name for name in KNOBS if type_of(name) is bool]
FRACTIONS = [name for name in KNOBS if type_of(name) is float]
WHOLE = [name for name in KNOBS if type_of(name) is int]
ABLE = {
    name: [engine for engine in ENGINE_NAMES if is_honoured(name, engine)]
    for name, knob in KNOBS.items()
    if knob.engines
}
PRECISIONS_OF = {spec.name: spec.precision_choices for spec in table.ENGINES.values()}
OTHER_VALUE: dict[str, Value] = {
    "provider": "cuda",
    "precision": "bf16",
    "network_size": 256,
    "batch_size": 4,
    "light_mode": False,
    "inter_op_threads": 2,
    "execution_mode": "parallel",
    "spinning": False,
    "cpu_mem_arena": False,
    "mem_pattern": False,
    "arena_shrink": True,
    "focus": "auto",
    "focus_box": "1,2,300,40",
    "focus_max_share": 0.3,
}


OTHER_VALUES: dict[str, st.SearchStrategy[Any]] = {
    "model": st.text(min_size=1, max_size=20).filter(lambda text: text.strip() != ""),
    "timeout_s": st.floats(*RANGES["timeout_s"]),
    "focus_max_share": st.floats(*RANGES["focus_max_share"]),
    "focus_box": st.sampled_from(["1,2,300,40", "10%,5%,50%,80%", "0,7.5%,16,1%"]),
    "network_size": st.just(0) | st.integers(2, 64).map(lambda count: 32 * count),
}


def values_of(name: str) -> st.SearchStrategy[Any]:
    """Draw a value that a knob allows."""
    if name in WORDS:
        return st.sampled_from(WORDS[name])
    if name in WHOLE and name not in OTHER_VALUES:
        numbers = st.integers(*(int(end) for end in RANGES[name]))
        also = ([0] if KNOBS[name].or_zero else []) + ([None] if is_optional(name) else [])
        return st.sampled_from(also) | numbers if also else numbers
    return OTHER_VALUES.get(name, st.booleans())


@st.composite
def accepted_values(draw: st.DrawFn) -> dict[str, Value]:
    """Draw a set of values that are valid together; some knobs are left out."""
    engine = draw(st.sampled_from(ENGINE_NAMES))
    values: dict[str, Value] = {"engine": engine}
    for name in KNOBS:
        if name != "engine" and is_honoured(name, engine) and draw(st.booleans()):
            values[name] = draw(values_of(name))
    if values.get("cpu_mem_arena") is False:
        values.pop("arena_shrink", None)
    if values.get("focus", "off") == "box":
        values["focus_box"] = values.get("focus_box", "1,2,300,40")
    else:
        values.pop("focus_box", None)
    if values.get("focus", "off") != "auto":
        values.pop("focus_max_share", None)
    if values.get("execution_mode") != "parallel":
        values.pop("inter_op_threads", None)
    if values.get("precision", "fp32") not in PRECISIONS_OF[engine]:
        del values["precision"]
    if engine == "onnxruntime" and values.get("precision") in ("fp16", "int8"):
        values["provider"] = {"fp16": "tensorrt", "int8": "cpu"}[str(values["precision"])]
    return values


def problem_of(**values: object) -> str:
    """Return the single problem for which values are refused."""
    with pytest.raises(SettingsError) as caught:
        checked_settings(values)
    assert len(caught.value.problems) == 1
    return str(caught.value)


@UNHURRIED
@given(accepted_values())
def test_accepted_values_come_back_equal_and_hash_alike(values: dict[str, Value]) -> None:
    """Accepted settings survive to_dict and JSON, and are the same dictionary key."""
    settings = build_settings(dict(values))
    again = build_settings(json.loads(json.dumps(settings.to_dict())))
    assert again == settings
    assert hash(again) == hash(settings)
    assert {settings: "trial"}[again] == "trial"


@UNHURRIED
@given(accepted_values())
def test_what_was_given_is_kept(values: dict[str, Value]) -> None:
    """Every given value is kept, and every knob left out has its default."""
    kept = build_settings(dict(values)).to_dict()
    expected = {name: default_of(name) for name in KNOBS} | values
    if expected["model"] == "u2net_lite":
        expected["model"] = "u2netp"
    assert kept == expected
    assert list(kept) == list(KNOBS)


@UNHURRIED
@given(accepted_values())
def test_changed_alone_makes_the_same_settings(values: dict[str, Value]) -> None:
    """The knobs that differ from their defaults are enough to rebuild the settings."""
    settings = build_settings(dict(values))
    assert build_settings(dict(settings.changed())) == settings
    assert all(value != default_of(name) for name, value in settings.changed().items())


def worker_key(settings: Settings) -> tuple[object, ...]:
    """Return the worker key on a machine whose number of CPUs no test uses as a value."""
    return resolve(settings, make_machine(cpus=7)).worker_key


@pytest.mark.parametrize(
    ("engine", "name", "value", "reloads"),
    [
        pytest.param("onnxruntime", "model", "u2net", True, id="model"),
        pytest.param("onnxruntime", "engine", "rembg", True, id="engine"),
        pytest.param("onnxruntime", "provider", "cuda", True, id="provider"),
        pytest.param("openvino", "precision", "bf16", True, id="precision"),
        pytest.param("onnxruntime", "max_side", 512, False, id="max_side"),
        pytest.param("onnxruntime", "network_size", 256, True, id="network_size"),
        pytest.param("onnxruntime", "intra_op_threads", 2, True, id="intra_op_threads"),
        pytest.param("onnxruntime", "execution_mode", "parallel", True, id="execution_mode"),
        pytest.param("onnxruntime", "spinning", False, True, id="spinning"),
        pytest.param("onnxruntime", "cpu_mem_arena", False, True, id="cpu_mem_arena"),
        pytest.param("onnxruntime", "mem_pattern", False, True, id="mem_pattern"),
        pytest.param("onnxruntime", "arena_shrink", True, True, id="arena_shrink"),
        pytest.param("onnxruntime", "timeout_s", 5.0, False, id="timeout_s"),
        pytest.param("onnxruntime", "memory_limit_bytes", 2**30, False, id="memory_limit_bytes"),
        pytest.param("onnxruntime", "focus", "auto", False, id="focus"),
    ],
)
def test_a_worker_is_replaced_only_for_what_its_session_holds(
    engine: str, name: str, value: Value, reloads: bool
) -> None:
    """Changing one knob changes the worker key only if the session depends on the knob."""
    before = build_settings({"engine": engine})
    after = build_settings({**before.to_dict(), name: value})
    assert (worker_key(before) != worker_key(after)) is reloads


def test_inter_op_threads_need_another_worker() -> None:
    """In parallel mode, another number of inter-op threads changes the worker key."""
    one = Settings(engine="onnxruntime", execution_mode="parallel", inter_op_threads=1)
    assert worker_key(one) != worker_key(replace(one, inter_op_threads=2))


@UNHURRIED
@given(st.data())
def test_a_number_out_of_range_is_refused_by_name(data: st.DataObject) -> None:
    """The error has the name, the value and the allowed range."""
    name = data.draw(st.sampled_from(sorted(RANGES)))
    low, high = RANGES[name]
    if name in FRACTIONS:
        outside: st.SearchStrategy[Any] = st.floats(max_value=low, exclude_max=True) | st.floats(
            min_value=high, exclude_min=True
        )
    else:
        outside = st.integers(max_value=int(low) - 1) | st.integers(min_value=int(high) + 1)
    if KNOBS[name].or_zero:
        outside = outside.filter(lambda number: number != 0)
    value = data.draw(outside)
    problem = problem_of(engine="onnxruntime", **{name: value})
    assert problem == f"{name} must be {KNOBS[name].allowed_text()}, got {value}"


@UNHURRIED
@given(st.integers(64, 2048).filter(lambda size: size % 32 != 0))
def test_a_network_size_off_the_grid_is_refused(size: int) -> None:
    """A network size in range that is not a multiple of 32 is rejected with that reason."""
    problem = problem_of(engine="onnxruntime", network_size=size)
    assert problem == f"network_size must be 0 or 64 to 2048 px, a multiple of 32, got {size}"


@UNHURRIED
@given(name=st.sampled_from(sorted(WORDS)), word=st.text(max_size=12))
def test_a_word_that_is_no_choice_is_refused_with_the_choices(name: str, word: str) -> None:
    """The error has the name, the word and the choices."""
    if word in WORDS[name]:
        return
    problem = problem_of(**{name: word})
    assert problem == f"{name} must be one of {', '.join(WORDS[name])}, got {word!r}"


WRONG_TYPES: dict[str, tuple[object, ...]] = {
    **{name: (True, False, 64.0, "64", [64]) for name in WHOLE},
    **{name: (True, "30", None, [1.0]) for name in FRACTIONS},
    "focus_box": (1, True, [1, 2, 3, 4]),
    **dict.fromkeys(SWITCHES, (1, 0, "on", None)),
    **{name: (1, True, None, ["cpu"]) for name in (*WORDS, "model")},
}
TYPE_WORDS = {
    **dict.fromkeys(WHOLE, "a whole number"),
    **dict.fromkeys(FRACTIONS, "a number"),
    "focus_box": "text",
    **dict.fromkeys(SWITCHES, "on or off (true or false)"),
    **dict.fromkeys((*WORDS, "model"), "text"),
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param(name, value, id=f"{name}={value!r}")
        for name, values in WRONG_TYPES.items()
        for value in values
    ],
)
def test_a_value_of_another_type_is_refused(name: str, value: object) -> None:
    """The types bool, int and str are distinct, and the error names the expected type."""
    assert problem_of(**{name: value}) == f"{name} must be {TYPE_WORDS[name]}, got {value!r}"


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(float("nan"), id="nan"),
        pytest.param(float("inf"), id="infinite"),
        pytest.param(float("-inf"), id="minus-infinite"),
    ],
)
def test_a_deadline_that_is_no_finite_number_is_refused(value: float) -> None:
    """NaN and the infinities are out of range."""
    assert problem_of(timeout_s=value) == f"timeout_s must be 0.001 to 86400 s, got {value}"


@pytest.mark.parametrize("name", ["max_side", "timeout_s", "memory_limit_bytes"])
def test_a_number_too_great_for_a_float_is_refused_like_any_other(name: str) -> None:
    """An integer with 400 digits, which JSON allows, is out of range, not an OverflowError."""
    with pytest.raises(SettingsError, match=f"^{name} must be "):
        build_settings({"engine": "onnxruntime", name: 10**400})


@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_an_empty_model_is_refused(text: str) -> None:
    """The name of a model is not blank."""
    assert problem_of(model=text) == "model must not be empty"


def test_whole_seconds_are_a_deadline() -> None:
    """`timeout_s: 10` in YAML is ten seconds, as a float."""
    timeout_s = build_settings({"timeout_s": 10}).timeout_s
    assert timeout_s == 10.0
    assert type(timeout_s) is float


def test_all_problems_are_told_at_once() -> None:
    """Three invalid values are three problems in one message."""
    with pytest.raises(SettingsError) as caught:
        build_settings({"max_side": 63, "spinning": 1, "precision": "fp8"})
    assert tuple(map(str, caught.value.problems)) == (
        "precision must be one of auto, fp32, bf16, fp16, int8, got 'fp8'",
        "max_side must be 0 or 64 to 16384 px, got 63",
        "spinning must be on or off (true or false), got 1",
    )
    assert str(caught.value) == "; ".join(map(str, caught.value.problems))


def test_unknown_names_do_not_hide_wrong_values() -> None:
    """An unknown name and an invalid value are reported together."""
    with pytest.raises(SettingsError) as caught:
        checked_settings({"threads": 2, "max_side": 63})
    assert [str(problem).split()[0] for problem in caught.value.problems] == [
        "'threads'",
        "max_side",
    ]


def test_wrong_values_do_not_hide_knobs_out_of_place() -> None:
    """A value out of range and an unsupported knob are reported together."""
    with pytest.raises(SettingsError) as caught:
        checked_settings({"engine": "openvino", "max_side": 63, "provider": "cuda"})
    first, second = map(str, caught.value.problems)
    assert first.startswith("max_side must be ")
    assert second.startswith("engine openvino does not support provider;")


def test_a_wrong_engine_is_the_only_thing_told_of_it() -> None:
    """The knobs of an unknown engine are unknown, so only the engine is reported."""
    with pytest.raises(SettingsError) as caught:
        checked_settings({"engine": "tflite", "provider": "cuda", "precision": "bf16"})
    assert tuple(map(str, caught.value.problems)) == (
        f"engine must be one of {', '.join(ENGINE_NAMES)}, got 'tflite'",
    )


def test_unknown_names_are_told_with_the_known_ones() -> None:
    """Each unknown name is a problem that lists the settings."""
    with pytest.raises(SettingsError) as caught:
        build_settings({"modell": "u2netp", "threads": 2})
    known = ", ".join(KNOBS)
    assert tuple(map(str, caught.value.problems)) == (
        f"'modell' is not a setting; the settings are {known}",
        f"'threads' is not a setting; the settings are {known}",
    )


@pytest.mark.parametrize(
    ("name", "engine"),
    [
        pytest.param(name, engine, id=f"{name}-{engine}")
        for name, able in ABLE.items()
        for engine in ENGINE_NAMES
        if engine not in able
    ],
)
def test_a_knob_that_the_engine_cannot_honour_is_refused(name: str, engine: str) -> None:
    """The error for a given value names the engines that support the knob."""
    values: dict[str, object] = {"engine": engine, name: OTHER_VALUE[name]}
    with pytest.raises(SettingsError) as caught:
        checked_settings(values)
    assert str(caught.value.problems[0]) == (
        f"engine {engine} does not support {name}; leave {name} out, or choose engine "
        + ", ".join(ABLE[name])
    )


@pytest.mark.parametrize("engine", ENGINE_NAMES)
def test_every_knob_at_its_default_suits_every_engine(engine: str) -> None:
    """Explicit default values are accepted for every engine."""
    values = {name: default_of(name) for name in KNOBS} | {"engine": engine}
    assert build_settings(dict(values)) == build_settings({"engine": engine})


def test_several_knobs_out_of_place_are_told_together() -> None:
    """Problems between knobs are also reported together."""
    with pytest.raises(SettingsError) as caught:
        checked_settings(
            {"engine": "openvino", "provider": "cuda", "mem_pattern": False, "inter_op_threads": 2}
        )
    starts = [str(problem).partition(";")[0] for problem in caught.value.problems]
    assert starts == [
        f"engine openvino does not support {name}"
        for name in ("provider", "inter_op_threads", "mem_pattern")
    ]


def test_arena_shrink_without_an_arena_is_refused() -> None:
    """Without an arena, there is no memory to return."""
    problem = problem_of(engine="onnxruntime", cpu_mem_arena=False, arena_shrink=True)
    assert problem.startswith("arena_shrink returns the arena's memory")


def test_inter_op_threads_in_sequential_mode_are_refused() -> None:
    """Inter-op threads would be ignored in sequential mode, so they are rejected."""
    problem = problem_of(engine="onnxruntime", inter_op_threads=2)
    assert (
        problem
        == "inter_op_threads is used with execution_mode parallel only, got 2 with sequential; "
        "set it to 0, or choose parallel"
    )


def test_the_articles_name_of_u2netp_is_understood() -> None:
    """`u2net_lite` is converted to u2netp, so both are the same trial."""
    assert Settings(model="u2net_lite").model == "u2netp"
    assert Settings(model="u2net_lite") == Settings(model="u2netp")


def test_settings_do_not_change() -> None:
    """A checked value cannot be changed."""
    settings = Settings()
    with pytest.raises(FrozenInstanceError):
        settings.max_side = 1  # type: ignore[misc]
    with pytest.raises(SettingsError, match="max_side must be"):
        replace(settings, max_side=1)


def test_the_default_engine_is_one_that_is_installed() -> None:
    """Without a given engine, the best installed one is used and reported like a given value."""
    assert Settings().engine == best_installed_engine() == default_of("engine")
    assert best_installed_engine() in installed_engines()
    assert set(installed_engines()) <= set(ENGINE_NAMES)


def test_the_default_engine_is_onnx_runtime_where_openvino_is_absent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without the openvino package, the default is the engine that is always installed."""
    monkeypatch.setattr(
        "importlib.util.find_spec",
        lambda name: None if name == "openvino" else object(),
    )
    assert Settings().engine == "onnxruntime"
    assert installed_engines()[:3] == ("onnxruntime", "ncnn", "rembg")


@pytest.mark.parametrize("name", list(KNOBS))
def test_every_knob_tells_what_it_is(name: str) -> None:
    """Each knob has a summary, a group, a flag, and a default of its type."""
    knob = KNOBS[name]
    assert len(knob.summary) > 20
    assert knob.summary[-1] != "."
    assert knob.group in {"model and engine", "focus", "sizes", "threads", "memory", "limits"}
    assert flag_of(name) == "--" + "-".join(name.split("_"))
    default = cast("object", default_of(name))
    assert type(default) is type_of(name) or (is_optional(name) and default is None)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("max_side", "0 or 64 to 16384 px", id="zero-or-range"),
        pytest.param("network_size", "0 or 64 to 2048 px, a multiple of 32", id="multiple"),
        pytest.param("intra_op_threads", "0 to 256 threads", id="range"),
        pytest.param("timeout_s", "0.001 to 86400 s", id="seconds"),
        pytest.param("precision", "auto, fp32, bf16, fp16, int8", id="words"),
        pytest.param("spinning", "on, off", id="switch"),
    ],
)
def test_what_is_allowed_is_told_in_words(name: str, text: str) -> None:
    """Messages, flags and the README share the text of the allowed values."""
    assert KNOBS[name].allowed_text() == text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("model", "u2netp", id="word"),
        pytest.param("engine", "best installed", id="engine"),
        pytest.param("max_side", "0", id="number"),
        pytest.param("timeout_s", "30.0", id="seconds"),
        pytest.param("memory_limit_bytes", "the host's limit", id="limit"),
        pytest.param("spinning", "on", id="on"),
        pytest.param("arena_shrink", "off", id="off"),
    ],
)
def test_a_default_is_told_in_words(name: str, text: str) -> None:
    """The text is the same on every machine, whichever engines are installed."""
    assert default_text(name) == text


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        pytest.param(
            {"focus": "box"},
            "focus box needs a box; set focus_box, such as 120,40,300,500 or 10%,5%,50%,80%, or"
            " choose focus auto",
            id="no-box",
        ),
        pytest.param(
            {"focus_box": "1,2,30,40"},
            "focus_box is used with focus box only, got focus off; choose focus box, or leave"
            " focus_box out",
            id="box-but-off",
        ),
        pytest.param(
            {"focus": "auto", "focus_box": "1,2,30,40"},
            "focus_box is used with focus box only, got focus auto; choose focus box, or leave"
            " focus_box out",
            id="box-but-auto",
        ),
        pytest.param(
            {"focus_max_share": 0.3},
            "focus_max_share is used with focus auto only, got focus off; choose focus auto, or leave"
            " focus_max_share out",
            id="share-but-off",
        ),
        pytest.param(
            {"focus": "box", "focus_box": "a,b"},
            "focus_box must be x,y,width,height, each in px or %, such as 120,40,300,500 or"
            " 10%,5%,50%,80%, got 'a,b'",
            id="no-numbers",
        ),
        pytest.param(
            {"focus": "box", "focus_box": "-1,2,30,40"},
            "focus_box must be x,y,width,height, each in px or %, such as 120,40,300,500 or"
            " 10%,5%,50%,80%, got '-1,2,30,40'",
            id="negative",
        ),
        pytest.param(
            {"focus": "box", "focus_box": "1,2,30,15"},
            "focus_box must be at least 16 px wide and high, got '1,2,30,15'",
            id="too-small",
        ),
        pytest.param(
            {"focus": "box", "focus_box": "1,2,0%,50"},
            "focus_box must be at least 16 px wide and high, got '1,2,0%,50'",
            id="no-width",
        ),
        pytest.param(
            {"focus": "box", "focus_box": "1,101%,30,50"},
            "focus_box must be at most 100% in each of its four numbers, got '1,101%,30,50'",
            id="more-than-all",
        ),
    ],
)
def test_focus_and_its_box_go_together(values: dict[str, object], problem: str) -> None:
    """A missing, misplaced or invalid box is one error with a remedy."""
    assert problem_of(engine="openvino", **values) == problem


def test_equal_boxes_are_equal_texts() -> None:
    """Boxes that differ in spaces or Chinese commas are equal settings.

    YAML's off, which is false, is read as the word.
    """
    one = build_settings({"focus": "box", "focus_box": "10%, 5%,50% ,80%"})
    assert one == build_settings({"focus": "box", "focus_box": "10%,5%,50%,80%"})
    assert one == build_settings({"focus": "box", "focus_box": "10%\uff0c5%\uff0c50%\uff0c80%"})
    assert build_settings({"focus": False}).focus == "off"


def test_peaks_with_and_without_focus_are_kept_apart() -> None:
    """Focus auto has a separate peak key.

    A box runs the network once, as with focus off, so both share the older key.
    """
    off, auto = Settings(), Settings(focus="auto")
    assert (
        auto.peak_key() != off.peak_key() == Settings(focus="box", focus_box="1,2,30,40").peak_key()
    )
    assert "focus" not in dict(off.peak_key())
    assert worker_key(auto) == worker_key(off)
