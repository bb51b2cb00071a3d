"""Many settings measured, each in a worker of its own: plan, store, search, measure, recommend.

Knows nothing of pages: what runs a picture is given to it.
"""
