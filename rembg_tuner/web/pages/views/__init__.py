"""What the page shows, as HTML made of values; widgets and events are elsewhere."""
