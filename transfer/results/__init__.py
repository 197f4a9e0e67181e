"""What a finished transfer holds: its nets, their scores, maps and exports."""
