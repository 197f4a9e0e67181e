"""What comes before the imports of a command: can it work, and how is it stopped?

Whether this Python has what the packages need is told before an import fails. Until all
is imported Ctrl-C ends the command at once, since libraries make other errors of it.

It needs nothing itself. Each package imports it where Python looks for a command in
it, as ``sys.argv`` tells then, and ``data_prep.command`` for commands outside. Whoever
imports a package for its functions need not have the libraries of all the others.
"""

import os
import signal
import sys
from importlib.util import find_spec
from pathlib import Path

LEAST = (3, 11)
LIBRARIES = ("annotated_types", "numpy", "pandas", "torch")
PROJECT = Path(__file__).parents[1]
COMMANDS = ("pipeline", "data_prep", "pretext", "transfer", "features", "stacking")
STOPPED, INTERRUPTED = "stopped; the same command goes on where it can", 130


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


def is_command(words: "list[str]") -> bool:
    """Tell whether a process is one of our commands, and no child or notebook.

    >>> is_command(["python", "-m", "features.inspect", "x.pkl"])
    True
    >>> is_command(["python", "-m", "pytest"])
    False
    """
    module = words[words.index("-m") + 1] if "-m" in words[:-1] else ""
    return module.partition(".")[0] in COMMANDS


def end_at_once(*_: object) -> None:
    """End the process as an interrupted command; nothing has been begun yet."""
    os.write(2, f"{STOPPED}\n".encode())
    os._exit(INTERRUPTED)


def interrupt_as_usual() -> None:
    """Let Ctrl-C raise an exception again, once all is imported."""
    if signal.getsignal(signal.SIGINT) is end_at_once:
        signal.signal(signal.SIGINT, signal.default_int_handler)


if text := complaint(PROJECT):
    sys.exit(text)
# where a shell began it in the background it stays deaf
if is_command(sys.orig_argv) and (
    signal.getsignal(signal.SIGINT) is signal.default_int_handler
):
    signal.signal(signal.SIGINT, end_at_once)
