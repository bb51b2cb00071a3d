"""Engines report what they do, agree with each other, and equal the stock pipeline."""

from __future__ import annotations

import contextlib
import functools
import itertools
import shutil
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import onnx
import openvino
import pytest
from made_machines import INT8_OF_U2NETP, make_machine
from PIL import Image

from rembg_tuner.base.errors import NO_FOREGROUND, EngineError, MissingProviderError, ModelError
from rembg_tuner.engines.protocols import EngineRequest
from rembg_tuner.engines.table import open_engine
from rembg_tuner.imaging.header import read_header
from rembg_tuner.imaging.matte import scale_to_matte
from rembg_tuner.imaging.network_input import normalise
from rembg_tuner.imaging.source import read_small
from rembg_tuner.models.agreement import (
    AgreementWithFp32,
    agreement_with_fp32,
    remember_agreement,
)
from rembg_tuner.models.catalogue import find_model
from rembg_tuner.models.onnx_header import NEWEST_IR, NEWEST_OPSET, Form, read_form, read_input_side
from rembg_tuner.models.spec import IMAGENET_MEAN, IMAGENET_STD, ModelSpec
from rembg_tuner.runtime.derived import prepare
from rembg_tuner.runtime.runner import Runner
from rembg_tuner.runtime.this_machine import read_machine
from rembg_tuner.settings.check import check
from rembg_tuner.settings.host import read_host
from rembg_tuner.settings.precision import MAX_DIFFERENCE, resolve_precision
from rembg_tuner.settings.results import Failure, Result
from rembg_tuner.settings.settings import Settings
from rembg_tuner.worker.pipeline import Job

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rembg_tuner.engines.protocols import NetworkEngine
    from rembg_tuner.settings.settings import Value

    Alpha = npt.NDArray[np.uint8]  # (h, w)
    Raw = npt.NDArray[np.float32]  # (n, c, side, side)

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.png"))
EVALUATION_FOLDER = ROOT.parent / "shared" / "eval" / "images"
NETWORK_ENGINES = ["onnxruntime", "openvino"]
EVERY_ENGINE = [*NETWORK_ENGINES, "ncnn"]
RAW_MEAN_DIFFERENCE = 0.005
ALPHA_MEAN_DIFFERENCE = 2.0  # of 255
MIN_IOU = 0.985
HALF = 128
STOCK_TIMEOUT_S = 200  # numba compiles for a minute at rembg's very first import
TOY_SIDE = 64


def make_toy(
    path: Path,
    *,
    shape: tuple[int | str, ...] = (1, 3, TOY_SIDE, TOY_SIDE),
    n_inputs: int = 1,
    kind: int = onnx.TensorProto.FLOAT,
    is_flat: bool = False,
) -> Path:
    """Write a network that applies a sigmoid to the mean of the channels."""
    helper = onnx.helper
    inputs = [helper.make_tensor_value_info(f"picture{i}", kind, shape) for i in range(n_inputs)]
    nodes = [helper.make_node("Cast", ["picture0"], ["number"], to=onnx.TensorProto.FLOAT)]
    axes = [*range(2, len(shape))] if is_flat else [1]
    keep = 0 if is_flat else 1
    constant = helper.make_tensor("axes", onnx.TensorProto.INT64, [len(axes)], axes)
    nodes.append(helper.make_node("ReduceMean", ["number", "axes"], ["mean"], keepdims=keep))
    nodes.append(helper.make_node("Sigmoid", ["mean"], ["matte"]))
    output = helper.make_tensor_value_info("matte", onnx.TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "toy", inputs, [output], [constant])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(onnx.shape_inference.infer_shapes(model), str(path))
    return path


def toy_spec(path: Path) -> ModelSpec:
    """Return the specification of a toy network as a user's own file."""
    return ModelSpec(
        name=str(path),
        path=str(path),
        graph_path=str(path),
        checksums={},
        side=None,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )


def opened(settings: Settings, spec: ModelSpec, cache: Path, *, threads: int = 1) -> NetworkEngine:
    """Open a network engine in this process."""
    ready = prepare(settings, spec, cache, is_cancelled=lambda: False, on_start=lambda: None)
    request = EngineRequest(
        settings=settings, model=ready, model_digest=spec.path, threads=threads, cache=cache, cpu={}
    )
    return cast("NetworkEngine", open_engine(request))


@pytest.fixture
def toy(tmp_path: Path) -> ModelSpec:
    """Return the specification of the toy network."""
    return toy_spec(make_toy(tmp_path / "toy.onnx"))


def picture_input(path: Path, side: int) -> npt.NDArray[np.float32]:
    """Read a picture as a network's input, (1, 3, side, side)."""
    small = read_small(read_header(path, max_pixels=None), width=side, height=side)
    return normalise(small, side=side, mean=IMAGENET_MEAN, std=IMAGENET_STD)


# Effective settings


@pytest.mark.parametrize(
    ("asked", "effective"),
    [
        pytest.param({}, {"intra_op_threads": 2, "inter_op_threads": 1}, id="defaults"),
        pytest.param({"intra_op_threads": 1}, {"intra_op_threads": 1}, id="one-thread"),
        pytest.param({"intra_op_threads": 3}, {"intra_op_threads": 3}, id="three-threads"),
        pytest.param({"cpu_mem_arena": False}, {"cpu_mem_arena": False}, id="no-arena"),
        pytest.param({"mem_pattern": False}, {"mem_pattern": False}, id="no-pattern"),
        pytest.param({"spinning": False}, {"spinning": False}, id="no-spinning"),
        pytest.param({"arena_shrink": True}, {"arena_shrink": True}, id="shrink"),
        pytest.param(
            {"execution_mode": "parallel", "inter_op_threads": 3},
            {"execution_mode": "parallel", "inter_op_threads": 3, "mem_pattern": False},
            id="parallel",
        ),
        pytest.param(
            {"execution_mode": "parallel"}, {"inter_op_threads": 2}, id="parallel-by-default"
        ),
    ],
)
def test_onnx_runtime_says_what_the_session_holds(
    asked: dict[str, Value], effective: dict[str, Value], toy: ModelSpec, tmp_path: Path
) -> None:
    """Every option is read back from the session; options that were not requested have defaults."""
    engine = opened(Settings(engine="onnxruntime", **asked), toy, tmp_path, threads=2)  # type: ignore[arg-type]
    defaults = {
        "engine": "onnxruntime",
        "provider": "cpu",
        "precision": "fp32",
        "intra_op_threads": 2,
        "inter_op_threads": 1,
        "execution_mode": "sequential",
        "spinning": True,
        "cpu_mem_arena": True,
        "mem_pattern": True,
        "arena_shrink": False,
        "network_size": TOY_SIDE,
        "batch_size": 1,
        "model": toy.name,
    }
    assert engine.effective == {**defaults, **effective, **_implied(asked)}
    options = cast("Any", engine)._session.get_session_options()
    assert options.enable_cpu_mem_arena is engine.effective["cpu_mem_arena"]
    assert options.intra_op_num_threads == engine.effective["intra_op_threads"]


def _implied(asked: dict[str, Value]) -> dict[str, Value]:
    """Return what parallel mode implies: no memory pattern."""
    if asked.get("execution_mode") != "parallel":
        return {}
    return {"execution_mode": "parallel", "mem_pattern": False}


def threads_but_libvips(pid: int) -> int:
    """Count a process's threads, except libvips' threads, some of which live on for seconds."""
    names = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # it has ended
            names.append((task / "comm").read_text(encoding="utf-8").strip())
    return len([name for name in names if not name.startswith("libvips")])


def fewest_threads(pid: int) -> int:
    """Return the lowest of ten counts of a worker's threads.

    The system lists threads for a moment after they have ended.
    """
    counts = []
    for _ in range(10):
        counts.append(threads_but_libvips(pid))
        time.sleep(0.02)
    return min(counts)


def test_onnx_runtimes_asked_threads_are_counted_threads(tmp_path: Path) -> None:
    """One more intra-op thread is one more thread of the worker process.

    The caller is the first thread.
    """
    model = str(make_toy(tmp_path / "toy.onnx"))
    counts = []
    with Runner() as runner:
        for threads in (1, 2, 3, 5):
            settings = Settings(model=model, engine="onnxruntime", intra_op_threads=threads)
            result = run_one(runner, EXAMPLES[0], settings, tmp_path)
            assert result.effective["intra_op_threads"] == threads
            assert runner.worker_pid is not None
            counts.append(fewest_threads(runner.worker_pid))
    assert [count - counts[0] for count in counts] == [0, 1, 2, 4]


@pytest.mark.parametrize("threads", [1, 2])
def test_openvino_says_the_threads_it_has(threads: int, toy: ModelSpec, tmp_path: Path) -> None:
    """The requested or default number of threads is read back from OpenVINO."""
    if threads > read_host().usable_cpus:
        pytest.skip("OpenVINO takes no more threads than there are CPUs")
    asked = opened(Settings(engine="openvino", intra_op_threads=threads), toy, tmp_path, threads=2)
    default = opened(Settings(engine="openvino"), toy, tmp_path, threads=threads)
    assert asked.effective["intra_op_threads"] == threads
    assert default.effective["intra_op_threads"] == threads


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_openvino_computes_in_the_precision_asked_for(
    precision: str, tmp_path: Path, predicted: Callable[[str, Path], Raw]
) -> None:
    """The precision is read back from the model, whether it was compiled or read from the cache.

    bf16 rounds and fp32 does not.
    """
    capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == "bf16" and "BF16" not in capabilities:
        pytest.skip("this CPU has no bfloat16")
    spec = find_model("u2netp")
    settings = Settings(engine="openvino", precision=precision)  # type: ignore[arg-type]
    network_input = picture_input(EXAMPLES[0], 320)
    exact = predicted("openvino", EXAMPLES[0])
    for _ in ("compiled", "from the cache"):
        engine = opened(settings, spec, tmp_path)
        assert engine.effective["precision"] == precision
        difference = float(np.abs(engine.predict(network_input) - exact).max())
        assert (difference > 1e-3) is (precision == "bf16")
    assert len(list(tmp_path.glob("openvino-*.blob"))) == 1


def test_a_precision_that_the_cpu_has_not_is_refused(
    toy: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine neither emulates bf16 nor replaces it by another format."""
    from rembg_tuner.engines import openvino as engine_module

    monkeypatch.setitem(engine_module._CAPABILITIES, "bf16", "NO SUCH THING")
    with pytest.raises(EngineError, match="precision bf16 is not this CPU's own"):
        opened(Settings(engine="openvino", precision="bf16"), toy, tmp_path)


def test_halved_weights_are_written_where_what_is_left_is_swept(
    toy: ModelSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are in the cache folder, where files of killed workers are deleted later."""
    from rembg_tuner.engines import openvino as engine_module

    core, written = openvino.Core(), []

    def save(model: openvino.Model, path: Path, **options: Any) -> None:
        written.append(path)
        save_model(model, path, **options)

    save_model = openvino.save_model
    monkeypatch.setattr(openvino, "save_model", save)
    request = EngineRequest(
        settings=Settings(engine="openvino", precision="bf16"),
        model=toy,
        model_digest="",
        threads=1,
        cache=tmp_path,
        cpu={},
    )
    engine_module._halved(core, core.read_model(toy.path), request)
    assert [(path.parent.parent, path.parent.name[:8]) for path in written] == [
        (tmp_path, ".making-")
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["toy.onnx"]


def unnoticed_damage(blob: bytes) -> bytes:
    """Flip a bit of a compiled model that OpenVINO still accepts; skip the test if none exists."""
    core = openvino.Core()
    for i in range(len(blob)):
        damaged = np.frombuffer(blob, np.uint8).copy()
        damaged[i] ^= 1
        with contextlib.suppress(RuntimeError):
            core.import_model(openvino.Tensor(damaged, shared_memory=True), "CPU", {})
            return damaged.tobytes()
    pytest.skip("OpenVINO notices each")


@pytest.mark.parametrize("damage", ["cut-short", "other-bytes", "empty", "flipped-bit"])
def test_a_damaged_compiled_model_is_made_again(
    damage: str, toy: ModelSpec, tmp_path: Path
) -> None:
    """A damaged cache entry is compiled again, and the run succeeds."""
    settings = Settings(engine="openvino")
    expected = opened(settings, toy, tmp_path).predict(picture_input(EXAMPLES[0], TOY_SIDE))
    [blob] = tmp_path.glob("*.blob")
    content = blob.read_bytes()
    damaged = {
        "cut-short": content[: len(content) // 2],
        "other-bytes": b"\xff" * 500,
        "empty": b"",
        "flipped-bit": unnoticed_damage(content) if damage == "flipped-bit" else b"",
    }
    blob.write_bytes(damaged[damage])
    engine = opened(settings, toy, tmp_path)
    assert np.array_equal(engine.predict(picture_input(EXAMPLES[0], TOY_SIDE)), expected)
    assert blob.read_bytes() != damaged[damage]


# One network in every engine


@pytest.fixture(scope="module")
def both(own_cache: Path) -> Iterator[dict[str, NetworkEngine]]:
    """Open u2netp in fp32 in every engine."""
    spec = find_model("u2netp")
    engines = {name: opened(Settings(engine=name), spec, own_cache) for name in EVERY_ENGINE}
    yield engines
    for engine in engines.values():
        engine.close()


@pytest.fixture(scope="module")
def predicted(both: dict[str, NetworkEngine]) -> Callable[[str, Path], Raw]:
    """Return a function that predicts a picture in an engine once for all tests."""

    @functools.cache
    def predict(engine: str, picture: Path) -> Raw:
        return both[engine].predict(picture_input(picture, 320))

    return predict


@pytest.mark.parametrize("picture", EXAMPLES, ids=lambda path: path.stem)
def test_the_engines_agree_in_fp32(picture: Path, predicted: Callable[[str, Path], Raw]) -> None:
    """The mean difference between the engines' raw outputs of a picture is at most 0.005."""
    raw = [predicted(name, picture) for name in EVERY_ENGINE]
    assert [output.shape[0] for output in raw] == [1] * len(raw)
    assert [output.shape[2:] for output in raw] == [(320, 320)] * len(raw)
    assert [output.dtype for output in raw] == [np.float32] * len(raw)
    for other in raw[1:]:
        assert float(np.abs(raw[0][:, 0] - other[:, 0]).mean()) <= RAW_MEAN_DIFFERENCE


@pytest.mark.parametrize("engine", EVERY_ENGINE)
def test_a_prediction_is_not_changed_by_the_next(
    engine: str, both: dict[str, NetworkEngine], predicted: Callable[[str, Path], Raw]
) -> None:
    """A returned array is not overwritten."""
    first = predicted(engine, EXAMPLES[0])
    kept = first.copy()
    both[engine].predict(picture_input(EXAMPLES[1], 320))
    assert np.array_equal(first, kept)


@pytest.mark.parametrize("engine", EVERY_ENGINE)
def test_a_cancel_when_nothing_runs_does_nothing(
    engine: str, both: dict[str, NetworkEngine], predicted: Callable[[str, Path], Raw]
) -> None:
    """The next prediction succeeds with the same output."""
    expected = predicted(engine, EXAMPLES[0])
    both[engine].cancel()
    found = both[engine].predict(picture_input(EXAMPLES[0], 320))
    assert np.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("engine", NETWORK_ENGINES)
def test_another_network_size_is_what_runs(engine: str, tmp_path: Path) -> None:
    """network_size 256 is read back, needs less memory than 320, and gives a similar cut-out."""
    settings = Settings(engine=engine, network_size=256)
    alphas = []
    with Runner() as runner:
        for chosen in (settings, Settings(engine=engine)):
            result = run_one(runner, ROOT / "examples" / "astronaut.png", chosen, tmp_path)
            assert result.effective["network_size"] == (chosen.network_size or 320)
            assert result.warnings == ()
            alphas.append((read_alpha(Path(result.output)), result.peak_rss_bytes or 0))
    assert iou(alphas[0][0], alphas[1][0]) >= 0.9
    assert not np.array_equal(alphas[0][0], alphas[1][0])
    assert 0 < alphas[0][1] < alphas[1][1]


# Own and damaged files


def run_one(runner: Runner, picture: Path, settings: Settings, folder: Path) -> Result:
    """Cut a picture out and return its Result; fail if it is a Failure."""
    output = folder / f"{picture.stem}-{settings.engine}.png"
    outcome = runner.run(Job(input=str(picture), output=str(output)), settings)
    assert isinstance(outcome, Result), outcome
    return outcome


def read_alpha(path: Path) -> Alpha:
    """Read a cut-out's alpha channel."""
    with Image.open(path) as cutout:
        return np.asarray(cutout.getchannel("A"))


def iou(one: Alpha, other: Alpha) -> float:
    """Return the intersection over union of the pixels with at least half opacity."""
    a, b = one >= HALF, other >= HALF
    return float((a & b).sum() / max(1, (a | b).sum()))


@pytest.mark.parametrize("engine", NETWORK_ENGINES)
def test_an_own_network_of_free_size_needs_a_size(engine: str, tmp_path: Path) -> None:
    """Without network_size it is refused with advice; with one it runs at that size."""
    model = str(make_toy(tmp_path / "toy.onnx", shape=(1, 3, "h", "w")))
    job = Job(input=str(EXAMPLES[0]), output=str(tmp_path / "out.png"))
    with Runner() as runner:
        refused = runner.run(job, Settings(model=model, engine=engine))
        taken = runner.run(job, Settings(model=model, engine=engine, network_size=96))
    assert isinstance(refused, Failure)
    assert (refused.kind, refused.stage) == ("bad_model", "prepare")
    assert "set --network-size" in str(refused.message)
    assert isinstance(taken, Result), taken
    assert taken.effective["network_size"] == 96
    assert taken.effective["model"] == model


@pytest.mark.parametrize("engine", EVERY_ENGINE)
@pytest.mark.parametrize("side", [0, 96])
@pytest.mark.parametrize(
    ("toy_arguments", "words"),
    [
        pytest.param({"n_inputs": 2}, "does not take one picture", id="two-inputs"),
        pytest.param({"shape": (1, 3, 64)}, "does not take one picture", id="three-dimensions"),
        pytest.param({"kind": onnx.TensorProto.INT32}, "does not take one picture", id="integers"),
        pytest.param({"shape": (1, 3, 64, 96)}, "takes 96 x 64 px, and only square", id="oblong"),
        pytest.param({"shape": (1, 1, 64, 64)}, "does not take one picture", id="one-channel"),
        pytest.param({"shape": (1, 4, 64, 64)}, "does not take one picture", id="four-channels"),
        pytest.param({"shape": (1, 64, 64, 3)}, "does not take one picture", id="channel-last"),
    ],
)
def test_a_network_that_takes_no_picture_is_refused_at_once(
    engine: str, side: int, toy_arguments: dict[str, Any], words: str, tmp_path: Path
) -> None:
    """The error names the file and its input; the network is not reshaped."""
    spec = toy_spec(make_toy(tmp_path / "toy.onnx", **toy_arguments))
    with pytest.raises(ModelError) as caught:
        opened(Settings(engine=engine, network_size=side), spec, tmp_path)
    assert str(caught.value).startswith(spec.path)
    assert words in str(caught.value)


@pytest.mark.parametrize("engine", NETWORK_ENGINES)
def test_an_own_network_of_written_size_takes_several_pictures(
    engine: str, toy: ModelSpec, tmp_path: Path
) -> None:
    """Only the batch dimension is made free, so no network_size is required."""
    four = opened(Settings(engine=engine, batch_size=4), toy, tmp_path)
    assert (four.side, four.effective["batch_size"]) == (TOY_SIDE, 4)
    assert len(four.predict(np.zeros((4, 3, TOY_SIDE, TOY_SIDE), np.float32))) == 4


def test_what_ncnn_takes_for_another_operator_is_refused(toy: ModelSpec, tmp_path: Path) -> None:
    """The converter pnnx ignores axes that are an input, without an error.

    The outputs of both networks are compared.
    """
    with pytest.raises(EngineError, match="answers otherwise than the model itself does"):
        opened(Settings(engine="ncnn"), toy, tmp_path)
    assert not list(tmp_path.rglob("*.param"))


def test_a_graph_that_takes_eight_at_once_is_told_when_it_is_loaded(tmp_path: Path) -> None:
    """The error names the batch size when the model is loaded, not when a picture is run."""
    spec = toy_spec(make_toy(tmp_path / "eight.onnx", shape=(8, 3, TOY_SIDE, TOY_SIDE)))
    with pytest.raises(ModelError, match="takes 8 pictures at once, and batch_size is 1"):
        opened(Settings(engine="onnxruntime"), spec, tmp_path)


@pytest.mark.parametrize("engine", NETWORK_ENGINES)
def test_a_network_that_makes_no_matte_is_refused(engine: str, tmp_path: Path) -> None:
    """A classifier's output is refused with its shape."""
    spec = toy_spec(make_toy(tmp_path / "toy.onnx", is_flat=True))
    network = opened(Settings(engine=engine), spec, tmp_path)
    with pytest.raises(ModelError, match=r"does not produce a matte: .*\(1, 3\)"):
        network.predict(np.zeros((1, 3, TOY_SIDE, TOY_SIDE), np.float32))


def without_output(model: onnx.ModelProto) -> None:
    """Delete a toy's output."""
    del model.graph.output[:]


def with_a_number_only(model: onnx.ModelProto) -> None:
    """Replace a toy's output by the mean of its matte, which has no dimensions."""
    node = onnx.helper.make_node("ReduceMean", ["matte"], ["number_only"], keepdims=0)
    model.graph.node.append(node)
    model.graph.output[0].CopyFrom(
        onnx.helper.make_tensor_value_info("number_only", onnx.TensorProto.FLOAT, [])
    )


@pytest.mark.parametrize("engine", EVERY_ENGINE)
@pytest.mark.parametrize("side", [0, 96])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(without_output, "it has no output, and one of three", id="no-output"),
        pytest.param(
            with_a_number_only, "its first output has the shape (), and one of", id="a-number"
        ),
    ],
)
def test_a_graph_that_gives_no_picture_is_told_by_every_engine(
    engine: str,
    side: int,
    change: Callable[[onnx.ModelProto], None],
    words: str,
    toy: ModelSpec,
    tmp_path: Path,
) -> None:
    """One line names the file and the required output, whether or not the graph is converted."""
    model = onnx.load(toy.path)
    change(model)
    onnx.save(model, toy.path)
    with pytest.raises(ModelError) as caught:
        opened(Settings(engine=engine, network_size=side), toy, tmp_path).predict(
            np.zeros((1, 3, TOY_SIDE, TOY_SIDE), np.float32)
        )
    assert str(caught.value).startswith(f"{toy.path} does not produce a matte: {words}")
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".param"]


@pytest.mark.parametrize("engine", NETWORK_ENGINES)
@pytest.mark.parametrize("side", [0, 96])
def test_a_picture_in_half_precision_is_refused_at_every_size(
    engine: str, side: int, tmp_path: Path
) -> None:
    """The error is the same for a graph that must be converted for another size."""
    spec = toy_spec(make_toy(tmp_path / "toy.onnx", kind=onnx.TensorProto.FLOAT16))
    with pytest.raises(ModelError, match=r"does not take one picture: .* is required") as caught:
        opened(Settings(engine=engine, network_size=side), spec, tmp_path)
    assert str(caught.value).startswith(spec.path)


@pytest.mark.parametrize("engine", EVERY_ENGINE)
@pytest.mark.parametrize("damage", ["cut-short", "empty", "text"])
def test_an_own_file_that_is_no_model_is_told(
    engine: str, damage: str, toy: ModelSpec, tmp_path: Path
) -> None:
    """The error has one line that names the file."""
    content = Path(find_model("u2netp").path).read_bytes()
    damaged = {"cut-short": content[: len(content) // 2], "empty": b"", "text": b"not a model\n"}
    Path(toy.path).write_bytes(damaged[damage])
    with pytest.raises(ModelError) as caught:
        opened(Settings(engine=engine), toy, tmp_path)
    reason = "does not read as an ONNX graph" if engine == "ncnn" else "is not a model that"
    assert reason in str(caught.value)
    assert toy.path in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("engine", EVERY_ENGINE)
@pytest.mark.parametrize("what", ["opset", "IR version"])
def test_a_form_of_tomorrow_is_told(engine: str, what: str, toy: ModelSpec, tmp_path: Path) -> None:
    """The error has the graph's opset or IR version, the newest supported one, and advice."""
    model = onnx.load(toy.path)
    if what == "opset":
        model.opset_import[0].version = 99
    else:
        model.ir_version = 99
    onnx.save(model, toy.path)
    known = (
        rf"{what}s up to \d+ are known here"
        if engine == "openvino"
        else rf"this ONNX Runtime supports {what}s up to \d+"
    )
    with pytest.raises(ModelError, match=rf"^\S+ is in {what} 99, and {known}; export it in one"):
        opened(Settings(engine=engine), toy, tmp_path)


def test_the_newest_form_that_is_known_is_onnxs() -> None:
    """The numbers are constants, since a worker must not import onnx; they equal onnx's own."""
    assert onnx.defs.onnx_opset_version() == NEWEST_OPSET
    assert onnx.IR_VERSION == NEWEST_IR


def test_a_files_form_is_read_without_its_graph(toy: ModelSpec, tmp_path: Path) -> None:
    """Operator sets of other domains are ignored, and files that are not graphs have no form."""
    assert read_form(Path(toy.path)) == Form(ir=9, opset=18)
    assert read_form(Path(find_model("u2netp").path)).opset == 11
    model = onnx.load(toy.path)
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 99))
    onnx.save(model, toy.path)
    assert read_form(Path(toy.path)) == Form(ir=9, opset=18)
    for content in (b"", b"\xff" * 40, b"not a model\n"):
        (tmp_path / "odd").write_bytes(content)
        assert read_form(tmp_path / "odd") == Form()


def test_a_released_model_cut_short_is_told_by_its_checksum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An incomplete download is reported with its size and advice, before a library reads it."""
    content = Path(find_model("u2netp").path).read_bytes()
    (tmp_path / "u2net.onnx").write_bytes(content[:1000])
    monkeypatch.setenv("U2NET_HOME", str(tmp_path))
    job = Job(input=str(EXAMPLES[0]), output=str(tmp_path / "out.png"))
    with Runner() as runner:
        failure = runner.run(job, Settings(model="u2net", engine="onnxruntime"))
    assert isinstance(failure, Failure)
    assert failure.kind == "bad_model"
    assert "(1,000 bytes) is not the released u2net" in str(failure.message)
    assert "cut short" in str(failure.message)


@pytest.mark.parametrize("engine", NETWORK_ENGINES)
@pytest.mark.parametrize(
    ("precision", "side"),
    [
        pytest.param("fp32", 128, id="another-size"),
        # Simplified graphs have a batch of 1 written into every size.
        pytest.param("int8", 0, id="int8-at-its-own-size"),
    ],
)
def test_pictures_taken_together_come_out_as_alone(
    engine: str, precision: str, side: int, own_cache: Path
) -> None:
    """Three pictures, and a last group of two, give each the same output as alone within 1/255."""
    spec = find_model("u2netp", int8_for=engine if precision == "int8" else None)
    inputs = [picture_input(path, side or 320) for path in EXAMPLES[:3]]
    settings = Settings(engine=engine, precision=precision, network_size=side)  # type: ignore[arg-type]
    one = opened(settings, spec, own_cache)
    three = opened(replace(settings, batch_size=3), spec, own_cache)
    assert three.effective["batch_size"] == 3
    alone = [scale_to_matte(one.predict(each)[0, 0]) for each in inputs]
    for count in (3, 2):
        together = three.predict(np.concatenate(inputs[:count]))
        assert len(together) == count
        for i in range(count):
            assert float(np.abs(scale_to_matte(together[i, 0]) - alone[i]).max()) <= 1 / 255
    one.close()
    three.close()


@pytest.mark.parametrize(
    ("engine", "precision"),
    [("openvino", "bf16"), ("openvino", "int8"), ("onnxruntime", "int8"), ("ncnn", "bf16")],
)
def test_a_number_format_agrees_as_the_page_says(
    engine: str, precision: str, predicted: Callable[[str, Path], Raw], own_cache: Path
) -> None:
    """The format runs, and its median difference over the examples is at most half of auto's limit.

    The median, since u2netp is uncertain about the cat, where rounding changes the result.
    """
    able = read_machine()
    if check(Settings(engine=engine, precision=precision), able):  # type: ignore[arg-type]
        assert precision == "bf16"
        pytest.skip(f"this CPU has no native {precision}")
    spec = find_model("u2netp", int8_for=engine if precision == "int8" else None)
    taken = opened(Settings(engine=engine, precision=precision), spec, own_cache)  # type: ignore[arg-type]
    assert taken.effective["precision"] == precision
    differences = []
    for path in EXAMPLES:
        exact = scale_to_matte(predicted(engine, path)[0, 0])
        found = scale_to_matte(taken.predict(picture_input(path, 320))[0, 0])
        differences.append(float(np.abs(exact - found).mean()))
    assert statistics.median(differences) <= MAX_DIFFERENCE / 2
    shown = agreement_with_fp32("u2netp", engine, precision, own_cache, int8_kind=able.int8_kind)
    assert shown is not None
    assert shown.mae <= MAX_DIFFERENCE
    taken.close()


def test_a_large_graph_is_optimised_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    both: dict[str, NetworkEngine],
    predicted: Callable[[str, Path], Raw],
) -> None:
    """The second start loads the optimised graph with equal output; if damaged, it is replaced."""
    monkeypatch.setattr("rembg_tuner.engines.onnxruntime.loading._WORTH_KEEPING_BYTES", 0)
    spec, taken = find_model("u2netp"), picture_input(EXAMPLES[0], 320)
    exact = predicted("onnxruntime", EXAMPLES[0])
    settings = Settings(engine="onnxruntime")
    for damage in (False, False, True):
        kept = list(tmp_path.glob("*"))
        if damage:
            kept[0].write_bytes(b"no graph")
        engine = opened(settings, spec, tmp_path)
        assert np.allclose(engine.predict(taken), exact, atol=1e-4)
        assert engine.effective == both["onnxruntime"].effective
        engine.close()
        (only,) = tmp_path.glob("*")
        assert only.suffix == ".onnx"
        assert only.stat().st_size > 4e6


def test_auto_is_the_fastest_format_whose_agreement_holds(own_cache: Path, tmp_path: Path) -> None:
    """Without a known agreement `auto` is fp32, and a note says how to measure it."""
    everything = make_machine(engines=("openvino",), int8_models=INT8_OF_U2NETP, cache=tmp_path)
    auto = Settings(engine="openvino", precision="auto")
    assert resolve_precision(auto, everything)[0] == "int8"
    without = make_machine(engines=("openvino",), cache=tmp_path)
    assert resolve_precision(auto, without)[0] == "bf16"
    plain = replace(without, precisions=frozenset({"fp32"}))
    assert resolve_precision(auto, plain) == ("fp32", ())
    unknown = replace(auto, model="silueta")
    chosen, told = resolve_precision(unknown, without)
    assert chosen == "fp32"
    assert "models agreement silueta --pictures DIR" in str(told[0])
    bad = AgreementWithFp32(mae=0.03, iou=0.9, pictures=3)
    remember_agreement("silueta", "openvino", "bf16", bad, tmp_path, int8_kind="vnni")
    assert resolve_precision(unknown, without) == ("fp32", ())
    good = AgreementWithFp32(mae=0.01, iou=0.99, pictures=3)
    remember_agreement("silueta", "openvino", "bf16", good, tmp_path, int8_kind="vnni")
    assert resolve_precision(unknown, without)[0] == "bf16"


def test_a_damaged_file_of_agreement_is_set_aside(tmp_path: Path) -> None:
    """The damaged file is renamed, and invalid entries are ignored."""
    file = tmp_path / "agreement.yaml"
    file.write_text("u2net: {openvino: {bf16: [1, 2]}}\nsilueta: 3\n")
    assert agreement_with_fp32("u2net", "openvino", "bf16", tmp_path, int8_kind="vnni") is None
    assert agreement_with_fp32("silueta", "openvino", "bf16", tmp_path, int8_kind="vnni") is None
    good = AgreementWithFp32(mae=0.01, iou=0.99, pictures=3)
    remember_agreement("silueta", "openvino", "bf16", good, tmp_path, int8_kind="vnni")
    assert agreement_with_fp32("silueta", "openvino", "bf16", tmp_path, int8_kind="vnni") == good
    file.write_text("{: not yaml")
    remember_agreement("u2net", "openvino", "bf16", good, tmp_path, int8_kind="vnni")
    assert agreement_with_fp32("u2net", "openvino", "bf16", tmp_path, int8_kind="vnni") == good
    assert (tmp_path / "agreement.damaged.yaml").read_text() == "{: not yaml"


@pytest.mark.parametrize("provider", ["cuda", "tensorrt", "openvino"])
def test_a_provider_that_is_absent_is_never_replaced(
    provider: str, toy: ModelSpec, tmp_path: Path
) -> None:
    """The error names the providers of this build, and the package to install."""
    settings = Settings(engine="onnxruntime", provider=provider)  # type: ignore[arg-type]
    with pytest.raises(
        MissingProviderError, match=r"which has cpu; pip uninstall onnxruntime, then .*onnxruntime-"
    ):
        opened(settings, toy, tmp_path)


# Pictures without a clear foreground


@dataclass(frozen=True)
class Bare:
    """A picture without a subject."""

    name: str
    pixels: npt.NDArray[np.uint8]


def bare_pictures() -> list[Bare]:
    """Return pictures without a foreground."""
    generator = np.random.default_rng(0)
    return [
        Bare("grey", np.full((400, 600, 3), 128, np.uint8)),
        Bare("black", np.zeros((400, 600, 3), np.uint8)),
        Bare("white", np.full((400, 600, 3), 255, np.uint8)),
        Bare("noise", generator.integers(0, 256, (400, 600, 3), dtype=np.uint8)),
    ]


def test_a_picture_without_foreground_is_warned_of_and_others_are_not(tmp_path: Path) -> None:
    """Stretching would turn noise into a cut-out, so a low raw maximum adds a warning."""
    settings = Settings(engine="openvino")
    with Runner() as runner:
        for bare in bare_pictures():
            path = tmp_path / f"{bare.name}.png"
            Image.fromarray(bare.pixels).save(path)
            [warning] = run_one(runner, path, settings, tmp_path).warnings
            assert warning.code == NO_FOREGROUND
        for picture in EXAMPLES:
            assert run_one(runner, picture, settings, tmp_path).warnings == ()


@pytest.mark.parametrize("engine", EVERY_ENGINE)
def test_real_pictures_are_far_above_the_least_foreground(
    engine: str, both: dict[str, NetworkEngine], predicted: Callable[[str, Path], Raw]
) -> None:
    """The raw maximum is at least 0.95 for real pictures and at most 0.1 for a bare one."""
    real = [float(predicted(engine, path).max()) for path in EXAMPLES]
    grey = both[engine].predict(np.zeros((1, 3, 320, 320), np.float32))
    assert min(real) >= 0.95
    assert float(grey.max()) <= 0.1


# Equality with the stock pipeline


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Runner, Path]]:
    """Return a runner that keeps the stock pipeline warm, and a folder."""
    with Runner() as runner:
        yield runner, tmp_path_factory.mktemp("stock")


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Runner, Path]]:
    """Return a runner that keeps the engine onnxruntime warm, and a folder."""
    with Runner() as runner:
        yield runner, tmp_path_factory.mktemp("ours")


def assert_alike(picture: Path, stock: tuple[Runner, Path], ours: tuple[Runner, Path]) -> None:
    """Compare the alpha of our cut-out with that of stock rembg."""
    theirs = run_one(stock[0], picture, Settings(engine="rembg"), stock[1])
    own = run_one(ours[0], picture, Settings(engine="onnxruntime"), ours[1])
    one, other = read_alpha(Path(theirs.output)), read_alpha(Path(own.output))
    assert one.shape == other.shape
    difference = float(np.abs(one.astype(np.int16) - other).mean())
    print(f"{picture.name}: mean |difference| {difference:.3f}/255, IoU {iou(one, other):.4f}")  # noqa: T201  # shown with -s: the figures of the README
    assert difference <= ALPHA_MEAN_DIFFERENCE
    assert iou(one, other) >= MIN_IOU
    assert not [one for one in own.warnings if one.code == NO_FOREGROUND]


@pytest.mark.timeout(STOCK_TIMEOUT_S)
@pytest.mark.parametrize("picture", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_cut_out_as_stock_rembg_does(
    picture: Path, stock: tuple[Runner, Path], ours: tuple[Runner, Path]
) -> None:
    """Alpha differs by at most 2 of 255 on average; the IoU at half opacity is at least 0.985."""
    assert_alike(picture, stock, ours)


@pytest.mark.timeout(STOCK_TIMEOUT_S)
@pytest.mark.skipif(not EVALUATION_FOLDER.is_dir(), reason=f"{EVALUATION_FOLDER} is not here")
@pytest.mark.parametrize(
    "picture",
    sorted(EVALUATION_FOLDER.glob("*")) if EVALUATION_FOLDER.is_dir() else [Path("none")],
    ids=lambda path: path.stem,
)
def test_an_evaluation_picture_is_cut_out_as_stock_rembg_does(
    picture: Path, stock: tuple[Runner, Path], ours: tuple[Runner, Path]
) -> None:
    """Each evaluation picture has the same limits as the examples."""
    assert_alike(picture, stock, ours)


@pytest.mark.timeout(STOCK_TIMEOUT_S)
def test_the_stock_pipeline_says_what_it_does(stock: tuple[Runner, Path]) -> None:
    """Its options are read back, and its stages are predict and rest."""
    result = run_one(stock[0], EXAMPLES[0], Settings(engine="rembg"), stock[1])
    assert result.effective["engine"] == "rembg"
    assert result.effective["model"] == "u2netp"
    assert result.effective["network_size"] == 320
    assert result.effective["cpu_mem_arena"] is True
    threads = result.effective["intra_op_threads"]
    assert isinstance(threads, int)
    assert 1 <= threads <= 256
    assert set(result.stages_s) == {"predict", "rest"}
    assert all(seconds > 0 for seconds in result.stages_s.values())
    assert sum(result.stages_s.values()) == pytest.approx(result.total_s, rel=0.05, abs=0.03)
    assert {"rembg", "onnxruntime"} <= set(result.environment.versions)


@pytest.mark.timeout(STOCK_TIMEOUT_S)
def test_the_stock_pipeline_refuses_in_words(stock: tuple[Runner, Path], tmp_path: Path) -> None:
    """A file that is not a picture is bad_input, a JPEG output is bad_output; the worker stays."""
    run_one(stock[0], EXAMPLES[0], Settings(engine="rembg"), stock[1])
    pid = stock[0].worker_pid
    text = Path(shutil.copy(ROOT / "pyproject.toml", tmp_path / "text.png"))
    cases = [(text, "out.png", "bad_input"), (EXAMPLES[0], "out.jpg", "bad_output")]
    for picture, name, kind in cases:
        job = Job(input=str(picture), output=str(tmp_path / name))
        failure = stock[0].run(job, Settings(engine="rembg"))
        assert isinstance(failure, Failure)
        assert failure.kind == kind, failure.message
        assert not (tmp_path / name).exists()
    assert stock[0].worker_pid == pid


def test_the_side_of_an_own_network_is_read_from_its_graph(tmp_path: Path) -> None:
    """The side is read without onnx for the embedded network, a toy, and one with a free size."""
    machine = read_machine()
    assert read_input_side(Path(machine.find("u2netp", None).spec.path)) == 320
    assert machine.find(str(make_toy(tmp_path / "toy.onnx")), None).side == TOY_SIDE
    free = str(make_toy(tmp_path / "free.onnx", shape=(1, 3, "h", "w")))
    assert machine.find(free, None).side is None
    [refused] = check(Settings(engine="onnxruntime", model=free), machine)
    assert refused.knob == "network_size"
    (tmp_path / "none.onnx").write_bytes(b"no graph")
    with pytest.raises(ValueError, match=r"fields|graph"):
        read_input_side(tmp_path / "none.onnx")


def make_convolution(path: Path) -> Path:
    """Write a network of one convolution, which every engine supports without conversion."""
    helper = onnx.helper
    size = helper.make_tensor_value_info(
        "picture", onnx.TensorProto.FLOAT, (1, 3, TOY_SIDE, TOY_SIDE)
    )
    output = helper.make_tensor_value_info(
        "matte", onnx.TensorProto.FLOAT, (1, 1, TOY_SIDE, TOY_SIDE)
    )
    weights = helper.make_tensor("weights", onnx.TensorProto.FLOAT, (1, 3, 1, 1), [0.5, 0.2, 0.3])
    nodes = [
        helper.make_node("Conv", ["picture", "weights"], ["sum"], kernel_shape=[1, 1]),
        helper.make_node("Sigmoid", ["sum"], ["matte"]),
    ]
    graph = helper.make_graph(nodes, "toy", [size], [output], [weights])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9),
        str(path),
    )
    return path


@pytest.mark.parametrize("engine", EVERY_ENGINE)
def test_eight_ways_to_ask_for_the_same_take_one_worker(engine: str, tmp_path: Path) -> None:
    """`auto` and fp32, size 0 and the network's, 0 threads and all CPUs use the same worker.

    The Result has the requested settings.
    """
    model, cpus = str(make_convolution(tmp_path / "toy.onnx")), read_host().usable_cpus
    ways = itertools.product(("auto", "fp32"), (0, TOY_SIDE), (0, cpus))
    pids, effective = set(), []
    with Runner(warm_bytes=2**33) as runner:
        for precision, network_size, threads in ways:
            asked = Settings(
                model=model,
                engine=engine,
                precision=precision,  # type: ignore[arg-type]
                network_size=network_size,
                intra_op_threads=threads,
            )
            result = run_one(runner, EXAMPLES[0], asked, tmp_path)
            assert result.settings == asked
            noted = [one.code for one in result.warnings if str(one.code).startswith("auto_")]
            assert not noted or precision == "auto"
            effective.append(result.effective)
            pids |= set(runner.worker_pids)
        assert len(pids) == 1
        assert effective == [effective[0]] * 8
        assert (effective[0]["precision"], effective[0]["network_size"]) == ("fp32", TOY_SIDE)
        run_one(
            runner, EXAMPLES[0], Settings(model=model, engine=engine, network_size=96), tmp_path
        )
        assert len(runner.worker_pids) == 2
