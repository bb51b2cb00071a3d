"""All that runs in a child process: the measured worker, conversion, comparisons, previews."""
