"""The web server of the page: middleware, health check, start and shutdown."""
