"""Word vectors: an id's names, such as its species and places, as one point in space.

word2vec over the sets of names: names that go with the same names come to lie close,
and an id lies at the mean of its names. The same names give the same vectors: one
thread, a fixed hash, and the names in order.

The vectors are fitted on the names of all rows, those to be predicted included, but on
no target: label-free, yet transductive.

Source: Mikolov et al. 2013, https://arxiv.org/abs/1301.3781 (skip-gram).
Differs: a set has no order, so the window spans all of it and does not shrink.
"""

import zlib
from dataclasses import dataclass

import pandas as pd

EPOCHS = 100


@dataclass(frozen=True, kw_only=True)
class WordVectors:
    """What was learned of names.

    Attributes:
        of_names: Of ``name_vectors``.
        of_ids: Of ``mean_vectors``.
    """

    of_names: pd.DataFrame
    of_ids: pd.DataFrame

    @classmethod
    def learned(
        cls, attributes: pd.DataFrame, dimensions: int, seed: int
    ) -> "WordVectors | None":
        """Learn them; None: of no dimension there is nothing to learn."""
        if not dimensions:
            return None
        of_names = name_vectors(attributes, dimensions, seed)
        return cls(of_names=of_names, of_ids=mean_vectors(attributes, of_names))


def frequent(attributes: pd.DataFrame, min_count: int) -> pd.DataFrame:
    """Keep the names that some number of pictures have.

    Args:
        attributes: Columns id and name, no row twice.
        min_count: Pictures that a name must have.
    """
    counts = attributes["name"].map(attributes["name"].value_counts())
    return attributes[counts >= min_count]


def name_vectors(
    attributes: pd.DataFrame, dimensions: int = 20, seed: int = 0, epochs: int = EPOCHS
) -> pd.DataFrame:
    """Give each name its vector.

    Args:
        attributes: Columns id and name, no row twice.
        dimensions: Length of the vectors.
        seed: Seed of the initial vectors and of the sampling of pairs.
        epochs: Passes over the sets.

    Returns:
        Columns name, n_pictures, w0, w1 ... as float32, the most frequent name first.
    """
    from gensim.models import Word2Vec

    sets = list(_sets(attributes).values())
    model = Word2Vec(
        sets,
        vector_size=dimensions,
        window=max(2, *map(len, sets)),
        shrink_windows=False,
        min_count=1,
        sg=1,
        sample=1e-2,  # 1e-3, the default, drops nearly all of a small vocabulary
        epochs=epochs,
        seed=seed,
        workers=1,
        hashfxn=_fixed_hash,
    )
    counts = attributes["name"].value_counts().rename_axis("name").reset_index()
    counts = counts.sort_values(["count", "name"], ascending=[False, True])
    names = counts["name"].tolist()
    vectors = dict(zip(columns(dimensions), model.wv[names].T, strict=True))
    counted = {"name": names, "n_pictures": counts["count"].tolist()}
    return pd.DataFrame({**counted, **vectors})


def mean_vectors(attributes: pd.DataFrame, of_names: pd.DataFrame) -> pd.DataFrame:
    """Give each id the mean vector of its names.

    Args:
        attributes: Columns id and name, no row twice, of which
            ``name_vectors`` were made.
        of_names: The vectors of the names.

    Returns:
        Columns id, w0, w1 ... as float32, in id order.
    """
    import numpy as np

    names = [name for name in of_names if name not in ("name", "n_pictures")]
    vectors, sets = of_names[names].to_numpy(), _sets(attributes)
    row_of = {name: row for row, name in enumerate(of_names["name"])}
    row_idx = ([row_of[name] for name in of_id] for of_id in sets.values())
    means = np.stack([vectors[idx].mean(axis=0) for idx in row_idx])
    return pd.DataFrame({"id": list(sets), **dict(zip(names, means.T, strict=True))})


def _sets(attributes: pd.DataFrame) -> dict[str, list[str]]:
    """Give the names of each id, all in order."""
    ordered = attributes.sort_values(["id", "name"])
    sets: dict[str, list[str]] = {}
    for id_, name in zip(ordered["id"], ordered["name"], strict=True):
        sets.setdefault(id_, []).append(name)
    return sets


def why_no_vectors(attributes: pd.DataFrame) -> str | None:
    """Say why the names can teach nothing, or None if they can.

    Args:
        attributes: Columns id and name, no row twice.
    """
    sets: dict[str, set[str]] = {}
    for id_, name in zip(attributes["id"], attributes["name"], strict=True):
        sets.setdefault(id_, set()).add(name)
    if not sets:
        return "no picture has any"
    names = f"the {len(sets):,} pictures with names"
    if len(set(map(frozenset, sets.values()))) == 1:
        return f"{names} all have the same, so their vectors would all be one"
    if max(map(len, sets.values())) == 1:
        return (
            f"{names} have one each and names never go together, so their vectors would"
            " be what they began with, at random"
        )
    return None


def notes_on_names(attributes: pd.DataFrame) -> list[str]:
    """List what is odd about names, of which vectors are to be made.

    Args:
        attributes: Columns id and name, no row twice.
    """
    if attributes.empty:
        return []
    notes = []
    if reason := why_no_vectors(attributes):
        notes.append(f"no word vectors and no task of words: {reason}")
    else:
        sizes = attributes.groupby("id")["name"].transform("size")
        with_others = set(attributes["name"][sizes > 1])
        is_lone = ~attributes["name"].isin(with_others)
        if n_lone := int(is_lone.sum()):
            example = attributes["name"][is_lone].iloc[0]
            notes.append(
                f"{n_lone:,} of {attributes['id'].nunique():,} pictures with names have"
                f" one that never goes with another ({example!r}); its vector is what"
                " it began with, at random"
            )
    is_list = attributes["name"].str.contains(",")
    if is_list.mean() > 0.5:
        example = attributes["name"][is_list].iloc[0]
        notes.append(
            f"{int(is_list.sum()):,} of {len(attributes):,} names hold a comma"
            f' ({example!r}); each is taken as one name: separator = "," in [data]'
            " makes several of it"
        )
    return notes


def columns(dimensions: int) -> list[str]:
    """Name the columns of the vectors."""
    return [f"w{index}" for index in range(dimensions)]


def _fixed_hash(text: str) -> int:
    return zlib.crc32(text.encode())  # the built-in hash differs from run to run
