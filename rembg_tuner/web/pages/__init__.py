"""The page: its layout, texts and events; `page.build_page` assembles them."""
