"""What an engine is, as a value: whatever is decided or said of it outside its folder is read here.

The command line reads the table before it launches a worker, and the worker reads it too. Therefore
this module and the specs import nothing when they are imported, not even `dataclasses`. What needs
a library, or a room below, is a function that imports it when it is called.
"""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` itself takes a while to import
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Literal, dataclass_transform

    from rembg_tuner.base.messages import Message
    from rembg_tuner.engines.protocols import EngineRequest, NetworkEngine, StockEngine
    from rembg_tuner.models.spec import ModelSpec
    from rembg_tuner.settings.settings import Precision, Settings

    AxisValue = str | int | float | bool | None
    Quantize = Callable[..., Any]
else:

    def dataclass_transform(**_):
        """Do nothing: it is for type checkers."""
        return lambda decorated: decorated


# ONNX Runtime's execution providers, by our word.
ONNXRUNTIME_PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
# Knobs that are attributes of ONNX Runtime's SessionOptions.
OPTION_ATTRIBUTES = {"cpu_mem_arena": "enable_cpu_mem_arena", "mem_pattern": "enable_mem_pattern"}
# The knobs of every engine that runs the network alone: this program does the rest, focus included.
NETWORK_KNOBS = frozenset({"precision", "focus", "focus_box", "focus_max_share", "network_size"})

FIT = "fit"  # the graph with a free batch, and a free input size where one is asked; see `Derived`


@dataclass_transform(kw_only_default=True, frozen_default=True)
class _Value:
    """A frozen value whose fields are its annotations, made without `dataclasses`, which takes 8 ms to import."""

    def __init__(self, **fields: object) -> None:
        """Take the fields; those left out have their class's value."""
        known = set(type(self).__annotations__)
        missing = {name for name in known - fields.keys() if not hasattr(type(self), name)}
        if missing or fields.keys() - known:
            raise TypeError(
                f"{type(self).__name__}: missing {sorted(missing)}, unknown"
                f" {sorted(fields.keys() - known)}"
            )
        vars(self).update(fields)

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse: it is a value."""
        raise AttributeError(f"{type(self).__name__} has a fixed {name}")


class Need(_Value):
    """What a number format needs besides its engine.

    Attributes:
        cpu: the CPU must compute in it.
        provider: the only execution provider that has it; empty: any.
        int8_file: a file of the model must have been made for it.
    """

    cpu: bool = False
    provider: str = ""
    int8_file: bool = False


class Timeouts(_Value):
    """How long an engine may take, seconds.

    Attributes:
        start_s: to import its libraries.
        load_s: to load a model.
        build_s: to load a model, by execution provider, where that takes longer.
    """

    start_s: float = 180.0
    load_s: float = 180.0
    build_s: Mapping[str, float] = {}

    def load_of(self, provider: str) -> float:
        """Return how long loading a model may take with an execution provider."""
        return self.build_s.get(provider, self.load_s)


class Derived(_Value):
    """What an engine needs made of a model's file, by `rembg_tuner.worker.conversion`, in a process of its own.

    Attributes:
        do: `FIT` frees input size and batch of the graph; an engine's name has its `convert_with`
            do it.
        side: of the network's input, px; 0: the graph's own.
        batch: pictures at once; of `FIT`.
        endings: of the files that are made; what the engine loads has the first.
    """

    do: str
    side: int
    batch: int = 1
    endings: tuple[str, ...] = (".onnx",)

    def request(self) -> dict[str, object]:
        """Return what `rembg_tuner.worker.conversion` is asked for."""
        content: dict[str, object] = {"do": self.do, "side": self.side}
        return content | ({"batch": self.batch} if self.do == FIT else {})


class Script(_Value):
    """An engine's part of an exported Python script.

    Attributes:
        block: what stands before numpy's import: the script's first imports, telemetry that is
            switched off.
        imports: the engine's own.
        body: defines `load()` and `predict(network, tensor)`: float32 (1, 3, side, side) in, (1, 1,
            side, side) out. Knobs are constants by their names in capitals.
        packages: those that it needs besides numpy and Pillow, by execution provider; cpu for an
            engine without.
    """

    block: str
    imports: str
    body: str
    packages: Mapping[str, tuple[str, ...]]


class EngineSpec(_Value):
    """One engine.

    Attributes:
        name: by our word.
        rank: 1 for the engine that is taken first where none is asked for.
        pipeline: network: it runs the network, and this program does the rest; stock: it has a
            whole pipeline of its own, to compare with.
        packages: what is imported, each with the distributions that bring it, the usual one first.
        install: the command that installs it.
        precisions: the number formats that it has, fp32 first, each with what it needs.
        faster_than_fp32: those of them that take less time than fp32, the fastest first.
        providers: the execution providers that it knows, each with the library's own name; empty:
            it has none.
        probe_providers: a line of Python that prints, as JSON, what is wrong with each of them here
            (a Message, or null); empty: nobody asks.
        knobs: those that it honours, of the knobs that not every engine does (`Knob.engines`).
        runs_own_files: whether it runs a user's .onnx file.
        int8_tools: imports what makes an int8 form, and returns the function that makes it (of a
            graph, inputs, `input_name` and the nodes `left_out`) and the versions of what makes it.
        derive: returns what must be made of a model's file for a run; None, or a function that
            returns None: the released file will do.
        convert_with: makes what is not `FIT`, of the released file, at a path, for a side.
        script: imports its part of an exported Python script; None: no script is written for it.
        image_install: what an image's `pip install` is given besides requirements.txt.
        timeouts: how long it may take.
        axes: what a sweep tries of it where no axes are named: its own values of the knobs; None:
            it is left out.
        probe: a line of Python that prints what the library finds here, run by doctor in a process
            of its own; empty: nothing is asked.
        detail: returns what doctor says of it where it is installed, given what `probe` printed;
            empty: it failed.
        imports: imports the libraries in the worker, and returns their versions by name.
        open: loads a model.
    """

    name: str
    rank: int
    pipeline: Literal["network", "stock"]
    packages: Mapping[str, tuple[str, ...]]
    install: str
    precisions: Mapping[Precision, Need]
    faster_than_fp32: tuple[Precision, ...] = ()
    providers: Mapping[str, str] = {}
    probe_providers: str = ""
    knobs: frozenset[str]
    runs_own_files: bool = True
    int8_tools: Callable[[], tuple[Quantize, dict[str, str]]] | None = None
    derive: Callable[[Settings, ModelSpec], Derived | None] | None = None
    convert_with: Callable[..., None] | None = None
    script: Callable[[], Script] | None = None
    image_install: str = ""
    timeouts: Timeouts = Timeouts()
    axes: Mapping[str, tuple[AxisValue, ...]] | None = None
    probe: str = ""
    detail: Callable[[str], Message]
    imports: Callable[[], dict[str, str]]
    open: Callable[[EngineRequest], NetworkEngine | StockEngine]

    def __repr__(self) -> str:
        """Show the name."""
        return f"EngineSpec({self.name!r})"

    @property
    def precision_choices(self) -> tuple[Precision, ...]:
        """The values of the knob precision.

        Its number formats, and auto where it honours the knob.
        """
        return ("auto", *self.precisions) if "precision" in self.knobs else tuple(self.precisions)

    @property
    def is_stock(self) -> bool:
        """Whether it has a pipeline of its own."""
        return self.pipeline == "stock"

    @property
    def is_installed(self) -> bool:
        """Whether its packages can be imported; nothing is imported."""
        from importlib.util import find_spec

        return all(find_spec(package) is not None for package in self.packages)

    @property
    def installed_version(self) -> str | None:
        """The version of its own package; None: it is not installed."""
        return next(iter(self.package_versions().values()))

    def package_versions(self) -> dict[str, str | None]:
        """Return the version of each package by its distribution; None: it is not installed.

        Of several distributions, the installed one is named, else the usual one.
        """
        from importlib.metadata import PackageNotFoundError, version

        found: dict[str, str | None] = {}
        for distributions in self.packages.values():
            found[distributions[0]] = None
            for one in distributions:
                try:
                    number = version(one)
                except PackageNotFoundError:
                    continue
                del found[distributions[0]]
                found[one] = number
                break
        return found
