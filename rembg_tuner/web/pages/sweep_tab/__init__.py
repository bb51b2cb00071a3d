"""The Sweep tab: many settings measured on pictures, a plot of them, and a recommendation."""
