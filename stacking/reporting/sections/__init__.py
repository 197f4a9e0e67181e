"""The parts of the report, in a module each; ``report`` puts them in order."""
