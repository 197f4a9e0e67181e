"""Nets fine-tuned on labels, one for each task and fold."""

import sys

if sys.argv[:1] == ["-m"]:  # a command of this package is looked for, to be run
    import data_prep.environment  # noqa: F401
