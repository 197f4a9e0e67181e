"""The stacker ``tabm``: TabM, an ensemble of small networks that share most weights.

Gorishniy, Kotelnikov and Babenko, "TabM: advancing tabular deep learning with
parameter-efficient ensembling", ICLR 2025; see ``stacking.models.neural``.
"""

from stacking.models.neural import cross_fit_neural, load_nets
from stacking.models.stacker import Stacker

STACKER = Stacker(
    name="tabm",
    title="TabM, an ensemble in one network",
    inputs="narrow",
    fit=lambda rows, context: cross_fit_neural("tabm", rows, seed=context.seed),
    load=load_nets,
    is_slow=True,
    package="tabm",
)
