"""The page's words: the same in both languages, and every sentence of the program's has its Chinese."""

from __future__ import annotations

import ast
import re
import string
import time
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_trials import make_trial

from rembg_tuner.budgets import Budgets
from rembg_tuner.errors import PictureError, SettingsError, TunerError
from rembg_tuner.imaging.formats import sniff
from rembg_tuner.models.catalogue import find_model, read_catalogue, read_unfit
from rembg_tuner.presets import Capabilities, find_preset, read_presets, resolve
from rembg_tuner.recommend import recommend
from rembg_tuner.settings import KNOBS, build_settings
from rembg_tuner.ui.catalogues import LANGUAGES, language_of
from rembg_tuner.ui.words import all_words, read_sentences, say, translate_sentence
from rembg_tuner.units import MIB

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "rembg_tuner"
# Rooms whose sentences never reach a page.
ELSEWHERE = (
    "article.py",
    "bench",
    "quantization",
    "cli",
    "server",
    "documents.py",
    "messages.py",
    "export/scripts.py",
    "plot/",  # its fixed words have keys
    "records.py",
    "report.py",
    "small_matte.py",
    "sweep/resume.py",
    "sweep/summary.py",
    "ui/views",
    "ui/widgets.py",
    "ui/words.py",
    "verification.py",
)
# Sentences of the other rooms that never do, or that are parts of others, with the reason.
NOT_SHOWN = {
    r"a (size|duration) is a number of": "read from the command line only",
    r"nothing was measured|mattes of one shape|rows were to be written": "a fault of the caller's",
    r"preset \{\}|its keys must be|settings must be a mapping|give what was measured|the presets do not read|not valid YAML|the top must be": "presets.yaml is read at the start; what is wrong there ends it",
    r"worker was asked (to run before|for previews)": "a fault of the runner's",
    r"a run ended in a way|a download ended in a way|no folder for a run|could not be swept|no longer possible|could not be written$": "for the log",
    r"^Cut a picture out|rembg tuner serves programs": "for programs",
    r"^settings must be knobs by name": "for programs",
    r"^%s was damaged|^\{\} at \{\}$|^unexpected error in|^starting a run$|^writing a visitor's runs$|^no worker was started early|^a worker could not be started early|^nobody needs this worker": "for the log",
    r"=>": "JavaScript",
    r"^0 or $|^ to \{\}$|^, a multiple of \{\}$|^one of \{\}$|^unable to $|^; the system may|^the worker was ended by \{\}\{\}$|^the worker closed its pipe$|^int \| None$|^\{\}, \{\} \{\}$|^the host's limit$": "parts of sentences, and no sentences",
    r"^of another package$|^absent$|^\{\} \{\}, \{\}$": "parts of a key",
    r"^there are no fields of kind|^a number of more than ten bytes$": "what is no ONNX file is left to the engine",
    r"^Failed to allocate memory|fallback to (the )?CPU EP": "ONNX Runtime's own texts, which are recognised",
    r"^model and engine$": "a group, which has a key",
    r"^pip install 'rembg-tuner\[\w+\]'( &&|$)|^pip install onnxruntime$": "commands",
    r"^\{\}: missing \{\}, unknown \{\}$|^\{\} has a fixed \{\}$": "a fault of a spec's",
    r"^CREATE TABLE|^PRAGMA |^INSERT |^DELETE |^SELECT |^import |^Opset|^IR version|^RUN |^FROM |^HEALTHCHECK |^printf |^ ncnn==|^# |^MODEL = |^\{\} = \{\}$": "code, and files that are exported",
    r"^found by rembg tuner|^exported before": "stand in an exported file",
    r"^memory after each run|^a (trial|study) ended in a way|^a trial that was not measured": "for the log, or a fault of the caller's",
    r"^ · $|^ and $|^\{\}, \{\} × \{\} px$|^\{\} h \{\} min$|^\{\} min \{\} s$|^at most \{\} px$|^\{\} to \{\}$|^\{\}, \{\}, n = \{\}$": "figures and labels",
    r"^(dict|tuple)\[": "types",
    r"^ and $": "a joint of a list",
}
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def _template(node: ast.AST) -> str | None:
    """Write a literal or an f-string as a sentence with holes."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"\{\w+(![ra])?(:[^{}]*)?\}", "{}", node.value)  # a Message's template
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values
        )
    return None


@cache
def sentences_of_the_source() -> dict[str, str]:
    """Find every literal of three words or more that is no docstring, with its file."""
    found: dict[str, str] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = str(path.relative_to(PACKAGE))
        if name.startswith(ELSEWHERE):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        aside = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and isinstance(node.body[0], ast.Expr)
        }
        aside |= {
            id(part)
            for node in ast.walk(tree)
            if isinstance(node, ast.JoinedStr)
            for part in ast.walk(node)
            if part is not node
        }
        for node in ast.walk(tree):
            text = None if id(node) in aside else _template(node)
            if text and text.count(" ") >= 2 and not text.startswith(("<", "from ", "\n")):
                found.setdefault(text, name)
    return found


def test_every_sentence_has_its_chinese() -> None:
    """A new error or warning is translated before it can reach a visitor."""
    known = read_sentences()
    missing = [
        f"{name}: {text}"
        for text, name in sentences_of_the_source().items()
        if text not in known and not any(re.search(reason, text) for reason in NOT_SHOWN)
    ]
    assert missing == []


def test_the_presets_are_translated() -> None:
    """What each preset is for, and why one is not measured."""
    known = read_sentences()
    texts = [preset.purpose for preset in read_presets().values()]
    texts += [preset.why_not_measured or "" for preset in read_presets().values()]
    assert [text for text in texts if text and text not in known] == []


def catalogue_texts() -> set[str]:
    """Collect what the catalogue says of its models."""
    return {entry.good_for for entry in read_catalogue().values()} | set(read_unfit().values())


def test_the_catalogue_is_translated() -> None:
    """What each model is good for, and why some do not run."""
    assert catalogue_texts() - set(read_sentences()) == set()


def test_no_translation_is_dead() -> None:
    """Every sentence in the file is one that the program says."""
    source = "\n".join(sentences_of_the_source())
    texts = {preset.purpose for preset in read_presets().values()} | catalogue_texts()
    texts |= {preset.why_not_measured or "" for preset in read_presets().values()}
    texts |= set(all_words("en").values())
    # Put together of parts: ranges, a worker's end, and short words.
    built = re.compile(r"^(0 or )?\{\} to \{\} |^the worker was ended by|^(later|a number|text)$")
    short = "\n".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))
    dead = [
        text
        for text in read_sentences()
        if text not in source
        and text not in texts
        and not built.search(text)
        and f'"{text}"' not in re.sub(r"\{[^{}]*\}", "{}", short)
    ]
    assert dead == []


def _holes(text: str) -> list[str]:
    """List what a text has filled in."""
    return sorted(name for _, name, _, _ in string.Formatter().parse(text) if name is not None)


def test_both_languages_have_the_same_words() -> None:
    """The same keys, and the same things filled in."""
    english, chinese = all_words("en"), all_words("zh-CN")
    assert english.keys() == chinese.keys()
    assert {key: _holes(text) for key, text in english.items()} == {
        key: _holes(text) for key, text in chinese.items()
    }


def test_a_translation_fills_in_what_its_sentence_does() -> None:
    """As many holes, each used once."""
    wrong = {
        text: chinese
        for text, chinese in read_sentences().items()
        if _holes(chinese) != [str(i) for i in range(text.count("{}"))]
    }
    assert wrong == {}


@cache
def _keys_used() -> tuple[frozenset[str], frozenset[str]]:
    """Find the keys that the page asks for: whole ones, and the beginnings of those put together."""
    whole: set[str] = set()
    begun: set[str] = set()
    for path in (PACKAGE / "ui").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                whole.add(node.value)
            elif isinstance(node, ast.JoinedStr) and isinstance(node.values[0], ast.Constant):
                begun.add(str(node.values[0].value))
    scripts = "\n".join(p.read_text(encoding="utf-8") for p in (PACKAGE / "ui/assets").glob("*.js"))
    whole |= set(re.findall(r'"(viewer\.\w+)"', scripts))
    whole |= {f"viewer.{mode}" for mode in ("original", "compare", "cutout")}
    return frozenset(whole), frozenset(text for text in begun if re.fullmatch(r"[a-z_.]+\.", text))


def test_no_word_is_unused() -> None:
    """Every key of the file is asked for somewhere."""
    whole, begun = _keys_used()
    unused = [
        key for key in all_words("en") if key not in whole and not key.startswith(tuple(begun))
    ]
    assert unused == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_knob_and_group_has_its_words(language: str) -> None:
    """Whatever is declared as a knob can be labelled."""
    words = all_words(language)
    assert [name for name in KNOBS if f"knob.{name}" not in words] == []
    assert [knob.group for knob in KNOBS.values() if f"group.{knob.group}" not in words] == []
    assert [knob.unit for knob in KNOBS.values() if knob.unit and f"unit.{knob.unit}" not in words] == []  # fmt: skip


def _message_of(attempt: object) -> str:
    """Give the sentence that an attempt ends with."""
    try:
        attempt()  # type: ignore[operator]
    except TunerError as error:
        return str(error)
    raise AssertionError("nothing went wrong")


@pytest.mark.parametrize(
    ("attempt", "error"),
    [
        pytest.param(lambda: build_settings({"intra_op_threads": -1}), SettingsError, id="range"),
        pytest.param(lambda: build_settings({"network_size": 100}), SettingsError, id="multiple"),
        pytest.param(lambda: build_settings({"model": 3, "spinning": 1, "engine": "x"}), SettingsError, id="several"),
        pytest.param(lambda: build_settings({"precision": "bf16", "engine": "onnxruntime"}), SettingsError, id="unhonoured"),
        pytest.param(lambda: build_settings({"colour": 1}), SettingsError, id="unknown"),
        pytest.param(lambda: sniff(Path(__file__)), PictureError, id="no-picture"),
        pytest.param(lambda: find_model("nothing"), TunerError, id="model"),
        pytest.param(lambda: resolve(None, {"precision": "bf16", "engine": "openvino"}, Capabilities(engines=("openvino",), precisions=frozenset({"fp32"}))), SettingsError, id="bf16"),
        pytest.param(lambda: resolve(None, {"engine": "rembg"}, Capabilities(engines=("openvino",), precisions=frozenset({"fp32"}))), SettingsError, id="engine"),
    ],
)  # fmt: skip
def test_a_real_error_is_told_in_chinese(attempt: object, error: type[TunerError]) -> None:
    """Whole: none of the English sentence's own words is left."""
    chinese = translate_sentence(_message_of(attempt), "zh-CN")
    assert CHINESE.search(chinese)
    left = set(re.findall(r"\b(?:must|is|are|not|got|choose|leave|the|and|or)\b", chinese))
    assert left == set()


def test_a_dropped_knob_is_told_in_chinese() -> None:
    """A warning whose reason is a sentence of its own."""
    able = Capabilities(
        engines=("openvino",),
        precisions=frozenset({"fp32"}),
        int8_models=frozenset(),
    )
    _, warnings = resolve(find_preset("fastest"), {}, able)
    assert [translate_sentence(text, "zh-CN") for text in warnings] == [
        "预设最快（fastest）中的精度（precision）int8 被略去，改用精度（precision）fp32：磁盘上没有模型 u2netp 供推理引擎 openvino 使用的 int8 版本"
    ]


def test_a_workers_end_is_told_in_chinese() -> None:
    """The last words stay as the worker said them."""
    text = "the worker was ended by SIGKILL; the system may have run out of memory; its last words: bye"
    assert (
        translate_sentence(text, "zh-CN")
        == "工作进程被 SIGKILL 结束；系统内存可能不足；它最后的输出：bye"
    )


TRIALS = [make_trial(0, 161, 0.088, 0.972, intra_op_threads=1), make_trial(1, 300, 0.2, 0.99, intra_op_threads=0)]  # fmt: skip


@pytest.mark.parametrize(
    ("budgets", "chinese"),
    [
        pytest.param(
            Budgets(max_memory_bytes=200 * MIB),
            "64 px · 1 个线程：161 MiB，88 ms，一致程度 0.972；测量的 2 种中有 1 种符合预算（一致程度至少 0.970，峰值至多 200 MiB）；其中它的内存与时间之积最小；为最昂贵设置的 24%",
            id="fits",
        ),
        pytest.param(
            Budgets(max_memory_bytes=50 * MIB, max_time_s=0.01),
            "测量的 2 种均不符合预算（一致程度至少 0.970，峰值至多 50 MiB，时间至多 10 ms）；最接近的是 64 px · 1 个线程：161 MiB，88 ms，一致程度 0.972；它不符合：峰值 161 MiB，允许 50 MiB，且时间 88 ms，允许 10 ms",
            id="misses",
        ),
    ],
)
def test_a_recommendation_is_told_in_chinese(budgets: Budgets, chinese: str) -> None:
    """Several sentences joined, each with its own figures: none swallows the next."""
    assert translate_sentence(recommend(TRIALS, budgets).why, "zh-CN") == chinese


def test_a_step_is_told_in_chinese() -> None:
    """A setting's words within a sentence too."""
    [step] = recommend(TRIALS, Budgets()).steps
    assert translate_sentence(step.text, "zh-CN") == (
        "更多内存：96 px · 全部线程需 300 MiB (+86%)，200 ms (+127%)，一致程度 0.990（+0.018）"
    )


def test_a_sentence_after_another_is_its_own() -> None:
    """Though the first one ends in a hole, or has what joins them in itself."""
    text = "the worker was ended by SIGKILL; loading the model took more than 3 s; cut.png is empty (0 bytes); save or copy the picture again"
    assert translate_sentence(text, "zh-CN") == (
        "工作进程被 SIGKILL 结束；加载模型超过了 3 s；cut.png 是空文件（0 字节）；请重新保存或复制图片"
    )


def test_what_is_not_known_stays() -> None:
    """A sentence of somebody else's is not lost."""
    assert translate_sentence("segfault in libfoo", "zh-CN") == "segfault in libfoo"


def test_an_unknown_key_is_a_fault() -> None:
    """No page shows an empty place because of a misspelt key."""
    with pytest.raises(KeyError):
        say("no.such.key", "en")


@given(st.text(max_size=200))
def test_any_sentence_is_given_back_in_english(text: str) -> None:
    """English is what the program says."""
    assert translate_sentence(text, "en") == text
    translate_sentence(text, "zh-CN")


@given(st.text(max_size=60))
def test_any_wish_has_a_language(text: str) -> None:
    """Whatever a browser sends, one of the two is chosen."""
    assert language_of(text) in LANGUAGES


@pytest.mark.parametrize(
    ("wish", "language"),
    [
        ("zh", "zh-CN"),
        ("ZH-tw", "zh-CN"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh-CN"),
        ("en-US,en;q=0.9,zh;q=0.8", "en"),
        ("fr,zh;q=0.5,en;q=0.6", "en"),
        ("de", "en"),
        ("", "en"),
    ],
)
def test_the_best_wish_is_taken(wish: str, language: str) -> None:
    """Tags and Accept-Language headers, by their weights."""
    assert language_of(wish) == language


@pytest.mark.parametrize("piece", ["; ", ", ", " and ", " · ", ": a; ", " must be ", "{}", "a"])
def test_a_hostile_sentence_costs_little(piece: str) -> None:
    """A name made to be matched slowly is not."""
    text = (piece * 2000)[:2000]
    started = time.perf_counter()
    translate_sentence(text, "zh-CN")
    assert time.perf_counter() - started < 0.5


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("execution_mode parallel", None),
        ("AMD EPYC, 2 cores with bf16 and VNNI", "AMD EPYC，2 核，支持 bf16、VNNI"),
        ("at most 1080 px · no spinning · inter op threads 2 threads", "至多 1080 px · 自旋等待 关 · 算子间线程数 2 线程"),
        ("sequential · cpu mem arena · auto", "顺序执行（sequential） · CPU 内存池 开 · 自动（auto）"),
        ("execution_mode is not a knob of engine ncnn; leave it out, or choose engine onnxruntime", "推理引擎 ncnn 不支持执行模式（execution_mode）；请不要设置它，或选择引擎 onnxruntime"),
    ],
)  # fmt: skip
def test_ids_are_told_in_chinese_with_the_id(english: str, chinese: str | None) -> None:
    """Knobs, their choices and a setting's words; other words stay."""
    assert translate_sentence(english, "zh-CN") == (chinese or english)
