"""Create the int8 form of a model: calibration, search, measurement of the agreement, record.

The command `models quantize` uses this package. It needs the extra `[quantize]` and is not imported
by the page or by a worker.
"""
