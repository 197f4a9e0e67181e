"""What the pretexts are made of: puzzles, heads and losses."""
