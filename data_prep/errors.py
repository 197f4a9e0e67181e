"""The exceptions: what is a mistake of the user, and what is no picture."""

from collections.abc import Iterable


class UserError(ValueError):
    """Something the user gave cannot be used.

    The message is one line: the value, the place it stands in, and the remedy. Commands
    print it without a traceback and exit with status 2.
    """


class UnreadableError(Exception):
    """A picture cannot be decoded; the message is the reason."""


def named(ids: Iterable[str], at_most: int = 3) -> str:
    """Say how many ids there are, and name some.

    >>> named(["b", "a"])
    "2 ids ('a', 'b')"
    """
    names = sorted(ids)
    shown = ", ".join(map(repr, names[:at_most]))
    more = ", ..." if len(names) > at_most else ""
    return f"{len(names)} id{'s' if len(names) != 1 else ''} ({shown}{more})"
