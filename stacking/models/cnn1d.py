"""Stacker ``cnn1d``: 1-D convolutions over the views."""

from stacking.models.neural import cross_fit_neural, load_nets
from stacking.models.stacker import Stacker

STACKER = Stacker(
    name="cnn1d",
    title="1-D convolutions over the views",
    inputs="views",
    fit=lambda rows, context: cross_fit_neural("cnn1d", rows, seed=context.seed),
    load=load_nets,
    is_slow=True,
)
