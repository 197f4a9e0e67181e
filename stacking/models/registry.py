"""All stackers by name, and their models as files; nothing is pickled."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from stacking import models
from stacking.cross_fitting import Model
from stacking.models.linear import load_linear
from stacking.models.stacker import StackerType

# importing every file to look for its stackers would be slow
MARKS = ("\nSTACKER = StackerType(", "\nSTACKERS = (\n")


def find_stackers() -> dict[str, StackerType]:
    """Give the stackers of this folder; the slow ones last, else by name."""
    paths = [path for folder in models.__path__ for path in Path(folder).glob("*.py")]
    modules = [
        import_module(f"stacking.models.{path.stem}")
        for path in paths
        if any(mark in path.read_text(encoding="utf-8") for mark in MARKS)
    ]
    stackers: list[StackerType] = []
    for module in modules:
        stackers += getattr(module, "STACKERS", None) or [module.STACKER]
    stackers.sort(key=lambda stacker: (stacker.is_slow, stacker.name))
    return {stacker.name: stacker for stacker in stackers}


STACKERS = find_stackers()


def save_models(
    folder: Path, name: str, fold_models: Sequence[Model]
) -> list[list[str]]:
    """Write the models of a member, those of each fold; return their files by fold."""
    stem = STACKERS[name].file_stem if name in STACKERS else ""
    return [
        model.save(folder, f"{stem or name}_fold{fold}")
        for fold, model in enumerate(fold_models)
    ]


def load_models(folder: Path, name: str, files: Sequence[Sequence[str]]) -> list[Model]:
    """Read the models of a member, one for each fold.

    Args:
        folder: Where they are.
        name: A stacker, or another member: those have models of ``linear.py``.
        files: By fold, as ``save_models`` gave them.

    Raises:
        DamagedFileError: A file is missing, cut or changed.
    """
    load = STACKERS[name].load if name in STACKERS else load_linear
    return [load(folder, names) for names in files]
