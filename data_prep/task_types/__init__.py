"""The kinds of sub-tasks, a module each: what ``kind`` of ``[tasks.NAME]`` may be."""
