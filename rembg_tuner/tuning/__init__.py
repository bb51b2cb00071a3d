"""Measure many settings, each in a new worker: plan, store, search, measure, recommend.

The package does not depend on the web page: the caller passes it the runner of the pictures.
"""
