"""What the nets see in each picture, pooled and kept by id."""

import sys

if sys.argv[:1] == ["-m"]:  # a command of this package is looked for, to be run
    import data_prep.environment  # noqa: F401
