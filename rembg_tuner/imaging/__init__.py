"""Pixels in and out, moved by libvips in strips; the only room that imports pyvips."""
