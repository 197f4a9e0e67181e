"""Which way up: what ``[data] up`` decides for trainings and for the views of nets.

A training flips and turns its views all eight ways (``turns``) or mirrors them
left-right only, and a net is asked about a picture in a set of views (``views``). Both
must fit the pictures, and each other: a net knows nothing of a view that it never
learned. ``[data] up`` sets them for all stages at once.
"""

from collections.abc import Mapping
from typing import Any

from data_prep.dihedral import VIEW_SETS
from data_prep.errors import UserError
from data_prep.settings import fields_of

# By whether the training turns its views: the set of views that it learns.
LEARNED = {False: "flip", True: "d4"}


def implied(up: bool | None, settings_class: type[Any]) -> dict[str, Any]:
    """Give the settings of a stage that ``[data] up`` decides.

    Args:
        up: Whether pictures have an up; None: nobody has told.
        settings_class: Of the settings.
    """
    if up is None:
        return {}
    of_up = {"turns": not up, "views": LEARNED[not up]}
    declared = fields_of(settings_class)
    return {name: value for name, value in of_up.items() if name in declared}


def check_up(up: bool | None, settings: Any) -> None:
    """Check that a stage turns no pictures that have an up.

    Fewer turns and views than pictures without an up allow are no mistake.

    Raises:
        UserError: It does.
    """
    if not up:
        return
    if getattr(settings, "turns", False):
        by = "exact_original means " * getattr(settings, "exact_original", False)
        raise UserError(
            f"{by}turns = true, but [data] up = true says that the pictures have an up;"
            " take one of the two out"
        )
    views = getattr(settings, "views", None) or "e"
    if not is_learned(views, turns=False):
        raise UserError(
            f"views = {views!r} turns pictures, but [data] up = true says that they"
            " have an up; give views = 'flip' or 'e', or take up out"
        )


def is_learned(views: str, *, turns: bool) -> bool:
    """Tell whether a training has seen all views of a set.

    Args:
        views: Name of the set.
        turns: Whether the training turned its views.
    """
    return {*VIEW_SETS[views]} <= {*VIEW_SETS[LEARNED[turns]]}


def check_learned(views: str, source: str, turns: bool | None) -> None:
    """Check that nets have learned the views that they are to be asked in.

    Args:
        views: Name of the set.
        source: Stage of the nets.
        turns: Whether their training turned its views; None: nobody can tell.

    Raises:
        UserError: They have not.
    """
    if turns is None or is_learned(views, turns=turns):
        return
    raise UserError(
        f"views = {views!r}, but the nets of {source} were not trained on turned"
        f" pictures (turns = false); give views = {LEARNED[False]!r}, or 'e'"
    )


def views_to_ask(
    views: str | None, source: str, trained_with: Mapping[str, Any]
) -> str:
    """Choose the views that nets of labels are asked in: those that they learned.

    Args:
        views: Name of the set that the user chose; None: none.
        source: Stage of the nets.
        trained_with: Settings of the training, as recorded.

    Raises:
        UserError: The nets have not learned those that were chosen.
    """
    turns = trained_with.get("turns", True)  # the default, where a record lacks it
    check_learned(views or "e", source, turns)
    return views or LEARNED[turns]
