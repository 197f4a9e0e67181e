"""State dicts of others, read and fitted onto a network of timm, strictly.

Every tensor of the network must come from one of the state dict and of its shape, and
only the classifier may be left over: it is dropped. Names are tried first, then timm's
own adaptation of older or larger checkpoints, which resamples the positions of a
transformer, then the order: the same sequence of shapes, each tensor of the same sort.
Files of .safetensors are sorted by name, so that theirs says nothing.
"""

import pickle
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from warnings import catch_warnings

from torch import Tensor, nn

from data_prep.errors import UserError
from pretext.ready_weights import architecture_of

Tensors = Mapping[str, Tensor]
COUNTER = "num_batches_tracked"  # of a batch norm: unused, and not in older files


class MisfitError(UserError):
    """Tensors are not those of a network; the message says what is wrong."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a state dict: .safetensors, or a pickle of nothing but tensors.

    Raises:
        UserError: It is damaged, holds more than tensors, or none.
    """
    from timm.models import load_state_dict

    try:
        with catch_warnings(action="ignore"):  # of pickles that will be refused
            tensors = load_state_dict(str(path), weights_only=True)
    except Exception as error:  # noqa: BLE001 - parsers raise anything
        if isinstance(error.__cause__ or error, pickle.UnpicklingError):
            raise UserError(
                f"{path}: a pickle of more than tensors, which may run any code, is"
                " not read; save the state dict alone, best as .safetensors"
            ) from None
        reason = (str(error).strip() or type(error).__name__).split("\n")[0]
        raise UserError(f"{path}: these are no weights: {reason}") from None
    if not tensors or not all(isinstance(v, Tensor) for v in tensors.values()):
        raise UserError(f"{path}: these are no weights: no state dict in it")
    return tensors


def fit_tensors(
    tensors: Tensors, network: nn.Module, name: str, *, is_ordered: bool
) -> tuple[dict[str, Tensor], str]:
    """Give each tensor of a network one of a state dict.

    Args:
        tensors: The state dict, in its order.
        network: A backbone, without its classifier.
        name: Of the network, for timm.
        is_ordered: That order is the network's.

    Returns:
        The tensors by the network's names, and how, as the end of a sentence.

    Raises:
        MisfitError: They do not fit.
    """
    expected, whole = dict(network.state_dict()), _with_classifier(name)
    ways: dict[str, Callable[[], Tensors]] = {
        "by name": lambda: tensors,
        "by name, as timm adapts them": lambda: _adapted(tensors, network),
        "in their order, of equal shapes, whatever their names": lambda: _in_order(
            tensors, [*expected], [*whole]
        ),
    }
    for way, find in list(ways.items())[: 3 if is_ordered else 2]:
        fitting = {k: v for k, v in expected.items() if k.endswith(COUNTER)}
        fitting |= find()
        head = [key for key in whole if key in fitting and key not in expected]
        backbone = {k: v for k, v in fitting.items() if k not in head}
        if not misfit(backbone, expected):
            dropped = f"head dropped: {', '.join(head)}" if head else "no head"
            return backbone, f", matched {way}; none missing or unexpected; {dropped}"
    order = (
        "the shapes are not the same in their order either"
        if is_ordered
        else "a .pth may have other names, as long as the order is the same"
    )
    raise MisfitError(f"{misfit(tensors, expected)}; {order}")


def misfit(tensors: Tensors, expected: Tensors) -> str:
    """Say what keeps tensors from being those of a network; empty: nothing does."""
    missing = sorted(expected.keys() - tensors.keys())
    extra = sorted(tensors.keys() - expected.keys())
    reshaped = sorted(
        k for k in expected.keys() & tensors if expected[k].shape != tensors[k].shape
    )
    if not (missing or extra or reshaped):
        return ""
    return (
        f"{len(missing)} tensors missing {missing[:2]}, {len(extra)} unexpected"
        f" {extra[:2]}, {len(reshaped)} of another shape {reshaped[:2]}"
    )


def _with_classifier(name: str) -> dict[str, Tensor]:
    """Give the tensors of a network as timm builds it, with its classifier."""
    import timm

    return dict(timm.create_model(architecture_of(name)).state_dict())


def _adapted(tensors: Tensors, network: nn.Module) -> Tensors:
    """Let the module of a network adapt tensors, as timm does when it loads them."""
    adapt = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    if adapt is None:
        return {}
    try:
        return dict(adapt(dict(tensors), network))
    except (AssertionError, AttributeError, LookupError, RuntimeError, TypeError):
        return {}  # not tensors of this sort of network


def _in_order(tensors: Tensors, *sequences: Sequence[str]) -> Tensors:
    """Name tensors one by one after the first sequence of names of the same sorts.

    Sorts, since a bias and a mean have the same shape. Where no sequence agrees there
    are none.
    """
    keys = [key for key in tensors if not key.endswith(COUNTER)]
    for sequence in sequences:
        names = [name for name in sequence if not name.endswith(COUNTER)]
        if [*map(sort_of, names)] == [*map(sort_of, keys)]:
            return {name: tensors[k] for name, k in zip(names, keys, strict=True)}
    return {}


def sort_of(name: str) -> str:
    """Give the last part of a tensor's name, such as ``running_var``."""
    return name.rpartition(".")[2]
