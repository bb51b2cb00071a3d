"""Find the cheapest background removal that still looks right, and ship it."""

from rembg_tuner.base.telemetry import block_telemetry

__version__ = "0.1.0"

# The only `__init__` that runs code. Python runs it first in every process of this program, in
# workers and for the public API too, and OpenVINO sends reports during its import.
block_telemetry()
