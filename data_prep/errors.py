"""The one exception that is a user's mistake and not a fault of the program."""


class UserError(ValueError):
    """Something the user gave cannot be used.

    The message is one line: the value, the place it stands in, and the remedy. Commands
    print it without a traceback and exit with status 2.
    """
