"""Find the cheapest background removal that still looks right, and ship it."""

from rembg_tuner.base.telemetry import block_telemetry

__version__ = "0.1.0"

# Before any library is imported: OpenVINO reports while it is imported.
block_telemetry()
