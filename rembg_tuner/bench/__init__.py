"""Measure ours against stock rembg, in turn, on pictures made for it.

pictures   what is cut out
contest    warm runs in turn (A B A B), and starts from nothing
report     the table and the JSON
preset_measurements   the figures in presets.yaml
"""
