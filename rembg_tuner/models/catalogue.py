"""The catalogue of models, and the search for their files; nothing is downloaded here."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal, cast

from rembg_tuner.base.errors import MissingModelError, ModelError, OutputError
from rembg_tuner.base.messages import Message, ShellOrPage, join_parts
from rembg_tuner.base.yaml_files import read_mapping
from rembg_tuner.models.own_models import expanded, read_own_model, read_record_file
from rembg_tuner.models.spec import (
    MODEL_ALIASES,
    ModelSpec,
    Post,
    name_of,
)

EMBEDDED_FOLDER = Path(__file__).parent
# Endings of the names of int8 files, by engine, the fastest first. Engines fuse 8-bit operators in
# different places, so each engine needs its own file.
INT8_ENDINGS = {"openvino": "-int8", "onnxruntime": "-int8-onnxruntime"}
UNCHECKED_VARIABLE = "MODEL_CHECKSUM_DISABLED"  # rembg's own
_HOME_VARIABLE = "REMBG_HOME"  # rembg's own


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueEntry:
    """One model by rembg's name.

    Attributes:
        file: its name on disk.
        side: of the network's input, px.
        mean, std: of each channel (RGB), in [0, 1].
        post: how its output is converted to a matte.
        family: the architecture, in one word.
        commercial: whether commercial use is free.
        url: where rembg downloads it from; None: rembg makes it from another model.
        made_from: that other model.
        bytes: the file's size; None: not known exactly.
        about_bytes: the published size, if `bytes` is not known.
        md5: the checksum that rembg checks; None: rembg checks a SHA-256.
        sha256: rembg's checksum, or computed from the file for this catalogue.
    """

    name: str
    file: str
    side: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    post: Post
    family: str
    licence: str
    commercial: Literal["yes", "no", "ask"]
    good_for: str
    url: str | None = None
    made_from: str | None = None
    bytes: int | None = None
    about_bytes: int | None = None
    md5: str | None = None
    sha256: str | None = None

    @property
    def checksums(self) -> dict[str, str]:
        """The hex digests, by algorithm, that the released file must have."""
        # The embedded file has a sha256; rembg's downloads have the checksum that rembg checks.
        if self.sha256:
            return {"sha256": self.sha256}
        return {"md5": self.md5} if self.md5 else {}

    def place(self) -> Path:
        """Return the path to which rembg would download it."""
        return rembg_folders()[0] / "models" / self.name / self.file

    def _named_place(self) -> Path:
        """Return the path for messages; without a home folder, it begins with $REMBG_HOME."""
        place = str(self.place())
        is_homeless = _is_homeless(place)
        return Path(place.replace("~/.rembg", f"${_HOME_VARIABLE}", 1) if is_homeless else place)

    def find(self, file: str | None = None) -> Path | None:
        """Find the file in this program's folder or in rembg's folders; None: it is missing.

        Args:
            file: another file of the same model, such as its int8 form; a file that the user made
                takes precedence over an embedded one.
        """
        name = file or self.file
        places = [self.place().parent / name, rembg_folders()[-1] / name]
        places.insert(0 if name == self.file else 2, EMBEDDED_FOLDER / name)
        return next((place for place in places if place.is_file()), None)

    def size_text(self) -> Message:
        """Return the file's size as text: `168 MiB`, `about 928 MiB`, or nothing."""
        if self.bytes is not None:
            return Message("{size:bytes}", size=self.bytes)
        if self.about_bytes is None:
            return Message("")
        return Message("about {size:bytes}", size=self.about_bytes)

    def absence_text(self) -> Message:
        """Return the message that the file is missing, and how to get it."""
        return Message(
            "model {model} is not on disk; {get}",
            code="model_absent",
            model=self.name,
            get=self.get_text(),
        )

    def get_text(self) -> Message:
        """Return how to get the file: by a command, or on the page's Models tab."""
        if self.url is None:
            return Message(
                "rembg makes it of {model}: pip install 'rembg[fp16]', then run rembg with it once",
                model=self.made_from,
            )
        shell = Message(
            "get it ({size}) with `python -m rembg_tuner models get {model}`, or put {url} at"
            " {place}",
            size=self.size_text(),
            model=self.name,
            url=self.url,
            place=self._named_place(),
        )
        page = Message("get it ({size}) on the Models tab", size=self.size_text())
        return Message("{get}", get=ShellOrPage(shell, page))


@cache
def _content() -> dict[str, dict[str, object]]:
    """Read the embedded catalogue."""
    return cast("dict[str, dict[str, object]]", read_mapping(EMBEDDED_FOLDER / "catalogue.yaml"))


@cache
def read_catalogue() -> dict[str, CatalogueEntry]:
    """Return the models that run here, by name."""
    fields = {name: entry for name, entry in _content().items() if entry.get("runs", True)}
    return {
        name: CatalogueEntry(
            name=name,
            **{  # type: ignore[arg-type]  # test_models reads every entry
                key: tuple(value) if isinstance(value, list) else value
                for key, value in entry.items()
            },
        )
        for name, entry in fields.items()
    }


@cache
def read_unfit() -> dict[str, str]:
    """Return rembg's models that do not run here, by name, with the reason."""
    return {
        name: str(entry["why_not"])
        for name, entry in _content().items()
        if not entry.get("runs", True)
    }


def int8_file(file: str, engine: str) -> str:
    """Return the name of a model file's int8 form for an engine.

    >>> int8_file("u2netp.onnx", "openvino"), int8_file("u2netp.onnx", "onnxruntime")
    ('u2netp-int8.onnx', 'u2netp-int8-onnxruntime.onnx')
    """
    return f"{Path(file).stem}{INT8_ENDINGS[engine]}.onnx"


def int8_place(model: ModelSpec, engine: str) -> Path:
    """Return the first path that is searched for a model's int8 form; it may not exist."""
    entry, path = read_catalogue().get(model.name), Path(model.path)
    folder = path.parent if entry is None else entry.place().parent
    return folder / int8_file(path.name, engine)


def rembg_folders() -> list[Path]:
    """List the folders of models of rembg 2.0.86: the download folder, then the old flat folder.

    If U2NET_HOME is set, there is only one.

    Source: rembg/sessions/base.py (`rembg_home`, `legacy_home`).
    """
    named = (
        os.environ.get(name) for name in ("U2NET_HOME", "XDG_DATA_HOME", _HOME_VARIABLE, "HOME")
    )
    return list(_folders_of(*named))


@cache
def _folders_of(
    legacy: str | None, data: str | None, named: str | None, _user: str | None
) -> tuple[Path, ...]:
    """Return rembg's folders for the values of environment variables.

    They are cached, because creating paths takes longer than looking up files.
    """
    home = named or (str(Path(data) / "rembg") if data else "~/.rembg")
    flat = legacy or str(Path(data or "~") / ".u2net")
    return tuple(expanded(folder) for folder in ([flat] if legacy else [home, flat]))


def _is_homeless(path: str) -> bool:
    """Return whether a path begins with ~ because this user has no home folder."""
    return Path(path).parts[:1] == ("~",)


def refuse_no_home(folder: Path) -> None:
    """Check that a folder is not below `~`, which would be created in the working folder.

    Raises:
        OutputError: the folder is below ~, and this user has no home folder.
    """
    if _is_homeless(str(folder)):
        raise OutputError(
            Message(
                "{folder} cannot be created: this user has no home folder; set {variable} to a"
                " folder that can be written",
                folder=folder,
                variable=_HOME_VARIABLE,
            )
        )


def find_entry(model: str) -> CatalogueEntry:
    """Find a model in the catalogue by its name or an alias.

    Raises:
        ModelError: the name is unknown, or the model cannot run here.
    """
    if model in read_unfit():
        raise ModelError(
            Message(
                "model {model} does not run here: {reason}",
                model=model,
                reason=Message.make(read_unfit()[model]),
            )
        )
    entry = read_catalogue().get(MODEL_ALIASES.get(model, model))
    if entry is None:
        raise ModelError(
            Message(
                "model {model!r} is not known; the models are {known}, or give a path that ends in"
                " .onnx",
                model=model,
                known=join_parts(read_catalogue()),
            )
        )
    return entry


def find_model(model: str, *, int8_for: str | None = None) -> ModelSpec:
    """Find a model's file.

    Args:
        model: a name or an alias as for `find_entry`, or the path of an .onnx file.
        int8_for: the engine whose int8 form is requested; None: the released file.

    Raises:
        MissingModelError: the file is not on disk; the message explains how to get it.
        ModelError: the name is neither in the catalogue nor a path, or the model cannot run here.
    """
    if model not in read_catalogue() and expanded(model).suffix.lower() == ".onnx":
        spec = read_own_model(model)
        path = Path(spec.path)
        return (
            spec
            if int8_for is None
            else _int8_of(spec, path.with_name(int8_file(path.name, int8_for)))
        )
    entry = find_entry(model)
    found = entry.find(entry.file if int8_for is None else int8_file(entry.file, int8_for))
    if found is None and int8_for is None:
        raise MissingModelError(entry.absence_text())
    spec = ModelSpec(
        name=entry.name,
        path=str(found),
        graph_path=str(found),
        # As in rembg: for users who replaced the file by a converted one.
        checksums={} if os.environ.get(UNCHECKED_VARIABLE) is not None else entry.checksums,
        side=entry.side,
        mean=entry.mean,
        std=entry.std,
        post=entry.post,
        computes_sizes=entry.family == "u2net",
    )
    return spec if int8_for is None else _int8_of(spec, found)


def _int8_of(spec: ModelSpec, path: Path | None) -> ModelSpec:
    """Return the spec of a model's int8 form, with the checksum of its record.

    Raises:
        MissingModelError: it does not have one.
        ModelError: the record cannot be read, or has no checksum.
    """
    if path is None or not path.is_file():
        raise MissingModelError(
            Message(
                "model {model} has no int8 form on disk; make it with `python -m rembg_tuner models"
                " quantize {model} --pictures DIR`, or choose another precision",
                code="int8_absent",
                model=name_of(spec.name),
            )
        )
    record = read_record_file(path.with_suffix(".json"))
    digest = record.get("sha256")
    if not isinstance(digest, str):
        raise ModelError(
            Message(
                "{record} has no sha256 of {file}; make both again",
                record=path.with_suffix(".json"),
                file=path.name,
            )
        )
    # An int8 graph has one size: the one at which it was calibrated.
    return replace(
        spec,
        path=str(path),
        graph_path=str(path),
        checksums={"sha256": digest},
        side=cast("int | None", record.get("side", spec.side)),
        computes_sizes=False,  # it was simplified before it was quantised
    )
