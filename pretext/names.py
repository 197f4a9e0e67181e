"""Names that settings take from other libraries: networks and optimisers.

Torch-free until a library has to be asked.
"""

import difflib

from data_prep.errors import UserError
from data_prep.settings import near

SCRATCH = "scratch"  # first weights: none
TORCH_OPTIMIZERS = ("adamw", "sgd")
LOOKAHEAD = "lookahead:"  # before the name of the optimiser that it wraps
# Tried with pytorch-optimizer 4.1: these ask for more than groups of parameters and a
# rate (a closure, the model, a second pass, another mode for evaluating), or their
# state cannot be read back from a checkpoint without unpickling.
# fmt: off
REFUSED = {
    "a2grad", "adago", "adahessian", "adalomo", "adammini", "adamuon", "adashift",
    "alig", "bsam", "conda", "demo", "distributedmuon", "lbfgs", "lomo", "lorarite",
    "muon", "muonclip", "normuon", "ranger21", "scalableshampoo", "schedulefreeadamw",
    "schedulefreeradam", "schedulefreesgd", "scion", "scionlight", "sophiah",
    "spectralsphere",
}
# fmt: on


def check_optimizer(name: str) -> None:
    """Refuse an unknown optimiser before any work is done.

    Raises:
        UserError: There is none of that name, or it cannot be driven by plain steps.
    """
    base = name.removeprefix(LOOKAHEAD)
    if base in TORCH_OPTIMIZERS:
        return
    from pytorch_optimizer import get_supported_optimizers

    usable = {str(name) for name in get_supported_optimizers()} - REFUSED
    if base not in usable:
        raise UserError(f"optimizer = {name!r}: {_optimizer_hint(name, usable)}")


def _optimizer_hint(name: str, usable: set[str]) -> str:
    """Say what is wrong with a name, and what may have been meant by it."""
    wrapper = LOOKAHEAD if name.startswith(LOOKAHEAD) else ""
    base = name.removeprefix(LOOKAHEAD).strip().lower()
    if base in REFUSED:
        return (
            "it asks for more than gradients and a rate, or cannot go on from a"
            f" checkpoint; give another, such as {wrapper}adamw"
        )
    if base in ("sam", "asam") or base.startswith("sam:"):
        return "no such optimiser; SAM goes over any of them: give --sam-rho 0.05"
    if not base or base.startswith("lookahead"):
        return f"no such optimiser; it wraps another one: give {LOOKAHEAD}adamw"
    hint = near(base, sorted(usable | set(TORCH_OPTIMIZERS)))
    hint = hint.replace("mean '", f"mean '{wrapper}", 1)
    # a hundred names would not help
    return "no such optimiser; " + (
        hint or "give adamw, sgd or a name of pytorch-optimizer, such as radam"
    )


def check_backbone(name: str) -> None:
    """Refuse an unknown network before any work is done.

    Args:
        name: Name of a timm architecture, maybe with a tag: ``resnet18.a1_in1k``.

    Raises:
        UserError: timm has no such network, or not with that tag.
    """
    import timm

    if not timm.is_model(name):
        close = difflib.get_close_matches(name, timm.list_models(), n=1)
        hint = f"did you mean {close[0]!r}?" if close else "timm.list_models() has all"
        raise UserError(f"backbone = {name!r}: timm has no such network; {hint}")
    try:
        if "." in name:
            timm.models.get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError as error:
        raise UserError(f"backbone = {name!r}: {error}") from None
