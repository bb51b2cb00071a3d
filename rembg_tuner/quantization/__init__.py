"""Make a model's int8 form that keeps the picture.

Calibrate, find what must stay in floats, tell the cost.

`models quantize` is its command. It wants the extra `[quantize]`, and is never imported by a page
or a worker.
"""
