"""The exceptions: what is a mistake of the user, and what is no picture."""


class UserError(ValueError):
    """Something the user gave cannot be used.

    The message is one line: the value, the place it stands in, and the remedy. Commands
    print it without a traceback and exit with status 2.
    """


class UnreadableError(Exception):
    """A picture cannot be decoded; the message is the reason."""
