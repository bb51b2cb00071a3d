"""Runs in measured workers, the queues in front of them, and the measurements of this machine.

From the lowest layer to the highest: `meter` reads the system, `launching` and `workers` start a
worker, `watch` waits for it within `limits`, `worker_source` finds the worker of a setting,
`derived` makes its files, `known_peaks` stores peaks, `runner` runs pictures, `fresh` runs a trial,
`lanes` and `tasks` queue work, and `slots` is the lane of pictures and trials.
"""
