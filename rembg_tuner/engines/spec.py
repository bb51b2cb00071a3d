"""The description of an engine as a value; other packages read everything about an engine here.

The command line reads the table before it launches a worker, and the worker reads it too. Therefore
this module and the specs import nothing when they are imported, not even `dataclasses`. Functions
that need a library or another package import it when they are called.
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
        """Return a decorator without effect: it is for type checkers."""
        return lambda decorated: decorated


# ONNX Runtime's names of execution providers, by this program's names.
ONNXRUNTIME_PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
}
# Knobs that are attributes of ONNX Runtime's SessionOptions.
OPTION_ATTRIBUTES = {"cpu_mem_arena": "enable_cpu_mem_arena", "mem_pattern": "enable_mem_pattern"}
# The knobs of every engine that runs only the network; this program does the rest, with focus.
NETWORK_KNOBS = frozenset({"precision", "focus", "focus_box", "focus_max_share", "network_size"})

FIT = "fit"  # a graph with a free batch, and a free input size if one is requested; see `Derived`


@dataclass_transform(kw_only_default=True, frozen_default=True)
class _Value:
    """A frozen value whose fields are its annotations.

    It does not use `dataclasses`, which takes 8 ms to import.
    """

    def __init__(self, **fields: object) -> None:
        """Set the fields; missing ones have their class's value.

        Raises:
            TypeError: a field is unknown, or is missing and has no default.
        """
        known = set(type(self).__annotations__)
        missing = {name for name in known - fields.keys() if not hasattr(type(self), name)}
        if missing or fields.keys() - known:
            raise TypeError(
                f"{type(self).__name__}: missing {sorted(missing)}, unknown"
                f" {sorted(fields.keys() - known)}"
            )
        vars(self).update(fields)

    def __setattr__(self, name: str, value: object) -> None:
        """Raise an AttributeError, because the value is frozen."""
        raise AttributeError(f"{type(self).__name__} has a fixed {name}")


class Need(_Value):
    """What a number format needs besides its engine.

    Attributes:
        cpu: whether the CPU must support it.
        provider: the only execution provider that supports it; empty: any.
        int8_file: whether the model needs an int8 file.
    """

    cpu: bool = False
    provider: str = ""
    int8_file: bool = False


class Timeouts(_Value):
    """Time limits of an engine, seconds.

    Attributes:
        start_s: to import its libraries.
        load_s: to load a model.
        build_s: to load a model, by execution provider, if that takes longer.
    """

    start_s: float = 180.0
    load_s: float = 180.0
    build_s: Mapping[str, float] = {}

    def load_of(self, provider: str) -> float:
        """Return the time limit for loading a model with an execution provider, seconds."""
        return self.build_s.get(provider, self.load_s)


class Derived(_Value):
    """A conversion of a model's file that an engine needs.

    `rembg_tuner.worker.conversion` runs it in a separate process.

    Attributes:
        do: `FIT`: make the input size and the batch of the graph free; an engine's name: call its
            `convert_with`.
        side: of the network's input, px; 0: the graph's own.
        batch: number of pictures at once; only for `FIT`.
        endings: of the files that are created; the engine loads the first.
    """

    do: str
    side: int
    batch: int = 1
    endings: tuple[str, ...] = (".onnx",)

    def request(self) -> dict[str, object]:
        """Return the request for `rembg_tuner.worker.conversion`."""
        content: dict[str, object] = {"do": self.do, "side": self.side}
        return content | ({"batch": self.batch} if self.do == FIT else {})


class Script(_Value):
    """An engine's part of an exported Python script.

    Attributes:
        block: the text before numpy's import: the script's first imports, and turning telemetry
            off.
        imports: the engine's own imports.
        body: defines `load()` and `predict(network, tensor)`: float32 (1, 3, side, side) in, (1, 1,
            side, side) out. Settings are constants, by their names in capitals.
        packages: the packages that it needs besides numpy and Pillow, by execution provider; cpu
            for an engine without providers.
    """

    block: str
    imports: str
    body: str
    packages: Mapping[str, tuple[str, ...]]


class EngineSpec(_Value):
    """One engine.

    Attributes:
        name: this program's name of the engine.
        rank: 1 for the engine that is used first if none is requested.
        pipeline: network: it runs the network, and this program does the rest; stock: it has a
            complete pipeline, for comparison.
        packages: the imported packages, each with the distributions that contain it, the usual one
            first.
        install: the command that installs it.
        precisions: the number formats that it supports, fp32 first, each with what it needs.
        faster_than_fp32: the formats that take less time than fp32, the fastest first.
        providers: the execution providers that it supports, each with the library's own name;
            empty: none.
        probe_providers: a line of Python that prints, as JSON, what is wrong with each provider on
            this machine (a Message, or null); empty: it is not checked.
        knobs: the supported knobs among those that not every engine supports (`Knob.engines`).
        runs_own_files: whether it runs a user's .onnx file.
        int8_tools: imports the tools for int8 forms; returns the function that creates one (from a
            graph, inputs, `input_name` and the nodes `left_out`), and the versions of the tools.
        derive: returns the conversion of a model's file that a run needs. None, or a function that
            returns None: the released file is used.
        convert_with: performs a conversion other than `FIT`: of the released file, to a path, for a
            side.
        script: imports its part of an exported Python script; None: scripts are not supported.
        image_install: arguments of an image's `pip install` in addition to requirements.txt.
        timeouts: its time limits.
        axes: its values of knobs in a sweep without named axes; None: the sweep leaves the engine
            out.
        probe: a line of Python that prints what the library finds on this machine; doctor runs it
            in a separate process; empty: it is not checked.
        detail: returns doctor's text on an installed engine, from the output of `probe`; empty
            output: it failed.
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
        """Return the class and the name."""
        return f"EngineSpec({self.name!r})"

    @property
    def precision_choices(self) -> tuple[Precision, ...]:
        """The values of precision: the number formats, and auto if the engine supports the knob."""
        return ("auto", *self.precisions) if "precision" in self.knobs else tuple(self.precisions)

    @property
    def is_stock(self) -> bool:
        """Whether it has a complete pipeline."""
        return self.pipeline == "stock"

    @property
    def is_installed(self) -> bool:
        """Whether its packages can be imported; they are not imported."""
        from importlib.util import find_spec

        return all(find_spec(package) is not None for package in self.packages)

    @property
    def installed_version(self) -> str | None:
        """The version of its own package; None: it is not installed."""
        return next(iter(self.package_versions().values()))

    def package_versions(self) -> dict[str, str | None]:
        """Return the version of each package by its distribution; None: it is not installed.

        Of several distributions, the installed one is listed, else the usual one.
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
