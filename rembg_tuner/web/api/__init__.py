"""The HTTP endpoint for programs."""
