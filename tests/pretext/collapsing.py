"""SimSiam as it must not be, to see that its collapse is seen."""

import numpy as np
from torch import Tensor, nn

from pretext.data.pictures import Pictures
from pretext.methods.siamese import SimSiamLearner
from pretext.simsiam import SimSiamSettings

# in 40 steps on 160 blots the outputs of WithoutStop collapse, and others do not
DRILL = SimSiamSettings(
    epochs=2,
    batch_size=8,
    optimizer="adamw",
    learning_rate=0.1,
    schedule="constant",
    precision="fp32",
    threads=1,
)


class WithoutStop(SimSiamLearner):
    """Moves the target towards its prediction too: a constant output answers all."""

    def target(self, projected: Tensor) -> Tensor:
        return projected


def without_last_norm(learner: SimSiamLearner) -> SimSiamLearner:
    """Leave out the last norm of the projector.

    It forces deviation 1 on every output of a batch. With it a collapse takes longer,
    and is one of the rank.
    """
    layers = learner.projector.get_submodule("layers")
    assert isinstance(layers, nn.Sequential)
    layers[-1] = nn.Identity()
    return learner


def blots(n: int, side: int = 32) -> Pictures:
    """Draw pictures that differ in more than noise: two blots of colour on a ground."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:side, 0:side] / side
    pixels = np.empty((n, side, side, 3), dtype=np.uint8)
    for picture in pixels:
        colours = rng.integers(0, 256, (3, 3))
        picture[:] = colours[0]
        for colour in colours[1:]:
            centre, radius = rng.uniform(0.2, 0.8, 2), rng.uniform(0.1, 0.35)
            is_inside = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2
            picture[is_inside] = colour
    return Pictures(pixels)
