"""Shortcut audit: how far puzzles are solved without looking at what is in a picture.

Tiny models (``pretext.methods.cues``) are fitted on the puzzles of some pictures and
scored on those of others. One sees the mean and deviation of each tile, one how its red
is shifted against its blue (a lens magnifies the colours differently), one the
outermost pixels of its edges. What beats chance by more than three standard errors is
said, with the switch against it and what that switch would leave; a warning it is only
where the switch is off and would help.

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

from pretext.data.keyed_rng import uniforms
from pretext.data.pictures import Pictures
from pretext.methods.cues import CUES, Figure, measure
from pretext.methods.puzzles import PuzzleRules, make_puzzles, split_tiles

MOST, LEAST = 500, 40  # pictures; with fewer, no figure would mean anything
AT_ONCE = 50
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
    rows: NDArray[np.int64],
    keys: NDArray[np.uint64],
    rules: PuzzleRules,
    extents: NDArray[np.float32] | None,
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
        extents: (N, 2) share of width and height that each picture fills; None: all.
        seed: Decides which of the pictures are taken, and their puzzles.
        advise: Say which switches would help; else the figures alone are logged.

    Returns:
        The figures by cue, as JSON values; none where there are too few pictures.
    """
    drawn = uniforms(keys[rows], 1, seed=seed, epoch=EPOCH, purpose="audited")
    chosen = rows[drawn[:, 0].argsort(kind="stable")][:MOST]
    if len(chosen) < LEAST:
        return {}

    def figure_of(cue: str, rules: PuzzleRules) -> Figure:
        features, cells = _look(cue, pictures, chosen, keys, rules, extents, seed)
        return measure(cue, features, cells)

    found = {cue: figure_of(cue, rules) for cue in CUES}
    said = "; ".join(_finding(cue, figure) for cue, figure in found.items())
    log.info("shortcuts, on %d pictures: %s", len(chosen) - len(chosen) // 2, said)
    for cue, figure in found.items():
        if advise and figure.beats_chance:
            closed, off = switched_on(cue, rules)
            left = figure_of(cue, closed) if off else figure
            _advise(cue, figure, off, left)
    return {cue: _rounded(figure) for cue, figure in found.items()}


def _advise(cue: str, figure: Figure, off: Sequence[str], left: Figure) -> None:
    """Say what beats chance, and what would help.

    Args:
        cue: What the tiny model saw.
        figure: How often it was right.
        off: Flags of the switches against the cue that are off.
        left: How often it would be right with them.
    """
    finding, flags = _finding(cue, figure), " and ".join(off)
    remains = f"{left.right:.1%}"
    if not off:
        log.info("%s, %s", finding, WHAT_IS_LEFT[cue])
    elif not left.beats_chance or figure.right - left.right > 3 * figure.error:
        log.warning("%s: turn on %s, which leaves %s", finding, flags, remains)
    else:
        log.info(
            "%s, and would with %s tell %s: that is what the pictures show",
            *(finding, flags, remains),
        )


def switched_on(cue: str, rules: PuzzleRules) -> tuple[PuzzleRules, list[str]]:
    """Turn on what is off of the switches against a cue, and name their flags."""
    usual = PuzzleRules()
    # off: no gap, no grey, no shift, or a normalisation that is not the tile's own
    off = {
        name: flag
        for name, flag in SWITCHES[cue].items()
        if bool(getattr(rules, name)) != bool(getattr(usual, name))
    }
    closed = replace(rules, **{name: getattr(usual, name) for name in off})
    return closed, list(off.values())


def _finding(cue: str, figure: Figure) -> str:
    share = FINDING[cue].format(f"{figure.right:.1%}")
    return f"{share} (chance {figure.chance:.1%})"


def _rounded(figure: Figure) -> dict[str, float]:
    return {name: round(value, 4) for name, value in asdict(figure).items()}


def _look(
    cue: str,
    pictures: Pictures,
    rows: NDArray[np.int64],
    keys: NDArray[np.uint64],
    rules: PuzzleRules,
    extents: NDArray[np.float32] | None,
    seed: int,
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Make a puzzle of each picture; give what a model sees of it, and the cells."""
    seen, cells = [], []
    for start in range(0, len(rows), AT_ONCE):
        part = rows[start : start + AT_ONCE]
        draws = uniforms(
            keys[part], rules.n_draws, seed=seed, epoch=EPOCH, purpose="audit"
        )
        filled = None if extents is None else extents[part]
        puzzles, answers = make_puzzles(pictures.take(part), draws, rules, filled)
        # rounded, or the last bits of equal tiles would tell where they were cut
        features = CUES[cue](split_tiles(puzzles, rules.grid)).cpu().round(decimals=3)
        seen.append(features)
        cells.append(answers.cpu())
    return torch.cat(seen).numpy(), torch.cat(cells).numpy()
