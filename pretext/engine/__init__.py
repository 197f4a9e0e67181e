"""The training engine: learners, steps, callbacks, optimisers."""
