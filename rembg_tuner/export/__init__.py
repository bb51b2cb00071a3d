"""Files and commands that run a setting outside this program."""
