"""Scenes with known alpha, matte errors, and the scores of `focus` on the scenes."""
