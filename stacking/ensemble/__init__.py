"""From models to one prediction: weights, post-processing, the final step."""
