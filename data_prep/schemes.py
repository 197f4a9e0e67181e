"""Schemes of folds by name, such as ``sgkfold3``, and what they need of a table.

With ``x2`` after it a scheme is dealt twice: ``sgkfold3x2``, two deals of three folds.
"""

import difflib
import re
from pathlib import Path

from data_prep.errors import UserError

SCHEMES = ("kfold", "skfold", "gkfold", "sgkfold")  # drawn at random
USUAL_CV = "sgkfold3"
TIME = "time"  # forward in time, see data_prep.time_folds
TABLES = (".csv", ".tsv", ".txt", ".parquet", ".pq")


def is_table(text: str, _folder: Path) -> bool:
    """Tell a table of the user's own folds from a column by its name."""
    return Path(text).suffix.lower() in TABLES


def parse_scheme(cv: str) -> tuple[str, int]:
    """Split the name of a scheme: ``"sgkfold3"`` is ``("sgkfold", 3)``.

    How often it is dealt, such as ``x2``, is not counted: see ``count_deals``.

    Raises:
        UserError: There is no such scheme, there are fewer than two folds, or it cannot
            be dealt so often.
    """
    match = re.fullmatch(r"([a-z]+)([0-9]+)(x[0-9]+)?", cv)
    if match is None or match[1] not in (*SCHEMES, TIME) or int(match[2]) < 2:
        letters = re.sub("[^a-z]", "", cv.lower().partition("x")[0])
        close = difflib.get_close_matches(letters, SCHEMES, n=1)
        meant = TIME if TIME in letters else (*close, "sgkfold")[0]
        raise UserError(
            f"cv = {cv!r}: give {', '.join(SCHEMES)} or {TIME} and 2 or more folds,"
            f" such as {meant}3"
        )
    if match[3] and match[1] == TIME:
        raise UserError(
            f"cv = {cv!r}: folds in time go by date, so there is one deal of them;"
            f" set cv = {cv.removesuffix(match[3])!r}"
        )
    if match[3] and int(match[3][1:]) < 2:
        raise UserError(
            f"cv = {cv!r}: after the x give how often the folds are dealt, 2 or more;"
            f" once is cv = {cv.removesuffix(match[3])!r}"
        )
    return match[1], int(match[2])


def check_cv(cv: str, own_folds: str) -> None:
    """Refuse what is no scheme, and one of several deals beside the user's own folds.

    Args:
        cv: The scheme.
        own_folds: Where the user's own folds are; empty: there are none.

    Raises:
        UserError: It is one.
    """
    parse_scheme(cv)
    if own_folds and count_deals(cv) > 1:
        raise UserError(
            f"cv = {cv!r} deals folds several times, and folds = {own_folds!r} are your"
            " own, which are dealt once; take one of the two out"
        )


def count_deals(cv: str | None) -> int:
    """Say how often folds are dealt by a scheme, or by the name that a run has of it.

    Example:
        >>> count_deals("sgkfold3"), count_deals("sgkfold3x2"), count_deals("own3")
        (1, 2, 1)
    """
    match = re.fullmatch(r"[a-z]+[0-9]+x([0-9]+)", cv or "")
    return int(match[1]) if match else 1


def is_grouped(cv: str) -> bool:
    """Tell whether the scheme keeps the user's groups together, if there are any."""
    return parse_scheme(cv)[0] in ("gkfold", "sgkfold", TIME)


def is_in_time(cv: str | None) -> bool:
    """Tell whether a scheme, or the name that a run has of it, is forward in time."""
    return cv is not None and re.fullmatch(f"{TIME}[0-9]+", cv) is not None


def is_drawn(cv: str) -> bool:
    """Tell whether folds are drawn, so that each is like the others."""
    return re.fullmatch(f"({'|'.join(SCHEMES)})[0-9]+(x[0-9]+)?", cv) is not None


def split_sizes(n: int, n_folds: int, fold: int, *, in_time: bool) -> tuple[int, int]:
    """Say of n rows how many a net is trained on and holds out, before folds are made.

    Args:
        n: Rows.
        n_folds: Folds of a deal.
        fold: Number of the fold, which matters in time only.
        in_time: The folds are forward in time.

    Example:
        >>> split_sizes(12, 3, fold=0, in_time=False)
        (8, 4)
        >>> split_sizes(12, 3, fold=0, in_time=True)
        (3, 3)
    """
    if in_time:
        n_block = n // (n_folds + 1)
        return (fold + 1) * n_block, n_block
    return n - n // n_folds, n // n_folds


def check_scheme(cv: str, *, has_group: bool) -> None:
    """Refuse a scheme that needs groups where there are none.

    Raises:
        UserError: The scheme needs groups, or there is no such scheme.
    """
    if is_grouped(cv) and not is_in_time(cv) and not has_group:
        plain = cv.replace("gkfold", "kfold")
        raise UserError(
            f"cv = {cv!r} keeps groups together, but [data] group names no column;"
            f" name it, or set cv = {plain!r} in [data_prep.prepare]"
        )


def check_columns(
    cv: str,
    kept_together: tuple[str, str] | None,
    date: str | None,
    *,
    has_pages: bool = False,
) -> None:
    """Refuse a scheme that needs a column that nobody names, or tears groups.

    Args:
        cv: The scheme.
        kept_together: Role and column of what the user wants kept together, such as
            ``("group", "sheet")``; None: nothing.
        date: Column of the dates; None: there is none.
        has_pages: Pages of a file are kept together.

    Raises:
        UserError: The scheme does not fit the columns, or there is no such scheme.
    """
    check_scheme(cv, has_group=has_pages or kept_together is not None)
    if is_in_time(cv) and date is None:
        raise UserError(
            f"cv = {cv!r} holds out by date, but [data] date names no column; name it,"
            " or take another scheme in [data_prep.prepare] cv"
        )
    grouped = cv.replace("kfold", "gkfold")
    if kept_together is not None and not is_grouped(cv):
        role, column = kept_together
        raise UserError(
            f"cv = {cv!r} would tear the {role}s of column {column!r} apart; set"
            f" cv = {grouped!r} in [data_prep.prepare], or take {role} out of [data]"
        )
    if has_pages and not is_grouped(cv):
        raise UserError(
            f"cv = {cv!r} would tear the pages of a file apart (page = 'all'); set"
            f" cv = {grouped!r} in [data_prep.prepare]"
        )


def check_count(cv: str, n: int, noun: str = "groups") -> None:
    """Refuse fewer groups, or rows, than folds.

    Raises:
        UserError: There are fewer.
    """
    n_folds = parse_scheme(cv)[1]
    if n < n_folds:
        counted = f"1 {noun[:-1]} does" if n == 1 else f"{n} {noun} do"
        raise UserError(
            f"cv = {cv!r}: {counted} not fill {n_folds} folds;"
            f" take fewer folds, or give more {noun}"
        )
