"""Presets on the page: without their model or provider they are disabled, with the reason."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest
from made_machines import OLD_CPU, make_machine

from rembg_tuner.base.errors import SettingsError
from rembg_tuner.base.messages import Message, render
from rembg_tuner.runtime.diagnosis import ProviderState
from rembg_tuner.settings.host import read_host
from rembg_tuner.settings.presets import find_preset, read_presets
from rembg_tuner.web.pages import choices, widgets
from rembg_tuner.web.pages.choices import absence_of
from rembg_tuner.web.pages.cut_tab.form import Browser, FormEvents, _measured, show_note
from rembg_tuner.web.pages.task_tabs import refuse_absent
from rembg_tuner.web.pages.visitors import Visitor
from rembg_tuner.web.pages.widgets import ABSENT_MARK, choices_of, page_words, precision_choices

if TYPE_CHECKING:
    from pathlib import Path

    from rembg_tuner.web.pages.desk import Desk

HOST = replace(
    read_host(),
    cpu="Another",
    features=frozenset({"sse2", "avx2"}),
    affinity_cpus=2,
    quota_cpus=None,
)
REASON = (
    "preset studio cannot run here: model u2net is not on disk; get it (168 MiB) on the Models tab"
)
REASON_CHINESE = "预设影棚（studio）在此无法运行：磁盘上没有模型 u2net"


@pytest.fixture(autouse=True)
def _only_u2netp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Provide no models except the embedded one."""
    monkeypatch.delenv("U2NET_HOME", raising=False)
    monkeypatch.setenv("REMBG_HOME", str(tmp_path))


def arrival() -> FormEvents:
    """Return the events of the form, without a desk."""
    return FormEvents(cast("Desk", None), preset="balanced")


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", "small subject: 200 ms (3 network runs)"),
        ("zh-CN", "主体较小时：200 ms（网络运行 3 次）"),
    ],
)
def test_what_a_small_subject_costs_stands_next_to_the_preset(language: str, said: str) -> None:
    """The time is shown for presets that run the network again, and for no other."""
    fastest = find_preset("fastest")
    assert said not in _measured(fastest, language)
    small = {"share": 0.16, "passes": 3, "latency_p50_s": 0.2, "latency_max_s": 0.3}
    measured = {**(fastest.measured or {}), "passes": 1, "small_subject": small}
    assert said in _measured(replace(fastest, measured=measured), language)


def test_a_preset_without_its_model_says_how_to_get_it() -> None:
    """The absence has a kind and a text, and a preset that can run has none."""
    absence = absence_of("studio")
    assert absence is not None
    assert (absence.kind, render(absence.text, is_public=True)) == ("model", REASON)
    assert absence_of("balanced") is None


def test_no_provider_is_asked_for_while_a_model_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Querying ONNX Runtime takes half a second, which would delay the page's start."""
    asked: list[str] = []

    def ask() -> tuple[ProviderState, ...]:
        asked.append("asked")
        return ()

    monkeypatch.setattr(choices, "execution_providers", ask)
    assert len(widgets.preset_choices()) == len(read_presets())
    assert asked == []


def test_a_preset_without_its_provider_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the model on disk, the provider is checked."""
    state = ProviderState(
        name="cuda", is_present=False, detail=Message("pip install onnxruntime-gpu")
    )
    monkeypatch.setattr(choices, "machine_here", make_machine)
    monkeypatch.setattr(choices, "execution_providers", lambda: (state,))
    absence = absence_of("gpu-server")
    assert absence is not None
    assert absence.kind == "provider"
    assert str(absence.text).endswith(
        "execution provider cuda is not available; pip install onnxruntime-gpu"
    )


def test_a_choice_that_is_not_possible_is_refused_with_the_reason() -> None:
    """The form keeps its preset and shows the reason until another is chosen."""
    page, visitor = arrival(), Visitor(language="en", preset="smallest")
    shown = page.choose_preset(visitor, "studio")
    assert shown["preset"] == "smallest"
    assert "knobs" not in shown
    assert f'role="alert">{REASON}' in str(shown["preset_note"])
    form = dict(choices.preset_settings("smallest").to_dict())
    assert REASON in show_note(visitor, "smallest", form)
    page.choose_preset(visitor, "balanced")
    assert REASON not in show_note(visitor, "balanced", form)
    with pytest.raises(SettingsError, match="model u2net is not on disk"):
        refuse_absent(["balanced", "studio"])


@pytest.mark.parametrize(
    ("asked", "language", "told"),
    [
        ("studio", "en", REASON),
        ("studio", "zh-CN", REASON_CHINESE),
        ("nothing", "en", "there is no preset &#39;nothing&#39;; the presets are balanced"),
    ],
)
def test_a_link_to_a_preset_that_is_absent_says_so(asked: str, language: str, told: str) -> None:
    """The page starts with its default preset and an alert; an available preset is used."""
    visitor = Visitor(language=language)
    shown = arrival().greet(visitor, Browser(saved=None, language=language), asked)
    assert shown["preset"]["value"] == "balanced"
    assert told in shown["preset_note"]
    shown = arrival().greet(visitor, Browser(saved=None, language=language), "smallest")
    assert shown["preset"]["value"] == "smallest"
    assert "alert" not in shown["preset_note"]


@pytest.mark.parametrize(
    ("language", "label"),
    [
        ("en", "studio · model u2net is not installed"),
        ("zh-CN", "影棚（studio） · 模型 u2net 未安装"),
    ],
)
def test_the_list_of_presets_says_the_reason(language: str, label: str) -> None:
    """The reason follows the name, with the mark by which the page's script disables the option."""
    labels = {name: text for text, name in widgets.preset_choices()}
    words = page_words().translations_dict[language]
    assert "preset.absent.model.studio" in labels["studio"]
    assert words["preset.absent.model.studio"] == ABSENT_MARK + label
    assert "preset.choice.balanced" in labels["balanced"]


def test_a_number_format_says_why_it_is_not_possible(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reasons are an unsupported CPU, an unsupported engine, and a missing file.

    None of them is "not installed".
    """
    able = make_machine(engines=("openvino", "ncnn"), precisions=OLD_CPU)
    monkeypatch.setattr(widgets, "machine_here", lambda: able)
    labels = {word: label for label, word in precision_choices("openvino", "u2netp")}
    assert "unsupported.bf16" in labels["bf16"]
    assert "unmade.int8" in labels["int8"]
    assert "foreign.int8" in {w: label for label, w in precision_choices("ncnn", "u2netp")}["int8"]
    words = page_words().translations_dict["zh-CN"]
    assert words["unsupported.bf16"].endswith("bf16 · 本机 CPU 不支持")
    assert (
        "choice.parallel"
        in {w: label for label, w in choices_of("execution_mode", None)}["parallel"]
    )


def test_figures_of_another_cpu_are_told_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """The note names both CPUs, in each language; on the recorded CPU there is none."""
    form = dict(choices.preset_settings("smallest").to_dict())

    def told(language: str) -> str:
        return show_note(Visitor(language=language), "smallest", form)

    monkeypatch.setattr("rembg_tuner.web.pages.cut_tab.form.read_host", lambda: HOST)
    assert "not on this CPU, which is Another, 2 cores" in told("en")
    assert "不是本机 CPU（Another，2 核" in told("zh-CN")
    measured = read_presets()["smallest"].measured or {}
    formats = measured["cpu_formats"]
    assert isinstance(formats, list)
    flags = {"VNNI": "avx512_vnni", "bf16": "avx512_bf16", "AMX": "amx_int8"}
    features = frozenset({"sse2", "avx2", *(flags[name] for name in formats)})
    same = replace(HOST, cpu=str(measured["cpu"]), features=features)
    monkeypatch.setattr("rembg_tuner.web.pages.cut_tab.form.read_host", lambda: same)
    assert "not on this CPU" not in told("en")
    assert f"at 1080p on {measured['cpu']}" in told("en")


def test_every_preset_has_its_label() -> None:
    """Every preset has a label in both languages, and the Chinese one includes the name."""
    for language in ("en", "zh-CN"):
        words = page_words().translations_dict[language]
        assert [name for name in read_presets() if name not in words[f"preset.choice.{name}"]] == []
