"""Measure this program, stock rembg and an earlier release, in turn, on generated pictures."""
