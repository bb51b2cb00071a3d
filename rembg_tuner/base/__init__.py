"""What every room stands on: errors, messages, knobs, units, files and child processes."""
