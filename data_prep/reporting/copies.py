"""A part of reports: the pictures that are there more than once, and what to do."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from markupsafe import Markup
from numpy.typing import NDArray

from data_prep.pictures.copies import count_copies
from data_prep.reporting.report import (
    Section,
    folded,
    picture_grid,
    prose,
    table,
    together,
)
from data_prep.tables.spelling import target_texts

SAME_AS, PIXELS = "same_as", "pixels_sha256"  # columns by which copies are known
MOST_SHOWN, MOST_LISTED = 24, 200  # pictures, and lines of the list
MOST_NAMED = 3  # ids or labels below a picture
SIDE_PX = 112


@dataclass(frozen=True, kw_only=True)
class Copies:
    """Rows that are one picture to every net.

    Attributes:
        ids: Two or more.
        labels: Their different targets, spelled for people; none: no target.
        splits: Their different splits.
        image_row: Where the pixels of the first lie.
        n_versions: How many different pixels are stored of it.
    """

    ids: Sequence[str]
    labels: Sequence[str]
    splits: Sequence[str]
    image_row: int
    n_versions: int = 1

    @property
    def is_contradiction(self) -> bool:
        """Whether no prediction can be right for all of them."""
        return len(self.labels) > 1

    @property
    def is_crossing(self) -> bool:
        """Whether a picture to predict is one of those that are learned from."""
        return {"train", "test"} <= set(self.splits)


def copies_of(rows: pd.DataFrame) -> list[Copies]:
    """List the pictures of more than one row: those that ask for action first.

    Args:
        rows: Of a prepared table, or of one that is being prepared. An older one is
            without ``SAME_AS``, and the first ones without ``PIXELS``: it has none.
    """
    if PIXELS not in rows:
        return []
    by = SAME_AS if SAME_AS in rows else PIXELS
    labelled = rows.assign(label=target_texts(rows))
    repeated = labelled[labelled[by].duplicated(keep=False)]
    listed = [
        Copies(
            ids=tuple(same["id"]),
            labels=tuple(dict.fromkeys(text for text in same["label"] if text)),
            splits=tuple(dict.fromkeys(same["split"])),
            image_row=int(same["image_row"].iloc[0]),
            n_versions=same[PIXELS].nunique(),
        )
        for _, same in repeated.groupby(by, sort=False)
    ]
    return sorted(
        listed, key=lambda c: (not c.is_contradiction, not c.is_crossing, -len(c.ids))
    )


def copies_section(rows: pd.DataFrame, images: NDArray[np.uint8]) -> Section:
    """Show the pictures that are there more than once; none: nothing.

    Args:
        rows: As for ``copies_of``.
        images: (N, S, S, 3) stored pictures of all rows.
    """
    listed = copies_of(rows)
    if not listed:
        return Section("", Markup())
    shown = listed[:MOST_SHOWN]
    grid = picture_grid(
        [images[copies.image_row] for copies in shown],
        [_caption(copies) for copies in shown],
        side=SIDE_PX,
    )
    more = f", the {len(shown)} that matter most" if len(listed) > len(shown) else ""
    return Section(
        "Copies",
        together(prose(*_advice(listed)), grid, _list(listed)),
        "Pictures that are there under several ids, as the same pixels or nearly, each"
        f" shown once{more}. Copies are kept in one fold, so no score is too good by"
        " them.",
    )


def remarks_on_copies(rows: pd.DataFrame) -> list[str]:
    """Say how many pictures are copies, and where that asks for action.

    Args:
        rows: Of a table that is being prepared.
    """
    counts = count_copies(rows)
    are_kept = "kept in one fold with it"
    if counts.n_equal and (rows[SAME_AS] == rows["id"]).all():
        are_kept = "not kept in one fold with it, as copies says"
    texts = []
    if counts.n_equal:
        texts.append(
            f"{_counted(counts.n_equal)} the same as another, pixel by pixel;"
            f" {are_kept}"
        )
    if counts.n_near:
        texts.append(
            f"{_counted(counts.n_near)} nearly the same as another (recompressed,"
            f" resized, turned or cropped a little); {are_kept}"
        )
    if counts.n_crossing:
        texts.append(
            f"{_counted(counts.n_crossing)} to be predicted equal to one of the"
            " training split, or nearly"
        )
    contradicting = [c for c in copies_of(rows) if c.is_contradiction]
    if contradicting:
        first = contradicting[0]
        have = "has" if len(contradicting) == 1 else "have"
        texts.append(
            f"{_counted(len(contradicting))} with copies {have} different labels"
            f", such as {_few(first.ids)}: {_few(first.labels)}; see Copies in the"
            " report"
        )
    return texts


def _caption(copies: Copies) -> str:
    versions = f" in {copies.n_versions} versions" if copies.n_versions > 1 else ""
    lines = [f"{len(copies.ids)} times{versions}: {_few(copies.ids)}"]
    if copies.labels:
        label = "labels" if copies.is_contradiction else "label"
        lines.append(f"{label} {_few(copies.labels)}")
    if copies.is_crossing:
        lines.append("to predict, and learned from")
    return "\n".join(lines)


def _few(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - MOST_NAMED} more" if len(texts) > MOST_NAMED else ""
    return ", ".join(texts[:MOST_NAMED]) + more


def _advice(listed: Sequence[Copies]) -> list[str]:
    """Say what to do about copies, the more urgent first."""
    n_rows = sum(len(copies.ids) for copies in listed)
    n_contradictions = sum(copies.is_contradiction for copies in listed)
    n_crossing = sum(copies.is_crossing for copies in listed)
    stand = "stands" if len(listed) == 1 else "stand"
    sentences = [f"{_counted(len(listed))} {stand} in {n_rows:,} rows."]
    if n_contradictions:
        have = "has" if n_contradictions == 1 else "have"
        sentences.append(
            f"{_counted(n_contradictions)} {have} different labels: no prediction is"
            " right for all rows of such a picture. Correct the labels, or leave the"
            " rows out."
        )
    if n_crossing:
        are = "is" if n_crossing == 1 else "are"
        sentences.append(
            f"{_counted(n_crossing)} {are} both learned from and to be predicted,"
            " under different ids: there the label is known already, and predictions"
            " will score better than cross-validation promises."
        )
    if not n_contradictions and not n_crossing:
        sentences.append("No labels contradict each other: nothing need be done.")
    return sentences


def _counted(n_pictures: int) -> str:
    return "1 picture" if n_pictures == 1 else f"{n_pictures:,} pictures"


def _list(listed: Sequence[Copies]) -> Markup:
    """Set all of them in a table that is folded."""
    frame = pd.DataFrame(
        [
            {
                "ids": ", ".join(copies.ids),
                "rows": len(copies.ids),
                "labels": ", ".join(copies.labels),
                "splits": ", ".join(copies.splits),
            }
            for copies in listed[:MOST_LISTED]
        ]
    )
    n_more = len(listed) - len(frame)
    title = f"The first {len(frame):,} of {len(listed):,}" if n_more else "All of them"
    return folded(title, table(frame))
