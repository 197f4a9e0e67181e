"""Picture files: found, checked, decoded and stored."""
