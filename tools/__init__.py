"""Tools that maintain this repository, not part of the wheel: documents, words, presets."""
