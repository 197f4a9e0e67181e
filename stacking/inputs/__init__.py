"""What is stacked: features and targets, joined by id, guarded against leaks."""
