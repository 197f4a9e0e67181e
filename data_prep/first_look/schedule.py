"""Side, network and epochs that fit the pictures, the machine and the time there is.

The candidates go from the best to the quickest; the first that can be trained long
enough in the time is taken.
"""

from collections.abc import Callable
from dataclasses import dataclass

from data_prep.first_look.headers import Headers

LADDER = (  # network and side in px, the best first
    ("resnet18", 112),
    ("resnet18", 96),
    ("resnet18", 80),
    ("resnet18", 64),
    ("test_resnet", 64),
    ("test_resnet", 48),
    ("test_resnet", 32),
)
LEAST_EPOCHS, ENOUGH_EPOCHS = 3, 12  # of a fine-tuning
USUAL_EPOCHS, MOST_EPOCHS = 28, 60
ROWS_SHOWN = 40_000  # to a net in all, where rows are few: then epochs are more
PRETEXT_SHARE = 0.36  # epochs of the pretext for one of the fine-tuning
N_VIEWS = 8  # of an extraction
BACKWARD = 3.0  # a training step costs three forwards
FIXED_S = 60.0  # starting, preparing and stacking
PREPARED_PER_S = 150.0  # pictures, decoded and looked at
MIN_BATCHES = 4  # steps of an epoch
BATCHES = {"pretext": 64, "transfer": 32}

Rate = Callable[[str, int], float]
"""Of a network and a side in px: pictures that go through it forward in a second."""


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

    def forwards(self, pretext_epochs: int, epochs: int) -> float:
        """Count pictures through a net, in forwards, over all stages."""
        pretext = BACKWARD * self.n_pictures * pretext_epochs
        if not self.n_labelled:
            return pretext + N_VIEWS * self.n_pictures
        transfer = BACKWARD * self.n_folds * self.rows_of_net * epochs
        n_others = self.n_pictures - self.n_labelled
        return (
            pretext + transfer + N_VIEWS * (self.n_labelled + self.n_folds * n_others)
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


def schedule(
    load: Load, headers: Headers | None, minutes: float, rate: Rate
) -> Schedule:
    """Choose network, side and epochs.

    Args:
        load: What is to go through the nets.
        headers: Of the pictures; None: unknown.
        minutes: The time there is.
        rate: How fast this machine is.

    Returns:
        The best that fits; where nothing does, the quickest.
    """
    longest = headers.long_px if headers else 1024
    rungs = [rung for rung in LADDER if rung[1] <= longest] or [LADDER[-1]]
    most = USUAL_EPOCHS
    if load.n_labelled:
        few = ROWS_SHOWN // max(1, load.rows_of_net)
        most = min(MOST_EPOCHS, max(USUAL_EPOCHS, few))
    best: Schedule | None = None
    for backbone, side_px in rungs:
        per_s, is_last = rate(backbone, side_px), (backbone, side_px) == rungs[-1]
        for epochs in range(most, LEAST_EPOCHS - 1, -1):
            pretext_epochs = max(LEAST_EPOCHS, round(PRETEXT_SHARE * epochs))
            seconds = load.forwards(pretext_epochs, epochs) / per_s
            seconds += FIXED_S + load.n_pictures / PREPARED_PER_S
            best = Schedule(
                backbone=backbone,
                side_px=side_px,
                pretext_epochs=pretext_epochs,
                epochs=epochs,
                minutes=seconds / 60,
            )
            if best.minutes <= minutes and (is_last or epochs >= ENOUGH_EPOCHS):
                return best
    if best is None:
        raise RuntimeError("the ladder has no rung")
    return best


def batch_size(stage: str, n_rows: int) -> int:
    """Give pictures per step: the usual ones, fewer where an epoch had few steps.

    Args:
        stage: ``pretext`` or ``transfer``.
        n_rows: Pictures of an epoch.
    """
    size = BATCHES[stage]
    while size > 4 and n_rows < MIN_BATCHES * size:
        size //= 2
    return size
