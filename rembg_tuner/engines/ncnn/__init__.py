"""ncnn on the CPU."""
