"""Code that runs in child processes: the measured worker, conversion, comparisons, previews."""
