"""The tree of errors: each class has a kind of Failure, and the module's docstring draws it."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import pytest

import rembg_tuner
from rembg_tuner.base import errors
from rembg_tuner.base.errors import (
    CancelledError,
    EngineError,
    MissingModelError,
    MissingProviderError,
    ModelError,
    OutOfMemoryError,
    OutputError,
    PictureError,
    PictureTooLargeError,
    PresetError,
    SettingsError,
    TunerError,
)
from rembg_tuner.base.messages import Message
from rembg_tuner.base.yaml_files import YamlFileError, format_mapping, read_mapping
from rembg_tuner.settings.results import FailureKind

if TYPE_CHECKING:
    from collections.abc import Iterator


def all_kinds_of(error: type[TunerError]) -> Iterator[type[TunerError]]:
    """Yield a class and all its subclasses."""
    yield error
    for below in error.__subclasses__():
        yield from all_kinds_of(below)


@pytest.mark.parametrize(
    ("error", "kind", "parent"),
    [
        pytest.param(PictureError, "bad_input", TunerError, id="picture"),
        pytest.param(PictureTooLargeError, "too_large", PictureError, id="picture-too-large"),
        pytest.param(OutputError, "bad_output", TunerError, id="output"),
        pytest.param(ModelError, "bad_model", TunerError, id="model"),
        pytest.param(MissingModelError, "missing_model", ModelError, id="missing-model"),
        pytest.param(EngineError, "engine_error", TunerError, id="engine"),
        pytest.param(MissingProviderError, "missing_provider", EngineError, id="missing-provider"),
        pytest.param(OutOfMemoryError, "out_of_memory", EngineError, id="out-of-memory"),
        pytest.param(CancelledError, "cancelled", TunerError, id="cancelled"),
        pytest.param(SettingsError, "invalid_settings", TunerError, id="settings"),
        pytest.param(PresetError, "invalid_settings", TunerError, id="preset"),
    ],
)
def test_each_error_is_one_kind_of_failure(
    error: type[TunerError], kind: str, parent: type[TunerError]
) -> None:
    """Each class has its kind and its parent, so that callers can catch a branch."""
    assert error.kind == kind
    assert error.__bases__[0] is parent


def test_every_kind_is_one_that_a_failure_can_have() -> None:
    """No class of the tree has a kind that Failure does not define."""
    kinds = {
        statement.value.value
        for path in Path(str(rembg_tuner.__file__)).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and node.name.endswith("Error")
        for statement in node.body
        if isinstance(statement, ast.Assign | ast.AnnAssign)
        and ast.unparse(statement).startswith("kind")
        and isinstance(statement.value, ast.Constant)
    }
    assert {error.kind for error in all_kinds_of(TunerError)} <= kinds
    assert kinds <= set(get_args(FailureKind))


def test_the_kinds_without_a_class_are_those_that_only_a_parent_sees() -> None:
    """A worker cannot report its own timeout or crash, so these kinds have no class."""
    kinds = {error.kind for error in all_kinds_of(TunerError)}
    assert set(get_args(FailureKind)) - kinds == {"timeout", "crash", "busy"}


def test_the_docstring_draws_the_tree_as_it_is() -> None:
    """The drawing has every class once, with its kind."""
    drawn = dict(re.findall(r"[├└]── (\w+)(?:\(ValueError\))? +(\w+)", str(errors.__doc__)))
    defined = {
        name: error
        for name, error in inspect.getmembers(errors, inspect.isclass)
        if issubclass(error, TunerError) and error is not TunerError
    }
    assert set(drawn) == set(defined)
    for name, word in drawn.items():
        assert word == defined[name].kind


def test_settings_error_carries_every_problem() -> None:
    """The problems are kept separately and joined to one message; it is a ValueError."""
    error = SettingsError([Message("one is wrong"), Message("two is too")])
    assert tuple(map(str, error.problems)) == ("one is wrong", "two is too")
    assert str(error) == "one is wrong; two is too"
    assert isinstance(error, ValueError)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"a: [1,", "presets.yaml: not valid YAML: ", id="cut-short"),
        pytest.param(b"\xff\xfe\xfa", "presets.yaml: not valid YAML: ", id="not-text"),
        pytest.param(
            b"a: !!python/object/apply:os.getcwd []", "presets.yaml: not valid", id="code"
        ),
        pytest.param(b"- a\n- b\n", "presets.yaml: the top must be a mapping of names", id="list"),
        pytest.param(b"", "presets.yaml: the top must be a mapping of names", id="empty"),
        pytest.param(b"1: a\n", "presets.yaml: the top must be a mapping of names", id="number"),
    ],
)
def test_a_yaml_file_that_does_not_read_is_named_with_the_reason(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    """The error has one line that names the file; no code in the file runs."""
    path = tmp_path / "presets.yaml"
    path.write_bytes(content)
    with pytest.raises(YamlFileError) as caught:
        read_mapping(path)
    assert str(caught.value).startswith(reason)
    assert "\n" not in str(caught.value)


def test_a_date_that_cannot_be_is_a_yaml_error_like_any_other(tmp_path: Path) -> None:
    """An invalid date raises an error with the file's name, not a bare ValueError."""
    path = tmp_path / "presets.yaml"
    path.write_text("date: 2026-13-45\n", encoding="utf-8")
    with pytest.raises(YamlFileError, match=r"^presets\.yaml: "):
        read_mapping(path)


def test_a_mapping_written_as_yaml_reads_back_equal(tmp_path: Path) -> None:
    """The order, text in any script, and values are kept."""
    mapping: dict[str, object] = {"z": 1, "a": "抠图", "nested": {"on": True, "none": None}}
    path = tmp_path / "m.yaml"
    path.write_text(format_mapping(mapping), encoding="utf-8")
    read = read_mapping(path)
    assert read == mapping
    assert list(read) == ["z", "a", "nested"]
    assert "抠图" in path.read_text(encoding="utf-8")
