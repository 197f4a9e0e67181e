"""A stage that is not finished: who may go on with it, and what may not be lost."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data_prep.errors import UserError
from data_prep.run_folders.damage import DamagedFileError

MADE_FROM = "stage.json"  # what an unfinished stage is being made from
COPIED = "copied"  # in it: what is not made, but copied from the finished stage


def may_go_on(
    begun: Mapping[str, Any],
    made_from: Mapping[str, Any],
    copied: Sequence[str],
    *,
    overwrite: bool,
) -> bool:
    """Tell whether an attempt is at just what is to be made now.

    What one attempt copied another may be told to make anew, so those that overwrite
    only go on with what was begun to copy the same.

    Args:
        begun: What the attempt is made from; empty: there is none.
        made_from: What decides the result now.
        copied: What is copied now, and not made.
        overwrite: All else is to be made anew.
    """
    is_same = all(begun.get(key) == value for key, value in made_from.items())
    return is_same and (not overwrite or begun.get(COPIED, []) == [*copied])


def drop(partial: Path) -> None:
    """Remove an attempt; a kill meanwhile leaves none that could be gone on with."""
    dropped = partial.with_name(f".{partial.name}.dropped")
    shutil.rmtree(dropped, ignore_errors=True)
    partial.replace(dropped)
    shutil.rmtree(dropped)


def check_may_be_dropped(
    partial: Path,
    begun: Mapping[str, Any],
    made_from: Mapping[str, Any],
    *,
    overwrite: bool,
) -> None:
    """Refuse to drop what may be hours of work because a setting changed.

    Args:
        partial: Folder of the attempt.
        begun: What it is made from; empty: nobody knows.
        made_from: What is to be made now.
        overwrite: It may be dropped.

    Raises:
        UserError: It has other settings, or is damaged, and may not be.
    """
    is_begun = any(
        path.is_file() and path.name != MADE_FROM and "logs" not in path.parts
        for path in partial.rglob("*")
    )
    if overwrite or not is_begun:
        return
    dropping = f"rm -r {partial}"  # the pipeline has no --overwrite
    if not begun:
        raise DamagedFileError(
            f"{partial / MADE_FROM} is missing or cut, so that nobody knows"
            f" what {partial.name} was begun from; put it back, or drop it: {dropping}"
        )
    # what was made from replaced inputs cannot be gone on with in any case
    if begun.get("reads") != made_from["reads"]:
        return
    old_settings, settings = begun.get("settings", {}), made_from["settings"]
    name = next(
        k for k in [*old_settings, *settings] if old_settings.get(k) != settings.get(k)
    )
    raise UserError(
        f"{partial} was begun with {name} = {old_settings.get(name)!r} and not"
        f" {settings.get(name)!r}; give that to go on with it, or drop it:"
        f" {dropping}"
    )
