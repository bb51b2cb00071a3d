"""Measure ours against stock rembg, in turn, on pictures made for it.

pictures   what is cut out
contestants   who takes part
contest    warm runs in turn (A B A B)
cold_starts   starts from nothing, in turn
release_before   the release before, through release_driver in its own interpreter
report     the rows as values; report_text: the table
preset_measurements   the figures in presets.yaml
"""
