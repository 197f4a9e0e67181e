"""A first look at a folder: what its pictures and tables are, and what fits them."""
