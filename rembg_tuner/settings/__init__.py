"""Settings, presets and results, and the meaning of settings on this machine."""
