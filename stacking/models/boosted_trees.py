"""Boosted trees of LightGBM over all columns, tuned by optuna where that is asked."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from data_prep.run_folders.damage import intact
from stacking.cross_fitting import CrossFit, TrainingRows
from stacking.models.boosting import Boosters, Boosting, cross_fit_boosters
from stacking.models.stacker import FitContext, StackerType

if TYPE_CHECKING:
    import lightgbm

LAST_OF_TREES = "\nend of trees\n"


def fit(rows: TrainingRows, context: FitContext) -> CrossFit:
    """Cross-fit boosters, with parameters of their own around each fold if tuned."""
    boosting = Boosting.of(rows, context)
    by_fold: Boosting | Sequence[Boosting] = boosting
    if context.n_trials:
        from stacking.models.tuning import tune_boosting

        by_fold = tune_boosting(
            rows,
            boosting,
            n_trials=context.n_trials,
            folder=context.folder,
            seed=context.seed,
        )
    return cross_fit_boosters(rows, by_fold, names=context.columns, seed=context.seed)


def load(folder: Path, files: Sequence[str]) -> Boosters:
    """Read the boosters of a fold, one of each seed.

    Raises:
        DamagedFileError: A file is missing, cut or changed.
    """
    return Boosters([_booster(folder / file) for file in files])


def _booster(path: Path) -> "lightgbm.Booster":
    """Read a booster; LightGBM ends the whole process over a text that is cut."""
    import lightgbm

    with intact(path):
        text = path.read_text(encoding="utf-8")
        if LAST_OF_TREES not in text:
            raise ValueError("its trees have no end")
        return lightgbm.Booster(model_str=text)


STACKER = StackerType(
    name="lightgbm",
    title="boosted trees",
    inputs="all",
    fit=fit,
    load=load,
    file_stem="model",
)
