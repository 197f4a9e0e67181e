"""Nets that learn from the pictures alone, without labels."""
