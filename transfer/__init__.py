"""Nets fine-tuned on labels, one for each task and fold."""
