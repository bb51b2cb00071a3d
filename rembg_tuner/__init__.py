"""Find the cheapest background removal that still looks right, and ship it."""

__version__ = "0.1.0"
