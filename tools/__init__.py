"""What maintains this repository, outside the wheel: documents, words, presets."""
