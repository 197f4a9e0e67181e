"""Where pieces of work are done: in this process, or each in a process. Torch-free."""
