"""The stacker ``catboost``: symmetric trees of CatBoost over all columns.

Every node of a level asks the same question, so a tree is a small table: another bias
than that of LightGBM's leaves, and often another mistake. How many trees there are is
where the mean curve of the inner folds is lowest.

CatBoost keeps labels in float32. So numbers are standardised first, and the scale and
bias of the model bring its predictions back to their unit.

Shapes: N rows, C columns, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.arrays import Floats, Ints
from data_prep.run_folders.damage import intact
from stacking.cross_fitting import CrossFit, FoldFit, TrainingRows, each_fold
from stacking.models.boosting import Table
from stacking.models.candidates import as_proba
from stacking.models.stacker import FitContext, StackerType

if TYPE_CHECKING:
    from catboost import CatBoost


MAX_ROUNDS = 600  # the usual rate is far beyond the lowest point by then
LEAST = 1e-6  # share of a class that no row has: CatBoost's is 0
NOT_OF_THE_DATA = ("train_finish_time", "model_guid")


@dataclass(frozen=True, kw_only=True)
class CatBoosts:
    """Models of several seeds, averaged.

    Attributes:
        models: One or more.
        is_proba: The predictions are probabilities of classes.
    """

    models: Sequence["CatBoost"]
    is_proba: bool

    def predict(self, X: Floats) -> Floats:
        """Give (N,) numbers, or (N, K) probabilities, of (N, C) rows."""
        by_seed = [predict(model, X, is_proba=self.is_proba) for model in self.models]
        y_pred: Floats = np.mean(by_seed, axis=0)
        return y_pred

    def save(self, folder: Path, stem: str) -> list[str]:
        """Write each model in CatBoost's own form; return the names of the files."""
        files = [f"{stem}_seed{number}.cbm" for number in range(len(self.models))]
        for model, file in zip(self.models, files, strict=True):
            model.save_model(str(folder / file))
        return files


def load(folder: Path, files: Sequence[str]) -> CatBoosts:
    """Read the models of a fold.

    Raises:
        DamagedFileError: A file is missing, cut or changed.
    """
    from catboost import CatBoost

    models = []
    for file in files:
        with intact(folder / file) as path:
            models.append(CatBoost().load_model(str(path)))
    return CatBoosts(models=models, is_proba=len(models[0].classes_) > 0)


def predict(model: "CatBoost", X: Floats, rounds: int = 0, *, is_proba: bool) -> Floats:
    """Give (N,) numbers or (N, K) probabilities; with rounds, of so many trees."""
    prediction_type = "Probability" if is_proba else "RawFormulaVal"
    y_pred: Floats = model.predict(X, prediction_type=prediction_type, ntree_end=rounds)
    return as_proba(y_pred, LEAST) if is_proba else y_pred


def parameters(rows: TrainingRows, context: FitContext) -> dict[str, Any]:
    """Give CatBoost's parameters for these rows."""
    n_columns = rows.X.shape[1]
    loss: dict[str, Any] = {"loss_function": "RMSE", "allow_const_label": True}
    if rows.n_classes:
        loss = {"loss_function": "MultiClass", "classes_count": rows.n_classes}
    return loss | {
        "depth": 5,
        "learning_rate": 0.05,
        "l2_leaf_reg": 5.0,
        "rsm": min(0.4, 160 / n_columns),
        "bootstrap_type": "Bernoulli",
        "subsample": 0.7,
        "border_count": 63,
        "boosting_type": "Plain",
        "use_best_model": False,
        "thread_count": context.n_threads,
        "logging_level": "Silent",
        "allow_writing_files": False,
    }


def fit(rows: TrainingRows, context: FitContext) -> CrossFit:
    """Cross-fit the models; the number of trees is chosen among the other folds."""
    from catboost import CatBoost, Pool

    usual, is_proba = parameters(rows, context), bool(rows.n_classes)
    max_rounds = min(context.max_rounds, MAX_ROUNDS)

    def fit_fold(_: int, train_idx: Ints, val_idx: Ints) -> FoldFit:
        table = Table.of(rows, train_idx)
        X, weights = table.X, table.sample_weight

        def pool(idx: Ints) -> Pool:
            return Pool(X[idx], table.y[idx], weight=weights[idx])

        def fit_on(idx: Ints, rounds: int, seed: int, **val: Any) -> Any:
            model = CatBoost(usual | {"iterations": rounds, "random_seed": seed})
            return model.fit(pool(idx[weights[idx] > 0]), **val)

        inner_folds = rows.inner_folds(train_idx, context.seed)
        models, curves = [], []
        for _, inner_idx, idx in each_fold(inner_folds):
            model = fit_on(inner_idx, max_rounds, context.seed, eval_set=pool(idx))
            (curve,) = model.get_evals_result()["validation"].values()
            models.append(model)
            curves.append(curve)
        sizes = np.bincount(inner_folds, weights)
        is_told = sizes > 0  # the error of a fold without weight is no number
        mean = np.average(np.array(curves)[is_told], axis=0, weights=sizes[is_told])
        rounds = int(mean.argmin()) + 1
        inner_oof = np.empty(rows.y[train_idx].shape)
        for inner_fold, _inner_idx, idx in each_fold(inner_folds):
            model = models[inner_fold]
            inner_oof[idx] = predict(model, X[idx], rounds, is_proba=is_proba)
        finals = []
        for number in range(context.n_seeds):
            model = fit_on(np.arange(len(X)), rounds, context.seed + number)
            if not is_proba:
                scale, bias = model.get_scale_and_bias()
                unit = table.unit
                model.set_scale_and_bias(scale * unit.scale, unit.restore(bias))
            for name in NOT_OF_THE_DATA:
                model.get_metadata()[name] = ""
            finals.append(model)
        final = CatBoosts(models=finals, is_proba=is_proba)
        return FoldFit(
            inner_oof=table.unit.restore(inner_oof),
            val_pred=final.predict(rows.X[val_idx]),
            model=final,
            metadata={"rounds": rounds},
        )

    return CrossFit.over(fit_fold, rows, context.n_workers)


STACKER = StackerType(
    name="catboost",
    title="CatBoost's symmetric trees",
    inputs="all",
    fit=fit,
    load=load,
    is_slow=True,
    package="catboost",
)
