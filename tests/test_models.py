"""The models: the embedded file, the catalogue against rembg's own source, graphs made free."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import itertools
import os
import pwd
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from rembg_tuner.errors import MissingModelError, ModelError
from rembg_tuner.models import freed
from rembg_tuner.models.catalogue import (
    EMBEDDED_FOLDER,
    CatalogueEntry,
    find_model,
    read_catalogue,
    rembg_folders,
)
from rembg_tuner.models.freed import freed_copy
from rembg_tuner.models.graph import free_input_size
from rembg_tuner.models.spec import IMAGENET_MEAN, IMAGENET_STD, ModelSpec, verify

if TYPE_CHECKING:
    from collections.abc import Sequence

U2NETP = EMBEDDED_FOLDER / "u2netp.onnx"
SHA256 = "309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8"
MD5 = "8e83ca70e441ab06c318d82300c84806"
HOME_VARIABLES = ("U2NET_HOME", "REMBG_HOME", "XDG_DATA_HOME")


def rembg_sessions() -> Path:
    """Find rembg's session classes without importing rembg, which takes seconds."""
    spec = importlib.util.find_spec("rembg")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(spec.submodule_search_locations[0]) / "sessions"


@cache
def rembg_models() -> dict[str, dict[str, object]]:
    """Read each model's url, checksum and input from the source of rembg's session classes."""
    models: dict[str, dict[str, object]] = {}
    for path in rembg_sessions().glob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        methods = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        if not {"name", "predict", "download_models"} <= set(methods):
            continue
        named = methods["name"].body[-1]
        if not isinstance(named, ast.Return) or not isinstance(named.value, ast.Constant):
            continue
        texts = [
            node.value
            for node in ast.walk(methods["download_models"])
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        models[str(named.value.value)] = {
            "urls": [text for text in texts if text.startswith("https://")],
            "checksums": [text for text in texts if text.startswith(("md5:", "sha256:"))],
            "inputs": [
                tuple(ast.literal_eval(argument) for argument in call.args[1:])
                for call in ast.walk(methods["predict"])
                if isinstance(call, ast.Call)
                and isinstance(call.func, ast.Attribute)
                and call.func.attr == "normalize"
            ],
        }
    return models


@cache
def rembg_base() -> Any:
    """Load rembg's BaseSession alone from its file."""
    spec = importlib.util.spec_from_file_location("rembg_base", rembg_sessions() / "base.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.BaseSession


@pytest.fixture
def bare_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty home folder, and none of rembg's variables."""
    for name in HOME_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return home


def test_the_embedded_model_is_the_released_one() -> None:
    """Size and both checksums are those of the file that rembg downloads."""
    content = U2NETP.read_bytes()
    assert len(content) == 4_574_861
    assert hashlib.sha256(content).hexdigest() == SHA256
    assert hashlib.md5(content, usedforsecurity=False).hexdigest() == MD5


def test_the_embedded_model_comes_with_its_licence() -> None:
    """The Apache licence lies beside the file it is for."""
    text = (EMBEDDED_FOLDER / "LICENSE-u2netp.txt").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "Version 2.0" in text


@pytest.mark.parametrize("name", list(read_catalogue()))
def test_an_entry_of_the_catalogue_is_what_rembg_holds(name: str) -> None:
    """Name, file, url, checksum and input are those of rembg's session class."""
    entry, theirs = read_catalogue()[name], rembg_models()[name]
    assert entry.name == name
    assert entry.file == f"{name}.onnx"  # rembg's f"{cls.name()}.onnx"
    assert theirs["urls"] == [entry.url]
    assert theirs["checksums"] == [f"md5:{entry.md5}"]
    assert theirs["inputs"] == [(IMAGENET_MEAN, IMAGENET_STD, (entry.side, entry.side))]


@pytest.mark.parametrize("name", list(read_catalogue()))
def test_an_entry_of_the_catalogue_is_whole(name: str) -> None:
    """Every field has its type, a licence and what it is good for."""
    entry = read_catalogue()[name]
    texts = (entry.file, entry.url, entry.md5, entry.licence, entry.good_for)
    assert [type(text) for text in texts] == [str] * 5
    assert all(text.strip() for text in texts)
    assert type(entry.side) is int
    assert entry.bytes is None or type(entry.bytes) is int
    assert entry.sha256 is None or len(bytes.fromhex(entry.sha256)) == 32
    assert len(bytes.fromhex(entry.md5)) == 16


def test_the_catalogue_knows_the_embedded_file() -> None:
    """The entry of u2netp is the file that comes along."""
    entry = read_catalogue()["u2netp"]
    assert (entry.bytes, entry.sha256, entry.md5) == (4_574_861, SHA256, MD5)
    assert entry.find() == U2NETP


def test_u2netp_is_found_without_anything_else() -> None:
    """The default model needs no download, and carries what a worker must know."""
    spec = find_model("u2netp")
    assert Path(spec.path) == Path(spec.graph_path) == U2NETP
    assert spec.checksums == {"sha256": SHA256}
    assert (spec.name, spec.side, spec.mean, spec.std) == (
        "u2netp",
        320,
        (0.485, 0.456, 0.406),
        (0.229, 0.224, 0.225),
    )
    assert verify(spec) == SHA256


def spec_of(path: Path, checksums: dict[str, str]) -> ModelSpec:
    """Describe a file that is said to be u2netp."""
    return ModelSpec(
        name="u2netp",
        path=str(path),
        graph_path=str(path),
        checksums=checksums,
        side=320,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )


@pytest.mark.parametrize("algorithm", ["sha256", "md5"])
@pytest.mark.parametrize(
    ("start", "content", "size"),
    [
        pytest.param(0, U2NETP.read_bytes()[:-1], "4,574,860 bytes", id="cut-short"),
        pytest.param(0, b"", "0 bytes", id="empty"),
        pytest.param(0, b"<html>not found</html>", "22 bytes", id="a-web-page"),
        pytest.param(1_000_000, b"\xa5", "4,574,861 bytes", id="altered"),
        pytest.param(4_574_861, b"\0", "4,574,862 bytes", id="longer"),
    ],
)
def test_another_file_than_the_released_one_is_refused(
    tmp_path: Path, algorithm: str, start: int, content: bytes, size: str
) -> None:
    """One byte less, more or other is told with file, size, both checksums and what to do."""
    released = U2NETP.read_bytes()
    path = tmp_path / "u2netp.onnx"
    altered = released[:start] + content + (released[start + 1 :] if start else b"")
    path.write_bytes(altered)
    expected = {"sha256": SHA256, "md5": MD5}[algorithm]
    found = hashlib.new(algorithm, altered, usedforsecurity=False).hexdigest()
    with pytest.raises(ModelError) as caught:
        verify(spec_of(path, {algorithm: expected}))
    assert str(caught.value) == (
        f"{path} ({size}) is not the released u2netp: its {algorithm} is {found}, expected "
        f"{expected}; it may be cut short, delete it and get it again"
    )


def test_a_model_that_went_away_is_told_by_name(tmp_path: Path) -> None:
    """A file deleted since it was found is an error with its path and the reason."""
    path = tmp_path / "gone.onnx"
    with pytest.raises(ModelError) as caught:
        verify(spec_of(path, {}))
    assert str(caught.value) == (
        f"the model's file {path} cannot be read: No such file or directory"
    )


def test_an_own_file_is_known_by_its_sha256(tmp_path: Path) -> None:
    """Without a checksum to hold it against, the digest still tells one file from another."""
    path = tmp_path / "own.onnx"
    path.write_bytes(b"one")
    one = verify(spec_of(path, {}))
    assert one == hashlib.sha256(b"one").hexdigest()
    path.write_bytes(b"other")
    assert verify(spec_of(path, {})) != one


def possible_places(home: Path, tmp_path: Path) -> list[Path]:
    """List every place in which some setting of the variables looks, and some in which none does."""
    folders = [tmp_path / "u2", tmp_path / "re", tmp_path / "xdg" / "rembg"]
    folders += [home / ".rembg", home / ".u2net", tmp_path / "xdg" / ".u2net"]
    nested = [folder / "models" / "u2net" / "u2net.onnx" for folder in folders]
    return nested + [folder / "u2net.onnx" for folder in folders]


@pytest.mark.parametrize(
    "variables",
    [
        pytest.param(names, id="+".join(names) or "none")
        for count in range(4)
        for names in itertools.combinations(HOME_VARIABLES, count)
    ],
)
def test_a_model_is_found_where_rembg_finds_it(
    bare_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: Sequence[str]
) -> None:
    """With each setting of the variables, and one or two copies about, it is rembg's own choice."""
    values = {
        "U2NET_HOME": str(tmp_path / "u2"),
        "REMBG_HOME": str(tmp_path / "re"),
        "XDG_DATA_HOME": str(tmp_path / "xdg"),
    }
    for name in variables:
        monkeypatch.setenv(name, values[name])
    session: Any = type("Session", (rembg_base(),), {"name": classmethod(lambda *_: "u2net")})
    assert rembg_folders()[0] == Path(session.rembg_home())
    assert rembg_folders()[-1] == Path(session.legacy_home())
    entry = read_catalogue()["u2net"]
    places = possible_places(bare_home, tmp_path)
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
    chosen = set()
    for copies in itertools.chain(
        itertools.combinations(places, 1), itertools.combinations(places, 2)
    ):
        for copy in copies:
            copy.touch()
        theirs = session.resolve_existing("u2net.onnx")
        assert entry.find() == (None if theirs is None else Path(theirs))
        chosen.add(theirs)
        for copy in copies:
            copy.unlink()
    assert len(chosen) == 3  # its own folder, the old flat one, and nowhere


@pytest.mark.parametrize("name", HOME_VARIABLES)
def test_a_home_sign_in_rembgs_variables_is_understood(
    bare_home: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """`~/x` in a variable is the user's, as it is to rembg."""
    monkeypatch.setenv(name, "~/x")
    assert rembg_folders()[0].is_relative_to(bare_home / "x")
    assert rembg_folders()[0] == Path(rembg_base().rembg_home())


def test_a_user_without_a_home_has_the_embedded_model(
    bare_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container run as a number that no passwd knows finds u2netp, and is told of the others."""

    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert Path(find_model("u2netp").path) == U2NETP
    with pytest.raises(MissingModelError, match=r"^model u2net is not on disk"):
        find_model("u2net")


def test_a_model_that_is_found_is_checked_by_rembgs_checksum(
    bare_home: Path, tmp_path: Path
) -> None:
    """A download of rembg's is used as it lies there, and held against the md5 at load."""
    path = bare_home / ".rembg" / "models" / "u2net" / "u2net.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not u2net")
    spec = find_model("u2net")
    assert Path(spec.path) == path
    assert spec.checksums == {"md5": read_catalogue()["u2net"].md5}
    with pytest.raises(ModelError, match="is not the released u2net: its md5 is"):
        verify(spec)


def test_a_missing_model_is_told_with_how_to_get_it(bare_home: Path) -> None:
    """The sentence has the address, and the place that rembg and this program both look in."""
    entry = read_catalogue()["u2net"]
    with pytest.raises(MissingModelError) as caught:
        find_model("u2net")
    place = bare_home / ".rembg" / "models" / "u2net" / "u2net.onnx"
    assert str(caught.value) == f"model u2net is not on disk; download {entry.url} to {place}"
    place.parent.mkdir(parents=True)
    place.touch()
    assert Path(find_model("u2net").path) == place


@pytest.mark.parametrize("name", ["u2nett", "", "U2NETP", "models/u2netp", "u2netp.pth"])
def test_an_unknown_model_is_told_with_the_known_ones(name: str) -> None:
    """A name in no catalogue that is no .onnx path lists the models."""
    with pytest.raises(ModelError) as caught:
        find_model(name)
    assert type(caught.value) is ModelError
    assert str(caught.value) == (
        f"model {name!r} is not known; the models are {', '.join(read_catalogue())}, "
        "or give a path that ends in .onnx"
    )


@pytest.mark.parametrize("name", ["absent.onnx", "~/absent.onnx", "~no-such-user-here/absent.onnx"])
def test_an_own_file_that_is_not_there_is_told_by_its_path(bare_home: Path, name: str) -> None:
    """A path that ends in .onnx and leads nowhere is named as it was typed."""
    with pytest.raises(MissingModelError) as caught:
        find_model(name)
    assert str(caught.value) == (
        f"model file {name!r} is not there; give the path of an .onnx file"
    )


def test_an_own_file_is_found_by_its_path(bare_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative, upper-case and home paths are made absolute; its side is the graph's to tell."""
    (bare_home / "own.ONNX").touch()
    monkeypatch.chdir(bare_home)
    for name in ("own.ONNX", "~/own.ONNX", str(bare_home / "own.ONNX")):
        spec = find_model(name)
        assert Path(spec.path) == bare_home / "own.ONNX"
        assert (spec.name, spec.side, spec.checksums) == (name, None, {})


def test_a_spec_crosses_to_the_worker_as_it_is() -> None:
    """Its fields by name are enough to make it again."""
    spec = find_model("u2netp")
    assert ModelSpec(**spec.to_dict()) == spec  # type: ignore[arg-type]  # its own fields


def dims_of(value: onnx.ValueInfoProto) -> list[int | str]:
    """Give a tensor's dimensions: numbers, names, or 0 for unknown."""
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def run_graph(path: Path, side: int, colour: float = 0.5) -> list[Any]:
    """Run a graph on a grey square with a disc of a colour in it."""
    rows, columns = np.mgrid[:side, :side] / side - 0.5
    disc = np.where(rows**2 + columns**2 < 0.09, np.float32(2.0), np.float32(-1.0))
    picture = np.broadcast_to(disc * colour * 2, (1, 3, side, side)).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(
        str(path), sess_options=options, providers=["CPUExecutionProvider"]
    )
    outputs: list[Any] = session.run(None, {session.get_inputs()[0].name: picture})
    return outputs


def test_freeing_u2netp_names_height_and_width_only() -> None:
    """The input keeps batch and channels; the weights, and the graph it was made from, stay."""
    model = onnx.load(str(U2NETP))
    before = model.SerializeToString(deterministic=True)
    result = free_input_size(model)
    assert dims_of(result.graph.input[0]) == [1, 3, "height", "width"]
    assert [dims_of(value)[:2] for value in result.graph.output] == [
        dims_of(value)[:2] for value in model.graph.output
    ]
    assert [dims_of(value)[2:] for value in result.graph.output] == [[0, 0]] * 7
    assert result.graph.initializer == model.graph.initializer
    assert model.SerializeToString(deterministic=True) == before


def test_a_freed_graph_runs_at_its_own_size_as_before_and_at_another(tmp_path: Path) -> None:
    """At 320 the numbers are the released graph's; at 256 the disc is still the foreground."""
    path = freed_copy(U2NETP, tmp_path / "freed.onnx")
    released, same = run_graph(U2NETP, 320), run_graph(path, 320)
    assert max(np.abs(a - b).max() for a, b in zip(released, same, strict=True)) < 1e-5
    smaller = run_graph(path, 256)
    assert [output.shape for output in smaller] == [(1, 1, 256, 256)] * 7
    matte = smaller[0][0, 0]
    assert 0 <= matte.min() <= matte.max() <= 1
    assert matte[118:138, 118:138].mean() > 0.9
    assert matte[:16, :16].mean() < 0.1
    # the same disc at both sizes: alike when the larger is sampled at the smaller's places
    places = np.rint((np.arange(256) + 0.5) * 320 / 256 - 0.5).astype(int)
    assert np.abs(same[0][0, 0][np.ix_(places, places)] - matte).mean() < 0.05


def resizing_graph(
    sizes: Sequence[onnx.NodeProto], initializers: Sequence[onnx.TensorProto] = ()
) -> onnx.ModelProto:
    """Make a graph that resizes its picture to the tensor `sizes` that nodes or weights give."""
    picture = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 320, 320])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 160, 160])
    resize = helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], name="Resize_7")
    graph = helper.make_graph([*sizes, resize], "toy", [picture], [result], [*initializers])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def numbers(name: str, *values: int) -> onnx.TensorProto:
    """Make a constant tensor of whole numbers."""
    return helper.make_tensor(name, TensorProto.INT64, [len(values)], values)


SHAPE_OF_X = [
    helper.make_node("Shape", ["x"], ["shape"]),
    helper.make_node("Slice", ["shape", "zero", "two"], ["front"]),
    helper.make_node("Slice", ["shape", "two", "four"], ["back"]),
]
BOUNDS = [numbers("zero", 0), numbers("two", 2), numbers("four", 4)]


@pytest.mark.parametrize(
    ("model", "told"),
    [
        pytest.param(
            resizing_graph([], [numbers("sizes", 1, 3, 160, 160)]),
            "[1, 3, 160, 160]",
            id="a-weight",
        ),
        pytest.param(
            resizing_graph(
                [helper.make_node("Constant", [], ["sizes"], value=numbers("", 1, 3, 160, 160))]
            ),
            "[1, 3, 160, 160]",
            id="a-constant",
        ),
        pytest.param(
            resizing_graph(
                [helper.make_node("Constant", [], ["sizes"], value_ints=[1, 3, 160, 160])]
            ),
            "[1, 3, 160, 160]",
            id="a-constant-of-ints",
        ),
        pytest.param(
            resizing_graph(
                [*SHAPE_OF_X, helper.make_node("Concat", ["front", "hw"], ["sizes"], axis=0)],
                [*BOUNDS, numbers("hw", 160, 160)],
            ),
            "[160, 160]",
            id="joined-to-a-computed-batch",
        ),
    ],
)
def test_a_graph_with_sizes_written_down_is_refused(model: onnx.ModelProto, told: str) -> None:
    """Another input size would be resized to the old one: the node and its size are told."""
    onnx.checker.check_model(model)
    with pytest.raises(ModelError) as caught:
        free_input_size(model)
    assert str(caught.value) == (
        "this graph cannot take another network_size: Resize_7 is written for the size "
        f"{told}; leave network_size at 0"
    )


def test_a_graph_that_computes_its_sizes_is_freed() -> None:
    """A constant batch and channel before a computed height and width hold nothing back."""
    model = resizing_graph(
        [*SHAPE_OF_X, helper.make_node("Concat", ["fixed", "back"], ["sizes"], axis=0)],
        [*BOUNDS, numbers("fixed", 1, 3)],
    )
    assert dims_of(free_input_size(model).graph.input[0]) == [1, 3, "height", "width"]


def plain_graph(*shapes: Sequence[int]) -> onnx.ModelProto:
    """Make a graph that only passes its first input on."""
    inputs = [
        helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, list(shape))
        for i, shape in enumerate(shapes)
    ]
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, list(shapes[0]))
    graph = helper.make_graph([helper.make_node("Relu", ["x0"], ["y"])], "toy", inputs, [result])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.mark.parametrize(
    ("shapes", "found"),
    [
        pytest.param([(1, 3, 320, 320), (1, 2)], "one of 4, one of 2", id="two-inputs"),
        pytest.param([(1, 3)], "one of 2", id="two-dimensions"),
        pytest.param([(1, 3, 3, 320, 320)], "one of 5", id="five-dimensions"),
    ],
)
def test_a_graph_with_another_input_is_refused(shapes: Sequence[Sequence[int]], found: str) -> None:
    """Only one picture of (batch, channel, height, width) has a size to free."""
    with pytest.raises(ModelError) as caught:
        free_input_size(plain_graph(*shapes))
    assert str(caught.value) == (
        "network_size needs a graph with one input of four dimensions, this one has "
        f"{found}; leave network_size at 0"
    )


def test_weights_that_stand_among_the_inputs_are_no_inputs() -> None:
    """Old exporters list every weight as an input too."""
    model = plain_graph((1, 3, 320, 320), (1,))
    model.graph.initializer.append(helper.make_tensor("x1", TensorProto.FLOAT, [1], [0.5]))
    assert dims_of(free_input_size(model).graph.input[0]) == [1, 3, "height", "width"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"garbage" * 100, "{path} does not read as an ONNX graph", id="garbage"),
        pytest.param(
            U2NETP.read_bytes()[:100_000], "{path} does not read as an ONNX graph", id="cut-short"
        ),
        pytest.param(b"", "network_size needs a graph with one input", id="empty"),
        pytest.param(None, "{path} does not read as an ONNX graph", id="absent"),
    ],
)
def test_a_file_that_is_no_graph_is_refused_in_one_sentence(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    """The reason comes back from the other process, and no copy is left behind."""
    source = tmp_path / "own.onnx"
    if content is not None:
        source.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        freed_copy(source, tmp_path / "freed.onnx")
    assert str(caught.value).startswith(reason.format(path=source))
    assert not (tmp_path / "freed.onnx").exists()
    assert len(list(tmp_path.iterdir())) == (content is not None)


def test_a_refusal_comes_back_from_the_other_process(tmp_path: Path) -> None:
    """What free_input_size says is what the caller of freed_copy is told."""
    source = tmp_path / "own.onnx"
    source.write_bytes(resizing_graph([], [numbers("sizes", 1, 3, 160, 160)]).SerializeToString())
    with pytest.raises(ModelError, match=r"^this graph cannot take another network_size: Resize_7"):
        freed_copy(source, tmp_path / "freed.onnx")


def test_a_freed_copy_is_kept_and_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second time nothing is run and the file stays as it was."""
    source, target = tmp_path / "own.onnx", tmp_path / "freed.onnx"
    source.write_bytes(plain_graph((1, 3, 320, 320)).SerializeToString())
    assert freed_copy(source, target) == target
    assert dims_of(onnx.load(str(target)).graph.input[0]) == [1, 3, "height", "width"]
    made = target.stat()

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr("subprocess.run", refuse)
    assert freed_copy(source, target) == target
    assert (target.stat().st_ino, target.stat().st_mtime_ns) == (made.st_ino, made.st_mtime_ns)
    assert {path.name for path in tmp_path.iterdir()} == {"own.onnx", "freed.onnx"}


def test_freeing_that_takes_too_long_is_a_models_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process is ended at its deadline and the way out is told."""
    monkeypatch.setattr(freed, "_FREE_TIMEOUT_S", 0.01)
    with pytest.raises(ModelError) as caught:
        freed_copy(U2NETP, tmp_path / "freed.onnx")
    assert str(caught.value) == (
        f"{U2NETP} could not be given a free input size within 0.01 s; leave network_size at 0"
    )


def test_every_entry_says_where_its_file_goes(bare_home: Path) -> None:
    """The line names the address and a file below the folder that rembg would download to."""
    for name, entry in read_catalogue().items():
        assert isinstance(entry, CatalogueEntry)
        assert entry.get_text() == (
            f"download {entry.url} to {bare_home}{os.sep}.rembg/models/{name}/{entry.file}"
        )
