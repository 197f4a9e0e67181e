"""What a run of the stack leaves for people: files and pages."""
