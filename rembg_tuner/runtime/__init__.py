"""Pictures run in measured workers: one child seen from its parent, the slot, the line before it.

From the inside out: `meter` reads the system, `launching` starts a process, `process` is one
worker, `watch` waits for it within limits, `warm` keeps several, `starting` starts one, `derived`
makes what engines need, `history` remembers peaks, `runner` runs a picture, `fresh` runs pictures
in a new worker, `line` keeps the order of those who wait.
"""
