"""A part of reports: how test pictures differ from those of the training table.

Whether a plain model can tell them apart by colours and measures alone. If it can,
cross-validation promises too much: nets are asked for pictures of another kind.

Shapes: N rows, P training pictures, Q test pictures, F features.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray

from data_prep.arrays import Bools, Floats, Ints
from data_prep.reporting.numerals import four_digits
from data_prep.reporting.report import Section, picture_grid, prose, table, together
from data_prep.reporting.tiny_features import features_of, standardised

MOST_ROWS = 5000  # of each part, drawn evenly
LEAST_ROWS = 20  # of each part; below nothing can be said
N_FOLDS = 5
STRENGTH = 0.01  # of the logistic regression: there are hundreds of features
SEED = 0
SOME, MUCH = 0.6, 0.75  # AUCs from which parts differ
N_SHOWN = 12
SIDE_PX = 96
NAMES = {
    "side": "longer side, px",
    "aspect": "width / height",
    "brightness": "brightness",
    "sharpness": "sharpness",
    "border": "border, share",
}


@dataclass(frozen=True, kw_only=True)
class Shift:
    """How the test part differs.

    Attributes:
        auc: Of telling test from training on pictures that the model did not see.
        chance: Half width of the 95 % interval around 0.5 if they are alike, each group
            counted as one picture.
        n_train: Training pictures that were looked at.
        n_test: Test pictures that were.
        idx: Of the N rows, the test pictures least like training, the least like first.
        nearest: Of the N rows, what is nearest to each of these.
        distances: To it, in root mean square deviations of a feature.
        lacks_groups: Whether training rows name groups, and test rows do not.
    """

    auc: float
    chance: float
    n_train: int
    n_test: int
    idx: Ints
    nearest: Ints
    distances: Floats
    lacks_groups: bool

    @property
    def is_large(self) -> bool:
        """Whether it asks for action."""
        return self.auc >= max(MUCH, 0.5 + self.chance)

    def sentence(self) -> str:
        """Say what the AUC means."""
        start = (
            "A plain model that looks at tiny pictures tells a test picture from a"
            f" training picture in {self.auc:.0%} of the pairs (AUC {self.auc:.2f};"
            " 0.50 is a coin)"
        )
        if self.auc < max(SOME, 0.5 + self.chance):
            return (
                f"{start}: they look alike, and what cross-validation says should hold."
            )
        if not self.is_large:
            return f"{start}: they differ a little, which need not matter."
        return (
            f"{start}: they are of another kind, and scores of cross-validation may"
            " promise too much."
        )


def shift_of(
    rows: pd.DataFrame, images: NDArray[np.uint8], measured: pd.DataFrame
) -> Shift | None:
    """Compare the test part with the training part; None: one of them is too small.

    Groups, and copies, are never on both sides of the model's own folds: else it would
    merely know a group again.

    Args:
        rows: N rows with id, split, image_row, group and cv_group.
        images: (N, S, S, 3).
        measured: Of ``data_prep.reporting.picture_measures.picture_measures``.
    """
    parts = [_drawn(rows, split) for split in ("train", "test")]
    if min(map(len, parts)) < LEAST_ROWS:
        return None
    idx = np.concatenate(parts)
    X = features_of(rows.iloc[idx], images, measured.iloc[idx])
    is_test = np.repeat([False, True], [len(part) for part in parts])
    n_train, n_test = map(len, parts)
    X = standardised(X, X[~is_test])
    groups = rows["cv_group"].to_numpy()[idx]
    auc = auc_by_groups(X, is_test, groups)
    if auc is None:
        return None
    which, nearest, distances = least_like(X[~is_test], X[is_test])
    return Shift(
        auc=auc,
        chance=_chance(groups[~is_test], groups[is_test]),
        n_train=n_train,
        n_test=n_test,
        idx=parts[1][which],
        nearest=parts[0][nearest],
        distances=distances,
        lacks_groups=names_groups(rows, "train") and not names_groups(rows, "test"),
    )


def _chance(train_groups: Ints, test_groups: Ints) -> float:
    """Give 1.96 deviations of the AUC of two equal parts (Mann and Whitney)."""
    m, n = len(np.unique(train_groups)), len(np.unique(test_groups))
    return 1.96 * float(np.sqrt((m + n + 1) / (12 * m * n)))


def names_groups(rows: pd.DataFrame, split: str) -> bool:
    """Tell whether any row of a part is in a group that the user named.

    Args:
        rows: N rows with id, split and group, as prepared: empty where there are no
            groups, the id where a row is in none.
        split: The part.
    """
    within = rows[rows["split"] == split]
    return bool(((within["group"] != "") & (within["group"] != within["id"])).any())


def _drawn(rows: pd.DataFrame, split: str) -> Ints:
    """Draw rows of a part evenly."""
    idx = np.flatnonzero((rows["split"] == split).to_numpy()).astype(np.int64)
    if len(idx) > MOST_ROWS:
        idx = idx[np.linspace(0, len(idx) - 1, MOST_ROWS).astype(np.int64)]
    return idx


def auc_by_groups(X: Floats, is_test: Bools, groups: Ints) -> float | None:
    """Measure how well a plain model tells the parts apart, on groups it never saw.

    Args:
        X: (N, F) standardised features.
        is_test: (N,).
        groups: (N,) numbers of groups.

    Returns:
        The mean over folds of the AUC; None: no fold has groups of both parts.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedGroupKFold

    n_groups = min(len(np.unique(groups[is_test])), len(np.unique(groups[~is_test])))
    if n_groups < N_FOLDS:
        return None
    aucs = []
    cv = StratifiedGroupKFold(N_FOLDS, shuffle=True, random_state=SEED)
    for train_idx, val_idx in cv.split(X, is_test, groups):
        labels = (is_test[train_idx], is_test[val_idx])
        if any(part.all() or not part.any() for part in labels):
            continue
        model = LogisticRegression(C=STRENGTH, max_iter=2000)
        model.fit(X[train_idx], is_test[train_idx])
        aucs.append(
            roc_auc_score(is_test[val_idx], model.decision_function(X[val_idx]))
        )
    return float(np.mean(aucs)) if aucs else None


def least_like(X_train: Floats, X_test: Floats) -> tuple[Ints, Ints, Floats]:
    """List the test pictures that are furthest from all training pictures.

    Args:
        X_train: (P, F).
        X_test: (Q, F).

    Returns:
        Their numbers among the Q, the furthest first; the number of what is nearest
        among the P; the distance, as root mean square of the F differences.
    """
    from sklearn.metrics import pairwise_distances_argmin_min

    nearest, distances = pairwise_distances_argmin_min(X_test, X_train)
    order = np.argsort(-distances, kind="stable")[:N_SHOWN]
    rms = distances[order] / np.sqrt(X_train.shape[1])
    return order.astype(np.int64), nearest[order].astype(np.int64), rms


def shift_section(
    shift: Shift | None,
    rows: pd.DataFrame,
    images: NDArray[np.uint8],
    measured: pd.DataFrame,
) -> Section:
    """Show how the test part differs; without one: nothing.

    Args:
        shift: Of ``shift_of``.
        rows: As there.
        images: As there.
        measured: As there.
    """
    if shift is None:
        return Section("", Markup())
    sentences = [shift.sentence()]
    if shift.lacks_groups:
        sentences.append(
            "Test rows name no groups: where pictures of one series are all in the test"
            " part, it is told by the series, and the figure is a little too high."
        )
    counts = f"{shift.n_train:,} training and {shift.n_test:,} test pictures"
    ids, image_rows = rows["id"].to_numpy(), rows["image_row"].to_numpy()
    grid = picture_grid(
        images[image_rows[shift.idx]],
        [
            f"{ids[i]}, nearest {ids[j]}\ndistance {distance:.2f}"
            for i, j, distance in zip(
                shift.idx, shift.nearest, shift.distances, strict=True
            )
        ],
        maps=list(images[image_rows[shift.nearest]]),
        side=SIDE_PX,
    )
    caption = "the measures of both; the difference in deviations of the training part"
    return Section(
        "Test against training",
        together(
            prose(*sentences),
            table(measures_by_part(measured, rows["split"]), caption),
            prose(
                "The test pictures least like any of the training table, and beside"
                " each what is nearest to it:"
            ),
            grid,
        ),
        f"A logistic regression on 8 by 8 colours and the measures of {counts}, scored"
        " on groups that it did not see.",
    )


def measures_by_part(measured: pd.DataFrame, splits: "pd.Series[str]") -> pd.DataFrame:
    """Set the mean measures of training and test side by side.

    Args:
        measured: N rows.
        splits: N names.

    Returns:
        A row for each measure: measure, training, test, difference in deviations of
        the training part.
    """
    train, test = (measured[(splits == name).to_numpy()] for name in ("train", "test"))
    lines = []
    for name in measured:
        std = float(train[name].std(ddof=0))
        difference = float(test[name].mean() - train[name].mean())
        lines.append(
            {
                "measure": NAMES[str(name)],
                "training": four_digits(float(train[name].mean())),
                "test": four_digits(float(test[name].mean())),
                "difference": difference / std if std > 0 else np.nan,
            }
        )
    return pd.DataFrame(lines)
