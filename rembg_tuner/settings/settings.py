"""The settings of a run: each knob is declared once, here.

Checks, command-line flags, the page's widgets and the README's table are all derived from `KNOBS`.
Knows nothing of engines but which of them honours a knob.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Literal, cast, get_args

from rembg_tuner.base.boxes import BOX_FORM, box_problem, box_text
from rembg_tuner.base.errors import SettingsError
from rembg_tuner.base.knobs import Knob, knob_problems
from rembg_tuner.base.messages import Message, Term, join_parts
from rembg_tuner.engines import table
from rembg_tuner.models.spec import DEFAULT_MODEL, MODEL_ALIASES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rembg_tuner.engines.spec import EngineSpec

EngineName = str  # of the table of engines
ProviderName = Literal["cpu", "cuda", "tensorrt", "openvino"]
Precision = Literal["auto", "fp32", "bf16", "fp16", "int8"]
ExecutionMode = Literal["sequential", "parallel"]
Focus = Literal["off", "auto", "box"]
Value = str | int | float | bool | None
PeakKey = tuple[tuple[str, Value], ...]  # knobs with their values

ENGINE_NAMES: tuple[EngineName, ...] = tuple(table.ENGINES)
# rembg itself, to compare with
STOCK_ENGINE: EngineName = next(name for name, spec in table.ENGINES.items() if spec.is_stock)
_KNOB = "knob"


def installed_engines() -> tuple[str, ...]:
    """Name the engines whose package is installed, best first; nothing is imported."""
    return tuple(spec.name for spec in table.by_rank() if spec.is_installed)


def best_installed_engine() -> EngineName:
    """Return the default engine: the best that is installed and runs the network alone."""
    for spec in table.by_rank():
        if not spec.is_stock and spec.is_installed:
            return spec.name
    return ENGINE_NAMES[0]  # a dependency of this program: its absence is found when it is loaded


def _honouring(knob: str) -> frozenset[str]:
    """Return the engines that honour a knob that not every engine does."""
    found = frozenset(name for name, spec in table.ENGINES.items() if knob in spec.knobs)
    assert found, f"no engine honours {knob}"  # empty would mean all
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One way to remove a background. A value that is not allowed cannot exist.

    Raises:
        SettingsError: with every problem found.
    """

    model: str = field(
        default=DEFAULT_MODEL,
        metadata={
            _KNOB: Knob(
                summary="the network's weights, by rembg's name or as a path to an .onnx file",
                group="model and engine",
                allowed="a name or a path",
            )
        },
    )
    engine: EngineName = field(
        default_factory=best_installed_engine,
        metadata={
            _KNOB: Knob(
                summary=(
                    "what runs the network: openvino is fastest and smallest here; rembg is the"
                    " stock pipeline, to compare with"
                ),
                group="model and engine",
                choices=ENGINE_NAMES,
                default_text="best installed",
            )
        },
    )
    provider: ProviderName = field(
        default="cpu",
        metadata={
            _KNOB: Knob(
                summary=(
                    "ONNX Runtime's execution provider; one that is absent is an error, never a"
                    " quiet run on the CPU"
                ),
                group="model and engine",
                choices=get_args(ProviderName),
                engines=_honouring("provider"),
            )
        },
    )
    precision: Precision = field(
        default="fp32",
        metadata={
            _KNOB: Knob(
                summary=(
                    "number format of the network's arithmetic: in openvino, int8 takes a third of"
                    " fp32's time on a CPU with VNNI and half on one with AVX2 only, and bf16 half"
                    " where the CPU has it; in onnxruntime int8 takes three quarters; ncnn's bf16"
                    " saves memory, not time; edges move a little; auto: the fastest whose"
                    " agreement with fp32 was measured and holds; Δ is the mean difference of the"
                    " mattes from fp32's, of 1"
                ),
                group="model and engine",
                choices=get_args(Precision),
                engines=_honouring("precision"),
            )
        },
    )
    focus: Focus = field(
        default="off",
        metadata={
            _KNOB: Knob(
                summary=(
                    "where the subject is small, the network runs again on its part of the picture,"
                    " for a better edge: auto looks once more at each of up to four subjects, and"
                    " keeps the first look where the second finds nothing or differs by a large"
                    " part; box runs it on focus_box alone"
                ),
                group="focus",
                choices=get_args(Focus),
                engines=_honouring("focus"),
                reload=False,
            )
        },
    )
    focus_box: str | None = field(
        default=None,
        metadata={
            _KNOB: Knob(
                summary=(
                    "the part of the upright picture that focus box runs the network on; all"
                    " outside it is background"
                ),
                group="focus",
                allowed=BOX_FORM,
                engines=_honouring("focus_box"),
                reload=False,
                default_text="none",
            )
        },
    )
    focus_max_share: float = field(
        default=0.20,
        metadata={
            _KNOB: Knob(
                summary=(
                    "the largest share of the picture that a subject's box may be for focus auto to"
                    " look again; larger subjects gain little"
                ),
                group="focus",
                low=0,
                high=1,
                engines=_honouring("focus_max_share"),
                reload=False,
            )
        },
    )
    max_side: int = field(
        default=0,
        metadata={
            _KNOB: Knob(
                summary=(
                    "longest side that the picture is scaled down to first (Lanczos); the cut-out"
                    " comes out at that size; 0: as it is"
                ),
                group="sizes",
                unit="px",
                low=64,
                high=16384,
                or_zero=True,
                reload=False,
            )
        },
    )
    network_size: int = field(
        default=0,
        metadata={
            _KNOB: Knob(
                summary=(
                    "side of the network's input, the only size that changes the network's time and"
                    " memory; 0: the model's own"
                ),
                group="sizes",
                unit="px",
                low=64,
                high=2048,
                multiple_of=32,
                or_zero=True,
                engines=_honouring("network_size"),
            )
        },
    )
    batch_size: int = field(
        default=1,
        metadata={
            _KNOB: Knob(
                summary=(
                    "pictures that the network takes at once (command batch): memory grows with it,"
                    " and time a picture falls only where one alone leaves the processor idle"
                ),
                group="sizes",
                unit="pictures",
                low=1,
                high=16,
                engines=_honouring("batch_size"),
            )
        },
    )
    intra_op_threads: int = field(
        default=0,
        metadata={
            _KNOB: Knob(
                summary=(
                    "threads inside one operator; more than the CPUs it may use cost time; 0: the"
                    " CPUs this process may use (engine rembg: its own default)"
                ),
                group="threads",
                unit="threads",
                low=0,
                high=256,
            )
        },
    )
    inter_op_threads: int = field(
        default=0,
        metadata={
            _KNOB: Knob(
                summary=(
                    "threads across operators, only in parallel execution mode; 0: as many as"
                    " intra-op threads (engine rembg: its own default)"
                ),
                group="threads",
                unit="threads",
                low=0,
                high=256,
                engines=_honouring("inter_op_threads"),
            )
        },
    )
    execution_mode: ExecutionMode = field(
        default="sequential",
        metadata={
            _KNOB: Knob(
                summary=(
                    "whether operators run one after another or side by side; parallel switches the"
                    " memory pattern off"
                ),
                group="threads",
                choices=get_args(ExecutionMode),
                engines=_honouring("execution_mode"),
            )
        },
    )
    spinning: bool = field(
        default=True,
        metadata={
            _KNOB: Knob(
                summary="waiting threads spin: a little faster, at the price of a busy CPU",
                group="threads",
                engines=_honouring("spinning"),
            )
        },
    )
    cpu_mem_arena: bool = field(
        default=True,
        metadata={
            _KNOB: Knob(
                summary=(
                    "ONNX Runtime keeps freed memory for the next run: faster, and never given back"
                ),
                group="memory",
                engines=_honouring("cpu_mem_arena"),
            )
        },
    )
    mem_pattern: bool = field(
        default=True,
        metadata={
            _KNOB: Knob(
                summary=(
                    "ONNX Runtime plans one block for all tensors from the second run on: a little"
                    " faster, a higher peak"
                ),
                group="memory",
                engines=_honouring("mem_pattern"),
            )
        },
    )
    arena_shrink: bool = field(
        default=False,
        metadata={
            _KNOB: Knob(
                summary=(
                    "the arena's unused memory is given back after each run: smaller between runs,"
                    " slower"
                ),
                group="memory",
                engines=_honouring("arena_shrink"),
            )
        },
    )
    light_mode: bool = field(
        default=True,
        metadata={
            _KNOB: Knob(
                summary=(
                    "ncnn frees each intermediate result as soon as nothing needs it: a lower peak,"
                    " in the same time"
                ),
                group="memory",
                engines=_honouring("light_mode"),
            )
        },
    )
    timeout_s: float = field(
        default=30.0,
        metadata={
            _KNOB: Knob(
                summary="deadline of one run; start and load are not counted",
                group="limits",
                unit="s",
                low=0.001,
                high=86400,
                reload=False,
            )
        },
    )
    memory_limit_bytes: int | None = field(
        default=None,
        metadata={
            _KNOB: Knob(
                summary="resident memory at which the worker is ended",
                group="limits",
                unit="bytes",
                low=1,
                high=2**50,
                reload=False,
                default_text="the host's limit",
            )
        },
    )

    def __post_init__(self) -> None:
        """Refuse values that are of another type or out of range, all problems at once.

        What is wrong between knobs, or with a machine, is for `check` to find.
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
        """What the engine is."""
        return table.ENGINES[self.engine]

    def to_dict(self) -> dict[str, Value]:
        """Give every knob's value by name, in the order declared."""
        return {name: getattr(self, name) for name in KNOBS}

    def changed(self) -> dict[str, Value]:
        """Give the knobs whose value is not the default."""
        return {name: value for name, value in self.to_dict().items() if value != default_of(name)}

    def peak_key(self) -> PeakKey:
        """Return the values that decide what a run takes.

        Those that a session holds, and focus auto.

        Focus box runs the network once, as off does. What is off has no entry, so that peaks that
        were noted before there was a focus hold.
        """
        held = tuple((name, getattr(self, name)) for name, knob in KNOBS.items() if knob.reload)
        return (*held, ("focus", "auto")) if self.focus == "auto" else held


KNOBS: dict[str, Knob] = {item.name: item.metadata[_KNOB] for item in fields(Settings)}
_TYPES: dict[str, type] = {
    item.name: {"bool": bool, "int": int, "float": float}.get(str(item.type).partition(" ")[0], str)
    for item in fields(Settings)
}
_DEFAULTS = {item.name: cast("Value", item.default) for item in fields(Settings)}
_OPTIONAL = frozenset(item.name for item in fields(Settings) if str(item.type).endswith("None"))


def type_of(name: str) -> type:
    """Give the type of a knob's values: bool, int, float or str."""
    return _TYPES[name]


def is_optional(name: str) -> bool:
    """Return whether a knob may have no value."""
    return name in _OPTIONAL


def default_of(name: str) -> Value:
    """Give a knob's default; the engine's is the best that is installed."""
    if name == "engine":
        return best_installed_engine()
    return _DEFAULTS[name]


def default_text(name: str) -> str:
    """Write a knob's default as a person would."""
    if KNOBS[name].default_text:
        return KNOBS[name].default_text
    return value_text(default_of(name))


def value_text(value: object) -> str:
    """Write a knob's value as its flag takes it."""
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


def flag_of(name: str) -> str:
    """Give a knob's command-line flag.

    >>> flag_of("intra_op_threads")
    '--intra-op-threads'
    """
    return "--" + name.replace("_", "-")


def is_honoured(name: str, engine: str) -> bool:
    """Tell whether an engine honours a knob."""
    return not KNOBS[name].engines or engine in KNOBS[name].engines


def build_settings(values: dict[str, object]) -> Settings:
    """Make Settings of values by name, as they stand in YAML, JSON or a form.

    Args:
        values: knobs by name; those left out take their defaults.

    Raises:
        SettingsError: a name is unknown, or a value is not allowed.
    """
    problems = unknown_problems(values)
    given = interpret_values(values)
    try:
        settings = Settings(**given)  # type: ignore[arg-type]  # __post_init__ checks every type
    except SettingsError as error:
        raise SettingsError([*problems, *error.problems]) from None
    if problems:
        raise SettingsError(problems)
    return settings


def unknown_problems(names: Iterable[str]) -> list[Message]:
    """Say which names are no setting's; empty: all are."""
    known = join_parts(Term(name, "knob") for name in KNOBS)
    return [
        Message(
            "{name} is not a setting; the settings are {known}", name=f"{name!r:.80}", known=known
        )
        for name in names
        if name not in KNOBS
    ]


def interpret_values(values: Mapping[str, object]) -> dict[str, object]:
    """Return the values of known knobs as YAML, JSON or a form mean them."""
    return {name: _interpret_value(name, value) for name, value in values.items() if name in KNOBS}


def _interpret_value(name: str, value: object) -> object:
    """Take a whole number for a knob of another kind of number, and YAML's off, which is false, for the word.

    A number too great is infinite.
    """
    if value is False and "off" in KNOBS[name].choices:
        return "off"
    if type_of(name) is not float or type(value) is not int:
        return value
    if abs(value) > 2**1000:
        return math.inf if value > 0 else -math.inf
    return float(value)


def value_problems(name: str, value: object) -> list[Message]:
    """Say what is wrong with one value alone, whatever the other knobs are; empty: nothing."""
    if value is None and is_optional(name):
        return []
    problems = knob_problems(name, KNOBS[name], type_of(name), value)
    if (
        name == "focus_box"
        and not problems
        and (problem := box_problem(box_text(str(value)))) is not None
    ):
        return [problem]
    return problems
