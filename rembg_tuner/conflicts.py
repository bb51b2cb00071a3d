"""What is wrong between knobs whose values alone are allowed.

Knows no Settings: `settings` hands the values over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


# The knobs that one value of focus uses, and which.
FOCUS_USES = {"focus_box": "box", "focus_max_share": "auto"}


def is_used(name: str, focus: object) -> bool:
    """Return whether a knob is used where focus has this value."""
    return FOCUS_USES.get(name, focus) == focus


def precision_problems(
    engine: str, provider: str, precision: str, able: Sequence[str]
) -> list[str]:
    """List what is wrong between precision, engine and provider.

    Args:
        engine: that runs the network.
        provider: ONNX Runtime's.
        precision: as asked.
        able: what the engine computes in.
    """
    if precision not in able:
        return [
            f"precision {precision} is not one of engine {engine}'s, which are {', '.join(able)}; choose one of them"
        ]
    if engine != "onnxruntime":
        return []
    if precision == "fp16" and provider != "tensorrt":
        return [
            f"precision fp16 in engine onnxruntime is provider tensorrt's, got provider {provider}; choose provider tensorrt, or precision fp32"
        ]
    if precision == "int8" and provider != "cpu":
        return [
            f"precision int8 in engine onnxruntime is provider cpu's, got provider {provider}; choose provider cpu, or another precision"
        ]
    return []


def focus_problem(name: str, focus: str, *, is_given: bool) -> str | None:
    """Return what is wrong between focus and a knob that one of its values uses; None: nothing.

    Args:
        name: focus_box or focus_max_share.
        focus: as asked.
        is_given: whether the knob's value is not its default.
    """
    used_in = FOCUS_USES[name]
    if is_given and focus != used_in:
        return f"{name} is used in focus {used_in} only, got focus {focus}; choose focus {used_in}, or leave {name} out"
    if name == "focus_box" and focus == "box" and not is_given:
        return "focus box needs the box; give focus_box, such as 120,40,300,500 or 10%,5%,50%,80%, or choose focus auto"
    return None
