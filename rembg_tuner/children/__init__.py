"""Processes that are not measured.

What each Python started by this program needs, and those that answer questions.

It must not know the measured worker; that is `running`'s.
"""
