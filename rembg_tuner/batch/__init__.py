"""Cut out many pictures: which ones, where each cut-out goes, and what they took."""
