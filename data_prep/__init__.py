"""From pictures and a table on disk to checked, cached rows with folds."""
