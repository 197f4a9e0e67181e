"""Names that changed in this release: the old one is refused, the new one is named.

An entry stands here for one release. Wherever a name is not known, the message comes
from ``data_prep.settings.nearest``, which looks here first; so an entry does for keys
of the experiment file, flags (written without dashes), values and commands.
"""

from collections.abc import Collection

NAMES = {
    "again": "overwrite",
    "cuts": "thresholds",
    "doubts": "sample_weights",
    "links": "postprocess",
    "mix": "blend",
    "mix_expected": "blend_expected",
    "smooth_l1": "huber",
    "snap": "round",
    "snap_class": "round_to_class",
    "stacking.ledger": "stacking.leaderboard",
}
RECORDED = {"links": "postprocess", "data.doubts": "data.sample_weights"}  # settings


def new_name(name: str, choices: Collection[str]) -> str | None:
    """Give what a name is called now, if it is one of the choices.

    >>> new_name("--again", ["--run", "--overwrite"])
    '--overwrite'
    """
    bare = name.lstrip("-").replace("-", "_")
    if bare not in NAMES:
        return None
    dashes = name[: len(name) - len(bare)]
    new = dashes + (NAMES[bare].replace("_", "-") if dashes else NAMES[bare])
    return new if new in choices else None
