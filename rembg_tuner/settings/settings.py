"""Settings: what a user requests of a run. Each knob is declared here, once.

Checks, command-line flags, the page's widgets and the table in docs/settings.md are derived from
`KNOBS`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from rembg_tuner.base.boxes import BOX_FORM, box_problem, box_text
from rembg_tuner.base.errors import SettingsError
from rembg_tuner.base.knobs import Knob, knob_problems
from rembg_tuner.engines import table
from rembg_tuner.models.spec import DEFAULT_MODEL, MODEL_ALIASES

if TYPE_CHECKING:
    from rembg_tuner.base.messages import Message
    from rembg_tuner.engines.spec import EngineSpec

EngineName = str  # a key of the table of engines
ProviderName = Literal["cpu", "cuda", "tensorrt", "openvino"]
Precision = Literal["auto", "fp32", "bf16", "fp16", "int8"]
ExecutionMode = Literal["sequential", "parallel"]
Focus = Literal["off", "auto", "box"]
Value = str | int | float | bool | None
PeakKey = tuple[tuple[str, Value], ...]  # knobs with their values

ENGINE_NAMES: tuple[EngineName, ...] = tuple(table.ENGINES)
STOCK_ENGINE: EngineName = next(name for name, spec in table.ENGINES.items() if spec.is_stock)
_KNOB = "knob"


def installed_engines() -> tuple[str, ...]:
    """Return the names of the installed engines, best first, without importing them."""
    return tuple(spec.name for spec in table.by_rank() if spec.is_installed)


def best_installed_engine() -> EngineName:
    """Return the default engine: the best that is installed, the stock pipeline excluded."""
    best = next((name for name in installed_engines() if name != STOCK_ENGINE), None)
    return best or ENGINE_NAMES[0]  # a dependency of this program; loading it reports its absence


def _knob(*, default: Any, **declared: Any) -> Any:
    """Declare one knob.

    Args:
        default: its default value, or a function that returns it.
        declared: the fields of `Knob` except `engines`, which is derived from the engines' specs.
    """
    metadata = {_KNOB: Knob(**declared)}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One way to remove a background. Each value has its type and is within its range.

    Raises:
        SettingsError: with every problem found.
    """

    model: str = _knob(
        default=DEFAULT_MODEL,
        summary="the network's weights: a model's name in rembg, or the path of an .onnx file",
        group="model and engine",
        allowed="a name or a path",
    )
    engine: EngineName = _knob(
        default=best_installed_engine,
        summary=(
            "the library that runs the network: openvino was the fastest and took the least memory"
            " in our measurements; rembg is the stock pipeline, for comparison"
        ),
        group="model and engine",
        choices=ENGINE_NAMES,
        default_text="best installed",
    )
    provider: ProviderName = _knob(
        default="cpu",
        summary=(
            "ONNX Runtime's execution provider; if it is not available, the run fails instead of"
            " using the CPU"
        ),
        group="model and engine",
        choices=get_args(ProviderName),
    )
    precision: Precision = _knob(
        default="fp32",
        summary=(
            "number format that the network computes in: in openvino, int8 takes a third of fp32's"
            " time on a CPU with VNNI and half on one with AVX2 only, and bf16 half where the CPU"
            " supports it; in onnxruntime, int8 takes three quarters; ncnn's bf16 saves memory, not"
            " time; edges change slightly; auto: the fastest format whose agreement with fp32 was"
            " measured and is high enough; Δ: mean difference from fp32's mattes, from 0 to 1"
        ),
        group="model and engine",
        choices=get_args(Precision),
    )
    focus: Focus = _knob(
        default="off",
        summary=(
            "run the network again on the part of the picture with a small subject, for a better"
            " edge: auto does so for each of up to four subjects, and keeps the first matte where"
            " the second run finds nothing or differs a lot; box runs the network on focus_box"
            " alone"
        ),
        group="focus",
        choices=get_args(Focus),
        reload=False,
    )
    focus_box: str | None = _knob(
        default=None,
        summary=(
            "the part of the upright picture that focus box runs the network on; everything outside"
            " it is background"
        ),
        group="focus",
        allowed=BOX_FORM,
        reload=False,
        default_text="none",
    )
    focus_max_share: float = _knob(
        default=0.20,
        summary=(
            "largest share of the picture that a subject's box may cover for focus auto to run the"
            " network again; larger subjects gain little"
        ),
        group="focus",
        low=0,
        high=1,
        reload=False,
    )
    max_side: int = _knob(
        default=0,
        summary=(
            "longest side to which the picture is scaled down first (Lanczos); the cut-out has this"
            " size; 0: original size"
        ),
        group="sizes",
        unit="px",
        low=64,
        high=16384,
        or_zero=True,
        reload=False,
    )
    network_size: int = _knob(
        default=0,
        summary=(
            "side of the network's input; the only size that affects the network's time and memory;"
            " 0: the model's own size"
        ),
        group="sizes",
        unit="px",
        low=64,
        high=2048,
        multiple_of=32,
        or_zero=True,
    )
    batch_size: int = _knob(
        default=1,
        summary=(
            "number of pictures that the network processes at once (command batch): memory grows"
            " with it; time per picture falls only where a single picture leaves CPUs idle"
        ),
        group="sizes",
        unit="pictures",
        low=1,
        high=16,
    )
    intra_op_threads: int = _knob(
        default=0,
        summary=(
            "threads inside one operator; more threads than available CPUs are slower; 0: the CPUs"
            " that this process may use (engine rembg: its own default)"
        ),
        group="threads",
        unit="threads",
        low=0,
        high=256,
    )
    inter_op_threads: int = _knob(
        default=0,
        summary=(
            "threads across operators, used only in parallel execution mode; 0: as many as intra-op"
            " threads (engine rembg: its own default)"
        ),
        group="threads",
        unit="threads",
        low=0,
        high=256,
    )
    execution_mode: ExecutionMode = _knob(
        default="sequential",
        summary=(
            "whether operators run one after another or in parallel; parallel turns the memory"
            " pattern off"
        ),
        group="threads",
        choices=get_args(ExecutionMode),
    )
    spinning: bool = _knob(
        default=True,
        summary="waiting threads spin: slightly faster, but they keep a CPU busy",
        group="threads",
    )
    cpu_mem_arena: bool = _knob(
        default=True,
        summary=(
            "ONNX Runtime keeps freed memory for the next run: faster, but the memory is never"
            " returned to the system"
        ),
        group="memory",
    )
    mem_pattern: bool = _knob(
        default=True,
        summary=(
            "ONNX Runtime plans one block for all tensors from the second run on: slightly faster,"
            " with a higher peak"
        ),
        group="memory",
    )
    arena_shrink: bool = _knob(
        default=False,
        summary=(
            "the arena's unused memory is returned to the system after each run: less memory"
            " between runs, but slower"
        ),
        group="memory",
    )
    light_mode: bool = _knob(
        default=True,
        summary=(
            "ncnn frees each intermediate result as soon as it is no longer needed: a lower peak in"
            " the same time"
        ),
        group="memory",
    )
    timeout_s: float = _knob(
        default=30.0,
        summary="time limit of one run, without start and load",
        group="limits",
        unit="s",
        low=0.001,
        high=86400,
        reload=False,
    )
    memory_limit_bytes: int | None = _knob(
        default=None,
        summary="resident memory at which the worker is stopped",
        group="limits",
        unit="bytes",
        low=1,
        high=2**50,
        reload=False,
        default_text="the host's limit",
    )

    def __post_init__(self) -> None:
        """Check the type and the range of each value, and report all problems at once.

        `check` applies the rules between knobs, and for a machine.
        """
        if isinstance(self.model, str):
            object.__setattr__(self, "model", MODEL_ALIASES.get(self.model, self.model))
        if isinstance(self.focus_box, str):
            object.__setattr__(self, "focus_box", box_text(self.focus_box))
        problems = [one for name in KNOBS for one in value_problems(name, getattr(self, name))]
        if problems:
            raise SettingsError(problems)

    @property
    def engine_spec(self) -> EngineSpec:
        """The engine's spec."""
        return table.ENGINES[self.engine]

    def to_dict(self) -> dict[str, Value]:
        """Return every knob's value by name, in the order declared."""
        return {name: getattr(self, name) for name in KNOBS}

    def changed(self) -> dict[str, Value]:
        """Return the values that differ from the defaults, by knob."""
        return {name: value for name, value in self.to_dict().items() if value != default_of(name)}

    def peak_key(self) -> PeakKey:
        """Return the values that decide a run's peak memory: those of a session, and focus auto.

        Focus off has no entry, so that peaks stored before focus existed remain valid. Focus box
        runs the network once, as off does.
        """
        held = tuple((name, getattr(self, name)) for name, knob in KNOBS.items() if knob.reload)
        return (*held, ("focus", "auto")) if self.focus == "auto" else held


def _engines_with(knob: str) -> frozenset[str]:
    """Return the engines whose spec lists a knob; empty: every engine supports it."""
    return frozenset(name for name, spec in table.ENGINES.items() if knob in spec.knobs)


KNOBS: dict[str, Knob] = {
    item.name: replace(item.metadata[_KNOB], engines=_engines_with(item.name))
    for item in fields(Settings)
}
_TYPES: dict[str, type] = {
    item.name: {"bool": bool, "int": int, "float": float}.get(str(item.type).partition(" ")[0], str)
    for item in fields(Settings)
}
_DEFAULTS = {item.name: cast("Value", item.default) for item in fields(Settings)}
_OPTIONAL = frozenset(item.name for item in fields(Settings) if str(item.type).endswith("None"))


def type_of(name: str) -> type:
    """Return the type of a knob's values: bool, int, float or str."""
    return _TYPES[name]


def is_optional(name: str) -> bool:
    """Return whether a knob's value may be None."""
    return name in _OPTIONAL


def default_of(name: str) -> Value:
    """Return a knob's default; for the engine, the best that is installed."""
    return best_installed_engine() if name == "engine" else _DEFAULTS[name]


def default_text(name: str) -> str:
    """Return a knob's default as text for the user."""
    return KNOBS[name].default_text or value_text(default_of(name))


def value_text(value: object) -> str:
    """Return a knob's value as its flag takes it."""
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


def flag_of(name: str) -> str:
    """Return a knob's command-line flag.

    >>> flag_of("intra_op_threads")
    '--intra-op-threads'
    """
    return "--" + name.replace("_", "-")


def is_honoured(name: str, engine: str) -> bool:
    """Return whether an engine supports a knob."""
    return not KNOBS[name].engines or engine in KNOBS[name].engines


def value_problems(name: str, value: object) -> list[Message]:
    """Check one value by itself; return its problems."""
    if value is None and is_optional(name):
        return []
    problems = knob_problems(name, KNOBS[name], type_of(name), value)
    if name != "focus_box" or problems:
        return problems
    problem = box_problem(box_text(str(value)))
    return [] if problem is None else [problem]
