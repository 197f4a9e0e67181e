"""The stacker ``mlp``: small network; see ``stacking.models.neural``."""

from stacking.models.neural import cross_fit_neural, load_nets
from stacking.models.stacker import Stacker

STACKER = Stacker(
    name="mlp",
    title="small network",
    inputs="narrow",
    fit=lambda rows, context: cross_fit_neural("mlp", rows, seed=context.seed),
    load=load_nets,
    is_slow=True,
)
