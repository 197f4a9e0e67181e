"""Side, network and epochs that fit the pictures, the machine and the time there is.

The candidates go from the best to the quickest; the first that can be trained long
enough in the time is taken.
"""

import math
from dataclasses import dataclass

from data_prep.effort import Rates, estimate_rates
from data_prep.first_look.headers import Headers
from data_prep.pictures.copies import search_seconds

USUAL_EPOCHS, MOST_EPOCHS = 28, 60  # of a fine-tuning
ENOUGH_EPOCHS, LEAST_EPOCHS = 12, 3
LADDER = (  # network, side in px, epochs it is worth taking for; the best first
    ("resnet34", 160, USUAL_EPOCHS),
    ("resnet34", 128, USUAL_EPOCHS),
    ("resnet18", 128, USUAL_EPOCHS),
    ("resnet18", 112, ENOUGH_EPOCHS),
    ("resnet18", 96, ENOUGH_EPOCHS),
    ("resnet18", 80, ENOUGH_EPOCHS),
    ("resnet18", 64, ENOUGH_EPOCHS),
    ("test_resnet", 64, ENOUGH_EPOCHS),
    ("test_resnet", 48, ENOUGH_EPOCHS),
    ("test_resnet", 32, LEAST_EPOCHS),
)
ROWS_SHOWN = 40_000  # to a net in all, where rows are few: then epochs are more
PRETEXT_FRAC = 0.36  # epochs of the pretext for one of the fine-tuning
PUZZLE_FRAC = 0.875  # side of a puzzle: its gaps are cut away
N_VIEWS = 8  # of an extraction
# to open and write, as the workloads of the stages count it: 3 s to prepare, 5 s for
# the pretext, 4 s to extract; with labels 3 s and a second a net, 4 s for the stack
FIXED_S = {True: 22.0, False: 12.0}
PREPARED_PER_S = 150.0  # pictures, decoded and looked at
STACKED_PER_S = 400.0  # labelled pictures of some twenty columns
MIN_BATCHES = 4  # steps of an epoch
BATCHES = {"pretext": 64, "transfer": 32}


@dataclass(frozen=True, kw_only=True)
class Load:
    """What is to go through the nets.

    Attributes:
        n_pictures: All pictures.
        n_labelled: Those with a label; 0: nothing is fine-tuned.
        n_folds: Nets that are fine-tuned.
    """

    n_pictures: int
    n_labelled: int
    n_folds: int = 3

    @property
    def rows_of_net(self) -> int:
        """Rows that one net is trained on."""
        return self.n_labelled * (self.n_folds - 1) // self.n_folds

    @property
    def n_views(self) -> int:
        """Views that an extraction sends through nets."""
        if not self.n_labelled:
            return N_VIEWS * self.n_pictures
        n_others = self.n_pictures - self.n_labelled
        return N_VIEWS * (self.n_labelled + self.n_folds * n_others)

    def seconds(
        self, puzzles: Rates, views: Rates, *, pretext_epochs: int, epochs: int
    ) -> float:
        """Estimate how long all stages take.

        Args:
            puzzles: How fast the pretext is.
            views: How fast the fine-tuning and the extraction are.
            pretext_epochs: Of the pretext.
            epochs: Of each fine-tuning.
        """
        n_trained = self.n_folds * self.rows_of_net * epochs
        fixed_s = FIXED_S[self.n_labelled > 0] + self.n_pictures / PREPARED_PER_S
        fixed_s += search_seconds(self.n_pictures) + self.n_labelled / STACKED_PER_S
        n_scored = self.n_labelled * (1 + epochs)  # each held out once, of all folds
        pretext_s = puzzles.seconds(trained=self.n_pictures * pretext_epochs)
        return (
            fixed_s
            + pretext_s
            + views.seconds(trained=n_trained, inferred=self.n_views + n_scored)
        )


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What is to be trained, and for how long.

    Attributes:
        backbone: Name of the network.
        side_px: Side of the stored pictures.
        pretext_epochs: Of the jigsaw.
        epochs: Of the fine-tuning.
        minutes: How long all stages will take, about.
    """

    backbone: str
    side_px: int
    pretext_epochs: int
    epochs: int
    minutes: float

    @property
    def minutes_told(self) -> float:
        """The time as it is told: in steps of five seconds, or to two digits."""
        if self.minutes < 1:
            return math.ceil(12 * self.minutes) / 12
        return float(f"{self.minutes:.2g}")

    @property
    def time_text(self) -> str:
        """The time in words, to stand behind *about*."""
        minutes = self.minutes_told
        if minutes < 1:
            return f"{60 * minutes:.0f} seconds"
        return "a minute" if minutes == 1 else f"{minutes:g} minutes"


def schedule(
    load: Load, headers: Headers | None, minutes: float, gmac_per_s: float
) -> Schedule:
    """Choose network, side and epochs.

    Args:
        load: What is to go through the nets.
        headers: Of the pictures; None: unknown.
        minutes: The time there is.
        gmac_per_s: How fast this machine is.

    Returns:
        The best that fits; where nothing does, the quickest.
    """
    longest = headers.long_px if headers else LADDER[0][1]
    rungs = [rung for rung in LADDER if rung[1] <= longest] or [LADDER[-1]]
    few = ROWS_SHOWN // load.rows_of_net if load.rows_of_net else 0
    most = min(MOST_EPOCHS, max(USUAL_EPOCHS, few))
    best: Schedule | None = None
    for number, (backbone, side_px, enough) in enumerate(rungs, start=1):
        least = LEAST_EPOCHS if number == len(rungs) else enough
        for epochs in range(most, least - 1, -1):
            best = _scheduled(load, (backbone, side_px), epochs, gmac_per_s)
            if best.minutes <= minutes:
                return best
    if best is None:
        raise RuntimeError("the ladder has no rung")
    return best


def _scheduled(
    load: Load, rung: tuple[str, int], epochs: int, gmac_per_s: float
) -> Schedule:
    """Say how long a network of a side takes for some epochs."""
    backbone, side_px = rung
    sizes = (
        (round(PUZZLE_FRAC * side_px), batch_size("pretext", load.n_pictures)),
        (side_px, batch_size("transfer", load.rows_of_net)),
    )
    rates = [
        estimate_rates(backbone, px, gmac_per_s=gmac_per_s, batch_size=size)
        for px, size in sizes
    ]
    puzzles, views = rates
    if puzzles is None or views is None:
        raise RuntimeError(f"{backbone} is in the ladder, and nobody knows its rate")
    share = PRETEXT_FRAC if load.n_labelled else 1.0
    pretext_epochs = max(LEAST_EPOCHS, round(share * epochs))
    seconds = load.seconds(puzzles, views, pretext_epochs=pretext_epochs, epochs=epochs)
    return Schedule(
        backbone=backbone,
        side_px=side_px,
        pretext_epochs=pretext_epochs,
        epochs=epochs,
        minutes=seconds / 60,
    )


def batch_size(stage: str, n_rows: int) -> int:
    """Give pictures per step: the usual ones, fewer where an epoch had few steps.

    Args:
        stage: ``pretext`` or ``transfer``.
        n_rows: Pictures of an epoch.
    """
    size = BATCHES[stage]
    while size > 4 and n_rows < MIN_BATCHES * size:
        size //= 2
    return max(1, min(size, n_rows))
