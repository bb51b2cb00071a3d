"""The command line; its front door is `rembg_tuner.cli.main`."""
