"""Tests of data_prep.reporting.names."""

import numpy as np
import pandas as pd
import pytest

from data_prep.reporting.names import (
    flattened,
    names_section,
    nearest_names,
    with_room,
)
from data_prep.tables.words import frequent, mean_vectors, name_vectors


def of_names(vectors: np.ndarray, counts: list[int] | None = None) -> pd.DataFrame:
    """Names a, b ... with the vectors."""
    n = len(vectors)
    columns = {f"w{k}": vectors[:, k] for k in range(vectors.shape[1])}
    names = [chr(ord("a") + k) for k in range(n)]
    return pd.DataFrame({"name": names, "n_pictures": counts or [1] * n, **columns})


def test_the_nearest_are_those_of_the_largest_cosine() -> None:
    vectors = np.array([[1.0, 0.0], [2.0, 0.1], [0.0, 3.0], [-1.0, 0.0], [1.0, 1.0]])
    listed = nearest_names(of_names(vectors)).set_index("name")["nearest"]
    assert listed["a"] == "b 1.00, e 0.71, c 0.00, d -1.00"
    assert listed["c"].startswith("e 0.71, b 0.05")


@pytest.mark.parametrize("n", [1, 2])
def test_few_names_have_few_neighbours(n: int) -> None:
    listed = nearest_names(of_names(np.eye(n, 3)))["nearest"].tolist()
    assert listed == ([""] if n == 1 else ["b 0.00", "a 0.00"])


@pytest.mark.parametrize("seed", range(5))
def test_the_map_keeps_the_distances_of_a_plane(seed: int) -> None:
    rng = np.random.default_rng(seed)
    plane = rng.normal(size=(12, 2)) @ np.linalg.qr(rng.normal(size=(6, 2)))[0].T
    places = flattened(plane, rng.integers(1, 9, 12))

    def distances(points: np.ndarray) -> np.ndarray:
        return np.linalg.norm(points[:, None] - points[None], axis=-1)

    np.testing.assert_allclose(distances(places), distances(plane), atol=1e-9)


def test_one_dimension_makes_a_line() -> None:
    places = flattened(np.array([[1.0], [2.0], [4.0]]), np.ones(3))
    np.testing.assert_allclose(places[:, 0] - places[0, 0], [0, 1, 3])
    assert not places[:, 1].any()


def test_names_are_written_where_they_have_room() -> None:
    places = np.array([[0.0, 0.0], [0.01, 0.01], [0.01, 0.2], [1.0, 1.0], [1.0, 1.0]])
    names = ["a", "below a", "above a", "far", "on far"]
    assert with_room(places, names) == {"a", "above a", "far"}
    assert with_room(np.zeros((0, 2)), []) == set()


def test_the_section_names_the_frequent_ones() -> None:
    rng = np.random.default_rng(0)
    many = pd.DataFrame(
        {
            "name": [f"name{k}<b>" for k in range(300)],
            "n_pictures": range(300, 0, -1),
            **{f"w{k}": rng.normal(size=300) for k in range(3)},
        }
    )
    body = str(names_section(many).body)
    assert body.count("<circle") == 200
    assert 5 <= body.count('class="beside"') <= 40
    assert "name0&lt;b&gt; (300)" in body
    assert "<b>" not in body


def test_rare_names_have_no_vector_and_their_pictures_none() -> None:
    attributes = pd.DataFrame(
        {
            "id": ["1", "1", "2", "2", "3", "4"],
            "name": ["oil", "wood", "oil", "wood", "ink", "oil"],
        }
    )
    kept = frequent(attributes, 2)
    assert set(kept["name"]) == {"oil", "wood"}
    vectors = name_vectors(kept, 4, epochs=2)
    assert vectors["name"].tolist() == ["oil", "wood"]
    assert vectors["n_pictures"].tolist() == [3, 2]
    assert mean_vectors(kept, vectors)["id"].tolist() == ["1", "2", "4"]
    pd.testing.assert_frame_equal(frequent(attributes, 1), attributes)
