"""Pages and charts for people."""
