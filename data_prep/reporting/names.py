"""Names in the report of the preparation: which lie near which, and a map of them.

Shapes: N names, D dimensions of their vectors.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from data_prep.arrays import Floats
from data_prep.reporting.charts import Point, scatter
from data_prep.reporting.report import Section, table, together

N_LISTED = 30  # most frequent names whose neighbours are listed
N_NEAREST = 4
N_ON_MAP = 200
N_WRITTEN = 40  # of those on the map, with their name beside the dot where it has room
LETTER, LINE = 0.014, 0.05  # width and height of what is written, of the map's
NOTE = (
    "Names that go with the same names lie near each other. The map shows the two"
    " directions in which the vectors differ most, each name as often as pictures have"
    " it; most of the distances need more than two. What a name means is read from its"
    " neighbours in the table, by the cosine of their vectors."
)


def names_section(of_names: pd.DataFrame) -> Section:
    """Show the nearest names of the frequent ones, and a map.

    Args:
        of_names: Of ``data_prep.tables.words.name_vectors``, N names.
    """
    shown = of_names.head(N_ON_MAP)
    places = flattened(_vectors(of_names), of_names["n_pictures"].to_numpy())
    places = places[: len(shown)]
    written = with_room(places[:N_WRITTEN], shown["name"].tolist()[:N_WRITTEN])
    points = [
        Point(
            x=float(x),
            y=float(y),
            caption=f"{name} ({count:,})",
            text=name if name in written else "",
        )
        for name, count, (x, y) in zip(
            shown["name"], shown["n_pictures"], places, strict=True
        )
    ]
    chart = scatter(points, x_label="first direction", y_label="second direction")
    return Section(
        "What names mean", together(chart, table(nearest_names(of_names))), NOTE
    )


def nearest_names(of_names: pd.DataFrame) -> pd.DataFrame:
    """List the nearest names of the most frequent ones.

    Args:
        of_names: Of ``data_prep.tables.words.name_vectors``, N names.

    Returns:
        Columns name, pictures, nearest: a text of names with their cosines.
    """
    vectors, names = _vectors(of_names), of_names["name"].to_numpy()
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    cosine = unit[:N_LISTED] @ unit.T
    np.fill_diagonal(cosine, -np.inf)
    order = np.argsort(-cosine, axis=1, kind="stable")[:, :N_NEAREST]
    nearest = [
        ", ".join(
            f"{names[idx]} {cosine[row, idx]:.2f}"
            for idx in of_row
            if np.isfinite(cosine[row, idx])
        )
        for row, of_row in enumerate(order)
    ]
    counts = of_names["n_pictures"].head(N_LISTED)
    return pd.DataFrame(
        {"name": names[: len(counts)], "pictures": counts, "nearest": nearest}
    )


def flattened(vectors: Floats, counts: Floats) -> Floats:
    """Project vectors on the two directions of their largest variance.

    Args:
        vectors: (N, D).
        counts: (N,) how much each counts.

    Returns:
        (N, 2); the second column is 0 where there is no second direction. The signs
        are such that the largest entry of each direction is positive.
    """
    centred = vectors - np.average(vectors, axis=0, weights=counts)
    _, _, directions = np.linalg.svd(
        centred * np.sqrt(counts)[:, None], full_matrices=False
    )
    directions = directions[:2]
    idx = np.abs(directions).argmax(axis=1)
    directions *= np.sign(directions[np.arange(len(directions)), idx])[:, None]
    places = np.zeros((len(vectors), 2))
    places[:, : len(directions)] = centred @ directions.T
    return places


def with_room(places: Floats, names: Sequence[str]) -> set[str]:
    """Choose names that can be written beside their places without overlapping.

    Args:
        places: (N, 2); earlier names come first.
        names: N names.
    """
    spans = np.maximum(np.ptp(places, axis=0), 1e-12) if len(places) else np.ones(2)
    written: list[tuple[float, float, float]] = []  # left, right, height
    chosen = set()
    for (x, y), name in zip(places / spans, names, strict=True):
        right = x + LETTER * (len(name) + 2)
        if all(
            x > end or right < start or abs(y - height) > LINE
            for start, end, height in written
        ):
            written.append((x, right, y))
            chosen.add(name)
    return chosen


def _vectors(of_names: pd.DataFrame) -> Floats:
    columns = of_names.columns.drop(["name", "n_pictures"])
    return of_names[columns].to_numpy(dtype=np.float64)
