"""Create the int8 form of a model, and the record of how it was made."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rembg_tuner.base.errors import EngineError, ModelError, OutputError, SettingsError
from rembg_tuner.base.files import replacing
from rembg_tuner.base.messages import Message, Quoted, plural
from rembg_tuner.engines.plain_graphs import plain_graph, run_plain
from rembg_tuner.engines.protocols import INT8_MARK
from rembg_tuner.engines.table import ENGINES
from rembg_tuner.imaging.quality import sure_share
from rembg_tuner.models import graph as graphs
from rembg_tuner.models.catalogue import int8_file
from rembg_tuner.models.spec import verify
from rembg_tuner.quantization.mattes import Candidates, average_agreement
from rembg_tuner.quantization.pictures import list_pictures, read_pictures
from rembg_tuner.quantization.search import MeanAgreement, Pace, SearchResult, Target, find_left_out

if TYPE_CHECKING:
    from collections.abc import Callable

    from rembg_tuner.engines.spec import Quantize
    from rembg_tuner.imaging.matte import Matte
    from rembg_tuner.imaging.network_input import NetworkInput
    from rembg_tuner.models.spec import ModelSpec
    from rembg_tuner.quantization.pictures import PictureSet

_OPSET = 17  # quantisation by channel needs 13; NNCF is tested with 17
_SEARCH_INPUTS = 12  # fewer during the search; the ranking of the candidates stays the same
_SEARCH_JUDGED = 8
MIN_SURE_SHARE = 0.6
FEW_PICTURES = 20  # with fewer, the ranges come from crops of the same few scenes


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizedModel:
    """An int8 model that was written, and its agreement with fp32.

    Attributes:
        path: the int8 graph; its record is the .json file beside it.
        record: the content of that file.
        judged: number of inputs on which the agreement was measured.
        found: the result of the search.
        agreement: of the written graph, averaged over all judged inputs.
    """

    path: Path
    record: dict[str, object]
    judged: int
    found: SearchResult
    agreement: MeanAgreement


def quantize_model(
    model: ModelSpec,
    pictures: Path,
    *,
    engine: str,
    folder: Path,
    target: Target,
    tell: Callable[[str], None],
) -> QuantizedModel:
    """Create the int8 form of a model.

    Args:
        model: the fp32 model.
        pictures: a folder with pictures like those that the user cuts out.
        engine: openvino or onnxruntime; the quantisation matches its operator fusions.
        folder: the folder for the graph and its record.
        target: the agreement at which the search stops.
        tell: called with a line of text at each step.

    Raises:
        EngineError: a package is missing, or the quantisation failed.
        ModelError, SettingsError: the model, the folder or the pictures cannot be used.
        OutputError: the graph or its record cannot be written.
    """
    quantize, versions = _tools(engine)
    paths = list_pictures(pictures)
    digest = verify(model)
    _make_folder(folder)
    tell("the graph is simplified")
    plain = _simplified(_plain_graph(model), called=Path(model.path))
    side = graphs.picture_input(plain.graph).type.tensor_type.shape.dim[3].dim_value
    tell(f"{len(paths)} pictures as inputs of {side} x {side} px")
    inputs = read_pictures(paths, model, side, tell=tell)
    _warn_of_few(inputs, tell)
    convolutions = graphs.convolutions(plain)
    with tempfile.TemporaryDirectory(prefix="rembg-tuner-") as scratch:
        bench = Candidates(model=model, engine=engine, side=side, scratch=Path(scratch))
        graphs.save_graph(plain, bench.file("fp32"))
        tell(f"{len(inputs.judged)} mattes of fp32")
        started = time.perf_counter()
        references = bench.mattes("fp32", inputs.judged)
        pace = Pace(
            picture_s=(time.perf_counter() - started) / len(references),
            pictures=_SEARCH_INPUTS + min(_SEARCH_JUDGED, len(references)),
            closing=len(inputs.calibration) / _SEARCH_INPUTS,
        )
        inputs, references = _clear_ones(inputs, references, pictures)
        make = partial(_quantized, quantize, plain, model=model, engine=engine)

        def judge(left_out: list[str]) -> MeanAgreement:
            candidate = make(left_out, inputs.calibration[:_SEARCH_INPUTS])
            graphs.save_graph(candidate, bench.file("try"))
            found = bench.mattes("try", inputs.judged[:_SEARCH_JUDGED])
            return average_agreement(found, references[:_SEARCH_JUDGED])

        found = find_left_out(convolutions, judge, target=target, tell=tell, pace=pace)
        tell("the whole set of pictures")
        left_out = [one.node for one in found.left_out]
        whole = make(left_out, inputs.calibration)
        graphs.mark(whole, INT8_MARK, "int8")
        graphs.save_graph(whole, bench.file("whole"))
        agreement = average_agreement(bench.mattes("whole", inputs.judged), references)
        path = folder / int8_file(Path(model.path).name, engine)
        content = bench.file("whole").read_bytes()
    record = _record(model, inputs, found=found, agreement=agreement, side=side) | {
        "source_sha256": digest,
        "engine": engine,
        "bytes": len(content),
        "versions": {engine: version_of(engine), **versions},
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    _write(path, content, record)
    return QuantizedModel(
        path=path, record=record, judged=len(inputs.judged), found=found, agreement=agreement
    )


def _warn_of_few(inputs: PictureSet, tell: Callable[[str], None]) -> None:
    """Log a warning if there are too few pictures to represent the user's."""
    if len(inputs.sources) < FEW_PICTURES:
        tell(
            str(
                plural(
                    "warning: {n} picture of the at least {needed} that are needed to represent"
                    " yours; ranges and agreement may be off for others, so give --pictures more of"
                    " your kind",
                    "warning: {n:,} pictures of the at least {needed} that are needed to represent"
                    " yours; ranges and agreement may be off for others, so give --pictures more of"
                    " your kind",
                    n=len(inputs.sources),
                    needed=FEW_PICTURES,
                )
            )
        )


def _quantized(
    quantize: Quantize,
    plain: Any,
    left_out: list[str],
    calibration: list[NetworkInput],
    *,
    model: ModelSpec,
    engine: str,
) -> Any:
    """Quantise a graph except the convolutions in `left_out`, which stay in floats.

    Raises:
        EngineError: the engine's tool failed.
    """
    name = graphs.picture_input(plain.graph).name
    try:
        return quantize(plain, calibration, input_name=name, left_out=left_out)
    except (RuntimeError, ValueError) as error:
        raise EngineError(
            Message(
                "{engine}'s int8 of {path} failed: {reason}",
                engine=engine,
                path=Path(model.path),
                reason=Quoted(" ".join(str(error).split())),
            )
        ) from error


def _make_folder(folder: Path) -> None:
    """Create a folder and check that it is writable, before the work starts.

    Raises:
        SettingsError: it is not.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise SettingsError(
            [
                Message(
                    "{folder} cannot be written: {reason}; name another folder with -o",
                    folder=folder,
                    reason=error.strerror,
                )
            ]
        ) from error


def _write(path: Path, content: bytes, record: dict[str, object]) -> None:
    """Write a graph and its record; both, or neither.

    Raises:
        OutputError: they cannot be written.
    """
    try:
        with replacing(path) as graph, replacing(path.with_suffix(".json")) as beside:
            graph.write(content)
            beside.write((json.dumps(record, indent=1) + "\n").encode())
            graph.flush()  # reports a full disk before one of the two files is renamed
            beside.flush()
    except OSError as error:
        raise OutputError(
            Message("{path} cannot be written: {reason}", path=path, reason=error.strerror)
        ) from error


def _tools(engine: str) -> tuple[Quantize, dict[str, str]]:
    """Import the engine's quantisation tool, and return it with the versions of its packages.

    Raises:
        EngineError: it is not installed.
    """
    tools = ENGINES[engine].int8_tools
    assert tools is not None  # the command line accepts only engines with tools
    try:
        return tools()
    except ImportError as error:
        raise EngineError(
            Message(
                "models quantize needs packages that are not installed ({reason}); pip install"
                " 'rembg-tuner[quantize]'",
                reason=Quoted(str(error)),
            )
        ) from error


def _plain_graph(model: ModelSpec) -> Any:
    """Return a model's graph as plain fp32 with a recent opset, after a test run.

    Raises:
        EngineError, ModelError: the graph cannot be read, does not run, or does not return a matte;
            the message is one sentence.
    """
    source = Path(model.path)
    plain = plain_graph(source, side=model.side or 0)
    with tempfile.TemporaryDirectory(prefix="rembg-tuner-") as scratch:
        file = Path(scratch) / "plain.onnx"
        graphs.save_graph(plain, file)
        run_plain(file, source, side=graphs.own_side(plain.graph))
    return graphs.raise_opset(plain, _OPSET)


def _simplified(model: Any, *, called: Path) -> Any:
    """Fold a graph's constants and shapes with onnxsim.

    Args:
        model: the graph.
        called: the path of its file, for the message.

    Raises:
        EngineError: onnxsim is not installed.
        ModelError: onnxsim cannot simplify this graph.
    """
    try:
        import onnxsim
    except ImportError as error:
        raise EngineError(
            Message(
                "models quantize needs packages that are not installed ({reason}); pip install"
                " 'rembg-tuner[quantize]'",
                reason=Quoted(str(error)),
            )
        ) from error
    try:
        simplified, is_right = onnxsim.simplify(model)
    except Exception as error:  # errors of onnxsim, onnx and ONNX Runtime share only this base
        reason = Quoted(" ".join(f"{type(error).__name__}: {error}".split()))
        raise ModelError(
            Message(
                "{called} cannot be simplified by onnxsim, so it is not quantised: {reason}",
                called=called,
                reason=reason,
            )
        ) from error
    if not is_right:
        raise ModelError(
            Message(
                "onnxsim simplified {called} to another graph, so it is not quantised",
                called=called,
            )
        )
    return simplified


def _clear_ones(
    inputs: PictureSet, references: list[Matte], folder: Path
) -> tuple[PictureSet, list[Matte]]:
    """Select the judged pictures in which fp32 finds a clear foreground.

    In other pictures, the matte is noise stretched to [0, 1], and cannot be compared between number
    formats.

    Raises:
        SettingsError: the folder contains no picture with a clear foreground.
    """
    pairs = [
        (one, matte)
        for one, matte in zip(inputs.judged, references, strict=True)
        if sure_share(matte) >= MIN_SURE_SHARE
    ]
    if not pairs:
        raise SettingsError(
            Message(
                "the network sees no clear foreground in any picture of --pictures {folder}; name a"
                " folder with pictures of things to cut out",
                folder=folder,
            )
        )
    return replace(inputs, judged=[one for one, _ in pairs]), [matte for _, matte in pairs]


def _record(
    model: ModelSpec,
    inputs: PictureSet,
    *,
    found: SearchResult,
    agreement: MeanAgreement,
    side: int,
) -> dict[str, object]:
    """Return the record of how the graph was made."""
    return {
        "made_from": Path(model.path).name,
        "side": side,
        "mean": list(model.mean),
        "std": list(model.std),
        "post": model.post,
        "date": datetime.now(UTC).date().isoformat(),
        "pictures": inputs.sources,
        "calibration_inputs": len(inputs.calibration),
        "left_out": [asdict(one) for one in found.left_out],
        "agreement_all_in_int8": asdict(found.everything),
        "agreement": {**asdict(agreement), "judged": len(inputs.judged)},
    }
