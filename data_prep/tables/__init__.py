"""Table files: their cells, columns, targets and words."""
