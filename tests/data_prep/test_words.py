"""Tests of data_prep.tables.words."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from data_prep.tables.words import (
    mean_vectors,
    name_vectors,
    notes_on_names,
    why_no_vectors,
)

ROOT = Path(__file__).parents[2]


def word_vectors(
    attributes: pd.DataFrame, dimensions: int = 20, seed: int = 0, epochs: int = 100
) -> pd.DataFrame:
    """The vectors of the ids."""
    of_names = name_vectors(attributes, dimensions, seed, epochs)
    return mean_vectors(attributes, of_names)


def fruit() -> pd.DataFrame:
    """Two families of names that never mix, four names a picture."""
    rng = np.random.default_rng(0)
    rows = []
    for index in range(60):
        family = "apple" if index % 2 else "plum"
        for name in rng.choice(6, 4, replace=False):
            rows.append({"id": f"{index:02d}", "name": f"{family}-{name}"})
    return pd.DataFrame(rows)


def matrix(vectors: pd.DataFrame) -> np.ndarray:
    return vectors.drop(columns="id").to_numpy()


def test_what_goes_together_lies_together() -> None:
    vectors = word_vectors(fruit(), dimensions=8)
    points = matrix(vectors)
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    alike = unit @ unit.T
    is_apple = vectors["id"].astype(int).to_numpy() % 2 == 1
    same = is_apple[:, None] == is_apple[None, :]
    assert alike[same].min() > alike[~same].max()


def test_columns_and_ids() -> None:
    vectors = word_vectors(fruit().sample(frac=1, random_state=0), 3, epochs=1)
    assert list(vectors.columns) == ["id", "w0", "w1", "w2"]
    assert list(vectors["id"]) == sorted(set(fruit()["id"]))
    assert matrix(vectors).dtype == np.float32


def test_an_id_lies_at_the_mean_of_its_names() -> None:
    table = pd.DataFrame(
        [("1", "a"), ("2", "b"), ("3", "a"), ("3", "b")], columns=["id", "name"]
    )
    first_name, second_name, both = matrix(word_vectors(table, 4, epochs=2))
    np.testing.assert_allclose(both, (first_name + second_name) / 2, rtol=1e-6)


def test_the_order_of_the_rows_changes_nothing_and_the_seed_does() -> None:
    mixed = fruit().sample(frac=1, random_state=3)
    first, again = (word_vectors(table, 5, epochs=3) for table in (fruit(), mixed))
    pd.testing.assert_frame_equal(first, again)
    other_seed = word_vectors(fruit(), 5, seed=1, epochs=3)
    assert not np.allclose(matrix(first), matrix(other_seed))


def test_another_process_with_another_hash_gives_the_same(tmp_path: Path) -> None:
    fruit().to_json(tmp_path / "names.json")
    code = (
        "import sys, json, pandas as pd;"
        "from tests.data_prep.test_words import word_vectors;"
        "table = pd.read_json(sys.argv[1], dtype=str);"
        "print(json.dumps(word_vectors(table, 5, epochs=3).values.tolist()))"
    )
    environment = os.environ | {"PYTHONHASHSEED": "12345", "PYTHONPATH": str(ROOT)}
    output = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "names.json")],
        env=environment,
        check=True,
        capture_output=True,
    ).stdout
    here = word_vectors(fruit(), 5, epochs=3)
    assert json.loads(output) == here.to_numpy().tolist()


@pytest.mark.parametrize("n_names", [2, 25])
def test_every_pair_of_a_set_counts_however_large_it_is(n_names: int) -> None:
    # With a window of 5 the first and the last of 25 names would never meet.
    from gensim.models import Word2Vec

    digests = {}
    original = Word2Vec.__init__

    def spy(self: Word2Vec, *args: object, **options: object) -> None:
        digests.update(options)
        original(self, *args, **options)

    table = pd.DataFrame({"id": "1", "name": [f"n{i:02d}" for i in range(n_names)]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Word2Vec, "__init__", spy)
        word_vectors(table, 2, epochs=1)
    assert digests["window"] >= n_names
    assert digests["shrink_windows"] is False
    assert digests["workers"] == 1


def named(*sets: str) -> pd.DataFrame:
    """Give an id to each set of names, which are letters."""
    rows = [(str(k), name) for k, names in enumerate(sets) for name in names]
    return pd.DataFrame(rows, columns=["id", "name"], dtype=object)


@pytest.mark.parametrize(
    ("sets", "reason"),
    [
        (["a", "b", "a"], "the 3 pictures with names have one each and names never go"),
        (["a", "a"], "the 2 pictures with names all have the same"),
        (["ab", "ab"], "the 2 pictures with names all have the same"),
        ([], "no picture has any"),
        (["ab", "a"], None),
        (["ab", "cd"], None),
    ],
)
def test_names_that_teach_nothing(sets: list[str], reason: str | None) -> None:
    message = why_no_vectors(named(*sets))
    assert message is None if reason is None else message and message.startswith(reason)
    notes = notes_on_names(named(*sets))
    assert bool(notes) == (bool(sets) and reason is not None)


def test_vectors_of_names_that_never_go_together_are_noise() -> None:
    first, second = (word_vectors(named("a", "b"), 8, epochs=n) for n in (1, 50))
    np.testing.assert_array_equal(matrix(first), matrix(second))


def test_what_is_odd_about_names_is_noted() -> None:
    (line,) = notes_on_names(named("ab", "c", "b", "c"))
    assert line.startswith("2 of 4 pictures with names have one that never goes with")
    lists = named("ab", "a").replace({"name": {"a": "oil, canvas; gold"}})
    (line,) = notes_on_names(lists)
    assert line.startswith("2 of 3 names hold a comma ('oil, canvas; gold'); each is")
