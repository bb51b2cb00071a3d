"""Predict the mattes of candidates in their engine, and compute their agreement with fp32."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rembg_tuner.engines.protocols import EngineRequest
from rembg_tuner.engines.table import open_engine
from rembg_tuner.imaging.matte import foreground_of, scale_to_matte
from rembg_tuner.imaging.quality import intersection_over_union, mean_absolute_error
from rembg_tuner.models.spec import file_digests
from rembg_tuner.quantization.search import MeanAgreement
from rembg_tuner.settings.host import read_host
from rembg_tuner.settings.settings import Settings

if TYPE_CHECKING:
    from rembg_tuner.imaging.matte import Matte
    from rembg_tuner.imaging.network_input import NetworkInput
    from rembg_tuner.models.spec import ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """The candidates of a search, stored as files in a folder."""

    model: ModelSpec
    engine: str
    side: int
    scratch: Path

    def file(self, name: str) -> Path:
        """Return the path of a candidate's file."""
        return self.scratch / f"{name}.onnx"

    def mattes(self, name: str, inputs: list[NetworkInput]) -> list[Matte]:
        """Return a candidate's mattes, each float32 (side, side)."""
        path = str(self.file(name))
        spec = replace(
            self.model,
            path=path,
            graph_path=path,
            checksums={},
            side=self.side,
            computes_sizes=False,
        )
        return predict_mattes(spec, self.engine, inputs, cache=self.scratch)


def predict_mattes(
    spec: ModelSpec,
    engine: str,
    inputs: list[NetworkInput],
    *,
    cache: Path,
    precision: str = "fp32",
) -> list[Matte]:
    """Run a model on inputs in this process.

    Args:
        spec: the model, with the path of the file that the engine loads.
        engine: its name.
        inputs: each float32 (1, 3, side, side).
        cache: the folder for compiled models.
        precision: the number format.

    Returns:
        Mattes, each float32 (side, side) in [0, 1].
    """
    host = read_host()
    opened = open_engine(
        EngineRequest(
            # Settings checks the precision.
            settings=Settings(engine=engine, precision=precision),  # type: ignore[arg-type]
            model=spec,
            model_digest=file_digests(Path(spec.path), ["sha256"])["sha256"],
            threads=host.usable_cpus,
            cache=cache,
            cpu=host.cpu_identity,
        )
    )
    try:
        return [  # the engine is never the stock pipeline
            scale_to_matte(
                foreground_of(opened.predict(one)[0], spec.post)  # type: ignore[union-attr]
            )
            for one in inputs
        ]
    finally:
        opened.close()


def average_agreement(found: list[Matte], references: list[Matte]) -> MeanAgreement:
    """Return the agreement of mattes with their references, averaged over the pairs."""
    pairs = list(zip(found, references, strict=True))
    return MeanAgreement(
        iou=sum(intersection_over_union(a, b) for a, b in pairs) / len(pairs),
        mae=sum(mean_absolute_error(a, b) for a, b in pairs) / len(pairs),
    )
