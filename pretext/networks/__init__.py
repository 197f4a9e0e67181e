"""Backbones: how they are built, begin, and are written for other tools."""
