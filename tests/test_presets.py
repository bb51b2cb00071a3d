"""Presets: the file, and the settings built from a preset."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from made_machines import INT8_OF_U2NETP, make_machine

from rembg_tuner.base.errors import PresetError, SettingsError
from rembg_tuner.base.yaml_files import format_mapping, read_mapping
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.settings.building import build_settings
from rembg_tuner.settings.check import check
from rembg_tuner.settings.host import Host
from rembg_tuner.settings.machine import Machine
from rembg_tuner.settings.presets import Preset, find_preset, read_presets
from rembg_tuner.settings.records import measured_elsewhere_text, small_subject_of
from rembg_tuner.settings.requested import requested_settings
from rembg_tuner.settings.resolve import resolve
from rembg_tuner.settings.settings import Settings
from tools import presets as presets_tool

if TYPE_CHECKING:
    from pathlib import Path

EVERYTHING = make_machine(
    engines=("openvino", "onnxruntime", "rembg"), precisions=frozenset({"fp32", "bf16"})
)
WITHOUT_BF16 = make_machine(
    engines=("openvino", "onnxruntime", "rembg"), precisions=frozenset({"fp32"})
)
ONNX_RUNTIME_ONLY = make_machine(engines=("onnxruntime",), precisions=frozenset({"fp32", "bf16"}))
NAMES = (
    "balanced",
    "fastest",
    "small-subjects",
    "smallest",
    "studio",
    "cpu-server",
    "gpu-server",
    "edge",
    "article-default",
    "article-light",
    "article-onnx",
)


def test_the_presets_promised_are_there() -> None:
    """presets.yaml has the names that others rely on."""
    assert tuple(read_presets()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_makes_settings_and_is_written_back_equal(name: str, tmp_path: Path) -> None:
    """Each preset's settings are valid, and the preset survives a round trip through YAML."""
    preset = find_preset(name)
    settings = build_settings(preset.values)
    assert {**settings.to_dict(), **preset.values} == settings.to_dict()
    path = tmp_path / "presets.yaml"
    path.write_text(format_mapping({name: preset.to_dict()}), encoding="utf-8")
    assert read_mapping(path)[name] == preset.to_dict()
    assert read_presets(path)[name] == preset


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_has_figures_or_a_reason(name: str) -> None:
    """A measurement names machine, date, n and unit; a preset without one has a reason."""
    preset = find_preset(name)
    if preset.measured is None:
        assert preset.why_not_measured
        assert preset.why_not_measured != "not yet"
        return
    assert {
        "date",
        "cpu",
        "cores",
        "picture",
        "n",
        "latency_p50_s",
        "peak_rss_mib",
    } <= preset.measured.keys()
    if preset.values.get("precision") == "auto":
        assert preset.measured["precision"] in ("fp32", "bf16", "fp16", "int8")


@pytest.mark.slow
def test_measuring_a_preset_keeps_what_auto_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """The measurement records the resolved precision only if the preset's precision is auto."""
    presets = {"auto": _preset(precision="auto"), "fp32": _preset()}
    monkeypatch.setattr(presets_tool, "read_presets", lambda: presets)
    found = presets_tool.measure_presets(rounds=1)
    auto, fp32 = found["auto"].measured, found["fp32"].measured
    assert auto is not None
    assert fp32 is not None
    here = resolve(Settings(precision="auto"), read_machine()).precision
    assert auto["precision"] == here
    assert "precision" not in fp32


@pytest.mark.slow
def test_measuring_a_preset_that_looks_again_takes_a_small_subject_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The usual picture takes one network run and the small subject more; both are recorded."""
    presets = {"mine": _preset(precision="int8", network_size=256, focus="auto")}
    monkeypatch.setattr(presets_tool, "read_presets", lambda: presets)
    measured = presets_tool.measure_presets(rounds=1)["mine"].measured
    assert measured is not None
    small = small_subject_of(measured)
    assert small is not None
    assert measured["passes"] == 1
    assert small.passes > 1
    assert 0.05 < small.share < 0.2


def _preset(**values: object) -> Preset:
    """Create a preset from values."""
    return Preset(
        name="mine", purpose="", values=values, measured=None, why_not_measured="made for a test"
    )


@pytest.mark.parametrize(
    ("preset", "given", "able", "expected", "warned"),
    [
        pytest.param(None, {}, EVERYTHING, Settings(), (), id="nothing"),
        pytest.param(
            _preset(precision="bf16", engine="openvino"),
            {"network_size": 256},
            EVERYTHING,
            Settings(engine="openvino", precision="bf16", network_size=256),
            (),
            id="given-adds",
        ),
        pytest.param(
            _preset(precision="bf16", engine="openvino"),
            {},
            WITHOUT_BF16,
            Settings(engine="openvino"),
            ("precision",),
            id="no-bf16",
        ),
        pytest.param(
            _preset(engine="onnxruntime"),
            {"engine": None},
            EVERYTHING,
            Settings(engine="onnxruntime"),
            (),
            id="null-is-left-out",
        ),
        pytest.param(
            _preset(precision="bf16", engine="openvino"),
            {"engine": "rembg"},
            EVERYTHING,
            Settings(engine="rembg"),
            ("precision",),
            id="other-engine-given",
        ),
    ],
)
def test_what_only_the_preset_says_is_dropped_with_a_warning(
    preset: Preset | None,
    given: dict[str, object],
    able: Machine,
    expected: Settings,
    warned: tuple[str, ...],
) -> None:
    """Each preset value that the machine or a given value rules out is dropped with a warning."""
    settings, warnings = requested_settings(preset, given, able)
    assert settings == expected
    assert len(warnings) == len(warned)
    assert all(name in str(warning) for name, warning in zip(warned, warnings, strict=True))


def test_the_articles_name_for_u2netp_is_understood_and_said() -> None:
    """u2net_lite runs u2netp, and a warning reports it."""
    settings, warnings = requested_settings(None, {"model": "u2net_lite"}, EVERYTHING)
    assert settings.model == "u2netp"
    assert tuple(map(str, warnings)) == ("model u2net_lite is another name for u2netp",)


@pytest.mark.parametrize(
    ("given", "able", "part"),
    [
        pytest.param(
            {"engine": "openvino"}, ONNX_RUNTIME_ONLY, "rembg-tuner[openvino]", id="engine"
        ),
        pytest.param({"engine": "openvino", "precision": "bf16"}, WITHOUT_BF16, "bf16", id="bf16"),
        pytest.param(
            {"engine": "openvino", "cpu_mem_arena": True}, EVERYTHING, "cpu_mem_arena", id="knob"
        ),
    ],
)
def test_what_was_given_and_cannot_be_is_an_error(
    given: dict[str, object], able: Machine, part: str
) -> None:
    """A flag that cannot be applied is rejected, even with its default value."""
    with pytest.raises(SettingsError, match=part.replace("[", r"\[")):
        requested_settings(None, given, able)


def test_no_cpu_withholds_int8() -> None:
    """int8 is available on every CPU, and bf16 requires native support.

    An engine without int8 is refused with the engine as the reason, not the CPU.
    """
    able = make_machine(precisions=frozenset({"fp32"}), int8_models=INT8_OF_U2NETP)

    def why_not(precision: str, engine: str) -> str | None:
        asked = Settings(engine=engine, precision=precision)  # type: ignore[arg-type]
        refused = check(asked, able)
        return str(refused[0].clause) if refused else None

    assert (
        why_not("int8", "ncnn")
        == "engine ncnn does not support precision int8, only auto, fp32, bf16, fp16"
    )
    assert why_not("int8", "openvino") is None
    assert why_not("int8", "onnxruntime") is None
    assert (
        why_not("bf16", "openvino")
        == "this precision needs a CPU with native bf16, and this CPU does not have it"
    )
    assert why_not("bf16", "ncnn") is None


@pytest.mark.parametrize(
    ("text", "part"),
    [
        pytest.param("a: [1", "not valid YAML", id="no-yaml"),
        pytest.param("a: {for: x, settings: {}}", "keys", id="missing-key"),
        pytest.param(
            "a: {for: x, settings: {}, measured: null}", "why_not_measured", id="no-reason"
        ),
        pytest.param(
            "a: {for: x, settings: {threads: 2}, measured: null, why_not_measured: y}",
            "'threads' is not a setting",
            id="unknown-knob",
        ),
        pytest.param(
            "a: {for: x, settings: {intra_op_threads: -1}, measured: null, why_not_measured: y}",
            "got -1",
            id="out-of-range",
        ),
    ],
)
def test_a_file_that_cannot_be_is_refused_by_name(text: str, part: str, tmp_path: Path) -> None:
    """The error names the preset, the knob and the value."""
    path = tmp_path / "presets.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PresetError, match=part):
        read_presets(path)


def test_figures_of_another_kind_of_cpu_are_called_that() -> None:
    """The text names the recorded CPU and this one, with their cores and number formats.

    There is no text for the same kind of CPU.
    """
    here = Host(
        cpu="AMD EPYC",
        affinity_cpus=2,
        quota_cpus=None,
        total_memory_bytes=None,
        memory_limit_bytes=None,
        features=frozenset({"avx512_bf16", "avx512_vnni"}),
    )
    fastest = find_preset("fastest")
    measured = {"cpu": "AMD EPYC", "cores": 2, "cpu_formats": ["bf16", "VNNI"]}
    fastest = replace(fastest, measured={**(fastest.measured or {}), **measured})
    assert measured_elsewhere_text(fastest, here) is None
    plain = replace(here, features=frozenset({"sse2", "avx2"}))
    assert (
        str(measured_elsewhere_text(fastest, plain))
        == "measured on AMD EPYC, 2 cores with bf16 and VNNI, not on this CPU, which is AMD EPYC, "
        "2 cores without bf16 and VNNI: time and memory differ here"
    )
    assert measured_elsewhere_text(fastest, replace(here, affinity_cpus=8)) is not None
    assert measured_elsewhere_text(replace(fastest, measured=None), here) is None


def test_every_measured_preset_names_the_formats_of_its_cpu() -> None:
    """The page needs the formats to decide whether the figures apply to this CPU."""
    for preset in read_presets().values():
        assert preset.measured is None or isinstance(preset.measured["cpu_formats"], list)


def test_a_presets_focus_is_left_out_for_large_networks() -> None:
    """Focus is not measured with large networks; a given value is kept."""
    able = replace(EVERYTHING, large_models=frozenset({"isnet-general-use"}))
    preset = find_preset("balanced")
    settings, warnings = requested_settings(preset, {"model": "isnet-general-use"}, able)
    assert settings.focus == "off"
    assert (
        str(warnings[-1])
        == "focus auto of preset balanced is not possible here, so focus off is used: focus was not"
        " measured with networks as large as model isnet-general-use's; set focus yourself to try it"
    )
    assert (
        requested_settings(preset, {"model": "isnet-general-use", "focus": "auto"}, able)[0].focus
        == "auto"
    )
    assert "isnet-general-use" in read_machine().large_models
    assert "u2netp" not in read_machine().large_models


def test_a_presets_cap_is_left_out_where_focus_is_chosen_otherwise() -> None:
    """The preset's value is dropped with a warning, where a flag would raise an error."""
    preset = replace(find_preset("balanced"), values={"focus": "auto", "focus_max_share": 0.3})
    settings, warnings = requested_settings(preset, {"focus": "off"}, EVERYTHING)
    assert (settings.focus, settings.focus_max_share) == ("off", 0.20)
    assert "focus_max_share is used with focus auto only" in str(warnings[0])
    settings, warnings = requested_settings(preset, {"engine": "rembg"}, EVERYTHING)
    assert settings.focus == "off"
    assert any("engine rembg does not support it" in str(text) for text in warnings)
