"""The description of a model for the worker, which receives it as JSON."""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

from rembg_tuner.base.errors import ModelError
from rembg_tuner.base.messages import Message, ShellOrPage

DEFAULT_MODEL = "u2netp"
MODEL_ALIASES = {"u2net_lite": DEFAULT_MODEL}  # the article's name for it
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
BATCH, HEIGHT, WIDTH = "batch", "height", "width"  # the names of a free graph's dimensions
# Starts the last line of a converted ncnn network, which contains the side of its input.
SIDE_COMMENT = "#side "
EXIT_BAD_MODEL = 3  # the exit code of `conversion` if the model is the cause, not this machine
Post = Literal["minmax", "sigmoid", "classes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """A model's file, and how a picture is converted to its input.

    Attributes:
        name: rembg's name, or the given path.
        path: the released file.
        graph_path: the file to load: the same, or a copy with a free input size.
        checksums: hex digests by algorithm that the released file must have; empty: a user's file.
        side: the network's own input side in px; None: it is read from the graph.
        mean, std: of each channel (RGB), in [0, 1]; subtracted, and divided by.
        post: how the first output is converted to a matte; see `imaging.matte.foreground_of`.
        computes_sizes: whether the graph is known to compute all sizes from its input's size.
    """

    name: str
    path: str
    graph_path: str
    checksums: dict[str, str]
    side: int | None
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    post: Post = "minmax"
    computes_sizes: bool = False

    def to_dict(self) -> dict[str, object]:
        """Return the fields by name, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Self:
        """Create a spec from the fields that `to_dict` returned, after JSON."""
        return cls(**{**content, "mean": tuple(content["mean"]), "std": tuple(content["std"])})


def name_of(model: str) -> str | Path:
    """Return how a message names a model: a model file as a path.

    >>> name_of("u2netp"), name_of("my/net.onnx").name
    ('u2netp', 'net.onnx')
    """
    return Path(model) if Path(model).suffix.lower() == ".onnx" else model


def public_name_of(model: str) -> str:
    """Return how the page names a model: a file without its folders, which are private.

    >>> public_name_of("u2netp"), public_name_of("/srv/models/net.onnx")
    ('u2netp', 'net.onnx')
    """
    return Path(model).name


def check_outputs(count: int, path: Path) -> None:
    """Check that a graph has an output.

    Args:
        count: number of its outputs.
        path: the model's file, for the message.

    Raises:
        ModelError: it has no output.
    """
    if not count:
        raise ModelError(
            Message(
                "{path} does not produce a matte: it has no output, and one of three or four"
                " dimensions is required",
                path=path,
            )
        )


def not_a_picture(path: Path | Message, inputs: object) -> ModelError:
    """Return the error of a graph whose inputs are not one picture.

    Args:
        path: the model's file, or its name in the message.
        inputs: its inputs, as the library describes them.
    """
    return ModelError(
        Message(
            "{path} does not take one picture: its inputs are {inputs}, and one float32 of shape"
            " (1, 3, height, width) is required",
            path=path,
            inputs=str(inputs),
        )
    )


def check_square(path: Path | Message, width: int, height: int) -> None:
    """Check that a graph's input is square; a side of 0 is open.

    Raises:
        ModelError: it is not square.
    """
    if width and height and width != height:
        raise ModelError(
            Message(
                "{path} takes {width} x {height} px, and only square inputs are supported",
                path=path,
                width=width,
                height=height,
            )
        )


def open_size(path: Path) -> ModelError:
    """Return the error of a graph with an open input size if no size was requested."""
    return ModelError(Message("{model} has no fixed input size; give --network-size", model=path))


def file_digests(path: Path, algorithms: list[str]) -> dict[str, str]:
    """Compute a file's hex digests by several algorithms.

    Raises:
        OSError: it cannot be read.
    """
    digests: dict[str, str] = {}
    for algorithm in dict.fromkeys(algorithms):
        with path.open("rb") as file:
            digests[algorithm] = hashlib.file_digest(file, algorithm).hexdigest()
    return digests


def unreadable_file(spec: ModelSpec, error: OSError) -> ModelError:
    """Return the error for a model's file that cannot be read."""
    return ModelError(
        Message(
            "the model's file {path} cannot be read: {reason}",
            path=Path(spec.path),
            reason=error.strerror,
        )
    )


def verify(spec: ModelSpec) -> str:
    """Check the released file against its checksums; called at every load.

    Returns:
        The file's SHA-256 in hex; part of the names of derived files in the cache.

    Raises:
        ModelError: the file cannot be read, or is not the expected one.
    """
    try:
        wanted = file_digests(Path(spec.path), [*spec.checksums, "sha256"])
    except OSError as error:
        raise unreadable_file(spec, error) from error
    for algorithm, expected in spec.checksums.items():
        if wanted[algorithm] != expected:
            size = Path(spec.path).stat().st_size
            raise ModelError(
                Message(
                    "{path} ({size:,} bytes) is not the released {model}: its {algorithm} is"
                    " {found}, expected {expected}; if it is cut short, delete it and get it again;"
                    " {own}",
                    path=Path(spec.path),
                    size=size,
                    model=name_of(spec.name),
                    algorithm=algorithm,
                    found=wanted[algorithm],
                    expected=expected,
                    own=_by_path_text(spec),
                )
            )
    return wanted["sha256"]


def _by_path_text(spec: ModelSpec) -> Message:
    """Return how to use a converted file, or a file in place of the released one, by its path."""
    path = Path(spec.path)
    beside = path.with_suffix(".json")
    argument = ShellOrPage(
        Message("{path}", path=shlex.quote(spec.path)), Message("{path}", path=Path(spec.path))
    )
    if beside.is_file():
        return Message(
            "if it is a file of your own, run it by its path, --model {path}, with what {record}"
            " says of it",
            path=argument,
            record=beside,
        )
    content = {"mean": spec.mean, "std": spec.std, "post": spec.post, "side": spec.side}
    return Message(
        "if it is a file of your own, run it by its path, --model {path}, and write how it takes a"
        " picture into {record}, for the released file {content}",
        path=argument,
        record=beside,
        content=json.dumps(content),
    )
