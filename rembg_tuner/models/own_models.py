"""Read a user's own .onnx file, and the record beside it that describes its input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

from rembg_tuner.base.errors import MissingModelError, ModelError
from rembg_tuner.base.messages import Message, Quoted
from rembg_tuner.models.spec import IMAGENET_MEAN, IMAGENET_STD, ModelSpec, Post

_RECORD_KEYS = {"mean", "std", "post", "side"}


def expanded(path: str) -> Path:
    """Replace ~ by the user's home folder, if there is one."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return Path(path)


def read_own_model(model: str) -> ModelSpec:
    """Return the spec of a user's .onnx file: from the record beside it, else with U2-Net's values.

    Raises:
        MissingModelError: the path is a folder, or does not exist.
        ModelError: the record is not valid.
    """
    path = expanded(model)
    if path.is_dir():
        raise MissingModelError(
            Message(
                "model {model!r} is a folder; give the path of an .onnx file", model=Path(model)
            )
        )
    if not path.is_file():
        raise MissingModelError(
            Message(
                "model file {model!r} does not exist; give the path of an .onnx file",
                model=Path(model),
            )
        )
    record = _read_record(path.with_suffix(".json"))
    return ModelSpec(
        name=model,
        path=str(path.resolve()),
        graph_path=str(path.resolve()),
        checksums={},
        side=cast("int | None", record.get("side")),
        mean=cast("tuple[float, float, float]", record.get("mean", IMAGENET_MEAN)),
        std=cast("tuple[float, float, float]", record.get("std", IMAGENET_STD)),
        post=cast("Post", record.get("post", "minmax")),
    )


def _read_record(path: Path) -> dict[str, object]:
    """Read mean, std, post and side from the record of a user's file; other keys are ignored.

    Raises:
        ModelError: it cannot be read, or one of the four is not valid.
    """
    record = {key: value for key, value in read_record_file(path).items() if key in _RECORD_KEYS}
    for key in ("mean", "std"):
        if key in record:
            record[key] = _three_numbers(path, key, record[key])
    if record.get("post", "minmax") not in ("minmax", "sigmoid", "classes"):
        raise ModelError(
            Message(
                "{path}: post must be minmax, sigmoid or classes, got {value}",
                path=path,
                value=repr(record["post"]),
            )
        )
    side = record.get("side", 1)
    if type(side) is not int or side < 1:
        raise ModelError(
            Message(
                "{path}: side must be a whole number of px, got {value}",
                path=path,
                value=repr(side),
            )
        )
    return record


def read_record_file(path: Path) -> dict[str, object]:
    """Read a record; empty: there is no such file.

    Raises:
        ModelError: it cannot be read, or is not a JSON object.
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelError(
            Message(
                "{path}, the record of the model beside it, does not read: {reason}",
                path=path,
                reason=Quoted(str(error)),
            )
        ) from error
    if not isinstance(content, dict):
        raise ModelError(
            Message("{path}, the record of the model beside it, must hold a JSON object", path=path)
        )
    return content


def _three_numbers(path: Path, key: str, value: object) -> tuple[float, ...]:
    """Check the three numbers of a mean or a std, and return them as floats."""
    is_list = isinstance(value, list) and len(value) == 3
    if not is_list or not all(
        type(number) in (int, float) for number in cast("list[object]", value)
    ):
        raise ModelError(
            Message(
                "{path}: {key} must be three numbers, got {value}",
                path=path,
                key=key,
                value=repr(value),
            )
        )
    numbers = tuple(float(number) for number in cast("list[float]", value))
    if key == "std" and 0.0 in numbers:
        raise ModelError(
            Message(
                "{path}: std must not be 0, since it is divided by, got {value}",
                path=path,
                value=repr(value),
            )
        )
    return numbers
