"""The page's words in English and Simplified Chinese, and the program's sentences in Chinese.

Words stand by key in words/en.yaml and words/zh-CN.yaml. The program's own sentences (errors, warnings)
are English and made deep inside; they are translated here, at the page's edge, as gettext does: by the
English sentence itself, with `{}` where something is filled in.
"""

from __future__ import annotations

import itertools
import re
from functools import cache
from pathlib import Path

from rembg_tuner.host import FAST_FORMATS
from rembg_tuner.settings import KNOBS, type_of
from rembg_tuner.yaml_files import read_mapping

LANGUAGES = ("en", "zh-CN")
FOLDER = Path(__file__).parent / "words"
_MOST_LETTERS = 2000  # of a sentence that is looked up; a longer one is no sentence of ours
_MOST_NESTED = 4
_MOST_JOINED = 40  # pieces of a text that is looked through
_MOST_PIECES = 4  # of one sentence
_HOLE = "{}"
_JOINS = (("; ", "；"), (", ", "，"), (" and ", "，且"))
_WORDS_JOIN = " · "
_WIDE = re.compile("[\u4e00-\u9fff\uff00-\uffef\u3000-\u303f]")  # written without spaces
_PUNCTUATION = re.compile("[:;,]")


def language_of(text: str | None) -> str:
    """Choose the language for a tag or an Accept-Language header; English for what is not ours.

    >>> language_of("zh_HK"), language_of("fr,zh;q=0.5,en;q=0.4"), language_of(None)
    ('zh-CN', 'zh-CN', 'en')
    """
    wishes: list[tuple[float, str]] = []
    for part in (text or "")[:_MOST_LETTERS].split(","):
        tag, _, quality = part.strip().lower().partition(";q=")
        found = "zh-CN" if tag.startswith("zh") else "en" if tag.startswith("en") else None
        if found:
            number = re.fullmatch(r"[01](\.\d{1,3})?", quality.strip())
            wishes.append((float(number[0]) if number else 1.0, found))
    best = max((quality for quality, _ in wishes), default=0.0)
    return next((found for quality, found in wishes if quality == best), "en")


@cache
def all_words(language: str) -> dict[str, str]:
    """Read every word of a language, by key."""
    words = read_mapping(FOLDER / f"{language}.yaml")
    return {key: str(text) for key, text in words.items()}


def say(key: str, language: str, **values: object) -> str:
    """Give a word or a sentence by its key, with what is filled in.

    Raises:
        KeyError: there is no such key, or a value is missing: a fault of the program's.
    """
    return all_words(language)[key].format(**values)


@cache
def read_sentences() -> dict[str, str]:
    """Read the program's sentences: English with `{}` where something is filled in -> Chinese with {0}, {1} ..."""
    path = FOLDER / "sentences.zh-CN.yaml"
    return {english: str(text) for english, text in read_mapping(path).items()}


def choice_text(value: str, language: str) -> str:
    """Write a knob's choice: with its name behind it in Chinese; a proper name stays."""
    return all_words(language).get(f"choice.{value}", value)


def setting_name(name: str, language: str) -> str:
    """Write the name of a compared setting, a preset's or the visitor's own; with its id behind it in Chinese."""
    return all_words(language).get(f"preset.name.{name}", name)


@cache
def _names() -> dict[str, str]:
    """Translate what stands in sentences as a name: knobs, their choices, presets, and a setting's words."""
    words = all_words("zh-CN")
    names = {
        key.partition(".")[2]: text for key, text in words.items() if key.startswith("choice.")
    }
    names |= {key.removeprefix("preset.name."): text for key, text in words.items() if key.startswith("preset.name.")}  # fmt: skip
    for name, knob in KNOBS.items():
        label, plain = words[f"knob.{name}"], name.replace("_", " ")
        if type_of(name) is bool:
            names[plain], names[f"no {plain}"] = f"{label} {words['on']}", f"{label} {words['off']}"
        elif not knob.choices and name != "model":
            names[f"{plain} {{}} {knob.unit}".strip()] = f"{label} {{0}} {words.get(f'unit.{knob.unit}', '')}".strip()  # fmt: skip
        names[name] = f"{label}\uff08{name}\uff09"
    for count in range(2, len(FAST_FORMATS) + 1):
        for *most, last in itertools.combinations(FAST_FORMATS, count):
            names[f"{', '.join(most)} and {last}"] = "、".join([*most, last])
    return names


@cache
def _patterns() -> tuple[tuple[tuple[str, ...], str], ...]:
    """Give each sentence's fixed parts and its translation, the most literal first."""
    known = {**_names(), **read_sentences()}
    found = [(tuple(english.split(_HOLE)), text) for english, text in known.items()]
    return tuple(sorted(found, key=lambda item: -sum(len(part) for part in item[0])))


def translate_sentence(sentence: str, language: str) -> str:
    """Translate a sentence of the program's; what is not known stays English.

    Args:
        sentence: an error, a warning, or several joined by "; ".
        language: of `LANGUAGES`.
    """
    if language == "en" or len(sentence) > _MOST_LETTERS:
        return sentence
    return _translate(sentence, _MOST_NESTED)


def _translate(sentence: str, nested: int) -> str:
    """Translate a sentence, or several that are joined; what joins them stands inside sentences too.

    A sentence whose holes hold no join is that sentence. Else one that falls into sentences, each known, is
    those: a hole at its end would swallow all that follows. Else a hole does hold a join.
    """
    if _WORDS_JOIN in sentence and not _PUNCTUATION.search(sentence):  # a setting's words
        words = sentence.split(_WORDS_JOIN, _MOST_JOINED)
        return _WORDS_JOIN.join(_translate_one(word, nested) or word for word in words)
    for join, chinese in _JOINS:
        if join not in sentence:
            continue
        whole = _translate_one(sentence, nested, without=join)
        if whole is not None:
            return whole
        told = _translate_joined(sentence, join, nested)
        if told is not None:
            return chinese.join(told)
    whole = _translate_one(sentence, nested)
    if whole is not None:
        return whole
    told = _translate_joined(sentence, "; ", nested, may_leave=True)
    return "；".join(told) if told and len(told) > 1 else sentence


def _translate_joined(
    sentence: str, join: str, nested: int, *, may_leave: bool = False
) -> list[str] | None:
    """Translate what is joined, the longest beginning that is a sentence first.

    Args:
        sentence: all of it.
        join: what stands between.
        nested: how deep holes are translated.
        may_leave: whether what is no sentence is left as it is, and a hole may hold the join.

    Returns:
        None where it does not fall into two sentences and more.
    """
    pieces = sentence.split(join)
    if len(pieces) > _MOST_JOINED or not nested:
        return None
    told: list[str] = []
    while pieces:
        for i in range(min(len(pieces), _MOST_PIECES), 0, -1):
            if i == len(pieces) and not told:
                continue  # the whole
            begun = join.join(pieces[:i])
            translated = _translate_one(begun, nested, without="" if may_leave else join)
            if translated is not None:
                told.append(translated)
                del pieces[:i]
                break
        else:
            if not may_leave:
                return None
            told.append(pieces.pop(0))
    return told


def _translate_one(sentence: str, nested: int, *, without: str = "") -> str | None:
    """Translate one sentence and what is filled into it; None where it is not known.

    Args:
        sentence: without its neighbours.
        nested: how deep holes are translated.
        without: what no hole may hold; empty: a hole may hold anything.
    """
    for parts, chinese in _patterns() if nested else ():
        holes = _match(parts, sentence)
        if holes is None or (without and any(without in hole for hole in holes)):
            continue
        return _fill(chinese, holes, [_translate(hole, nested - 1) for hole in holes])
    return None


def _fill(chinese: str, holes: list[str], told: list[str]) -> str:
    """Fill a translation's holes in; one that became Chinese needs no space beside Chinese."""
    for i, (hole, text) in enumerate(zip(holes, told, strict=True)):
        if text == hole or not text:
            continue
        if _WIDE.match(text[0]):
            chinese = re.sub(rf"(?<={_WIDE.pattern}) \{{{i}\}}", f"{{{i}}}", chinese)
        if _WIDE.match(text[-1]):
            chinese = re.sub(rf"\{{{i}\}} (?={_WIDE.pattern}|\{{)", f"{{{i}}}", chinese)
    return chinese.format(*told)


def _match(parts: tuple[str, ...], sentence: str) -> list[str] | None:
    """Give what fills the holes between fixed parts; None where it is another sentence.

    Each hole takes as little as it can, the last one all that is left: linear, whatever a hostile name
    holds.
    """
    if len(parts) == 1:
        return [] if sentence == parts[0] else None
    first, *middle, last = parts
    if not (sentence.startswith(first) and sentence.endswith(last)):
        return None
    at, end = len(first), len(sentence) - len(last)
    holes: list[str] = []
    for part in middle:
        found = sentence.find(part, at, end)
        if found < 0:
            return None
        holes.append(sentence[at:found])
        at = found + len(part)
    return [*holes, sentence[at:end]] if at <= end else None
