"""Know the models and find their files; nothing is downloaded here."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rembg_tuner.errors import MissingModelError, ModelError
from rembg_tuner.models.spec import IMAGENET_MEAN, IMAGENET_STD, ModelSpec
from rembg_tuner.yaml_files import read_mapping

EMBEDDED_FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueEntry:
    """One model by rembg's name.

    Attributes:
        bytes: the file's size; None where it is not known for sure.
        md5: the checksum that rembg checks.
        sha256: ours, where the file has been in our hands.
        side: of the network's input, px.
    """

    name: str
    file: str
    url: str
    md5: str
    side: int
    licence: str
    good_for: str
    bytes: int | None = None
    sha256: str | None = None

    def find(self) -> Path | None:
        """Find the file in this program's folder or in rembg's own; None where it is not."""
        folders = rembg_folders()
        places = [
            EMBEDDED_FOLDER / self.file,
            folders[0] / "models" / self.name / self.file,
            folders[-1] / self.file,
        ]
        return next((place for place in places if place.is_file()), None)

    def get_text(self) -> str:
        """Say in a line how to get the file."""
        folder = rembg_folders()[0] / "models" / self.name
        return f"download {self.url} to {folder / self.file}"


@cache
def read_catalogue() -> dict[str, CatalogueEntry]:
    """Read the catalogue that comes with this program."""
    content = read_mapping(EMBEDDED_FOLDER / "catalogue.yaml")
    return {name: CatalogueEntry(name=name, **entry) for name, entry in content.items()}  # type: ignore[arg-type]  # test_models reads every entry


def rembg_folders() -> list[Path]:
    """List where rembg 2.0.86 keeps models: the folder it would download to, then the old flat one.

    They are one where U2NET_HOME is set.

    Source: rembg/sessions/base.py (`rembg_home`, `legacy_home`).
    """
    legacy = os.environ.get("U2NET_HOME")
    data = os.environ.get("XDG_DATA_HOME")
    home = os.environ.get("REMBG_HOME") or (str(Path(data) / "rembg") if data else "~/.rembg")
    flat = legacy or str(Path(data or "~") / ".u2net")
    return [_expanded(folder) for folder in ([flat] if legacy else [home, flat])]


def _expanded(path: str) -> Path:
    """Put a user's home for ~, as far as there is such a user."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def find_model(model: str) -> ModelSpec:
    """Find a model's file.

    Args:
        model: a name in the catalogue, or a path to an .onnx file.

    Raises:
        MissingModelError: the file is not on disk; the message says how to get it.
        ModelError: the name is in no catalogue and no path either.
    """
    entry = read_catalogue().get(model)
    if entry is None:
        return _own_file(model)
    path = entry.find()
    if path is None:
        raise MissingModelError(f"model {model} is not on disk; {entry.get_text()}")
    # The embedded file is known by its sha256; rembg's downloads by the md5 that rembg checks.
    checksums = {"sha256": entry.sha256} if entry.sha256 else {"md5": entry.md5}
    return ModelSpec(
        name=model,
        path=str(path),
        graph_path=str(path),
        checksums=checksums,
        side=entry.side,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )


def _own_file(model: str) -> ModelSpec:
    """Describe a user's own .onnx file, normalised as U2-Net is."""
    path = _expanded(model)
    if path.suffix.lower() != ".onnx":
        known = ", ".join(read_catalogue())
        raise ModelError(
            f"model {model!r} is not known; the models are {known}, or give a path that ends in .onnx"
        )
    if not path.is_file():
        raise MissingModelError(
            f"model file {model!r} is not there; give the path of an .onnx file"
        )
    return ModelSpec(
        name=model,
        path=str(path.resolve()),
        graph_path=str(path.resolve()),
        checksums={},
        side=None,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )
