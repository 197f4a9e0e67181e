"""Batches of pictures, their random numbers and their augmentation."""
