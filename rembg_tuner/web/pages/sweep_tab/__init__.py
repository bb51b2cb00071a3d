"""The Sweep tab: measurements of many settings, their plot, and a recommendation."""
