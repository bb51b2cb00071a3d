"""The languages of the page: catalogues and the rendering of messages."""
