"""Codes of messages: what decides, and what programs read.

Docs/codes.md records them; the list only grows.
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
# Where a code comes from what was kept, not from the source.
_READERS = ("base/messages.py", "settings/results.py")


@cache
def _trees() -> dict[str, ast.Module]:
    """Parse the package by file."""
    return {
        str(path.relative_to(PACKAGE)): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(PACKAGE.rglob("*.py"))
    }


@cache
def _constants() -> dict[str, set[ast.expr]]:
    """Return what module-level names are assigned, by name, over the whole package."""
    found: dict[str, set[ast.expr]] = {}
    for tree in _trees().values():
        for node in tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                found.setdefault(node.targets[0].id, set()).add(node.value)
    return found


def _called(node: ast.AST) -> str:
    """Return the name that a call calls; empty: it is no call."""
    func = node.func if isinstance(node, ast.Call) else None
    return (
        func.id
        if isinstance(func, ast.Name)
        else func.attr
        if isinstance(func, ast.Attribute)
        else ""
    )


def _code_of(call: ast.Call) -> ast.expr | None:
    """Return what a message is given as its code; None: nothing."""
    if _called(call) == "with_code":
        return call.args[0]
    return next((one.value for one in call.keywords if one.arg == "code"), None)


def _values(code: ast.expr) -> set[str] | None:
    """Return the codes that an expression can be.

    None: it cannot be told, or is another message's.
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
    """List the calls that make a message."""
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and _called(node) in ("Message", "plural", "with_code", "make")
    ]


def _declared() -> tuple[set[str], list[str]]:
    """Return the codes in the source, and the places whose code cannot be told."""
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
    """Read the list: the codes with their lines, and those that are retired."""
    now, _, before = (
        (ROOT / "docs" / "codes.md").read_text(encoding="utf-8").partition("\n## Retired")
    )
    return dict(_ROW.findall(now)), dict(_ROW.findall(before))


def test_every_code_is_recorded() -> None:
    """A new code gets its line in docs/codes.md; each is a literal, or a constant that is one."""
    codes, unclear = _declared()
    assert unclear == []
    assert sorted(codes - _recorded()[0].keys()) == []


def test_no_code_leaves_the_list() -> None:
    """One that the source has no more stands under Retired, and is not used again for something else."""
    codes, _ = _declared()
    now, retired = _recorded()
    assert sorted(now.keys() - codes) == []
    assert sorted(retired.keys() & codes) == []


def test_each_code_stands_once_in_order() -> None:
    """Alphabetical, so that two changes of one day seldom meet."""
    text = (ROOT / "docs" / "codes.md").read_text(encoding="utf-8").partition("\n## Retired")[0]
    names = [name for name, _ in _ROW.findall(text)]
    assert names == sorted(set(names))


def _warned(tree: ast.Module) -> list[ast.AST]:
    """List the pieces of a module from which warnings are made.

    By the names that hold and return them.
    """

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
    """What reaches Result.warnings.

    Programs match on codes, so that a warning without one cannot be told.
    """
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


# Reads what others wrote, or its own markup, and decides nothing on a sentence of the program's.
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
    """Tell whether an expression is a sentence of the program's, as far as names say.

    An error, a warning, a failure.
    """
    match node:
        case ast.Call(func=ast.Name(id="str"), args=[inner]):
            return _is_said(inner)
        case ast.Attribute(attr="message" | "failure" | "why" | "expected"):
            return True
    return False


def _is_said(node: ast.AST) -> bool:
    """Tell whether `str` of an expression is a sentence."""
    name = (
        node.id
        if isinstance(node, ast.Name)
        else node.attr
        if isinstance(node, ast.Attribute)
        else ""
    )
    return bool(_TEXTS.search(name))


def _decides_on_text(node: ast.AST) -> bool:
    """Tell whether an expression looks into a sentence.

    `"x" in text`, `text.startswith`, `text == "x"`.
    """
    match node:
        case ast.Compare(ops=[ast.In() | ast.NotIn()], comparators=[right]):
            return _is_sentence(right)
        case ast.Compare(left=left, ops=[ast.Eq() | ast.NotEq()], comparators=[right]):
            return (_is_sentence(left) or _is_sentence(right)) and any(
                isinstance(one, ast.Constant | ast.JoinedStr) for one in (left, right)
            )
        case ast.Call(func=ast.Attribute(attr="split"), args=[]):
            return False  # white space only
        case ast.Call(func=ast.Attribute(value=owner, attr=attr)) if attr in _LOOKS:
            return _is_sentence(owner) or (
                isinstance(owner, ast.Name)
                and owner.id == "re"
                and any(map(_is_sentence, node.args))
            )
    return False


def test_nothing_decides_on_a_sentence() -> None:
    """Codes decide. What is allowed reads texts of libraries, which have no codes."""
    found = [
        f"{file}:{node.lineno}: {ast.unparse(node)}"
        for file, tree in _trees().items()
        if file not in _READS_TEXTS
        for node in ast.walk(tree)
        if isinstance(node, ast.expr) and _decides_on_text(node)
    ]
    assert found == []


def test_the_scan_finds_what_it_looks_for() -> None:
    """The forms in which code decided on sentences before."""
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
