"""What a worker must know of a model; crosses to it as JSON."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path

from rembg_tuner.errors import ModelError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """One model's file and how a picture is made into its input.

    Attributes:
        name: rembg's name, or the path that was given.
        path: the file as released.
        graph_path: the file to load: the same, or a copy whose input size was freed.
        checksums: hex digests by algorithm that the released file must have; empty for an own file.
        side: the network's own input side in px; None: read it from the graph.
        mean, std: of each channel (RGB), in [0, 1], subtracted and divided by.
    """

    name: str
    path: str
    graph_path: str
    checksums: dict[str, str]
    side: int | None
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def to_dict(self) -> dict[str, object]:
        """Give the fields by name, ready for JSON."""
        return asdict(self)


def verify(spec: ModelSpec) -> str:
    """Check the released file against its checksums, as at every load.

    Returns:
        The file's SHA-256 in hex; names what is derived from it in the cache.

    Raises:
        ModelError: the file cannot be read, or is not the one expected.
    """
    wanted = dict.fromkeys([*spec.checksums, "sha256"])
    try:
        for algorithm in wanted:
            with Path(spec.path).open("rb") as file:
                wanted[algorithm] = hashlib.file_digest(file, algorithm).hexdigest()
    except OSError as error:
        raise ModelError(
            f"the model's file {spec.path} cannot be read: {error.strerror}"
        ) from error
    for algorithm, expected in spec.checksums.items():
        if wanted[algorithm] != expected:
            size = Path(spec.path).stat().st_size
            raise ModelError(
                f"{spec.path} ({size:,} bytes) is not the released {spec.name}: its {algorithm} is "
                f"{wanted[algorithm]}, expected {expected}; it may be cut short, delete it and get it again"
            )
    return str(wanted["sha256"])
