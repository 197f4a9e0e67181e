"""The models of the stack, each cross-fitted over the stored folds."""
