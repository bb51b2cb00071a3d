"""The web interface: the server, the HTTP API, the page and its languages."""
