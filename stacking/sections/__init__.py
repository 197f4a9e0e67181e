"""The parts of the report, in a module each; ``stacking.report`` puts them in order."""
