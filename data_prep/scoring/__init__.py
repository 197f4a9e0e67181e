"""Metrics and scores of predictions."""
