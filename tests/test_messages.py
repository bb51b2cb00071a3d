"""Messages: templates with parameters, rendered at the edge."""

from __future__ import annotations

import ast
import copy
import json
import pickle
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rembg_tuner.base.errors import SettingsError, TunerError, message_of
from rembg_tuner.base.messages import (
    JoinedParts,
    Message,
    Parameter,
    Quoted,
    ShellOrPage,
    Term,
    join_parts,
    join_sentences,
    plural,
    quoted,
    render,
)

PACKAGE = Path(__file__).parent.parent / "rembg_tuner"


class Chinese:
    """A catalogue of a few words."""

    texts: ClassVar = {
        (
            "",
            "engine {engine} has no {knob}, it has {able}",
        ): "引擎 {engine} 没有 {knob} ，它有 {able}",
        ("knob", "precision"): "精度（precision）",
        ("joint", "; "): "；",
    }

    def find(self, text: str, context: str = "") -> str:
        """Return the translation of a text in a context."""
        return self.texts.get((context, text), text)

    def find_plural(self, one: str, many: str, count: float) -> str:  # noqa: ARG002  # one form
        """Chinese has one form."""
        return {"{n} trials": "{n} 次"}.get(many, many)


READ = Message(
    "{path} cannot be read: {reason}",
    code="unreadable",
    path=Path("/home/a/b.png"),
    reason=Quoted("libfoo: /x"),
)


def test_a_path_is_shortened_and_a_librarys_text_left_out_for_the_public() -> None:
    """The public rendering shortens paths and omits quoted text; the machine's user sees both."""
    assert str(READ) == "/home/a/b.png cannot be read: libfoo: /x"
    assert render(READ, is_public=True) == "b.png cannot be read"


@pytest.mark.parametrize(
    ("template", "left"),
    [
        ("a ({q}), so b", "a, so b"),
        ("a; {q}", "a"),
        ("a: {q}; b", "a; b"),
        ("a（{q}）b", "ab"),
        ("{q} stands first", "… stands first"),
    ],
)
def test_what_joined_a_left_out_text_goes_with_it(template: str, left: str) -> None:
    """The punctuation that joins an omitted text is removed, such as a colon or parentheses."""
    assert render(Message(template, q=Quoted("x")), is_public=True) == left


def test_names_are_explained_and_stand_without_spaces_beside_chinese() -> None:
    """A term is translated; other parameters keep the spaces around them."""
    message = Message(
        "engine {engine} has no {knob}, it has {able}",
        engine="ncnn",
        knob=Term("precision", "knob"),
        able=join_parts(["a", "b"]),
    )
    assert str(message) == "engine ncnn has no precision, it has a, b"
    assert render(message, Chinese()) == "引擎 ncnn 没有精度（precision），它有 a, b"


@pytest.mark.parametrize(("n", "english"), [(1, "1 trial"), (0, "0 trials"), (1200, "1200 trials")])
def test_a_count_chooses_the_template(n: int, english: str) -> None:
    """Each language selects the plural form by its own rule."""
    message = plural("{n} trial", "{n} trials", n=n)
    assert str(message) == english
    assert render(message, Chinese()) == f"{n} 次"


def _nested(deep: int) -> JoinedParts:
    """Return lists nested to a depth."""
    found = JoinedParts(("x",))
    for _ in range(deep):
        found = JoinedParts((found,))
    return found


@pytest.mark.parametrize(
    ("template", "params", "text"),
    [
        ("{v!r:.5}", {"v": "abcdefg"}, "'abcd"),
        ("{v:,} and {w:.2f}", {"v": 1200, "w": 0.126}, "1,200 and 0.13"),
        ("{v:bytes}", {"v": 3 * 2**20}, "3.0 MiB"),
        ("{v:seconds}", {"v": 0.25}, "250 ms"),
        ("{v}", {"v": 2**20000}, "a number of 20001 bits"),
        ("{v:bytes}", {"v": 2**20000}, "a number of 20001 bits"),
        ("{v!r:.4}", {"v": 2**20000}, "a number of 20001 bits"),
        ("a: {v}", {"v": Message("{text}")}, "a: {text}"),
        ("{v}", {"v": _nested(900)}, "…"),
        ("{missing}", {}, "{missing}"),
        ("{v:.2f}", {"v": "text"}, "text"),
        ("{v", {"v": 1}, "{v"),
        ("{{v}} {v}", {"v": None}, "{v} None"),
    ],
)
def test_parameters_are_formatted(template: str, params: dict[str, Parameter], text: str) -> None:
    """Formatting follows `str.format` plus units; a value that does not fit is still written."""
    assert str(Message.make(template, params=tuple(params.items()))) == text


def test_what_differs_is_said_for_each() -> None:
    """A shell user gets a command, and a reader of the page the name of a tab."""
    message = Message("not here; {get}", get=ShellOrPage(Message("run x"), Message("see the tab")))
    assert str(message) == "not here; run x"
    assert render(message, is_public=True) == "not here; see the tab"


def test_several_become_one_and_share_their_code() -> None:
    """Joined messages keep a code that all of them share; one message is returned unchanged."""
    one, other = Message("a", code="x"), Message("b", code="x")
    assert join_sentences([one]) is one
    assert str(join_sentences([one, other])) == "a; b"
    assert join_sentences([one, other]).code == "x"
    assert join_sentences([one, Message("c")]).code is None


def test_paths_get_other_names() -> None:
    """Paths are renamed in nested messages too."""
    message = Message("a {b}", b=Message("{path}", path=Path("/tmp/x")))
    assert str(message.with_paths({Path("/tmp/x"): "standard input"})) == "a standard input"


def test_a_quoted_text_alone_in_a_message_is_left_out_like_one() -> None:
    """A library's error in a nested message is omitted together with its colon."""
    message = Message("a failed: {reason}", reason=quoted("libfoo: /x"))
    assert str(message) == "a failed: libfoo: /x"
    assert render(message, is_public=True) == "a failed"


def test_a_code_is_found_at_any_depth() -> None:
    """A code is found in a list, and in a message that only the page shows."""
    inner = Message("b", code="x")
    assert Message("a {b}", b=join_parts([inner])).has_code("x")
    assert Message("a {b}", b=ShellOrPage(Message("c"), inner)).has_code("x")
    assert not Message("a {b}", b=join_parts(["x"])).has_code("x")


def test_an_error_says_its_message_or_is_quoted() -> None:
    """A library's error is quoted; one without text is represented by its class name."""
    assert message_of(TunerError(READ)) is READ
    assert message_of(OSError("no")) == quoted("no")
    assert str(message_of(MemoryError())) == "MemoryError"


def test_a_message_does_not_change() -> None:
    """A message is an immutable value that can be used as a key."""
    with pytest.raises(AttributeError):
        READ.template = "x"  # type: ignore[misc]  # what is tested
    assert {READ: 1}[copy.deepcopy(READ)] == 1
    assert pickle.loads(pickle.dumps(READ)) == READ


def test_an_error_carries_its_message() -> None:
    """An error's text is its English message; the problems of settings remain separate."""
    assert str(TunerError(READ)) == str(READ)
    error = SettingsError([Message("a"), Message("b")])
    assert (str(error), error.message.code) == ("a; b", None)
    assert pickle.loads(pickle.dumps(error)).problems == error.problems


PARAMETERS: st.SearchStrategy[Parameter] = st.recursive(
    st.one_of(
        st.text(),
        st.integers(),
        st.floats(allow_nan=False),
        st.booleans(),
        st.none(),
        st.builds(Quoted, st.text()),
        st.builds(Term, st.text(), st.text()),
        st.builds(Path, st.text(st.characters(blacklist_characters="\0"))),
    ),
    lambda inner: st.one_of(
        st.builds(lambda parts: JoinedParts(tuple(parts)), st.lists(inner, max_size=3)),
        st.builds(lambda text, value: Message(text, v=value), st.text(), inner),
        st.builds(lambda value: ShellOrPage(Message("{v}", v=value), Message("x")), inner),
    ),
    max_leaves=6,
)
MESSAGES = st.builds(
    lambda template, code, params: Message.make(template, code=code, params=tuple(params.items())),
    st.one_of(
        st.text(), st.sampled_from(["{a}", "{a!r:.8} {b:bytes}", "{b:.2f}: {a}", "{a:>{b}}"])
    ),
    st.none() | st.text(),
    st.dictionaries(st.sampled_from(["a", "b", "n"]), PARAMETERS, max_size=3),
)


@given(MESSAGES)
def test_any_message_is_rendered_and_kept(message: Message) -> None:
    """Rendering never raises an error, and a JSON round trip returns an equal message.

    The public form of a message equals its public rendering.
    """
    assert str(message.public()) == render(message, is_public=True)
    for catalogue in (Chinese(),):
        assert isinstance(render(message, catalogue), str)
    assert isinstance(render(message, is_public=True), str)
    assert Message.from_json(json.loads(json.dumps(message.to_json()))) == message


@pytest.mark.parametrize(
    "content",
    [
        None,
        3,
        [],
        {},
        {"template": 1},
        {"template": "a", "params": 3},
        {"template": "a", "params": {"x": {"odd": 1}}},
    ],
)
def test_what_is_no_message_is_refused(content: object) -> None:
    """A damaged row is rejected."""
    with pytest.raises(ValueError, match="cannot be"):
        Message.from_json(content)


def test_an_older_versions_sentence_is_read() -> None:
    """A plain string is read unchanged, without parsing braces."""
    assert str(Message.from_json("a sentence; {not} a template")) == "a sentence; {not} a template"


def _calls() -> list[tuple[str, ast.Call]]:
    """Find every call that creates a message, with its location."""
    return [
        (f"{path.relative_to(PACKAGE)}:{node.lineno}", node)
        for path in sorted(PACKAGE.rglob("*.py"))
        if path.name != "messages.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("Message", "plural")
    ]


def test_every_template_is_a_literal() -> None:
    """Templates are literals, so they can be extracted and contain no values."""
    odd = [
        place
        for place, call in _calls()
        for template in call.args[: 2 if call.func.id == "plural" else 1]  # type: ignore[attr-defined]  # a Name
        if not (isinstance(template, ast.Constant) and isinstance(template.value, str))
    ]
    assert odd == []


def test_every_field_of_a_template_is_given() -> None:
    """Every field has a parameter; a missing one would be shown as {name}."""
    import string

    odd = []
    for place, call in _calls():
        if any(word.arg is None for word in call.keywords):
            continue  # **params
        given = {word.arg for word in call.keywords}
        for template in call.args:
            used = {
                name
                for _, name, _, _ in string.Formatter().parse(ast.literal_eval(template))
                if name is not None
            }
            odd += [f"{place}: {name}" for name in used - given]
    assert odd == []


def test_messages_are_made_by_their_own_names() -> None:
    """The catalogue extraction and the tests above search for `Message(` and `plural(`."""
    made = {"models/catalogue.py": 1}  # a text of catalogue.yaml, which is extracted itself
    odd = []
    for path in sorted(PACKAGE.rglob("*.py")):
        name = str(path.relative_to(PACKAGE))
        if name == "base/messages.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and not str(node.module).startswith("rembg_tuner"):
                continue
            if isinstance(node, ast.ImportFrom | ast.Import):
                odd += [
                    f"{name}: {one.name} as {one.asname}"
                    for one in node.names
                    if one.asname and one.name in ("Message", "plural", "rembg_tuner.base.messages")
                ]
                odd += [
                    f"{name}: {one.name}"
                    for one in node.names
                    if one.name in ("messages", "rembg_tuner.base.messages")
                ]
            elif isinstance(node, ast.Attribute) and ast.unparse(node) == "Message.make":
                made[name] = made.get(name, 0) - 1
    assert odd == []
    assert {name: left for name, left in made.items() if left} == {}


def test_no_sentence_is_hidden_in_a_parameter() -> None:
    """The template {text} is used only for text that this program does not define."""
    odd = [
        place
        for place, call in _calls()
        if call.args and ast.unparse(call.args[0]) == "'{text}'"
        for word in call.keywords
        if word.arg == "text" and isinstance(word.value, ast.Constant | ast.JoinedStr)
    ]
    assert odd == []


def _errors_of_the_package() -> frozenset[str]:
    """Return the names of all subclasses of TunerError and of other errors that carry messages."""
    names = {"TunerError", "YamlFileError"}
    bases = [
        (node.name, {ast.unparse(base) for base in node.bases})
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    ]
    while more := {name for name, above in bases if above & names} - names:
        names |= more
    return frozenset(names)


def _is_plain(node: ast.expr) -> bool:
    """Return whether an argument is, or contains, plain text instead of a message."""
    if isinstance(node, ast.List | ast.Tuple):
        return any(_is_plain(one) for one in node.elts)
    if isinstance(node, ast.ListComp):
        return _is_plain(node.elt)
    is_str_call = isinstance(node, ast.Call) and ast.unparse(node.func) in ("str", "format")
    is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
    return is_text or is_str_call or isinstance(node, ast.JoinedStr)


def test_no_error_is_raised_with_a_plain_str() -> None:
    """Error text is a Message, so that it can be translated and its paths shortened."""
    errors = _errors_of_the_package()
    odd: dict[str, list[int]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_error = isinstance(node, ast.Call) and ast.unparse(node.func) in errors
            if is_error and any(_is_plain(one) for one in node.args):  # type: ignore[attr-defined]  # a Call
                odd.setdefault(str(path.relative_to(PACKAGE)), []).append(node.lineno)  # type: ignore[attr-defined]  # a Call
    assert odd == {}
