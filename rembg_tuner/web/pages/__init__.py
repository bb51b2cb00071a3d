"""The page: parts, words, events; `page.build_page` puts them together."""
