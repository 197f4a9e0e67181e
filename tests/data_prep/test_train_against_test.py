"""Tests of data_prep.reporting.train_against_test and tiny_features."""

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from data_prep.reporting import tiny_features, train_against_test
from data_prep.reporting.picture_measures import picture_measures
from data_prep.reporting.tiny_features import features_of, standardised, thumbnails
from data_prep.reporting.train_against_test import (
    Shift,
    auc_by_groups,
    least_like,
    measures_by_part,
    shift_of,
    shift_section,
)

SIDE = 16


def collection(
    n_train: int = 60, n_test: int = 40, seed: int = 0
) -> tuple[pd.DataFrame, NDArray[np.uint8]]:
    """Draw pictures of one shade each with some noise, alike in both parts."""
    rng, n = np.random.default_rng(seed), n_train + n_test
    shades = rng.integers(60, 190, (n, 1, 1, 3))
    images = (shades + rng.integers(-30, 31, (n, SIDE, SIDE, 3))).astype(np.uint8)
    rows = pd.DataFrame(
        {
            "id": [f"p{k}" for k in range(n)],
            "split": ["train"] * n_train + ["test"] * n_test,
            "image_row": range(n),
            "group": "",
            "cv_group": range(n),
            "width": 40,
            "height": 40,
        }
    )
    return rows, images


def compared(rows: pd.DataFrame, images: NDArray[np.uint8]) -> Shift | None:
    return shift_of(rows, images, picture_measures(rows, images, "pad"))


@pytest.mark.parametrize("seed", range(4))
def test_parts_that_are_alike_are_not_told_apart(seed: int) -> None:
    shift = compared(*collection(300, 200, seed=seed))
    assert shift is not None
    assert abs(shift.auc - 0.5) < 2 * shift.chance
    assert not shift.is_large
    assert "look alike" in shift.sentence()


def test_a_test_part_of_other_light_is_told() -> None:
    rows, images = collection()
    images[60:] = images[60:] // 2
    shift = compared(rows, images)
    assert shift is not None
    assert shift.auc > 0.95
    assert "another kind" in shift.sentence()
    assert (shift.n_train, shift.n_test) == (60, 40)


def test_a_series_that_is_known_again_is_not_taken_for_a_difference() -> None:
    # 20 series of ten equal pictures, each wholly in one part at random
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 200))[np.repeat(np.arange(20), 10)]
    is_test = np.repeat(np.arange(20) % 2 == 0, 10)
    groups = np.repeat(np.arange(20), 10)
    torn = auc_by_groups(X, is_test, np.arange(200))
    whole = auc_by_groups(X, is_test, groups)
    assert torn is not None
    assert whole is not None
    assert torn > 0.99
    assert whole < 0.75


def test_the_same_pictures_give_the_same_answer_whatever_the_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows, images = collection()
    first = compared(rows, images)
    monkeypatch.setattr(tiny_features, "N_PIXELS", 7 * SIDE**2)
    again = compared(rows, images)
    assert first is not None
    assert again is not None
    assert again.auc == first.auc
    assert (again.idx == first.idx).all()


def test_the_least_like_are_the_planted_ones_and_rows_are_not_positions() -> None:
    rows, images = collection()
    images[[70, 90], :, :8] = [255, 0, 0]
    order = np.random.default_rng(1).permutation(len(rows))
    rows = rows.iloc[order]  # image_row is no position now
    shift = compared(rows, images)
    assert shift is not None
    assert set(rows["id"].iloc[shift.idx[:2]]) == {"p70", "p90"}
    assert (rows["split"].iloc[shift.idx] == "test").all()
    assert (rows["split"].iloc[shift.nearest] == "train").all()
    assert (np.diff(shift.distances) <= 0).all()


def test_distances_are_those_of_brute_force() -> None:
    rng = np.random.default_rng(0)
    X_train, X_test = rng.normal(size=(30, 7)), rng.normal(size=(20, 7))
    order, nearest, distances = least_like(X_train, X_test)
    rms = np.sqrt(((X_test[:, None] - X_train) ** 2).mean(axis=2))
    assert order.tolist() == np.argsort(-rms.min(axis=1))[:12].tolist()
    assert nearest.tolist() == rms.argmin(axis=1)[order].tolist()
    np.testing.assert_allclose(distances, rms.min(axis=1)[order])


@pytest.mark.parametrize(("n_train", "n_test"), [(60, 0), (60, 19), (19, 60)])
def test_too_few_pictures_are_not_compared(n_train: int, n_test: int) -> None:
    rows, images = collection(n_train, n_test)
    assert compared(rows, images) is None
    assert not shift_section(None, rows, images, pd.DataFrame()).body


def test_chance_counts_groups_not_pictures() -> None:
    rows, images = collection()
    alone = compared(rows, images)
    rows["cv_group"] = np.arange(100) // 4
    grouped = compared(rows, images)
    assert alone is not None
    assert grouped is not None
    assert alone.chance == pytest.approx(1.96 * np.sqrt(101 / (12 * 60 * 40)))
    assert grouped.chance == pytest.approx(1.96 * np.sqrt(26 / (12 * 15 * 10)))


def test_parts_of_few_groups_are_not_compared() -> None:
    rows, images = collection()
    rows["cv_group"] = np.where(rows["split"] == "test", 0, rows["cv_group"] + 1)
    assert compared(rows, images) is None


def test_many_pictures_are_drawn_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_against_test, "MOST_ROWS", 30)
    shift = compared(*collection())
    assert shift is not None
    assert (shift.n_train, shift.n_test) == (30, 30)


@pytest.mark.parametrize("side", [8, 16, 21, 50])
def test_thumbnails_are_the_means_of_their_places(side: int) -> None:
    rng = np.random.default_rng(side)
    images = rng.integers(0, 256, (3, side, side, 3), dtype=np.uint8)
    edges = np.linspace(0, side, 9).round().astype(int)
    expected = [
        [images[:, a:b, c:d].mean(axis=(1, 2)) for c, d in pairwise(edges)]
        for a, b in pairwise(edges)
    ]
    np.testing.assert_allclose(thumbnails(images), np.transpose(expected, (2, 0, 1, 3)))


def test_features_are_standardised_by_the_training_part() -> None:
    rows, images = collection()
    X = features_of(rows, images, picture_measures(rows, images, "pad"))
    assert X.shape == (100, 8 * 8 * 3 + 5)
    Z = standardised(X, X[:60])
    np.testing.assert_allclose(Z[:60].mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(Z[:60, :192].std(axis=0), 1)
    np.testing.assert_allclose(Z[:, 192], 0, atol=1e-9)  # one size of originals
    X[60:, 192] = 9.0
    assert standardised(X, X[:60])[60:, 192].max() <= 10


def test_the_measures_stand_side_by_side() -> None:
    measured = pd.DataFrame({"side": [10.0, 30, 50, 70], "aspect": 1.0})
    splits = pd.Series(["train", "train", "test", "unlabelled"])
    table = measures_by_part(measured, splits)
    assert table["training"].tolist() == ["20.00", "1.0000"]
    assert table["test"].tolist() == ["50.00", "1.0000"]
    assert table["difference"][0] == 3  # of deviations of 10
    assert np.isnan(table["difference"][1])


@pytest.mark.parametrize(
    ("auc", "chance", "text"),
    [(0.58, 0.02, "look alike"), (0.7, 0.3, "look alike"), (0.7, 0.05, "a little")],
)
def test_the_sentence_knows_what_chance_gives(
    auc: float, chance: float, text: str
) -> None:
    nothing: Any = np.empty(0, dtype=np.int64)
    shift = Shift(
        auc=auc, chance=chance, n_train=9, n_test=9, idx=nothing, nearest=nothing,
        distances=np.empty(0), lacks_groups=False,
    )  # fmt: skip
    assert text in shift.sentence()
    assert not shift.is_large


def test_the_part_shows_pairs_and_warns_of_unnamed_groups() -> None:
    rows, images = collection()
    rows["group"] = [f"s{k // 2}" for k in range(60)] + list(rows["id"][60:])
    rows["cv_group"] = [k // 2 for k in range(60)] + list(range(100, 140))
    measured = picture_measures(rows, images, "pad")

    def text_of(rows: pd.DataFrame) -> str:
        shift = shift_of(rows, images, measured)
        return str(shift_section(shift, rows, images, measured).body)

    assert text_of(rows).count('class="pair"') == 12
    assert "Test rows name no groups" in text_of(rows)
    assert "Test rows name no groups" not in text_of(rows.assign(group="s"))
    # copies are no groups of the user's
    assert "Test rows name no groups" not in text_of(rows.assign(group=""))
