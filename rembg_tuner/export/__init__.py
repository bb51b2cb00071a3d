"""What runs a setting elsewhere.

Compose.yaml, Dockerfile, rembg's command, a Python script, env file, preset.

targets         the one door: which writer writes what
values          what is exported, and what was measured of it
container       compose.yaml and Dockerfile
preset          an entry of presets.yaml
commands        rembg's own command, and an env file
python_script   a script, filled into one of `scripts`
"""
