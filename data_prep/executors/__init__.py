"""Where pieces of work are done: here, in processes, or on a cluster. Torch-free."""
