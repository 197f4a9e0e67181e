"""Stacker ``cnn2d``: 2-D convolutions, outputs x views."""

from stacking.models.neural import cross_fit_neural, load_nets
from stacking.models.stacker import Stacker

STACKER = Stacker(
    name="cnn2d",
    title="2-D convolutions, outputs x views",
    inputs="views",
    fit=lambda rows, context: cross_fit_neural("cnn2d", rows, seed=context.seed),
    load=load_nets,
    is_slow=True,
)
