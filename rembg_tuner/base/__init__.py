"""The basis of all packages: errors, messages, knobs, units, files and child processes."""
