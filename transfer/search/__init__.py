"""The search of a recipe: its space, its trials, and what came of them."""
