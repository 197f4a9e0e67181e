"""From pictures and a table on disk to checked, cached rows with folds."""

import sys

if sys.argv[:1] == ["-m"]:  # a command of this package is looked for, to be run
    import data_prep.environment  # noqa: F401
