"""Trials that were not measured, for tests of the code that uses trials."""

from __future__ import annotations

from rembg_tuner.base.units import MIB
from rembg_tuner.settings.settings import Settings
from rembg_tuner.tuning.trials import Trial


def make_trial(
    number: int, mib: float, time_s: float, agreement: float | None, **knobs: object
) -> Trial:
    """Create a measured trial."""
    knobs = {"network_size": 64 + 32 * number, **knobs}
    return Trial(
        number=number,
        settings=Settings(engine="onnxruntime", **knobs),  # type: ignore[arg-type]
        time_s=time_s,
        time_low_s=time_s,
        time_high_s=time_s,
        peak_bytes=int(mib * MIB),
        agreement=agreement,
        n=3,
    )
