"""ONNX Runtime where it is let down: a provider that falls back, a disk that is full."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from rembg_tuner.engines import EngineRequest, open_engine
from rembg_tuner.engines.providers import provider_options
from rembg_tuner.errors import MissingProviderError, ModelError
from rembg_tuner.models.catalogue import find_model
from rembg_tuner.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 2**20


def request_for(settings: Settings, cache: Path, *, path: Path | None = None) -> EngineRequest:
    """Ask for a session of u2netp, or of an own file."""
    model = find_model(settings.model if path is None else str(path))
    return EngineRequest(
        settings=settings, model=model, model_digest=model.path, threads=1, cache=cache
    )


@pytest.mark.parametrize("engine", ["onnxruntime", "rembg"])
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::RuntimeWarning")
def test_a_provider_that_falls_back_to_the_cpu_is_refused(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Libraries that load do not make a GPU: the session's own word counts, in every engine."""
    monkeypatch.setattr("rembg_tuner.engines.providers.provider_problem", lambda _: None)
    monkeypatch.setattr("rembg_tuner.engines.onnxruntime._NO_CPU_FALLBACK", ("session.none", "1"))
    settings = Settings(engine=engine, provider="cuda")  # type: ignore[arg-type]
    with pytest.raises(
        MissingProviderError,
        match="provider cuda was asked for, and ONNX Runtime runs CPUExecutionProvider instead; see whether nvidia-smi",
    ):
        open_engine(request_for(settings, tmp_path))


def test_cuda_is_told_not_to_compute_fp32_in_less(tmp_path: Path) -> None:
    """TF32 is on by default there; other providers know no such option."""
    options = {
        provider: provider_options(
            request_for(Settings(engine="onnxruntime", provider=provider), tmp_path)
        )
        for provider in ("cpu", "cuda", "openvino", "tensorrt")
    }
    assert options["cuda"] == {"use_tf32": "0"}
    assert [name for name, own in options.items() if "use_tf32" in own] == ["cuda"]


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let no file grow beyond 1 MiB, as on a disk that fills up; every graph is worth keeping."""
    monkeypatch.setattr("rembg_tuner.engines.onnxruntime._WORTH_KEEPING_BYTES", 0)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("full_disk")
def test_a_full_cache_disk_is_a_warning_and_no_fault_of_the_models(tmp_path: Path) -> None:
    """The session runs, nothing half-written is left, and the next start is told to be as long."""
    engine = open_engine(request_for(Settings(engine="onnxruntime"), tmp_path))
    assert engine.warnings == (
        f"the optimised graph could not be written to {tmp_path}, which may be full, so the next start optimises again",
    )
    output = engine.predict(np.zeros((1, 3, 320, 320), np.float32))  # type: ignore[union-attr]
    assert output.shape[-2:] == (320, 320)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("full_disk")
def test_a_bad_model_is_told_as_one_on_a_full_disk_too(tmp_path: Path) -> None:
    """Its own sentence names the file, not the cache."""
    bad = tmp_path / "bad.onnx"
    bad.write_text("not a model\n", encoding="utf-8")
    with pytest.raises(ModelError, match=r"bad\.onnx is not a model that ONNX Runtime loads"):
        open_engine(request_for(Settings(engine="onnxruntime"), tmp_path, path=bad))
    assert list(tmp_path.iterdir()) == [bad]
