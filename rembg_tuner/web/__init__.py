"""The web: the server, the HTTP API, the page, and its languages."""
