"""Does a single column of the user's table tell a label nearly alone?

The price of a house tells its value class, and is not known when the next house is to
be judged. Nothing but the user can say whether a column is, so the question is put.
Each row is predicted from the column alone by models of the other folds, so a name that
only rows of one group share tells nothing.

Shapes: N rows, C numbers made of a column.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.arrays import Bools, Floats, Ints
from data_prep.errors import UserError
from data_prep.user_columns import PLAIN, UserColumns

if TYPE_CHECKING:
    import pandas as pd

TELLS = 0.9  # of what can be told: a question at a legitimate column costs a glance
MOST_ROWS = 5000  # that are looked at, drawn evenly
MIN_ROWS = 20  # below nothing can be said
LEAF = 3  # rows in the smallest leaf of a tree


@dataclass(frozen=True, kw_only=True)
class Label:
    """What a column may tell.

    Attributes:
        name: For people, such as ``the target``.
        values: (N,) numbers, or numbers of classes.
        is_class: Which of the two.
        has_label: (N,).
    """

    name: str
    values: Floats
    is_class: bool
    has_label: Bools


def share_told(X: Floats, y: Floats, folds: Ints, *, is_class: bool) -> float:
    """Measure how much of a label a column tells of rows that are held out.

    Args:
        X: (N, C) the column as numbers.
        y: (N,) numbers, or numbers of classes.
        folds: (N,) what is held out together.
        is_class: Whether ``y`` are classes.

    Returns:
        Of numbers the R2 by a line or a tree, whichever is better. Of classes the share
        of what the most frequent class gets wrong that a tree gets right. 1 is all, 0
        or less nothing; NaN where there are too few rows or all labels are equal.
    """
    from sklearn.linear_model import LinearRegression
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    if len(y) < MIN_ROWS or len(np.unique(folds)) < 2 or np.ptp(y) == 0:
        return float("nan")
    options = {"min_samples_leaf": LEAF, "random_state": 0}
    if is_class:
        y_pred = _held_out(DecisionTreeClassifier(**options), X, y, folds)
        right = float((y_pred == y).mean())
        frequent = float(np.unique(y, return_counts=True)[1].max()) / len(y)
        return (right - frequent) / (1 - frequent)
    y = (y - y.mean()) / y.std()  # dates in seconds would lose their digits
    models = [LinearRegression(), DecisionTreeRegressor(**options)]
    errors = [((_held_out(m, X, y, folds) - y) ** 2).mean() for m in models]
    return 1 - float(min(errors))


def _held_out(model: Any, X: Floats, y: Floats, folds: Ints) -> Floats:
    y_pred = np.empty(len(y))
    for fold in np.unique(folds):
        mask = folds == fold
        y_pred[mask] = model.fit(X[~mask], y[~mask]).predict(X[mask])
    return y_pred


def verdict(column: str, share: float, label: str, *, is_class: bool) -> str:
    """Ask whether a column that tells a label alone is known in time; else nothing.

    >>> verdict("price", 0.987, "the target", is_class=False)[:54]
    "column 'price' alone tells the target (R2 0.99 on rows"
    >>> verdict("size", 0.4, "the target", is_class=False)
    ''
    """
    if not share >= TELLS:
        return ""
    amount = (
        f"{share:.0%} of what the most frequent class gets wrong"
        if is_class
        else f"R2 {share:.2f}"
    )
    return (
        f"column {column!r} alone tells {label} ({amount} on rows held out): is it"
        " known when you predict? If not, no score with it holds; leave it out of"
        " columns in [transfer.finetune] and [stacking.fit]"
    )


def verdicts_on(
    table: "pd.DataFrame",
    names: Iterable[str],
    labels: Iterable[Label],
    shown: Mapping[str, str] | None = None,
) -> list[str]:
    """Ask of each column that tells a label alone whether it is known in time.

    Args:
        table: N rows as prepared, with their folds.
        names: The user's names of the columns; one that cannot be learned from is
            passed over.
        labels: What they may tell.
        shown: The user's names of columns that are called otherwise in the table.
    """
    sentences, shown = [], shown or {}
    names = list(names)
    for label in labels:
        rows = np.flatnonzero(label.has_label & (table["fold"] >= 0).to_numpy())
        if len(rows) > MOST_ROWS:
            rows = rows[np.linspace(0, len(rows) - 1, MOST_ROWS).astype(np.int64)]
        part, y = table.iloc[rows], label.values[rows]
        folds = part["fold"].to_numpy(dtype=np.int64)
        for name, X in _columns(part, names):
            share = share_told(X, y, folds, is_class=label.is_class)
            user_name = shown.get(name, name)
            text = verdict(user_name, share, label.name, is_class=label.is_class)
            sentences.append(text)
    return [sentence for sentence in sentences if sentence]


def _columns(
    table: "pd.DataFrame", names: Iterable[str]
) -> Iterator[tuple[str, Floats]]:
    """Make numbers of the columns that allow it."""
    for name in names:
        try:
            columns = UserColumns.learn(table, table.iloc[:0], [name])
        except UserError:
            continue
        yield name, columns.apply(table)


def target_of(table: "pd.DataFrame", target_kind: str | None) -> list[Label]:
    """Give the target of a prepared table as a label; none where there is none.

    Args:
        table: N rows as prepared.
        target_kind: ``numeric`` or ``classes``; None: there is no target.
    """
    if target_kind is None:
        return []
    is_class = target_kind != "numeric"
    column = table["class_index" if is_class else "target"].to_numpy(dtype=np.float64)
    return [
        Label(
            name="the target",
            values=column,
            is_class=is_class,
            has_label=(column >= 0) if is_class else np.isfinite(column),
        )
    ]


def given_names(table: "pd.DataFrame", *, but: Iterable[str] = ()) -> list[str]:
    """List the columns of a prepared table that might be learned from.

    Args:
        table: As prepared.
        but: Names that are left out.
    """
    from data_prep.tables.user_tables import GIVEN

    columns = [str(name) for name in table if str(name).startswith(GIVEN)]
    names = dict.fromkeys([*(name.removeprefix(GIVEN) for name in columns), *PLAIN])
    return [name for name in names if name not in set(but)]
