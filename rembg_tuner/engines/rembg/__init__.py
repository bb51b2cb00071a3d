"""The stock pipeline, `rembg.remove`, to compare with."""
