"""What a peer does with a picture that is cut short, and with a label that is missing.

Shapes: N pictures.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.peers.contest import PEERS, Terms, read, run_peer

BROKEN, UNLABELLED = "a broken picture", "a missing label"
N_TRAIN, N_HELD_OUT = 160, 40
TERMS = Terms(minutes=0.3, side=64, cores=1, repeat=0)


def damage(table: pd.DataFrame, fault: str, folder: Path) -> pd.DataFrame:
    """Copy some pictures, and damage the first that is trained on.

    Args:
        table: N rows with path, id, target, group, split.
        fault: ``BROKEN``, half of its file is missing; or ``UNLABELLED``.
        folder: Of the copies.

    Returns:
        The rows of ``pictures.csv``.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    is_train = table["split"] == "train"
    train = table[is_train].sample(N_TRAIN, random_state=0)
    held_out = table[~is_train].sample(N_HELD_OUT, random_state=0)
    chosen = pd.concat([train, held_out], ignore_index=True)
    copies = [shutil.copy(path, folder) for path in chosen["path"]]
    chosen["path"] = copies
    chosen["target"] = chosen["target"].where(chosen["split"] == "train")
    if fault == UNLABELLED:
        chosen.loc[0, "target"] = float("nan")
    else:
        first = Path(copies[0])
        content = first.read_bytes()
        first.write_bytes(content[: len(content) // 2])
    return chosen


def answer_of(name: str, fault: str, table: pd.DataFrame, folder: Path) -> str:
    """Run a peer on damaged pictures, and say in a line what it did.

    Args:
        name: One of ``PEERS``.
        fault: ``BROKEN`` or ``UNLABELLED``.
        table: N rows with path, id, target, group, split.
        folder: Of the faults of a collection.
    """
    if fault == BROKEN and PEERS[name].needs:
        return "sees no picture"
    place = folder / fault.replace(" ", "_")
    if not (place / "pictures.csv").exists():
        damage(table, fault, place / "pictures").to_csv(
            place / "pictures.csv", index=False
        )
    measured = run_peer(name, place, TERMS, retry=False)
    if measured["code"]:
        return f"stops: {measured['last_line']}"
    predictions = pd.read_csv(place / name / "predictions.csv")
    n = int(predictions.drop(columns="id").notna().all(axis=1).sum())
    promised = list(read(place / name / "outcome.json")["promised"].values())
    is_scored = all(not np.isnan(score) for score in promised)
    return f"goes on; {n} of {len(predictions)} predicted" + (
        "" if is_scored else ", and its own score is no number"
    )


def markdown(names: Iterable[str], table: pd.DataFrame, folder: Path) -> str:
    """Write the table of what peers do with faults; those that have not run run."""
    lines = [f"| peer | {BROKEN} | {UNLABELLED} |", "|---|---|---|"]
    for name in names:
        cells = [
            answer_of(name, fault, table, folder).replace("|", "/")
            for fault in (BROKEN, UNLABELLED)
        ]
        lines.append(f"| {PEERS[name].title} | {' | '.join(cells)} |")
    return "\n".join(lines)
