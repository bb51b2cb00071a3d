"""ONNX Runtime with missing resources.

The cases are a provider that falls back to the CPU, a full disk and too little memory.
"""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from rembg_tuner.base.errors import EngineError, MissingProviderError, ModelError, OutOfMemoryError
from rembg_tuner.engines.onnxruntime.providers import provider_options, provider_problem
from rembg_tuner.engines.onnxruntime.session import OnnxRuntimeEngine
from rembg_tuner.engines.protocols import EngineRequest, noise
from rembg_tuner.engines.table import open_engine
from rembg_tuner.models.catalogue import find_model
from rembg_tuner.settings.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 2**20


def request_for(settings: Settings, cache: Path, *, path: Path | None = None) -> EngineRequest:
    """Return a request for a session of u2netp, or of a user's file."""
    model = find_model(settings.model if path is None else str(path))
    return EngineRequest(
        settings=settings, model=model, model_digest=model.path, threads=1, cache=cache, cpu={}
    )


@pytest.mark.parametrize("engine", ["onnxruntime", "rembg"])
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
def test_a_provider_that_falls_back_to_the_cpu_is_refused(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The provider that the session reports is checked, not only that its libraries load."""
    monkeypatch.setattr(
        "rembg_tuner.engines.onnxruntime.providers.provider_problem", lambda _: None
    )
    monkeypatch.setattr(
        "rembg_tuner.engines.onnxruntime.loading._NO_CPU_FALLBACK", ("session.none", "1")
    )
    settings = Settings(engine=engine, provider="cuda")
    with pytest.raises(
        MissingProviderError,
        match=(
            "provider cuda was requested, but ONNX Runtime uses CPUExecutionProvider; see whether"
            " nvidia-smi"
        ),
    ):
        open_engine(request_for(settings, tmp_path))


def test_cuda_is_told_not_to_compute_fp32_in_less(tmp_path: Path) -> None:
    """For CUDA, TF32 and the exhaustive kernel search are off; both are on by default there.

    Other providers have no such options.
    """
    options = {
        provider: provider_options(
            request_for(Settings(engine="onnxruntime", provider=provider), tmp_path)
        )
        for provider in ("cpu", "cuda", "openvino", "tensorrt")
    }
    assert options["cuda"] == {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
    assert [name for name, own in options.items() if options["cuda"].keys() & own] == ["cuda"]


# Messages of ONNX Runtime 1.31.1: without a visible GPU, with too little GPU memory (both seen on
# an H100), and, from its binary, with an operator that the provider lacks.
_HIDDEN_GPU = (
    "[ONNXRuntimeError] : 2 : INVALID_ARGUMENT : Conflicting session configuration: explicitly"
    " added the CPU EP to the session, but also disabled fallback to the CPU EP via session"
    " configuration options."
)
_FULL_GPU = (
    "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running Conv node."
    " Name:'Conv_0' Status Message: bfc_arena.cc:360 void*"
    " onnxruntime::BFCArena::AllocateRawInternal(size_t, bool, onnxruntime::Stream*) Failed to"
    " allocate memory for requested buffer of size 603979776"
)
_NO_OPERATOR = (
    "This session contains graph nodes that are assigned to the default CPU EP, but fallback to CPU"
    " EP has been explicitly disabled by the user."
)


@pytest.mark.parametrize(
    ("said", "error", "told"),
    [
        pytest.param(
            _HIDDEN_GPU,
            MissingProviderError,
            "execution provider cuda was requested, but ONNX Runtime uses CPUExecutionProvider;"
            " see whether nvidia-smi",
            id="hidden",
        ),
        pytest.param(
            _NO_OPERATOR,
            EngineError,
            "execution provider cuda does not run all operators of this model",
            id="operator",
        ),
        pytest.param(
            _FULL_GPU,
            OutOfMemoryError,
            r"the GPU has too little free memory \(576 MiB more was asked for\); nvidia-smi shows",
            id="full",
        ),
        pytest.param(
            "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0",
            OutOfMemoryError,
            "the GPU has too little free memory",
            id="full-for-cublas",
        ),
    ],
)
def test_what_a_gpu_lacks_is_no_fault_of_the_models(
    said: str,
    error: type[EngineError],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A missing GPU, a full GPU and a missing operator each have their own message."""
    monkeypatch.setattr(
        "rembg_tuner.engines.onnxruntime.providers.provider_problem", lambda _: None
    )

    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError(said)

    monkeypatch.setattr("onnxruntime.InferenceSession", refuse)
    with pytest.raises(error, match=told):
        open_engine(request_for(Settings(engine="onnxruntime", provider="cuda"), tmp_path))


@pytest.mark.skipif(
    provider_problem("cuda") is not None, reason="needs an NVIDIA GPU and onnxruntime-gpu"
)
def test_cuda_gives_the_cpus_output(tmp_path: Path) -> None:
    """CUDA runs in full fp32: TF32 would differ by 1e-5 in the mean."""
    outputs = []
    for provider in ("cpu", "cuda"):
        settings = Settings(engine="onnxruntime", provider=provider)
        engine = OnnxRuntimeEngine(request_for(settings, tmp_path))
        assert engine.effective["provider"] == provider
        outputs.append(engine.predict(noise(side=engine.side)))
        engine.close()
    assert np.abs(outputs[0] - outputs[1]).mean() < 1e-6


@pytest.mark.skipif(sys.platform != "linux", reason="bounds its address space")
def test_too_little_memory_is_told_as_that(tmp_path: Path) -> None:
    """A separate process with limited memory reports that it ran out of memory."""
    code = f"""
import resource
from pathlib import Path
import numpy, psutil
from rembg_tuner.engines.table import open_engine
from rembg_tuner.engines.protocols import EngineRequest
from rembg_tuner.base.errors import OutOfMemoryError
from rembg_tuner.models.catalogue import find_model
from rembg_tuner.settings.settings import Settings
model = find_model("u2netp")
engine = open_engine(EngineRequest(settings=Settings(engine="onnxruntime"), model=model, model_digest="", threads=1, cache=Path({str(tmp_path)!r}), cpu={{}}))
most = psutil.Process().memory_info().vms + 64 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (most, most))
try:
    engine.predict(numpy.zeros((1, 3, 320, 320), numpy.float32))
except OutOfMemoryError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert re.search(
        r"^the worker ran out of memory \([\d.]+ MiB more was asked for\); choose a smaller"
        r" network_size",
        said.stdout,
    ), said.stderr


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Limit files to 1 MiB, as on a full disk, and cache every graph."""
    monkeypatch.setattr("rembg_tuner.engines.onnxruntime.loading._WORTH_KEEPING_BYTES", 0)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("full_disk")
def test_a_full_cache_disk_is_a_warning_and_no_fault_of_the_models(tmp_path: Path) -> None:
    """The session runs, no partial file is left, and a warning announces another optimisation."""
    engine = open_engine(request_for(Settings(engine="onnxruntime"), tmp_path))
    assert list(map(str, engine.warnings)) == [
        (
            f"the optimised graph could not be written to {tmp_path}, which may be full, so the"
            " next start optimises again"
        ),
    ]
    output = engine.predict(np.zeros((1, 3, 320, 320), np.float32))  # type: ignore[union-attr]
    assert output.shape[-2:] == (320, 320)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("full_disk")
def test_a_bad_model_is_told_as_one_on_a_full_disk_too(tmp_path: Path) -> None:
    """The error names the model file, not the cache."""
    bad = tmp_path / "bad.onnx"
    bad.write_text("not a model\n", encoding="utf-8")
    with pytest.raises(ModelError, match=r"bad\.onnx is not a model that ONNX Runtime can load"):
        open_engine(request_for(Settings(engine="onnxruntime"), tmp_path, path=bad))
    assert list(tmp_path.iterdir()) == [bad]
