"""Find the cheapest background removal that still looks right, and ship it."""

from rembg_tuner.base.telemetry import block_telemetry

__version__ = "0.1.0"

# The only `__init__` that runs code: Python runs it first in every process of this program, workers
# and the public API included, and OpenVINO reports while it is imported.
block_telemetry()
