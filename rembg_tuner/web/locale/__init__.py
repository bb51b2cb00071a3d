"""The page's languages: catalogues and how messages are rendered."""
