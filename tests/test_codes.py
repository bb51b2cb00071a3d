"""Codes of messages, on which the program and its users decide.

docs/codes.md records them, and codes are only added.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

from rembg_tuner.base.messages import Message

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "rembg_tuner"
_ROW = re.compile(r"^\| `([a-z][a-z0-9_]*)` \| (.+) \|$", re.MULTILINE)
# Here the code is read from stored data, not written in the source.
_READERS = ("base/messages.py", "settings/results.py")


@cache
def _trees() -> dict[str, ast.Module]:
    """Parse the package's modules, by file."""
    return {
        str(path.relative_to(PACKAGE)): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
    }


@cache
def _constants() -> dict[str, set[ast.expr]]:
    """Return the values assigned to module-level names in the whole package, by name."""
    found: dict[str, set[ast.expr]] = {}
    for tree in _trees().values():
        for node in tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                found.setdefault(node.targets[0].id, set()).add(node.value)
    return found


def _called(node: ast.AST) -> str:
    """Return the name of the called function; empty if the node is not a call."""
    func = node.func if isinstance(node, ast.Call) else None
    return (
        func.id
        if isinstance(func, ast.Name)
        else func.attr
        if isinstance(func, ast.Attribute)
        else ""
    )


def _code_of(call: ast.Call) -> ast.expr | None:
    """Return the expression of a message's code; None if it has no code."""
    if _called(call) == "with_code":
        return call.args[0]
    return next((one.value for one in call.keywords if one.arg == "code"), None)


def _values(code: ast.expr) -> set[str] | None:
    """Return the codes that an expression can have.

    None: unknown, or the code of another message.
    """
    match code:
        case ast.Constant(value=str(text)):
            return {text}
        case ast.IfExp():
            both = _values(code.body), _values(code.orelse)
            return None if None in both else set().union(*(one for one in both if one))
        case ast.Name(id=name) | ast.Attribute(attr=name):
            values = [
                _values(one) for one in _constants().get(name, ()) if isinstance(one, ast.Constant)
            ]
            return set().union(*(one for one in values if one)) or None
    return None


def _messages(tree: ast.AST) -> list[ast.Call]:
    """List the calls that create a message."""
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and _called(node) in ("Message", "plural", "with_code", "make")
    ]


def _declared() -> tuple[set[str], list[str]]:
    """Return the codes in the source, and the places whose code is unknown."""
    codes: set[str] = set()
    unclear: list[str] = []
    for file, tree in _trees().items():
        for call in _messages(tree):
            code = _code_of(call)
            if code is None or (isinstance(code, ast.Attribute) and code.attr == "code"):
                continue
            values = _values(code)
            if values is None and file not in _READERS:
                unclear.append(f"{file}:{call.lineno}: {ast.unparse(code)}")
            codes |= values or set()
    return codes, unclear


@cache
def _recorded() -> tuple[dict[str, str], dict[str, str]]:
    """Read docs/codes.md: the codes with their descriptions, and the retired ones."""
    now, _, before = (
        (ROOT / "docs" / "codes.md").read_text(encoding="utf-8").partition("\n## Retired")
    )
    return dict(_ROW.findall(now)), dict(_ROW.findall(before))


def test_every_code_is_recorded() -> None:
    """Each code is in docs/codes.md, and is a literal or a constant in the source."""
    codes, unclear = _declared()
    assert unclear == []
    assert sorted(codes - _recorded()[0].keys()) == []


def test_no_code_leaves_the_list() -> None:
    """A code that the source no longer uses is listed under Retired, and is not reused."""
    codes, _ = _declared()
    now, retired = _recorded()
    assert sorted(now.keys() - codes) == []
    assert sorted(retired.keys() & codes) == []


def test_each_code_stands_once_in_order() -> None:
    """Codes are unique and sorted, so that parallel changes seldom conflict."""
    text = (ROOT / "docs" / "codes.md").read_text(encoding="utf-8").partition("\n## Retired")[0]
    names = [name for name, _ in _ROW.findall(text)]
    assert names == sorted(set(names))


def _warned(tree: ast.Module) -> list[ast.AST]:
    """List the parts of a module that create warnings, found by their names."""

    def holds(node: ast.AST) -> bool:
        return any(
            "warning" in (part.id if isinstance(part, ast.Name) else part.attr)
            for part in ast.walk(node)
            if isinstance(part, ast.Name | ast.Attribute)
        )

    found: list[ast.AST] = []
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) if re.search(r"warnings?$", name):
                found.append(node)
            case ast.Assign(targets=targets, value=value) if any(map(holds, targets)):
                found.append(value)
            case ast.AnnAssign(target=target, value=ast.expr() as value) if holds(target):
                found.append(value)
            case ast.AugAssign(target=target, value=value) if holds(target):
                found.append(value)
            case ast.keyword(arg="warnings", value=value):
                found.append(value)
            case ast.Call(func=ast.Attribute(value=owner, attr="append" | "extend"), args=args):
                found += args if holds(owner) else []
    return found


def test_every_warning_has_a_code() -> None:
    """Every message that may reach Result.warnings has a code, since programs match on codes."""
    bare = []
    for file, tree in _trees().items():
        for piece in _warned(tree):
            names = {
                part.id if isinstance(part, ast.Name) else part.attr
                for part in ast.walk(piece)
                if isinstance(part, ast.Name | ast.Attribute)
            }
            constants = [
                value for name in names if name.isupper() for value in _constants().get(name, ())
            ]
            nested = {
                id(inner)
                for call in _messages(piece)
                for part in (*call.args, *(one.value for one in call.keywords))
                for inner in _messages(part)
            }
            outer = [call for call in _messages(piece) if id(call) not in nested]
            outer += [
                value
                for value in constants
                if isinstance(value, ast.Call) and _called(value) in ("Message", "plural")
            ]
            bare += [f"{file}:{call.lineno}" for call in outer if _code_of(call) is None]
    assert sorted(set(bare)) == []


# These read texts of libraries and servers, or render; they do not decide on the program's text.
_READS_TEXTS = {
    "base/messages.py": "renders",
    "imaging/complaints.py": "pyvips's own text",
    "engines/onnxruntime/providers.py": "ONNX Runtime's own text",
    "web/server/connections.py": "asyncio's own text",
    "runtime/download.py": "a server's answer",
}
_TEXTS = re.compile(r"(^|_)(text|message|warning|failure|reason|sentence|problem|error|said)s?$")
_LOOKS = (
    "startswith",
    "endswith",
    "find",
    "index",
    "partition",
    "rpartition",
    "split",
    "search",
    "match",
    "fullmatch",
    "removeprefix",
    "removesuffix",
    "count",
)


def _is_sentence(node: ast.AST) -> bool:
    """Return whether an expression is a text of the program, judged by its name."""
    match node:
        case ast.Call(func=ast.Name(id="str"), args=[inner]):
            return _is_said(inner)
        case ast.Attribute(attr="message" | "failure" | "why" | "expected"):
            return True
    return False


def _is_said(node: ast.AST) -> bool:
    """Return whether `str` of an expression is a message, judged by its name."""
    name = (
        node.id
        if isinstance(node, ast.Name)
        else node.attr
        if isinstance(node, ast.Attribute)
        else ""
    )
    return bool(_TEXTS.search(name))


def _decides_on_text(node: ast.AST) -> bool:
    """Return whether an expression compares or searches a text of the program.

    For example `"x" in text`, `text.startswith`, `text == "x"`.
    """
    match node:
        case ast.Compare(ops=[ast.In() | ast.NotIn()], comparators=[right]):
            return _is_sentence(right)
        case ast.Compare(left=left, ops=[ast.Eq() | ast.NotEq()], comparators=[right]):
            return (_is_sentence(left) or _is_sentence(right)) and any(
                isinstance(one, ast.Constant | ast.JoinedStr) for one in (left, right)
            )
        case ast.Call(func=ast.Attribute(attr="split"), args=[]):
            return False  # it splits at white space only
        case ast.Call(func=ast.Attribute(value=owner, attr=attr)) if attr in _LOOKS:
            return _is_sentence(owner) or (
                isinstance(owner, ast.Name)
                and owner.id == "re"
                and any(map(_is_sentence, node.args))
            )
    return False


def test_nothing_decides_on_a_sentence() -> None:
    """No code decides on a message's text; texts of libraries, which have no codes, are allowed."""
    found = [
        f"{file}:{node.lineno}: {ast.unparse(node)}"
        for file, tree in _trees().items()
        if file not in _READS_TEXTS
        for node in ast.walk(tree)
        if isinstance(node, ast.expr) and _decides_on_text(node)
    ]
    assert found == []


def test_the_scan_finds_what_it_looks_for() -> None:
    """The scan finds each form in which code decided on texts before."""
    for text in (
        "NO_FOREGROUND in str(warning)",
        "run.input in run.message",
        "str(error).startswith('x')",
        "str(run.failure) == 'x'",
        "re.search('x', str(message))",
    ):
        assert _decides_on_text(ast.parse(text, mode="eval").body), text
    assert not _decides_on_text(ast.parse("warning.code == 'x'", mode="eval").body)
    assert Message("a", code="x").code == "x"
