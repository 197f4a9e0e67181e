"""Losses of the heads: how wide a head is, what it compares, and what it predicts."""
