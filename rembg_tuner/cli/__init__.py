"""The command line; its entry point is `rembg_tuner.cli.main`."""
