"""Tests of data_prep.telling_columns: columns that tell a label nearly alone."""

import numpy as np
import pandas as pd
import pytest

from data_prep.telling_columns import (
    MOST_ROWS,
    given_names,
    share_told,
    target_of,
    verdict,
    verdicts_on,
)

N = 300
RNG = np.random.default_rng(0)
FOLDS = np.arange(N) % 3
PRICE = RNG.uniform(1, 5, N)


def told(column: np.ndarray, y: np.ndarray, *, is_class: bool = False) -> float:
    return share_told(column[:, None], y, FOLDS, is_class=is_class)


def test_a_line_is_told_whole_whatever_the_unit() -> None:
    assert told(PRICE, 3 * PRICE + 7) == pytest.approx(1)
    assert told(PRICE, 1e9 + 1e-3 * PRICE) == pytest.approx(1, abs=1e-4)


def test_a_curve_that_no_line_follows_is_told_by_a_tree() -> None:
    y = np.sin(3 * PRICE)
    by_line = np.corrcoef(PRICE, y)[0, 1] ** 2
    assert by_line < 0.3
    assert told(PRICE, y) > 0.95


def test_noise_tells_nothing() -> None:
    assert told(RNG.normal(size=N), PRICE) < 0.1
    assert told(RNG.normal(size=N), RNG.integers(0, 3, N).astype(float),
                is_class=True) < 0.2  # fmt: skip


def test_the_share_of_classes_by_hand() -> None:
    y = np.repeat([0.0, 0, 1], N // 3)  # the most frequent is right in 2 of 3
    column = y.copy()
    column[::6] = 5.0  # a sixth tells nothing: 2 of 3 of it guessed right
    folds = np.random.default_rng(2).permutation(N) % 3
    share = share_told(column[:, None], y, folds, is_class=True)
    assert share == pytest.approx(1 - 1 / 6, abs=0.01)


@pytest.mark.parametrize(("n", "y"), [(19, np.arange(19.0)), (30, np.full(30, 2.0))])
def test_of_few_or_equal_labels_nothing_is_told(n: int, y: np.ndarray) -> None:
    X = np.arange(n, dtype=float)[:, None]
    assert np.isnan(share_told(X, y, np.arange(n) % 3, is_class=False))


def test_what_only_one_fold_knows_is_not_told() -> None:
    house = np.eye(3)[FOLDS]  # each house is in a fold of its own, with its price
    y = np.array([3.0, -1.0, 5.0])[FOLDS]
    assert share_told(house, y, FOLDS, is_class=False) < 0
    assert np.isnan(share_told(house, y, 0 * FOLDS, is_class=False))


def test_the_sentences() -> None:
    of_number = verdict("price", 0.986, "the target", is_class=False)
    assert of_number == (
        "column 'price' alone tells the target (R2 0.99 on rows held out): is it known"
        " when you predict? If not, no score with it holds; leave it out of columns"
        " in [transfer.finetune] and [stacking.fit]"
    )
    of_class = verdict("shelf", 0.95, "kind", is_class=True)
    assert "tells kind (95% of what the most frequent class gets wrong" in of_class
    assert verdict("price", 0.899, "the target", is_class=False) == ""
    assert verdict("price", float("nan"), "the target", is_class=False) == ""


def table_of(**columns: object) -> pd.DataFrame:
    n = len(next(iter(columns.values())))  # type: ignore[arg-type]
    return pd.DataFrame(
        {"fold": np.arange(n) % 3, "image_row": np.arange(n), **columns}
    )


def test_columns_of_a_prepared_table() -> None:
    table = table_of(
        target=PRICE.round(1), class_index=FOLDS, date=1900 + 10 * PRICE,
        **{
            "given.price": [f"{price}" for price in PRICE],
            "given.empty": [None] * N,
            "given.width": RNG.normal(size=N),
        },
    )  # fmt: skip
    names = given_names(table)
    assert names == ["price", "empty", "width", "date", "height"]
    assert "date" not in given_names(table, but=["date"])
    sentences = verdicts_on(table, names, target_of(table, "numeric"))
    assert [text.split("'")[1] for text in sentences] == ["price", "date"]
    assert verdicts_on(table, names, target_of(table, None)) == []


def test_rows_without_a_label_or_a_fold_do_not_count() -> None:
    target = PRICE.copy()
    target[:150] = np.nan
    table = table_of(target=target, **{"given.price": PRICE})
    table.loc[table.index[150:200], "fold"] = -1
    table.loc[table.index[150:200], "given.price"] = 0.0  # wrong, but not looked at
    (text,) = verdicts_on(table, ["price"], target_of(table, "numeric"))
    assert text.startswith("column 'price' alone")
    (text,) = verdicts_on(table, ["price"], target_of(table, "numeric"), {"price": "p"})
    assert text.startswith("column 'p' alone")


def test_classes_by_a_text_and_many_rows() -> None:
    n = 2 * MOST_ROWS
    codes = np.random.default_rng(1).integers(-1, 3, n)
    table = table_of(class_index=codes, target=codes.astype(str))
    table["given.kind"] = [f"kind{code}" for code in codes]
    label = target_of(table, "classes")
    assert label[0].has_label.sum() == (codes >= 0).sum()
    assert len(verdicts_on(table, ["kind"], label)) == 1
