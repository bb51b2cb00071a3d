"""ONNX Runtime, on the CPU and with its execution providers."""
