"""Shortcut audit: how far puzzles are solved without looking at what is in a picture.

Tiny models (``pretext.methods.cues``) are fitted on the puzzles of some pictures and
scored on those of others. One sees the mean and deviation of each tile, one how its red
is shifted against its blue (a lens magnifies the colours differently), one the
outermost pixels of its edges. What beats chance by more than three standard errors is
logged, with the switch against it and what that switch would leave; a warning it is
only where the switch is off and would help.

Edges go on looking alike across any gap, because what is in the picture goes on: on
watercolours they tell 97 % of the neighbours without a gap, 55 % with one of an eighth
and 34 % with a quarter. Above chance is then no fault of the puzzles.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from data_prep.arrays import Ints
from pretext.data.keyed_rng import uniforms
from pretext.data.pictures import Pictures
from pretext.methods.cues import CUES, CueAccuracy, measure
from pretext.methods.puzzles import PuzzleRules, make_puzzles, split_tiles

MAX_PICTURES, MIN_PICTURES = 500, 40  # with fewer, no figure would mean anything
BATCH_SIZE = 50
EPOCH = -1  # no training draws its numbers
FINDING = {
    "levels": "tile means and deviations alone tell {} of the places",
    "fringes": "colour fringes alone tell {} of the places",
    "edges": "edges alone tell {} of the neighbours",
}
SWITCHES = {
    "levels": {"normalise": "--tile-norm"},
    "fringes": {"grey": "--grey 0.3", "channel_shift": "--channel-shift 0.03"},
    "edges": {"gap": "--gap 0.125"},
}
WHAT_IS_LEFT = {
    "levels": "although --tile-norm is on: by tiles without contrast, as blank paper",
    "fringes": "although their switches are on; a larger --grey leaves less",
    "edges": "although --gap is on, as pictures go on across it; a larger one leaves"
    " less",
}
log = logging.getLogger(__name__)


def audit(
    pictures: Pictures,
    rows: Ints,
    keys: NDArray[np.uint64],
    rules: PuzzleRules,
    fill_frac: NDArray[np.float32] | None,
    seed: int,
    *,
    advise: bool = True,
) -> dict[str, Any]:
    """Measure the shortcuts that puzzles leave, and log what to do about them.

    Args:
        pictures: All N prepared pictures.
        rows: Those that may be looked at.
        keys: (N,) keys of all pictures.
        rules: How the puzzles are made.
        fill_frac: (N, 2) share of width and height that each picture fills; None: all.
        seed: Decides which of the pictures are taken, and their puzzles.
        advise: Say which switches would help; else the figures alone are logged.

    Returns:
        By cue the fields of ``CueAccuracy``, as JSON values; none where there are too
        few pictures.
    """
    u = uniforms(keys[rows], 1, seed=seed, epoch=EPOCH, purpose="audited")
    rows = rows[u[:, 0].argsort(kind="stable")][:MAX_PICTURES]
    if len(rows) < MIN_PICTURES:
        return {}

    def accuracy_of(cue: str, rules: PuzzleRules) -> CueAccuracy:
        features, cells = [], []
        for start in range(0, len(rows), BATCH_SIZE):
            batch = rows[start : start + BATCH_SIZE]
            u = uniforms(
                keys[batch], rules.n_random, seed=seed, epoch=EPOCH, purpose="audit"
            )
            fill = None if fill_frac is None else fill_frac[batch]
            puzzles, labels = make_puzzles(pictures.take(batch), u, rules, fill)
            # rounded, or the last bits of equal tiles would tell where they were cut
            tiles = split_tiles(puzzles, rules.grid)
            features.append(CUES[cue](tiles).cpu().round(decimals=3))
            cells.append(labels.cpu())
        return measure(cue, torch.cat(features).numpy(), torch.cat(cells).numpy())

    by_cue = {cue: accuracy_of(cue, rules) for cue in CUES}
    title = f"shortcuts, on {len(rows) - len(rows) // 2} pictures: "
    is_advised = {
        cue: advise and accuracy.beats_chance for cue, accuracy in by_cue.items()
    }
    if plain := [_sentence(cue, by_cue[cue]) for cue in CUES if not is_advised[cue]]:
        log.info("%s%s", title, "; ".join(plain))
    for cue in filter(is_advised.get, CUES):
        closed, flags = switched_on(cue, rules)
        remaining = accuracy_of(cue, closed) if flags else by_cue[cue]
        level, text = _advice(cue, by_cue[cue], flags, remaining)
        log.log(level, "%s%s", title, text)
    return {cue: _rounded(accuracy) for cue, accuracy in by_cue.items()}


def _advice(
    cue: str, accuracy: CueAccuracy, flags: Sequence[str], remaining: CueAccuracy
) -> tuple[int, str]:
    """Say what beats chance, and what would help.

    Args:
        cue: What the tiny model saw.
        accuracy: How often it was right.
        flags: Of the switches against the cue that are off.
        remaining: How often it would be right with them.

    Returns:
        The level to log it at, and a sentence.
    """
    sentence, switches = _sentence(cue, accuracy), " and ".join(flags)
    right = f"{remaining.right:.1%}"
    gain = accuracy.right - remaining.right
    if not flags:
        return logging.INFO, f"{sentence}, {WHAT_IS_LEFT[cue]}"
    if not remaining.beats_chance or gain > 3 * accuracy.error:
        return logging.WARNING, f"{sentence}: turn on {switches}, which leaves {right}"
    return logging.INFO, (
        f"{sentence}, and would with {switches} tell {right}: that is what the pictures"
        " show"
    )


def switched_on(cue: str, rules: PuzzleRules) -> tuple[PuzzleRules, list[str]]:
    """Turn on what is off of the switches against a cue, and name their flags."""
    usual = PuzzleRules()
    # off: no gap, no grey, no shift, or a normalisation that is not of each tile alone
    flags = {
        name: flag
        for name, flag in SWITCHES[cue].items()
        if bool(getattr(rules, name)) != bool(getattr(usual, name))
    }
    closed = replace(rules, **{name: getattr(usual, name) for name in flags})
    return closed, list(flags.values())


def _sentence(cue: str, accuracy: CueAccuracy) -> str:
    share = FINDING[cue].format(f"{accuracy.right:.1%}")
    return f"{share} (chance {accuracy.chance:.1%})"


def _rounded(accuracy: CueAccuracy) -> dict[str, float]:
    return {name: round(value, 4) for name, value in asdict(accuracy).items()}
