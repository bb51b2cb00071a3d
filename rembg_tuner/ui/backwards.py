"""Reads finished sentences backwards, and goes as soon as every one is a Message."""

from __future__ import annotations

import itertools
import re
from functools import cache
from pathlib import Path

from rembg_tuner.host import FAST_FORMATS
from rembg_tuner.settings import KNOBS, type_of
from rembg_tuner.yaml_files import read_mapping

_FOLDERS = re.compile(r"(?<![\w:/.])/(?:[^\s/:;,'\"()]+/)+")
_OLD_FOLDER = Path(__file__).parent / "words"
_MOST_LETTERS = 2000  # of a sentence that is looked up; a longer one is no sentence of ours
_MOST_NESTED = 4
_MOST_JOINED = 40  # pieces of a text that is looked through
_MOST_PIECES = 4  # of one sentence
_HOLE = "{}"
_JOINS = (("; ", "；"), (", ", "，"), (" and ", "，且"))
_WORDS_JOIN = " · "
_WIDE = re.compile("[\u4e00-\u9fff\uff00-\uffef\u3000-\u303f]")  # written without spaces
_PUNCTUATION = re.compile("[:;,]")


@cache
def read_sentences() -> dict[str, str]:
    """Read the program's sentences: English with `{}` where something is filled in -> Chinese with {0}, {1} ..."""
    path = _OLD_FOLDER / "sentences.zh-CN.yaml"
    return {english: str(text) for english, text in read_mapping(path).items()}


@cache
def _names() -> dict[str, str]:
    """Translate what stands in sentences as a name: knobs, their choices, presets, and a setting's words."""
    words = {k: str(v) for k, v in read_mapping(_OLD_FOLDER / "zh-CN.yaml").items()}
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
    sentence = _FOLDERS.sub("", sentence)
    if language != "zh-CN" or len(sentence) > _MOST_LETTERS:
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
