"""The Cut out tab: a picture, its settings, the result, and the runs of the visit."""
