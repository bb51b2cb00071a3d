"""Runs in measured workers, the lanes that they wait in, and what is known from them.

From the inside out: `meter` reads the system, `launching` and `workers` start a worker, `watch`
waits for it within `limits`, `worker_source` finds the worker of a setting, `derived` makes its
files, `known_peaks` remembers peaks, `runner` runs pictures, `fresh` runs a trial, `lanes` and
`tasks` queue work, `slots` is the lane of pictures and trials.
"""
