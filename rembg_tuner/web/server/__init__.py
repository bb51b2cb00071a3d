"""The web server around the page: guard, health, start and end."""
