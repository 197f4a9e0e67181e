"""Run folders: what stages write, and whether it still is what was written."""
