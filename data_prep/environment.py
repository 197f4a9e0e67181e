"""Whether this Python has what the packages need, told before the first import fails.

It needs nothing itself. Each package imports it where Python looks for a command in
it, as ``sys.argv`` tells then, and ``data_prep.command`` for commands outside. Whoever
imports a package for its functions need not have the libraries of all the others.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

LEAST = (3, 11)
LIBRARIES = ("annotated_types", "numpy", "pandas", "torch")
PROJECT = Path(__file__).parents[1]


def complaint(project: Path) -> str:
    """Say in a line what this Python lacks, and how to get it; empty: nothing.

    Args:
        project: Folder that the environment ``.venv`` lies in, or will.
    """
    missing = [name for name in LIBRARIES if find_spec(name) is None]
    version = ".".join(map(str, sys.version_info[:2]))
    if sys.version_info < LEAST:
        lack = f"is {version}, and 3.11 or newer is needed"
    elif missing:
        lack = f"has no {missing[0]}"
    else:
        return ""
    activate = project / ".venv" / "bin" / "activate"
    remedy = f". {activate}"
    if not activate.is_file():
        remedy = f"make env, in {project}; then {remedy}"
    return f"error: this Python, {sys.executable}, {lack}; first: {remedy}"


if text := complaint(PROJECT):
    sys.exit(text)
