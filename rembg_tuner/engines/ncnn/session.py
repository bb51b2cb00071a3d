"""ncnn on the CPU; the only module that imports ncnn.

It loads the files that `conversion` created from a model: a .param and a .bin file, for one input
size.
"""

from __future__ import annotations

from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING

import ncnn
import numpy as np

from rembg_tuner.base.errors import EngineError, ModelError
from rembg_tuner.base.messages import Message
from rembg_tuner.engines.protocols import noise, pictures_of
from rembg_tuner.models.spec import SIDE_COMMENT

if TYPE_CHECKING:
    from rembg_tuner.engines.protocols import EngineRequest
    from rembg_tuner.imaging.matte import RawOutput
    from rembg_tuner.imaging.network_input import NetworkInput
    from rembg_tuner.settings.settings import Value

_INPUT, _OUTPUT = "in0", "out0"  # pnnx's names


def version() -> str:
    """Return ncnn's version."""
    return version_of("ncnn")


class NcnnEngine:
    """One loaded network."""

    def __init__(self, request: EngineRequest) -> None:
        """Load the network.

        Raises:
            ModelError: the converted files do not load.
        """
        settings = request.settings
        self._net = ncnn.Net()
        options = self._net.opt
        options.num_threads = settings.intra_op_threads or request.threads
        options.lightmode = settings.light_mode
        options.use_vulkan_compute = False
        options.use_bf16_storage = settings.precision == "bf16"
        is_half = settings.precision == "fp16"
        # Only on CPUs with native half precision: elsewhere ncnn silently ignores it.
        options.use_fp16_packed = options.use_fp16_storage = is_half
        options.use_fp16_arithmetic = is_half
        param = Path(request.model.graph_path)
        for load, path in (
            (self._net.load_param, param),
            (self._net.load_model, param.with_suffix(".bin")),
        ):
            if load(str(path)) != 0:
                raise ModelError(
                    Message(
                        "{path}, which was made of {model} for ncnn, does not load; delete it, and"
                        " it is made again",
                        path=path,
                        model=Path(request.model.path),
                    )
                )
        self._path = request.model.path
        self.side = _side_of(param, request)
        self.warnings: tuple[Message, ...] = ()
        self.effective: dict[str, Value] = {
            "model": request.model.name,
            "engine": "ncnn",
            "precision": _precision_of(options),
            "intra_op_threads": options.num_threads,
            "light_mode": options.lightmode,
            "network_size": self.side,
            "batch_size": 1,
        }

    def predict(self, network_input: NetworkInput) -> RawOutput:
        """Run the network once for each picture; see `NetworkEngine`."""
        mattes: RawOutput = np.stack([self._predict_one(one) for one in network_input])
        return mattes

    def _predict_one(self, picture: NetworkInput) -> RawOutput:
        """Run the network on float32 (3, side, side); return float32 (c, h, w)."""
        extractor = self._net.create_extractor()
        # Copied, because ncnn requires each channel to begin at a multiple of 16 bytes.
        if extractor.input(_INPUT, ncnn.Mat(np.ascontiguousarray(picture)).clone()) != 0:
            raise EngineError(Message("ncnn did not take the picture"))
        code, output = extractor.extract(_OUTPUT)
        if code != 0:
            raise EngineError(
                Message(
                    "ncnn failed with code {number}; it may have run out of memory", number=code
                )
            )
        matte: RawOutput = np.array(output, np.float32)
        one: RawOutput = pictures_of(matte[None], self._path)[0]
        return one

    def cancel(self) -> None:
        """Do nothing: ncnn cannot be stopped, so the runner kills the worker after a delay."""

    def close(self) -> None:
        """Release the network."""
        self._net.clear()


def probe(param: Path, *, side: int) -> RawOutput:
    """Run a converted network once on `noise`, in fp32, and return its output.

    Raises:
        EngineError: it does not load, or does not run.
    """
    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    if net.load_param(str(param)) != 0 or net.load_model(str(param.with_suffix(".bin"))) != 0:
        raise EngineError(Message("ncnn does not load what pnnx made"))
    picture = noise(side=side)[0]  # kept alive: a Mat only points to it
    extractor = net.create_extractor()
    extractor.input(_INPUT, ncnn.Mat(picture).clone())
    code, output = extractor.extract(_OUTPUT)
    if code != 0:
        raise EngineError(Message("ncnn failed with code {number} on what pnnx made", number=code))
    answer: RawOutput = np.array(output, np.float32)
    return answer


def _precision_of(options: ncnn.Option) -> str:
    """Return the number format in which the network is stored, from its options."""
    if options.use_bf16_storage:
        return "bf16"
    return "fp16" if options.use_fp16_storage else "fp32"


def _side_of(param: Path, request: EngineRequest) -> int:
    """Return the side that the network was converted for: requested, the model's or the file's.

    Raises:
        ModelError: no side is known.
    """
    side = request.settings.network_size or request.model.side or _own_side(param)
    if not side:
        raise ModelError(
            Message(
                "the input size of {model} is unknown; set --network-size",
                code="no_network_size",
                model=Path(request.model.path),
            )
        )
    return side


def _own_side(param: Path) -> int:
    """Read the side from the comment that `conversion` appended to the network; 0: no comment."""
    last = param.read_text(encoding="ascii").rstrip().rsplit("\n", 1)[-1]
    return int(last.removeprefix(SIDE_COMMENT)) if last.startswith(SIDE_COMMENT) else 0
