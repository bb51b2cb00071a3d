"""Export a setting as files and commands that run outside this program."""
