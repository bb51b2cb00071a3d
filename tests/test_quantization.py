"""int8 models that keep the matte: the search, and the whole command on a generated network."""

from __future__ import annotations

import itertools
import json
import math
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_networks import bright_things
from onnx import TensorProto, helper

from rembg_tuner.base.errors import MissingModelError, ModelError, SettingsError
from rembg_tuner.base.files import CACHE_VARIABLE
from rembg_tuner.base.spawning import child_environment
from rembg_tuner.cli.main import main
from rembg_tuner.engines.protocols import INT8_MARK
from rembg_tuner.imaging.quality import sure_share
from rembg_tuner.models.agreement import AgreementWithFp32, agreement_with_fp32
from rembg_tuner.models.catalogue import EMBEDDED_FOLDER, INT8_ENDINGS, find_model, int8_file
from rembg_tuner.models.spec import file_digests
from rembg_tuner.quantization import make
from rembg_tuner.quantization.make import QuantizedModel, quantize_model
from rembg_tuner.quantization.pictures import list_pictures, read_pictures
from rembg_tuner.quantization.search import MeanAgreement, Pace, SearchResult, Target, find_left_out
from rembg_tuner.runtime.runner import Runner
from rembg_tuner.settings.results import Result
from rembg_tuner.settings.settings import Settings
from rembg_tuner.worker.pipeline import Job

if TYPE_CHECKING:
    from collections.abc import Callable

    from rembg_tuner.models.spec import ModelSpec

EXAMPLES = Path(__file__).parent.parent / "examples"


def silent(_: str) -> None:
    """Do nothing."""


def pace(clock: Callable[[], float] = lambda: 0.0) -> Pace:
    """Create the pace of a search in which a candidate runs ten pictures of one second each."""
    return Pace(picture_s=1.0, pictures=10, closing=2.0, clock=clock)


class Damage:
    """A network in which each int8 convolution causes some damage; damages add up."""

    def __init__(self, damages: dict[str, float]) -> None:
        """Store the damages and set the count of trials to 0."""
        self.damages, self.trials = damages, 0

    def __call__(self, left_out: list[str]) -> MeanAgreement:
        """Sum the damages of the convolutions that are not left out."""
        self.trials += 1
        total = sum(d for name, d in self.damages.items() if name not in left_out)
        return MeanAgreement(iou=max(0.0, 1 - 2 * total), mae=total)


@given(
    count=st.integers(2, 130),
    bad=st.lists(st.integers(0, 129), min_size=0, max_size=3, unique=True),
)
def test_the_convolutions_that_spoil_the_picture_are_found(count: int, bad: list[int]) -> None:
    """At any position they are left out, and apart from them at most the last convolution."""
    names = [f"conv{i}" for i in range(count)]
    spoiling = {names[i] for i in bad if i < count}
    judge = Damage({name: 0.2 if name in spoiling else 0.0001 for name in names})
    told: list[str] = []
    found = find_left_out(names, judge, target=Target(), tell=told.append, pace=pace())
    left_out = {one.node for one in found.left_out}
    assert found.agreement.mae <= 0.02
    assert spoiling <= left_out <= spoiling | {names[-1]}
    assert found.everything.mae == pytest.approx(sum(judge.damages.values()))
    for one in found.left_out:
        assert one.costs_mae == pytest.approx(judge.damages[one.node])
    assert judge.trials <= 1 + 12 + 4 * math.ceil(count / 12) + 1 + 12
    most = int(told[1].split(",")[0].rsplit(" ", 1)[1])
    assert f"1 to {most} candidates" in told[0]
    assert [line.split(",")[0] for line in told[1:]] == [
        f"candidate {i} of at most {most}" for i in range(1, judge.trials + 1)
    ]
    assert judge.trials <= most


def test_where_all_is_well_nothing_is_left_out() -> None:
    """Good agreement takes one trial, and no search follows."""
    judge = Damage({"a": 0.001, "b": 0.001})
    assert (
        find_left_out(["a", "b"], judge, target=Target(), tell=silent, pace=pace()).left_out == ()
    )
    assert judge.trials == 1


def test_how_long_a_search_takes_is_told_and_corrected() -> None:
    """The estimate is a range, first from the time of fp32, then from the measured candidates."""
    names = [f"c{i}" for i in range(13)]  # 12 ranges, of which 4 are searched
    judge = Damage({name: 0.2 if name == "c5" else 0.0001 for name in names})
    seconds = itertools.count(0.0, 100.0)  # each candidate takes 100 s
    told: list[str] = []
    find_left_out(names, judge, target=Target(), tell=told.append, pace=pace(lambda: next(seconds)))
    # ranking: all, 12 ranges, 4 searched, the last one; then one to five are left out
    assert told[0].startswith(
        "about 30 s to 17 min in all, for 1 to 23 candidates and the whole set"
    )
    assert told[1].endswith(
        "; about 17 min to 40 min left"
    )  # 18 to 22 candidates, and 2 for the whole set
    assert told[2].endswith("; about 32 min to 38 min left")
    assert told[18].endswith("; about 5 min to 12 min left")
    assert told[-1].endswith("; about 3 min left")  # only the whole set of pictures


def test_a_search_that_ends_at_once_says_so() -> None:
    """After a good first candidate, only the run of the whole set of pictures remains."""
    seconds, told = itertools.count(0.0, 10.0), list[str]()
    judge = Damage({"a": 0.001, "b": 0.001})
    find_left_out(
        ["a", "b"], judge, target=Target(), tell=told.append, pace=pace(lambda: next(seconds))
    )
    assert told[-1].endswith("; about 10 s to 20 s left")


def test_a_target_that_cannot_be_met_keeps_the_best() -> None:
    """The search ends and returns its best agreement."""
    judge = Damage({f"c{i}": 0.01 for i in range(40)})
    found = find_left_out(list(judge.damages), judge, target=Target(), tell=silent, pace=pace())
    assert len(found.left_out) == 12
    assert found.agreement.mae == pytest.approx(0.28)


def test_few_pictures_are_made_more_and_judged_on_other_crops(tmp_path: Path) -> None:
    """Three pictures produce 48 calibration inputs, including mirror images.

    The additional judged inputs are other crops.
    """
    inputs = read_pictures(list_pictures(EXAMPLES), find_model("u2netp"), 64, tell=silent)
    assert len(inputs.calibration) == 48
    assert len(inputs.judged) == 12
    assert set(inputs.sources) == {"astronaut.png", "chelsea.png", "coffee.png"}
    known = {one.tobytes() for one in inputs.calibration}
    assert [one.tobytes() in known for one in inputs.judged] == [True] * 3 + [False] * 9
    again = read_pictures(list_pictures(EXAMPLES), find_model("u2netp"), 64, tell=silent)
    assert all(
        np.array_equal(a, b) for a, b in zip(inputs.calibration, again.calibration, strict=True)
    )
    with pytest.raises(SettingsError, match="is no folder"):
        list_pictures(tmp_path / "nowhere")
    with pytest.raises(SettingsError, match="holds no JPEG"):
        list_pictures(tmp_path)


def test_a_damaged_picture_is_named_and_left_out(tmp_path: Path) -> None:
    """The other pictures are used; an error is raised if none is readable."""
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes((EXAMPLES / "chelsea.png").read_bytes()[:5000])
    told: list[str] = []
    with pytest.raises(SettingsError, match="none of the pictures of --pictures reads"):
        read_pictures(list_pictures(tmp_path), find_model("u2netp"), 64, tell=told.append)
    assert len(told) == 1
    assert told[0].startswith(f"damaged.png is left out: {damaged}")
    (tmp_path / "coffee.png").write_bytes((EXAMPLES / "coffee.png").read_bytes())
    inputs = read_pictures(list_pictures(tmp_path), find_model("u2netp"), 64, tell=told.append)
    assert len(told) == 2
    assert set(inputs.sources) == {"coffee.png"}
    assert (len(inputs.calibration), len(inputs.judged)) == (48, 4)


def odd_graph(
    op: str = "Sigmoid", *, opset: int = 17, has_shape: bool = True, is_number: bool = False
) -> onnx.ModelProto:
    """Create a graph of one operator, followed by a mean if a number is requested."""
    shape = [1, 3, 32, 32] if has_shape else None
    nodes = [helper.make_node(op, ["x"], ["y"])]
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)
    if is_number:
        nodes.append(helper.make_node("ReduceMean", ["y"], ["z"], keepdims=0))
        result = helper.make_tensor_value_info("z", TensorProto.FLOAT, [])
    taken = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 32, 32])
    graph = helper.make_graph(nodes, "odd", [taken], [result])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        pytest.param(odd_graph(opset=99), "is in opset 99, and this ONNX Runtime", id="opset"),
        pytest.param(
            odd_graph("Foo"), "is not a model that ONNX Runtime can load: ", id="operator"
        ),
        pytest.param(odd_graph(is_number=True), "does not produce a matte: its first", id="number"),
        pytest.param(
            odd_graph(has_shape=False), "cannot be simplified by onnxsim, so it", id="onnxsim"
        ),
    ],
)
def test_a_graph_that_cannot_be_quantised_is_told_in_a_sentence(
    model: onnx.ModelProto, words: str, tmp_path: Path
) -> None:
    """The error names the file in one sentence, before any picture is read."""
    source = tmp_path / "odd.onnx"
    onnx.save(model, str(source))
    with pytest.raises(ModelError) as caught:
        quantize_model(
            find_model(str(source)),
            EXAMPLES,
            engine="onnxruntime",
            folder=tmp_path,
            target=Target(),
            tell=silent,
        )
    assert str(caught.value).startswith(f"{source} {words}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [5.0, -0.1, math.nan, math.inf])
def test_a_target_is_from_0_to_1(value: float) -> None:
    """Other values are rejected, and both problems are reported together."""
    with pytest.raises(SettingsError) as caught:
        Target(iou=value, mae=value)
    assert tuple(map(str, caught.value.problems)) == (
        f"--least-iou must be from 0 to 1, got {value:g}",
        f"--most-difference must be from 0 to 1, got {value:g}",
    )
    assert Target(iou=1.0, mae=0.0).is_met(MeanAgreement(iou=1.0, mae=0.0))


def test_a_matte_is_sure_where_its_foreground_is_opaque() -> None:
    """The share is computed for a clear cut-out, a uniform grey matte and an empty matte."""
    assert sure_share(np.array([[1.0, 0.95, 0.5, 0.0]], np.float32)) == pytest.approx(2 / 3)
    assert sure_share(np.full((2, 2), 0.4, np.float32)) == 0.0
    assert sure_share(np.zeros((2, 2), np.float32)) == 0.0


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)
@pytest.mark.parametrize("engine", INT8_ENDINGS)
def test_a_networks_int8_form_is_made_and_runs(
    engine: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The graph and its record are written, and a run reports int8 and succeeds."""
    source = bright_things(tmp_path / "bright.onnx")
    told: list[str] = []
    made = quantize_model(
        find_model(str(source)),
        EXAMPLES,
        engine=engine,
        folder=tmp_path,
        target=Target(),
        tell=told.append,
    )
    assert any(line.startswith("warning: 3 pictures of the at least 20") for line in told)
    first = next(i for i, line in enumerate(told) if line.startswith("candidate 1 of at most"))
    assert "in all, for 1 to 6 candidates" in told[first - 1]
    assert told[first].endswith(" left")
    assert capfd.readouterr().out == ""  # only the document of --json is written there
    assert made.path == tmp_path / int8_file("bright.onnx", engine)
    record = json.loads(made.path.with_suffix(".json").read_text())
    assert record == json.loads(json.dumps(made.record))
    assert record["sha256"] == file_digests(made.path, ["sha256"])["sha256"]
    assert record["source_sha256"] == file_digests(source, ["sha256"])["sha256"]
    assert set(record["pictures"]) == {"astronaut.png", "chelsea.png", "coffee.png"}
    assert record["agreement"]["mae"] <= 0.02
    assert {entry.key: entry.value for entry in onnx.load(str(made.path)).metadata_props}[
        INT8_MARK
    ] == "int8"
    job = Job(input=str(EXAMPLES / "coffee.png"), output=str(tmp_path / "out.png"))
    with Runner() as runner:
        run = runner.run(job, Settings(model=str(source), engine=engine, precision="int8"))
    assert isinstance(run, Result), run
    assert run.effective["precision"] == "int8"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (
            ["-o", "/proc/nope"],
            "/proc/nope cannot be written: No such file or directory; name another folder with -o",
        ),
        (["--least-iou", "5"], "--least-iou must be from 0 to 1, got 5"),
        (["--most-difference", "nan"], "--most-difference must be from 0 to 1, got nan"),
    ],
)
def test_what_cannot_be_is_told_before_the_work(
    words: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An output folder that cannot be written and an invalid target exit with 2."""
    source = bright_things(tmp_path / "bright.onnx")
    command = ["models", "quantize", str(source), "--pictures", str(EXAMPLES), *words]
    assert main(command) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == f"rembg-tuner: {reason}"
    assert "the graph is simplified" not in said


@pytest.fixture
def quick_quantizing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Write an empty int8 model in place of quantizing, and return the cache folder.

    The home folder is empty.
    """

    def write_one(
        model: ModelSpec, _: Path, *, engine: str, folder: Path, **__: object
    ) -> QuantizedModel:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / int8_file(Path(model.path).name, engine)
        path.write_bytes(b"int8")
        record = {"sha256": file_digests(path, ["sha256"])["sha256"]}
        path.with_suffix(".json").write_text(json.dumps(record))
        agreement = MeanAgreement(iou=0.98, mae=0.01)
        found = SearchResult(left_out=(), everything=agreement, agreement=agreement)
        return QuantizedModel(
            path=path, record=dict(record), judged=3, found=found, agreement=agreement
        )

    monkeypatch.setattr(make, "quantize_model", write_one)
    for name in ("U2NET_HOME", "REMBG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_is_made_of_the_embedded_model_is_what_is_used(
    quick_quantizing: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The int8 file in the user's folder takes precedence, and its agreement is recorded."""
    words = [
        "models",
        "quantize",
        "u2net_lite",
        "--pictures",
        str(EXAMPLES),
        "--engine",
        "openvino",
    ]
    assert main(words) == 0
    caught = capsys.readouterr()
    assert "model u2net_lite is another name for u2netp" in caught.err
    place = quick_quantizing.parent / ".rembg" / "models" / "u2netp" / "u2netp-int8.onnx"
    assert find_model("u2netp", int8_for="openvino").path == str(place)
    assert (
        caught.out.splitlines()[-1]
        == "next: python -m rembg_tuner cut PICTURE --model u2netp --engine openvino --precision"
        " int8"
    )
    kept = agreement_with_fp32("u2netp", "openvino", "int8", quick_quantizing, int8_kind="vnni")
    assert kept == AgreementWithFp32(mae=0.01, iou=0.98, pictures=3)


def test_what_is_made_elsewhere_is_not_advertised(
    quick_quantizing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No agreement is recorded for an unused file, and the next step copies it where it is used."""
    source = bright_things(tmp_path / "bright thing.onnx")
    folder = tmp_path / "else where"
    words = ["models", "quantize", str(source), "--pictures", str(EXAMPLES), "-o", str(folder)]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "it is not used from there" in out
    assert not (quick_quantizing / "agreement.yaml").exists()
    step = out.splitlines()[-1].removeprefix("next: ").split(" && python")[0]
    subprocess.run(step, shell=True, check=True)
    found = find_model(str(source), int8_for="openvino")
    assert found.path == str(tmp_path / "bright thing-int8.onnx")
    assert main([*words, "--json"]) == 0  # the copy is found, not the new file
    assert json.loads(capsys.readouterr().out)["is_used"] is False
    assert main([*words[:-2], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["is_used"] is True
    assert (
        agreement_with_fp32(str(source), "openvino", "int8", quick_quantizing, int8_kind="vnni")
        is not None
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_search_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    """SIGINT exits with 130 and SIGTERM with 143; no graph and no temporary folder is left."""
    source, out, scratch = bright_things(tmp_path / "bright.onnx"), tmp_path / "out", tmp_path / "t"
    scratch.mkdir()
    words = ["models", "quantize", str(source), "--pictures", str(EXAMPLES), "-o", str(out)]
    process = subprocess.Popen(
        [sys.executable, "-m", "rembg_tuner", *words, "--most-difference", "0"],
        env={**child_environment(), "TMPDIR": str(scratch)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("candidate 1 of at most "):
            process.send_signal(number)
            break
    said, complaint = process.communicate(timeout=50)
    assert (process.returncode, said) == (128 + number, "")
    word = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}[number]
    assert complaint.splitlines()[-1] == f"rembg-tuner: {word}"
    assert list(out.iterdir()) == []
    assert [path for path in scratch.iterdir() if path.name.startswith("rembg-tuner-")] == []


def test_an_int8_form_that_was_changed_is_refused(tmp_path: Path) -> None:
    """An int8 file is compared with its record's checksum, as a model with the catalogue's."""
    source = bright_things(tmp_path / "bright.onnx")
    with pytest.raises(
        MissingModelError,
        match="has no int8 form on disk; make it with `python -m rembg_tuner models quantize",
    ) as caught:
        find_model(str(source), int8_for="openvino")
    assert caught.value.message.code == "int8_absent"
    (tmp_path / "bright-int8.onnx").write_bytes(b"something")
    with pytest.raises(ModelError, match=r"has no sha256 of bright-int8\.onnx"):
        find_model(str(source), int8_for="openvino")
    (tmp_path / "bright-int8.json").write_text(json.dumps({"sha256": "0" * 64}))
    with Runner() as runner:
        job = Job(input=str(EXAMPLES / "coffee.png"), output=str(tmp_path / "out.png"))
        run = runner.run(job, Settings(model=str(source), engine="openvino", precision="int8"))
    assert not isinstance(run, Result)
    assert run.kind == "bad_model"
    assert "its sha256 is" in str(run.message)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"mean": [1, 2]}, "mean must be three numbers"),
        ({"std": [1, 0, 1]}, "std must not be 0"),
        ({"post": "softmax"}, "post must be minmax, sigmoid or classes"),
        ({"side": "large"}, "side must be a whole number"),
        ([], "must hold a JSON object"),
        ("{", "does not read"),
    ],
)
def test_a_record_that_is_not_right_is_told(record: object, reason: str, tmp_path: Path) -> None:
    """The record beside a user's file is checked before use."""
    source = bright_things(tmp_path / "own.onnx")
    text = record if isinstance(record, str) else json.dumps(record)
    source.with_suffix(".json").write_text(text)
    with pytest.raises(ModelError, match=reason):
        find_model(str(source))


@pytest.mark.parametrize("engine", INT8_ENDINGS)
def test_the_int8_form_that_comes_along_is_the_one_its_record_tells_of(engine: str) -> None:
    """The embedded int8 model matches its record: source, pictures, left-out nodes, agreement."""
    path = EMBEDDED_FOLDER / int8_file("u2netp.onnx", engine)
    record = json.loads(path.with_suffix(".json").read_text())
    assert record["sha256"] == file_digests(path, ["sha256"])["sha256"]
    assert record["bytes"] == path.stat().st_size <= 1.6e6
    assert record["source_sha256"] == find_model("u2netp").checksums["sha256"]
    assert record["engine"] == engine
    for name, digest in record["pictures"].items():
        assert file_digests(EXAMPLES / name, ["sha256"])["sha256"] == digest
    assert record["left_out"]
    assert record["agreement"]["iou"] >= 0.95
