"""A net of the transfer: backbone, heads, what it is given and what of it moves."""
