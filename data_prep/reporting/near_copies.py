"""A part of reports: pairs of near copies, with a slider for the likeness."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_prep.dihedral import apply_view
from data_prep.pictures.copies import LISTED_LIKENESS, NearCopies
from data_prep.reporting.report import (
    Section,
    Slider,
    picture_grid,
    prose,
    slider,
    together,
)
from data_prep.tables.spelling import target_texts

MOST_SHOWN = 36  # pairs on either side of the threshold
SIDE_PX = 112
TURNS = {
    "h": "mirrored",
    "v": "mirrored upside down",
    "hv": "upside down",
    "r": "turned right",
    "hr": "mirrored and turned right",
    "vr": "mirrored and turned left",
    "hvr": "turned left",
}


def near_copies_section(
    near: NearCopies, rows: pd.DataFrame, images: NDArray[np.uint8]
) -> Section:
    """Show pairs of pictures that are nearly the same; without any there is no part.

    Args:
        near: The pairs.
        rows: N rows with id, split, image_row and maybe target.
        images: (N, S, S, 3) stored pictures of all rows.
    """
    is_copy = near.pairs["likeness"] >= near.likeness
    # those that are nearest to the threshold are what it is judged by
    copies, unlike = near.pairs[is_copy], near.pairs[~is_copy]
    shown = pd.concat([copies.tail(MOST_SHOWN), unlike.head(MOST_SHOWN)])
    if shown.empty:
        return Section("", prose())
    by_id = rows.assign(label=target_texts(rows)).set_index("id")
    pairs = [
        (dict(pair), by_id.loc[pair["id"]], by_id.loc[pair["other"]])
        for _, pair in shown.iterrows()
    ]
    grid = picture_grid(
        [images[first["image_row"]] for _, first, _ in pairs],
        [_caption(*pair) for pair in pairs],
        maps=[
            np.ascontiguousarray(
                apply_view(pair["view"], images[second["image_row"]], axes=(0, 1))
            )
            for pair, _, second in pairs
        ],
        side=SIDE_PX,
        values=[pair["likeness"] for pair, _, _ in pairs],
    )
    n_refused = int((is_copy & ~near.pairs["is_joined"].astype(bool)).sum())
    return Section(
        "Near copies",
        together(
            prose(*_advice(len(copies), len(unlike), n_refused, near.likeness)),
            slider(
                Slider(
                    label="likeness from",
                    low=LISTED_LIKENESS,
                    high=1.0,
                    value=near.likeness,
                )
            ),
            grid,
        ),
        "Pairs that agree in their details once laid on each other, the most alike"
        " first; the second as it is turned for that. All of them are in"
        " near_copies.csv.",
    )


def _advice(n_copies: int, n_others: int, n_refused: int, likeness: float) -> list[str]:
    """Say what the pairs are taken for, and how to change that."""
    n_kept = n_copies - n_refused
    sentences = [
        f"{_pairs(n_kept)} of likeness {likeness:g} or more are kept in one fold;"
        f" {_pairs(n_others)} of less are not. Where those are copies too, or these"
        " are none, set likeness in [data_prep.prepare] to where the slider parts them."
    ]
    if n_refused:
        sentences.append(
            f"{_pairs(n_refused)} of that likeness are not kept in one fold, for they"
            " chain too many rows to one group."
        )
    return sentences


def _pairs(n: int) -> str:
    return f"{n:,} pair{'s' * (n != 1)}"


def _caption(
    pair: Mapping[Any, Any], first: "pd.Series[Any]", second: "pd.Series[Any]"
) -> str:
    """Name the two, and say what asks for action."""
    turn = f", {TURNS[pair['view']]}" if pair["view"] in TURNS else ""
    lines = [f"{pair['likeness']:.2f}: {pair['id']}, {pair['other']}{turn}"]
    labels = [label for label in (first["label"], second["label"]) if label]
    if len(set(labels)) == 2:
        lines.append(f"labels {labels[0]}, {labels[1]}")
    if {first["split"], second["split"]} == {"train", "test"}:
        lines.append("to predict, and learned from")
    return "\n".join(lines)
