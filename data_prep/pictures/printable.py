"""Names of files as they can be printed and stored, whatever bytes they are of."""

import os
import unicodedata
from pathlib import Path


def shown(name: str | Path) -> str:
    r"""Write a name so that it can be printed and stored: ``caf\xe9`` if not in UTF-8.

    Control characters are written with a backslash as well.
    """
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(
        letter
        if unicodedata.category(letter) != "Cc"
        else letter.encode("unicode_escape").decode("ascii")
        for letter in text
    )
