"""Graphs that are resized, completed and simplified, and the process that converts them."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from rembg_tuner.base.child_process import ChildProcess
from rembg_tuner.base.errors import CancelledError, EngineError, ModelError
from rembg_tuner.engines.ncnn import pnnx
from rembg_tuner.models.catalogue import EMBEDDED_FOLDER, find_model
from rembg_tuner.models.graph import (
    free_input,
    keep_first_output,
    load_graph,
    sort_nodes,
    widen_to_fp32,
    written_sizes,
)
from rembg_tuner.models.spec import IMAGENET_MEAN, IMAGENET_STD, ModelSpec
from rembg_tuner.runtime import derived
from rembg_tuner.settings.settings import Settings
from rembg_tuner.worker import conversion

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

U2NETP = EMBEDDED_FOLDER / "u2netp.onnx"
SIDE = 320


def dims_of(value: onnx.ValueInfoProto) -> list[int | str]:
    """Return a tensor's dimensions: numbers, names, or 0 for unknown."""
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def run_graph(path: Path, side: int, *, batch: int = 1) -> list[Any]:
    """Run a graph on grey squares with a disc in them, each slightly brighter than the last."""
    rows, columns = np.mgrid[:side, :side] / side - 0.5
    disc = np.where(rows**2 + columns**2 < 0.09, np.float32(2.0), np.float32(-1.0))
    pictures = np.stack(
        [np.broadcast_to(disc * (1 + i / 10), (3, side, side)) for i in range(batch)]
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    session = onnxruntime.InferenceSession(
        str(path), sess_options=options, providers=["CPUExecutionProvider"]
    )
    feed = {session.get_inputs()[0].name: pictures.astype(np.float32)}
    outputs: list[Any] = session.run(None, feed)
    return outputs


def spec_of(path: Path, *, side: int | None = None) -> ModelSpec:
    """Return the specification of a user's own file."""
    return ModelSpec(
        name=str(path),
        path=str(path),
        graph_path=str(path),
        checksums={},
        side=side,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )


def fitted(source: Path, folder: Path, *, side: int = 256, batch: int = 1) -> Path:
    """Convert a graph as a run would."""
    settings = Settings(engine="onnxruntime", network_size=side, batch_size=batch)
    ready = derived.prepare(
        settings, spec_of(source), folder, is_cancelled=lambda: False, on_start=lambda: None
    )
    return type(source)(ready.graph_path)


def test_freeing_u2netp_names_batch_height_and_width_only() -> None:
    """The input's channels, the weights and the source graph are unchanged."""
    model = onnx.load(str(U2NETP))
    before = model.SerializeToString(deterministic=True)
    result = free_input(model, side=SIDE)
    assert dims_of(result.graph.input[0]) == ["batch", 3, "height", "width"]
    assert [[dims_of(value)[i] for i in (0, 2, 3)] for value in result.graph.output] == [
        [0, 0, 0]
    ] * 7
    assert result.graph.initializer == model.graph.initializer
    assert model.SerializeToString(deterministic=True) == before


def test_a_fitted_graph_runs_at_its_own_size_as_before_and_at_another(tmp_path: Path) -> None:
    """At 320 the output equals the released graph's; at 256 the disc is still the foreground."""
    path = fitted(U2NETP, tmp_path)
    released, same = run_graph(U2NETP, SIDE), run_graph(path, SIDE)
    assert max(np.abs(a - b).max() for a, b in zip(released, same, strict=True)) < 1e-5
    smaller = run_graph(path, 256)
    assert [output.shape for output in smaller] == [(1, 1, 256, 256)] * 7
    matte = smaller[0][0, 0]
    assert matte[118:138, 118:138].mean() > 0.9
    assert matte[:16, :16].mean() < 0.1


def test_a_fitted_graph_takes_several_pictures_at_once(tmp_path: Path) -> None:
    """Each picture's output equals its output alone."""
    path = fitted(U2NETP, tmp_path, side=128, batch=4)
    together = run_graph(path, 128, batch=4)[0]
    assert together.shape == (4, 1, 128, 128)
    alone = run_graph(path, 128, batch=1)[0]
    assert np.abs(together[0] - alone[0]).max() < 1e-4
    assert np.abs(together[3] - alone[0]).max() > 1e-3


def resizing_graph(
    sizes: Sequence[onnx.NodeProto],
    initializers: Sequence[onnx.TensorProto] = (),
    *,
    declared: Sequence[int | str] = (1, 3, SIDE, SIDE),
) -> onnx.ModelProto:
    """Return a graph that halves its picture, resizes it to `sizes`, and takes one channel."""
    picture = helper.make_tensor_value_info("x", TensorProto.FLOAT, list(declared))
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "c", "h", "w"])
    nodes = [
        helper.make_node("MaxPool", ["x"], ["half"], kernel_shape=[2, 2], strides=[2, 2]),
        *sizes,
        helper.make_node("Resize", ["half", "", "", "sizes"], ["y"], name="Resize_7"),
    ]
    graph = helper.make_graph(nodes, "toy", [picture], [result], [*initializers])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def reshaping_graph() -> onnx.ModelProto:
    """Return a graph for one picture that has its size as a constant of a Reshape."""
    model = resizing_graph([], [numbers("sizes", 1, 3, SIDE, SIDE)])
    model.graph.node[-1].CopyFrom(helper.make_node("Reshape", ["x", "sizes"], ["y"]))
    return model


def numbers(name: str, *values: int) -> onnx.TensorProto:
    """Return a constant tensor of integers."""
    return helper.make_tensor(name, TensorProto.INT64, [len(values)], values)


SHAPE_OF_X = [
    helper.make_node("Shape", ["x"], ["shape"]),
    helper.make_node("Slice", ["shape", "zero", "two"], ["front"]),
    helper.make_node("Slice", ["shape", "two", "four"], ["back"]),
]
BOUNDS = [numbers("zero", 0), numbers("two", 2), numbers("four", 4)]
WRITTEN = [
    pytest.param(
        resizing_graph([], [numbers("sizes", 1, 3, 320, 320)]), [1, 3, 320, 320], id="a-weight"
    ),
    pytest.param(
        resizing_graph(
            [helper.make_node("Constant", [], ["sizes"], value=numbers("", 1, 3, 320, 320))]
        ),
        [1, 3, 320, 320],
        id="a-constant",
    ),
    pytest.param(
        resizing_graph([helper.make_node("Constant", [], ["sizes"], value_ints=[1, 3, 320, 320])]),
        [1, 3, 320, 320],
        id="a-constant-of-ints",
    ),
    pytest.param(
        resizing_graph(
            [*SHAPE_OF_X, helper.make_node("Concat", ["front", "hw"], ["sizes"], axis=0)],
            [*BOUNDS, numbers("hw", 320, 320)],
        ),
        [320, 320],
        id="joined-to-a-computed-batch",
    ),
]


@pytest.mark.parametrize(("model", "written"), WRITTEN)
def test_sizes_written_down_are_scaled_with_the_input(
    model: onnx.ModelProto, written: list[int], tmp_path: Path
) -> None:
    """Constant sizes are found and scaled, and the graph is run before it is used."""
    onnx.checker.check_model(model)
    assert [size.numbers for size in written_sizes(model.graph)] == [written]
    source = tmp_path / "own.onnx"
    source.write_bytes(model.SerializeToString())
    assert run_graph(fitted(source, tmp_path, side=256), 256)[0].shape == (1, 3, 256, 256)


def test_a_size_that_does_not_scale_is_refused_with_those_that_do() -> None:
    """A tenth of 320 px is not an integer at 256: the message has the node, size and step."""
    model = resizing_graph([], [numbers("sizes", 1, 3, 10, 10)])
    with pytest.raises(ModelError) as caught:
        free_input(model, side=272)
    assert (
        str(caught.value)
        == "this graph cannot take network_size 272: Resize_7 is written for the size [10, 10], and"
        " in proportion that is no whole number; choose a multiple of 32, or leave network_size"
        " at 0"
    )


def test_an_open_input_with_sizes_written_down_is_refused() -> None:
    """An open input with constant sizes is refused, since their original input size is unknown."""
    model = resizing_graph([], [numbers("sizes", 1, 3, 320, 320)], declared=(1, 3, "h", "w"))
    with pytest.raises(ModelError, match="leaves its input size open and holds sizes as constants"):
        free_input(model, side=256)


def test_a_graph_that_fails_when_it_is_run_is_refused(tmp_path: Path) -> None:
    """A size that a Reshape does not support is detected by a run, and no file is left."""
    source = tmp_path / "own.onnx"
    source.write_bytes(reshaping_graph().SerializeToString())
    for asked, words in (((256, 1), "network_size 256"), ((0, 2), "batch_size 2")):
        with pytest.raises(
            ModelError, match=f"^this graph cannot take {words}, it fails when run so: "
        ):
            fitted(source, tmp_path, side=asked[0], batch=asked[1])
        assert [path.name for path in tmp_path.iterdir()] == ["own.onnx"]


def test_a_graph_of_open_size_is_not_sent_back_to_the_size_that_it_has_not(tmp_path: Path) -> None:
    """With network_size 0 a size is required, so the message does not advise 0."""
    model = plain_graph((1, 3, 32, 32))
    for dim in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.dim_param = "side"
    model.graph.output[0].type.tensor_type.ClearField("shape")
    model.graph.node[0].CopyFrom(
        helper.make_node("MaxPool", ["x0"], ["y"], kernel_shape=[2, 2], strides=[2, 2])
    )
    source = tmp_path / "own.onnx"
    source.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError) as caught:
        fitted(source, tmp_path, side=64)
    assert (
        str(caught.value)
        == "this graph leaves its input size open and fails when run with network_size 64: for 1 of"
        " 64 x 64 px it returned 1 of 32 x 32; export it with its input size written down"
    )


@pytest.mark.parametrize("damage", ["missing", "cut-short", "flipped-bit"])
@pytest.mark.parametrize("engine", ["onnxruntime", "ncnn"])
def test_what_was_made_is_made_again_where_it_is_not_whole(
    engine: str, damage: str, tmp_path: Path
) -> None:
    """Each derived file is checked, and replaced if it is damaged."""
    source = tmp_path / "own.onnx"
    model = plain_graph((1, 3, 32, 32))
    model.graph.initializer.append(
        numpy_helper.from_array(np.full((3, 3, 1, 1), 0.25, np.float32), "weights")
    )
    model.graph.node[0].CopyFrom(helper.make_node("Conv", ["x0", "weights"], ["y"]))
    source.write_bytes(model.SerializeToString())
    settings = Settings(engine=engine, network_size=64)
    starts: list[str] = []

    def make() -> None:
        derived.prepare(
            settings,
            spec_of(source),
            tmp_path,
            is_cancelled=lambda: False,
            on_start=lambda: starts.append(engine),
        )

    make()
    made = {
        path: path.read_bytes()
        for path in tmp_path.iterdir()
        if path.suffix in (".param", ".bin", ".onnx") and path != source
    }
    assert len(made) == (2 if engine == "ncnn" else 1)
    for path, content in made.items():
        starts.clear()
        make()
        assert starts == []
        if damage == "missing":
            path.unlink()
        else:
            flipped = bytes([content[0] ^ 1]) + content[1:]
            path.write_bytes(content[:-1] if damage == "cut-short" else flipped)
        make()
        assert starts == [engine]
        assert path.read_bytes() == content


def test_what_nobody_foresaw_of_a_conversion_is_a_sentence_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The last line of an unexpected error names the file; the traceback is above it."""

    def fail(*_: object, **__: object) -> None:
        raise IndexError("list index\nout of range")

    monkeypatch.setattr(conversion, "fit", fail)
    request = {"do": "fit", "source": str(U2NETP), "target": str(tmp_path / "made.onnx")}
    assert conversion.main([json.dumps(request)]) == 1
    lines = capfd.readouterr().err.splitlines()
    assert lines[0].startswith("Traceback")
    assert (
        lines[-1] == f"{U2NETP} could not be converted: unexpected error, please report it: "
        "IndexError: list index out of range"
    )


def test_nothing_has_its_name_before_it_was_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A graph whose check was cancelled is not left for the next run."""
    seen: list[list[str]] = []

    def is_cancelled() -> bool:
        seen.append([path.name for path in tmp_path.rglob("fit-*.onnx")])
        return bool(seen[-1])

    with pytest.raises(CancelledError):
        derived.prepare(
            Settings(engine="onnxruntime", batch_size=16),
            spec_of(U2NETP),
            tmp_path,
            is_cancelled=is_cancelled,
            on_start=lambda: None,
        )
    assert seen[-1] != []
    assert list(tmp_path.iterdir()) == []
    # A killed conversion leaves no file either.

    def kill(process: ChildProcess, *_: object, **__: object) -> str:
        process.start()
        process.kill()
        return ""

    monkeypatch.setattr(ChildProcess, "read_to_end", kill)
    with pytest.raises(EngineError, match="was ended by SIGKILL; the system may have run out"):
        fitted(U2NETP, tmp_path, side=0, batch=16)
    assert list(tmp_path.iterdir()) == []


def test_only_the_batch_is_freed_where_only_that_is_asked(tmp_path: Path) -> None:
    """Height and width stay fixed, and so do the constants that contain them."""
    source = tmp_path / "own.onnx"
    source.write_bytes(resizing_graph([], [numbers("sizes", 1, 3, 320, 320)]).SerializeToString())
    path = fitted(source, tmp_path, side=0, batch=4)
    assert dims_of(onnx.load(str(path)).graph.input[0]) == ["batch", 3, 320, 320]
    assert run_graph(path, SIDE, batch=4)[0].shape == (4, 3, 320, 320)


def test_a_batch_that_is_written_in_front_of_computed_sizes_is_rewritten(tmp_path: Path) -> None:
    """The constant itself stays, since other nodes may use it."""
    model = resizing_graph(
        [*SHAPE_OF_X, helper.make_node("Concat", ["fixed", "back"], ["sizes"], axis=0)],
        [*BOUNDS, numbers("fixed", 2, 3)],
        declared=(2, 3, SIDE, SIDE),
    )
    source = tmp_path / "own.onnx"
    source.write_bytes(model.SerializeToString())
    path = fitted(source, tmp_path, side=256, batch=3)
    assert run_graph(path, 256, batch=3)[0].shape == (3, 3, 256, 256)
    kept = {w.name: numpy_helper.to_array(w) for w in onnx.load(str(path)).graph.initializer}
    assert kept["fixed"].tolist() == [2, 3]


@pytest.mark.parametrize("settings", [{"network_size": 64}, {"batch_size": 2}])
def test_an_output_without_a_declared_shape_holds_nothing_back(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    """ONNX Runtime accepts an output without a declared shape, so a run decides."""
    model = resizing_graph([], [numbers("sizes", 1, 3, 320, 320)])
    model.graph.output[0].type.tensor_type.ClearField("shape")
    source = tmp_path / "own.onnx"
    source.write_bytes(model.SerializeToString())
    side, batch = settings.get("network_size", 0), settings.get("batch_size", 1)
    path = fitted(source, tmp_path, side=side, batch=batch)
    assert run_graph(path, side or SIDE, batch=batch)[0].shape[0] == batch


@pytest.mark.parametrize("has_shape", [True, False])
def test_an_opset_of_tomorrow_is_told_when_it_is_fitted(has_shape: bool, tmp_path: Path) -> None:
    """The message reports the unknown opset, not the size."""
    model = resizing_graph([], [numbers("sizes", 1, 3, 320, 320)])
    model.opset_import[0].version = 99
    if not has_shape:
        model.graph.output[0].type.tensor_type.ClearField("shape")
    source = tmp_path / "own.onnx"
    source.write_bytes(model.SerializeToString())
    with pytest.raises(
        ModelError, match="is in opset 99, and this ONNX Runtime supports"
    ) as caught:
        fitted(source, tmp_path, side=64)
    assert str(caught.value).startswith(str(source))


def test_a_graph_that_computes_its_sizes_has_none_written() -> None:
    """A constant batch and channel before a computed height and width are supported."""
    model = resizing_graph(
        [*SHAPE_OF_X, helper.make_node("Concat", ["fixed", "back"], ["sizes"], axis=0)],
        [*BOUNDS, numbers("fixed", 1, 3)],
    )
    assert written_sizes(model.graph) == []
    freed = free_input(model, side=SIDE)
    assert dims_of(freed.graph.input[0]) == ["batch", 3, "height", "width"]


def plain_graph(*shapes: Sequence[int]) -> onnx.ModelProto:
    """Return a graph that copies its first input."""
    inputs = [
        helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, list(shape))
        for i, shape in enumerate(shapes)
    ]
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, list(shapes[0]))
    graph = helper.make_graph([helper.make_node("Relu", ["x0"], ["y"])], "toy", inputs, [result])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        pytest.param([(1, 3, 320, 320), (1, 2)], "('x1', 'float', [1, 2])", id="two-inputs"),
        pytest.param([(1, 3)], "[('x0', 'float', [1, 3])], and one", id="two-dimensions"),
        pytest.param([(1, 3, 3, 8, 8)], "[1, 3, 3, 8, 8]", id="five-dimensions"),
        pytest.param([(1, 4, 8, 8)], "and one float32 of shape (1, 3, height", id="four-channels"),
        pytest.param([(1, 8, 8, 3)], "and one float32 of shape (1, 3, height", id="channel-last"),
        pytest.param([(1, 3, 64, 96)], "takes 96 x 64 px, and only square", id="oblong"),
    ],
)
def test_a_graph_with_another_input_is_refused(
    shapes: Sequence[Sequence[int]], words: str, tmp_path: Path
) -> None:
    """Only square pictures of three channels are accepted, for every conversion."""
    with pytest.raises(ModelError) as caught:
        free_input(plain_graph(*shapes))
    assert str(caught.value).startswith("this graph ")
    assert words in str(caught.value)
    source = tmp_path / "own.onnx"
    source.write_bytes(plain_graph(*shapes).SerializeToString())
    with pytest.raises(ModelError) as caught:
        load_graph(source)
    assert str(caught.value).startswith(f"{source} ")
    assert words in str(caught.value)


def test_weights_that_stand_among_the_inputs_are_no_inputs() -> None:
    """Old exporters list every weight as an input too."""
    model = plain_graph((1, 3, 320, 320), (1,))
    model.graph.initializer.append(helper.make_tensor("x1", TensorProto.FLOAT, [1], [0.5]))
    freed = free_input(model, side=SIDE)
    assert dims_of(freed.graph.input[0]) == ["batch", 3, "height", "width"]


def test_nodes_out_of_order_are_sorted(tmp_path: Path) -> None:
    """A cast that a converter placed at the end moves before its consumers.

    A missing input is an error.
    """
    model = plain_graph((1, 3, 8, 8))
    relu = model.graph.node[0]
    relu.input[0] = "cast"
    model.graph.node.append(helper.make_node("Cast", ["x0"], ["cast"], to=TensorProto.FLOAT))
    (tmp_path / "own.onnx").write_bytes(model.SerializeToString())
    assert [n.op_type for n in load_graph(tmp_path / "own.onnx").graph.node] == ["Cast", "Relu"]
    relu.input[0] = "nothing"
    with pytest.raises(ValueError, match="takes what no node gives"):
        sort_nodes(model.graph)


def test_only_the_first_output_is_kept(tmp_path: Path) -> None:
    """u2netp without its six side outputs has the same first output and fewer weights."""
    kept = keep_first_output(load_graph(U2NETP))
    (tmp_path / "kept.onnx").write_bytes(kept.SerializeToString())
    outputs = run_graph(tmp_path / "kept.onnx", SIDE)
    assert len(outputs) == 1
    assert np.array_equal(outputs[0], run_graph(U2NETP, SIDE)[0])
    assert len(kept.graph.node) < len(load_graph(U2NETP).graph.node)


def test_half_precision_becomes_float32_with_the_same_numbers() -> None:
    """Weights, constants and casts become float32; the output equals that of float16 exactly."""
    half = np.array([0.1, -2.5], np.float16)
    model = plain_graph((1, 3, 8, 8))
    model.graph.initializer.append(numpy_helper.from_array(half, "w"))
    model.graph.node.append(helper.make_node("Cast", ["x0"], ["c"], to=TensorProto.FLOAT16))
    model.graph.node.append(
        helper.make_node("Constant", [], ["k"], value=numpy_helper.from_array(half))
    )
    wide = widen_to_fp32(model).graph
    weight, constant = numpy_helper.to_array(wide.initializer[0]), wide.node[2].attribute[0].t
    assert weight.dtype == np.float32
    assert np.array_equal(weight, half.astype(np.float32))
    assert wide.node[1].attribute[0].i == TensorProto.FLOAT
    assert np.array_equal(numpy_helper.to_array(constant), half.astype(np.float32))
    assert model.graph.initializer[0].data_type == TensorProto.FLOAT16


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(b"garbage" * 100, "{path} does not read as an ONNX graph", id="garbage"),
        pytest.param(
            U2NETP.read_bytes()[:100_000], "{path} does not read as an ONNX graph", id="cut-short"
        ),
        pytest.param(b"", "{path} does not read as an ONNX graph", id="empty"),
    ],
)
def test_a_file_that_is_no_graph_is_refused_in_one_sentence(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    """The other process returns the reason, and no file is left."""
    source = tmp_path / "own.onnx"
    source.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        fitted(source, tmp_path)
    assert str(caught.value).startswith(reason.format(path=source))
    assert [path.name for path in tmp_path.iterdir()] == ["own.onnx"]


def test_what_was_made_is_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second call starts no process; another size makes another file."""
    first = fitted(U2NETP, tmp_path, side=128)
    monkeypatch.setattr("os.posix_spawn", None)
    assert fitted(U2NETP, tmp_path, side=128) == first
    with pytest.raises(TypeError):
        fitted(U2NETP, tmp_path, side=160)


@pytest.mark.alone
def test_making_can_be_cancelled_and_has_a_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process is ended at once, and the message contains advice."""
    settings = Settings(engine="onnxruntime", network_size=256)
    started, told = time.perf_counter(), []
    with pytest.raises(CancelledError, match="cancelled while its model was converted"):
        derived.prepare(
            settings,
            find_model("u2netp"),
            tmp_path,
            is_cancelled=lambda: True,
            on_start=lambda: told.append(1),
        )
    assert time.perf_counter() - started < 1
    assert told == [1]
    monkeypatch.setattr(derived, "_TIMEOUT_S", 0.01)
    with pytest.raises(
        ModelError, match=r"could not be converted within 0.01 s; leave network_size at 0"
    ):
        fitted(U2NETP, tmp_path)


def test_a_missing_pnnx_is_told_with_the_line_that_gets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message installs ncnn's converter without its PyTorch."""
    monkeypatch.setattr(pnnx, "find_spec", lambda _name: None)
    with pytest.raises(EngineError, match="pip install --no-deps pnnx"):
        pnnx.find_pnnx()
