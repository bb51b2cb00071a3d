"""Update the page's translation catalogues: `make words`, or `python tools/words.py`.

Each language of `rembg_tuner.web.locale.catalogues.LANGUAGES` except English has a .po file, which
is created if it is missing. Translations are kept, new texts are added without a translation, and
unused texts are removed.
"""

from __future__ import annotations

import ast
import string
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import yaml
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from rembg_tuner.base.messages import SEPARATORS  # noqa: E402  # of this checkout
from rembg_tuner.imaging import formats  # noqa: E402  # of this checkout
from rembg_tuner.settings.presets import read_presets  # noqa: E402
from rembg_tuner.settings.settings import ENGINE_NAMES, KNOBS, type_of  # noqa: E402
from rembg_tuner.tuning.trials import NUMBERED, plain_name  # noqa: E402
from rembg_tuner.web.locale.catalogues import LANGUAGES, SOURCE, po_file  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

    Extracted = Iterator[tuple[int, str, str | tuple[str, ...], list[str]]]

PACKAGE = "rembg_tuner"
# Modules whose messages are not shown on a page.
ELSEWHERE = (
    "api.py",
    "tuning/article.py",
    "tuning/bench/**.py",
    "batch/**.py",
    "cli/**.py",
    "base/messages.py",
    "quantization/**.py",
    "tuning/report.py",
    "web/server/**.py",
    "tuning/record_check.py",
    "tuning/verification.py",
)
# Choices of knobs that are names, equal in all languages.
NAMES = {*ENGINE_NAMES, *KNOBS["provider"].choices, "fp32", "bf16", "fp16", "int8"}
_HEADER = "Translations of rembg tuner's page; tools/words.py keeps them in step with the source."


def extract_python(file: IO[bytes], *_: object, **__: object) -> Extracted:
    """Yield the templates of messages, and the texts of knobs."""
    for node in ast.walk(ast.parse(file.read())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            for function, text in _texts(node.func.id, node):
                yield node.lineno, function, text, []


def _texts(name: str, call: ast.Call) -> list[tuple[str, str | tuple[str, ...]]]:
    """Return the texts of one call, each with its gettext function."""
    # Each text is an ast.Constant.
    texts = [one.value for one in call.args if _is_text(one)]  # type: ignore[attr-defined]
    if name == "Message":
        return [("gettext", text) for text in texts[:1] if _has_words(text)]
    if name == "plural" and len(texts) == 2:
        return [("ngettext", tuple(texts))]
    if name == "_knob":
        values = [one.value for one in call.keywords if one.arg in ("summary", "allowed")]
        return [("gettext", one.value) for one in values if _is_text(one)]  # type: ignore[attr-defined]
    return []


def _has_words(template: str) -> bool:
    """Return whether a template has text besides its fields."""
    return any(literal.strip() for literal, *_ in string.Formatter().parse(template))


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def extract_page_words(file: IO[bytes], *_: object, **__: object) -> Extracted:
    """Yield the words of the page, each with its short id as context."""
    for key, text in yaml.safe_load(file).items():
        yield 1, "pgettext", (key, str(text)), []


def extract_presets(file: IO[bytes], *_: object, **__: object) -> Extracted:
    """Yield the purposes of presets, and why some were not measured."""
    for entry in yaml.safe_load(file).values():
        for text in (entry["for"], entry.get("why_not_measured")):
            if text:
                yield 1, "gettext", text, []


def extract_models(file: IO[bytes], *_: object, **__: object) -> Extracted:
    """Yield the purposes of models, and why some do not run."""
    for entry in yaml.safe_load(file).values():
        for text in (entry.get("good_for"), entry.get("why_not")):
            if text:
                yield 1, "gettext", text, []


_METHODS: list[tuple[str, Any]] = [
    *((f"{PACKAGE}/{pattern}", "ignore") for pattern in ELSEWHERE),
    (f"{PACKAGE}/**.py", extract_python),
    (f"{PACKAGE}/web/locale/{SOURCE}.yaml", extract_page_words),
    (f"{PACKAGE}/models/catalogue.yaml", extract_models),
    ("presets.yaml", extract_presets),
]


def terms() -> Iterator[tuple[str, str]]:
    """Yield the kind and the name of each Term, and the separators of lists."""
    yield from (("choice", word) for word in ("on", "off"))  # of boolean knobs
    for name in KNOBS:
        yield from _knob_terms(name)
    yield from (("unit", unit) for unit in sorted({KNOBS[name].unit for name in NUMBERED} - {""}))
    yield from (("step", word) for word in ("more", "less", "memory", "time", "agreement"))
    yield from (("preset", name) for name in (*read_presets(), "mine"))
    yield from (("camera", name) for name in sorted(formats.RAW_NAMES))
    yield from (("joint", separator) for separator in SEPARATORS)


def _knob_terms(name: str) -> Iterator[tuple[str, str]]:
    """Yield the terms of one knob."""
    knob = KNOBS[name]
    yield "knob", name
    yield from (("choice", choice) for choice in knob.choices if choice not in NAMES)
    if type_of(name) is bool:
        yield from (("switched", plain_name(name)), ("switched", f"no {plain_name(name)}"))
    elif not knob.choices and name in NUMBERED:
        yield "plain knob", plain_name(name)


def extracted() -> Catalog:
    """Return a catalogue of all texts to translate."""
    found = Catalog(header_comment=f"# {_HEADER}", project="rembg tuner")
    sources = extract_from_dir(ROOT, _METHODS, directory_filter=_is_of_the_package)
    for name, _, text, _, context in sources:
        found.add(text, locations=[(name, 0)], context=context)
    for kind, name in terms():
        found.add(name, context=kind)
    return found


def _is_of_the_package(folder: str) -> bool:
    return Path(folder).relative_to(ROOT).parts[0] == PACKAGE


def updated(language: str, source: Catalog) -> Catalog:
    """Return a language's catalogue, updated from the source."""
    path = po_file(language)
    if path.exists():
        with path.open("rb") as file:
            content = read_po(file, locale=language.replace("-", "_"), ignore_obsolete=True)
    else:
        content = Catalog(locale=language.replace("-", "_"))
    content.fuzzy = False
    content.update(source, no_fuzzy_matching=True, update_creation_date=False)
    content.obsolete.clear()
    for entry in content:
        # The text got a plural form, or lost it.
        if isinstance(entry.id, str) != isinstance(entry.string, str):
            entry.string = "" if isinstance(entry.id, str) else ("",) * content.num_plurals
    content.header_comment = f"# {_HEADER}"
    return content


def main() -> None:
    """Write every catalogue, and print the texts without a translation."""
    source = extracted()
    for language in LANGUAGES:
        if language == SOURCE:
            continue
        content = updated(language, source)
        with po_file(language).open("wb") as file:
            write_po(file, content, width=0, sort_by_file=True, include_lineno=False)
        missing = [entry.id for entry in content if entry.id and not is_translated(entry.string)]
        print(f"{po_file(language).name}: {len(content)} texts, {len(missing)} not translated")
        for text in missing:
            print(f"  {text if isinstance(text, str) else text[1]}")


def is_translated(text: object) -> bool:
    """Return whether a text is translated in all its forms."""
    return all(text) if isinstance(text, tuple | list) else bool(text)


if __name__ == "__main__":
    main()
