"""Predictions from the features, with an honest estimate of their error."""
