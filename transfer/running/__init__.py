"""Many nets trained: one after another, or side by side in processes."""
