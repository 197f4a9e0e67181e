"""One net trained: its data, its losses, and which of its weights are kept."""
