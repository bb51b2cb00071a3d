"""The grid: every setting that a sweep's axes can make, and no two that are the same."""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING

from rembg_tuner.errors import SettingsError
from rembg_tuner.presets import unnative_text
from rembg_tuner.settings import (
    KNOBS,
    PRECISIONS,
    Settings,
    build_settings,
    default_of,
    is_honoured,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rembg_tuner.presets import Capabilities
    from rembg_tuner.settings import Value

    Axes = Mapping[str, Sequence[Value]]

MOST_SETTINGS = 2000
# Small enough for a few minutes, and wide enough to hold what usually wins.
DEFAULT_AXES: dict[str, tuple[Value, ...]] = {
    "engine": ("onnxruntime", "openvino"),
    "precision": ("fp32", "bf16", "int8"),
    "intra_op_threads": (1, 2),
    "network_size": (192, 224, 256, 288, 320),
    "cpu_mem_arena": (True, False),
}


def make_grid(axes: Axes, base: Settings, able: Capabilities) -> list[Settings]:
    """Make every setting of the axes that can run here.

    Where an engine does not honour a knob it stays at its default, and what this makes equal counts
    once; a number format that an engine, the CPU or the disk does not have is left out.

    Args:
        axes: knobs with their values.
        base: gives the knobs that are no axis.
        able: what this machine can do.

    Returns:
        In the axes' order, the last changing fastest; at least one.

    Raises:
        SettingsError: a knob or value is none, nothing remains, or there are more than 2,000.
    """
    unknown = [name for name in axes if name not in KNOBS]
    if unknown:
        raise SettingsError(
            [f"{name!r} is not a setting; the settings are {', '.join(KNOBS)}" for name in unknown]
        )
    found: dict[Settings, None] = {}
    problems: list[str] = []
    for values in itertools.product(*axes.values()):
        wanted = {**base.to_dict(), **dict(zip(axes, values, strict=True))}
        made = _make(wanted, able, problems)
        if made is not None:
            found[made] = None
        if len(found) > MOST_SETTINGS:
            raise SettingsError(
                [f"these axes make more than {MOST_SETTINGS:,} settings; name fewer values"]
            )
    if not found:
        raise SettingsError(list(dict.fromkeys(problems)) or ["the axes make no setting"])
    return list(found)


def _make(wanted: dict[str, Value], able: Capabilities, problems: list[str]) -> Settings | None:
    """Make one setting; None: it cannot run here, and the reason is noted."""
    engine = str(wanted["engine"])
    values: dict[str, object] = {
        name: value if is_honoured(name, engine) else default_of(name)
        for name, value in wanted.items()
    }
    reason = _why_not(values, engine, able)
    if reason is not None:
        problems.append(reason)
        return None
    try:
        return build_settings(values)
    except SettingsError as error:
        problems.extend(error.problems)
        return None


def _why_not(values: dict[str, object], engine: str, able: Capabilities) -> str | None:
    """Say why a setting cannot run here; None: nothing speaks against it."""
    if engine not in able.engines:
        return f"engine {engine} is not installed; choose engine {', '.join(able.engines)}"
    precision = values["precision"]
    if precision not in PRECISIONS[engine] and is_honoured("precision", engine):
        return f"engine {engine} has no precision {precision}"
    if precision == "int8" and f"{values['model']} {engine}" not in able.int8_models:
        return f"model {values['model']} has no int8 form for engine {engine}; make it with `models quantize`"
    return unnative_text(precision, engine, able)


def shuffled(settings: Sequence[Settings], seed: int) -> list[Settings]:
    """Give settings in an order by chance, so that a machine that warms up favours none.

    Args:
        settings: in any order.
        seed: the same seed gives the same order.
    """
    order = list(settings)
    random.Random(seed).shuffle(order)  # not for secrets
    return order
