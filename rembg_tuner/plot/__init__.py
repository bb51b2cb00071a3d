"""The plot of trials: peak memory against time, agreement by colour and shape.

First `layout`, then `drawing`.
"""
