"""The widgets of the knobs, and the texts of the page for Gradio's translation."""

from __future__ import annotations

from abc import ABCMeta
from functools import cache
from typing import TYPE_CHECKING, Any

import gradio as gr

from rembg_tuner.models.catalogue import read_catalogue
from rembg_tuner.settings.building import build_with_defaults
from rembg_tuner.settings.check import FOCUS_USES, check
from rembg_tuner.settings.presets import read_presets
from rembg_tuner.settings.settings import (
    ENGINE_NAMES,
    KNOBS,
    default_of,
    type_of,
)
from rembg_tuner.web.locale.catalogues import LANGUAGES
from rembg_tuner.web.locale.words import (
    all_words,
    choice_text,
    message_text,
    page_text,
    setting_name,
    translate,
)
from rembg_tuner.web.pages.choices import (
    absence_of,
    fill_form,
    greyed_knobs,
    machine_here,
    machine_with_providers,
    preset_settings,
)
from rembg_tuner.web.pages.templating import render

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gradio.components import Component

    from rembg_tuner.settings.check import Refusal
    from rembg_tuner.settings.machine import Machine
    from rembg_tuner.settings.settings import Settings, Value

DETAILS = (0, 192, 256, 320, 512)  # network_size, px; 0: the model's own
RESULT_SIZES = (0, 1080, 768, 512)  # max_side, px, as in the article; 0: original size
_DROPDOWNS = ("model", "provider")
# An invisible character in the labels of choices that are not possible on this machine; choices.js
# disables those choices.
ABSENT_MARK = "\u2060"
# Text ids of the reasons why a number format is not possible, by the code of the refusal.
_WHY_NO_PRECISION = {
    "knob_unhonoured": "foreign",
    "precision_foreign": "foreign",
    "precision_not_native": "unsupported",
    "int8_absent": "unmade",
}
_WHY_ABSENT = ("absent", "unsupported", "foreign", "unmade")  # text ids of reasons
_EXAMPLES = {"focus_box": "10%,5%,50%,80%"}
_STEPS: dict[str, dict[str, Any]] = {"focus_max_share": {"step": 0.05}}
_NOT_FOR_ONE_PICTURE = ("batch_size",)  # the page processes one picture at a time


def picture_input(**options: Any) -> gr.Image:
    """Create an image input that returns the path of its file without opening the file.

    Gradio's image input opens every upload with Pillow to find its format. A file that is not a
    picture would show only "Error", and a large one would be decoded in the web process.
    """
    picture: gr.Image = _picture_class()(type="filepath", image_mode=None, **options)
    return picture


@cache
def _picture_class() -> type[gr.Image]:
    """Create the class of image inputs.

    A class is needed because Gradio recreates a component from its class in the session that
    updates it. Gradio's metaclass is bypassed: it writes a .pyi file next to the source of a class.
    """
    members = {
        "__module__": gr.Image.__module__,
        "__doc__": "An image input that does not open files.",
        "preprocess": lambda _, payload: None if payload is None else payload.path,
    }
    made: type[gr.Image] = ABCMeta.__new__(type(gr.Image), "Image", (gr.Image,), members)
    return made


def language_links() -> str:
    """Return the links that choose a language."""
    return render("languages", "en", languages=LANGUAGES)


@cache
def page_words() -> gr.I18n:
    """Return all texts of the page for Gradio, with the labels and summaries of the knobs."""
    return gr.I18n(**{language: _words_of(language) for language in LANGUAGES})


def _words_of(language: str) -> dict[str, str]:
    """Return the texts of a language by id."""
    # Gradio does not translate texts with braces.
    words = {key: text for key, text in all_words(language).items() if "{" not in text}
    for name, knob in KNOBS.items():
        unit = page_text(f"unit.{knob.unit}", language) if knob.unit else ""
        label = page_text(f"knob.{name}", language)
        words[f"label.{name}"] = f"{label} ({unit})" if unit and unit not in label else label
        words.setdefault(f"info.{name}", translate(knob.summary, language))
    return words | _choice_words(language) | _preset_words(language)


def _choice_words(language: str) -> dict[str, str]:
    """Return the labels of the knobs' choices, including those for impossible choices."""
    words: dict[str, str] = {}
    for choice in {choice for knob in KNOBS.values() for choice in knob.choices}:
        words[f"choice.{choice}"] = choice_text(choice, language)
    for name in (*ENGINE_NAMES, *KNOBS["provider"].choices, *KNOBS["precision"].choices):
        named = choice_text(name, language)
        for why in _WHY_ABSENT:
            words[f"{why}.{name}"] = ABSENT_MARK + page_text(f"why.{why}", language, name=named)
    for name, entry in read_catalogue().items():
        sized = f"{name} · {entry.size_text()}".removesuffix(" · ")
        words[f"absent.{name}"] = ABSENT_MARK + page_text("why.absent", language, name=sized)
    return words


def _preset_words(language: str) -> dict[str, str]:
    """Return the labels of the presets, including those for presets that cannot run."""
    words: dict[str, str] = {}
    for name in read_presets():
        named, settings = setting_name(name, language), preset_settings(name)
        words[f"preset.choice.{name}"] = named
        for kind, lacking in (("model", settings.model), ("provider", settings.provider)):
            text = page_text(f"preset.absent.{kind}", language, name=named, lacking=lacking)
            words[f"preset.absent.{kind}.{name}"] = ABSENT_MARK + text
    return words


def preset_choices() -> list[tuple[str, str]]:
    """Return the presets with their labels; a label has the reason why a preset cannot run."""
    return [(_preset_label(name), name) for name in read_presets()]


def _preset_label(name: str) -> str:
    """Return the label of a preset."""
    absence = absence_of(name)
    key = f"preset.choice.{name}" if absence is None else f"preset.absent.{absence.kind}.{name}"
    return str(page_words()(key))


def models_here() -> list[str]:
    """Return the names of the models on disk, in the order of the catalogue."""
    return [name for name, entry in read_catalogue().items() if entry.find()]


def reference_choices(first: str) -> list[tuple[str, str]]:
    """Return the choices of a reference: the default, the models on disk, and the presets.

    Args:
        first: text id of the default.
    """
    words = page_words()
    return [
        (str(words(first)), ""),
        *((f"{name} · fp32", name) for name in models_here()),
        *preset_choices(),
    ]


def knob_widget(name: str, value: Value) -> Component:
    """Create the widget of a knob."""
    words = page_words()
    common: dict[str, Any] = {
        "label": words(f"label.{name}"),
        "info": words(f"info.{name}"),
        "value": value,
        "elem_id": f"knob-{name}",
        "elem_classes": ["rt-knob"],
    }
    if name in _NOT_FOR_ONE_PICTURE:
        common["visible"] = False
    if type_of(name) is bool:
        return gr.Checkbox(**common)
    if name in _DROPDOWNS:
        return gr.Dropdown(choices=choices_of(name, None), **common)
    if KNOBS[name].choices:
        return gr.Radio(choices=choices_of(name, None), **common)
    if type_of(name) is str:
        return gr.Textbox(placeholder=_EXAMPLES.get(name), max_lines=1, **common)
    return gr.Number(**common, **_STEPS.get(name, {}))


def choices_of(name: str, providers: frozenset[str] | None) -> list[tuple[str, str]]:
    """Return the choices of a knob with their labels; a label has the reason of an absence.

    Args:
        name: the name of the knob.
        providers: the execution providers of ONNX Runtime; None: not known yet.
    """
    names = list(read_catalogue()) if name == "model" else list(KNOBS[name].choices)
    words, absent = page_words(), _absent_choices(name, names, providers)
    return [
        (str(words(f"absent.{word}")) if word in absent else choice_label(word), word)
        for word in names
    ]


def _absent_choices(
    name: str, words: Sequence[str], providers: frozenset[str] | None
) -> frozenset[str]:
    """Return the choices of a knob that are not possible on this machine."""
    if name not in ("engine", "model", "provider") or (name == "provider" and providers is None):
        return frozenset()
    machine = machine_here() if providers is None else machine_with_providers()
    others = {"engine": min(KNOBS["provider"].engines)} if name == "provider" else {}
    return frozenset(word for word in words if _refusal_of(name, {**others, name: word}, machine))


def _refusal_of(name: str, values: Mapping[str, object], machine: Machine) -> Refusal | None:
    """Return why the value of a knob is not possible; None: it is possible."""
    settings, _, wrong = build_with_defaults({"engine": machine.best_engine, **values})
    refusals = check(settings, machine, wrong=wrong)
    return next((one for one in refusals if one.knob == name), None)


def choice_label(word: str) -> str:
    """Return the label of a knob's choice; the name itself if no language translates it."""
    is_name = all(choice_text(word, language) == word for language in LANGUAGES)
    return word if is_name else str(page_words()(f"choice.{word}"))


def precision_choices(engine: str, model: str) -> list[tuple[str, str]]:
    """Return the number formats with their labels.

    A label has the difference of the mattes from those of fp32, or why the format is not possible.
    """
    machine = machine_here()
    labels: list[tuple[str, str]] = []
    for word in KNOBS["precision"].choices:
        refusal = _refusal_of(
            "precision", {"engine": engine, "model": model, "precision": word}, machine
        )
        why = _WHY_NO_PRECISION.get(str(refusal.reason.code)) if refusal else None
        found = None if why else machine.agreement(model, engine, word)
        label = str(page_words()(f"{why}.{word}")) if why else choice_label(word)
        labels.append((f"{word} · Δ {found.mae:.3f}" if found else label, word))
    return labels


def knob_updates(settings: Settings, language: str) -> dict[str, Any]:
    """Return updates that fill in settings and disable the knobs that are not used."""
    values, grey = fill_form(settings), greyed_knobs(settings.to_dict())
    updates = {
        name: {"value": values[name], **_usable(name, grey.get(name), language)} for name in KNOBS
    }
    updates["precision"]["choices"] = precision_choices(settings.engine, settings.model)
    return {name: gr.update(**options) for name, options in updates.items()}


def grey_updates(
    engine: str,
    model: str,
    focus: str,
    language: str,
    providers: frozenset[str] | None,
    *,
    resets: bool,
) -> dict[str, Any]:
    """Return updates that disable the knobs that engine and focus do not use.

    The other knobs are enabled.

    Args:
        engine: the engine in the form.
        model: the model in the form.
        focus: the focus in the form.
        language: the language of the reasons.
        providers: the execution providers of ONNX Runtime; None: not known yet.
        resets: whether disabled knobs are set to their defaults.
    """
    updates: dict[str, Any] = {}
    grey = greyed_knobs({"engine": engine, "focus": focus})
    for name in (name for name, knob in KNOBS.items() if knob.engines):
        refusal = grey.get(name)
        options = _usable(name, refusal, language)
        if resets and refusal is not None and refusal.reason.code == "knob_unhonoured":
            options["value"] = default_of(name)
        if name == "provider" and providers is not None:
            options["choices"] = choices_of(name, providers)
        if name == "precision":
            options["choices"] = precision_choices(engine, model)
        updates[name] = gr.update(**options)
    return updates


def _usable(name: str, refusal: Refusal | None, language: str) -> dict[str, Any]:
    """Return the options of a widget: whether it is enabled, and the text below it."""
    if refusal is None:
        return {"interactive": True, "info": page_words()(f"info.{name}")}
    if refusal.reason.code == "focus_unused":
        used_in = choice_text(FOCUS_USES[name], language)
        return {"interactive": False, "info": page_text("focus.unused", language, value=used_in)}
    return {"interactive": False, "info": message_text(refusal.reason, language)}
