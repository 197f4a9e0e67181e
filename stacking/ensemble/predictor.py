"""From the columns of a net to the prediction: what is stored, and predicts new rows.

The same path serves the pictures without label of a run and pictures that come later
(``stacking.predict``): each net's rows pass through the members and the post-processing
as a row of its fold did in cross-validation; then the nets are averaged, and the
average ends as what was scored (``stacking.ensemble.final_step``).

Shapes: M pictures, C columns, K nets, P columns of pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from data_prep.arrays import Floats, Ints
from data_prep.errors import UserError
from data_prep.run_folders.damage import intact, read_json
from data_prep.run_folders.runs import write_json
from data_prep.user_columns import UserColumns
from stacking.cross_fitting import Model
from stacking.ensemble.final_step import (
    Rules,
    bend,
    end_prediction,
    give_classes,
)
from stacking.ensemble.objective import Objective
from stacking.ensemble.selection import weighted
from stacking.inputs.alignment import Alignment
from stacking.inputs.data import Column, PixelColumns
from stacking.inputs.target_columns import NetPredictions, TargetColumns
from stacking.inputs.tta_views import apply_to_views
from stacking.models.registry import load_models, save_models
from stacking.models.stacker import Sees

FILE = "predictor.json"
ALIGNMENT = "alignment.npz"
VIEWS_ALIGNMENT = "alignment_of_views.npz"


@dataclass(frozen=True, kw_only=True)
class Learned:
    """The models of one member.

    Attributes:
        models: One for each fold.
        sees: What they see.
        inputs: Indices of the columns, aligned, where they see those.
    """

    models: list[Model]
    sees: Sees
    inputs: Ints


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """The predictions of the same pictures by all nets.

    Attributes:
        averaged: (M, ...) by name: every member and ``prediction``, averaged over the
            nets, and ended as what was scored once it is ``ended``.
        by_net: (K, M, ...) the prediction through each net, before it is averaged and
            ended: where the nets disagree.
        proba: (M, K) class probabilities of the nets, averaged; None: there are none.
    """

    averaged: Mapping[str, Floats]
    by_net: Floats
    proba: Floats | None

    @property
    def prediction(self) -> Floats:
        """(M, ...) what is handed out."""
        return self.averaged["prediction"]

    def ended(self, target_columns: TargetColumns, objective: Objective) -> "Predicted":
        """End each prediction as what was scored."""
        averaged = {
            name: end_prediction(pred, target_columns, objective)
            for name, pred in self.averaged.items()
        }
        return replace(self, averaged=averaged)


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """All that turns columns into predictions.

    Attributes:
        target_columns: Which columns speak of the target.
        alignment: The maps between the nets.
        learned: By member, its models.
        weights_by_mean: By name, the weights of a mean of members, each of those
            before it.
        selected: The member that is post-processed.
        objective: What was scored by.
        rules: Of the postprocessors that are on, by name.
        user_columns: How the user's own columns are made numbers; None: there are none.
        views: The maps between the nets' single views, where a member sees those.
    """

    target_columns: TargetColumns
    alignment: Alignment
    learned: Mapping[str, Learned]
    weights_by_mean: Mapping[str, Mapping[str, float]]
    selected: str
    objective: Objective
    rules: Rules = ()
    user_columns: UserColumns | None = None
    views: Alignment | None = None

    @property
    def n_nets(self) -> int:
        """How many nets it knows the scales of."""
        return len(self.alignment.knots)

    @property
    def sees(self) -> set[Sees]:
        """What is needed of a row."""
        return {learned.sees for learned in self.learned.values()}

    def predict_net(
        self,
        net: int,
        values: Floats,
        views: Floats | None = None,
        *,
        pixels: PixelColumns | None = None,
        in_fold: bool = False,
        predicted: Mapping[str, Floats] | None = None,
    ) -> dict[str, Floats]:
        """Predict rows through one net; nothing is ended yet.

        Args:
            net: Its number, for its scale.
            values: (M, C) unaligned columns.
            views: (M, V, F) single views, where a member sees them.
            pixels: (M, P) what needs no net, where a member sees that.
            in_fold: Use the models of the net's own fold alone, not those of all folds.
            predicted: (M, ...) by name, what members have said of the rows already.

        Returns:
            (M, ...) by name: every member, and ``prediction``, bent by the
            postprocessors that come before the nets are averaged.
        """
        target_columns = self.target_columns
        aligned = self.alignment.apply(net, values)
        pred = dict(target_columns.fixed(values))
        if views is not None and self.views is not None:
            views = apply_to_views(self.views, net, views)
        for name, learned in self.learned.items():
            if predicted and name in predicted:
                pred[name] = predicted[name]
                continue
            if learned.sees == "columns":
                X: Floats | PixelColumns | None = aligned[:, learned.inputs]
            else:
                X = views if learned.sees == "views" else pixels
            assert X is not None
            models = learned.models[net : net + 1] if in_fold else learned.models
            pred[name] = self._mean_of(models, X)
        for name, weights in self.weights_by_mean.items():
            pred[name] = weighted(weights, pred)
        bent = bend(pred[self.selected], target_columns.net_pred(values), self.rules)
        return pred | {"prediction": target_columns.clip(bent)}

    def _mean_of(self, models: Sequence[Model], X: Floats | PixelColumns) -> Floats:
        """Average the predictions of several models."""
        mean: Floats = np.mean([model.predict(X) for model in models], axis=0)
        return self.target_columns.clip(mean)

    def _same_of_all_nets(self, pixels: PixelColumns | None) -> dict[str, Floats]:
        """Predict by the members that see no net, once for all nets."""
        return {
            name: self._mean_of(learned.models, pixels)
            for name, learned in self.learned.items()
            if learned.sees == "pixels" and pixels is not None
        }

    def predict_by_net(
        self,
        nets: Sequence[Floats],
        views: Sequence[Floats] | None = None,
        *,
        pixels: PixelColumns | None = None,
        first: int = 0,
        in_fold: bool = False,
    ) -> dict[str, Floats]:
        """Predict the same rows through every net.

        Args:
            nets: K arrays (M, C), unaligned.
            views: K arrays (M, V, F), unaligned.
            pixels: (M, P) what needs no net, where a member sees that.
            first: Number of the first of the nets, for its scale.
            in_fold: See ``predict_net``.

        Returns:
            (K, M, ...) by name; nothing where there are no nets.
        """
        predicted = {} if in_fold else self._same_of_all_nets(pixels)
        by_net = [
            self.predict_net(
                first + net,
                values,
                None if views is None else views[net],
                pixels=pixels,
                in_fold=in_fold,
                predicted=predicted,
            )
            for net, values in enumerate(nets)
        ]
        names = by_net[0] if by_net else []
        return {name: np.stack([pred[name] for pred in by_net]) for name in names}

    def predict(
        self,
        nets: Sequence[Floats],
        views: Sequence[Floats] | None = None,
        *,
        pixels: PixelColumns | None = None,
        first: int = 0,
        in_fold: bool = False,
    ) -> Predicted:
        """Predict the same rows by all nets, averaged, as what was scored.

        The arguments are those of ``average``.
        """
        pred = self.average(nets, views, pixels=pixels, first=first, in_fold=in_fold)
        return pred.ended(self.target_columns, self.objective)

    def average(
        self,
        nets: Sequence[Floats],
        views: Sequence[Floats] | None = None,
        *,
        pixels: PixelColumns | None = None,
        first: int = 0,
        in_fold: bool = False,
    ) -> Predicted:
        """Predict the same rows by all nets, averaged; nothing is ended yet.

        Args:
            nets: K arrays (M, C), unaligned; one at least.
            views: K arrays (M, V, F), unaligned.
            pixels: (M, P) what needs no net, where a member sees that.
            first: Number of the first of the nets, for its scale.
            in_fold: See ``predict_net``.
        """
        target_columns = self.target_columns
        pred = self.predict_by_net(
            nets, views, pixels=pixels, first=first, in_fold=in_fold
        )
        net_pred = NetPredictions.averaged([target_columns.net_pred(X) for X in nets])
        averaged = {name: values.mean(axis=0) for name, values in pred.items()}
        mean = averaged["prediction"]
        averaged["prediction"] = give_classes(mean, net_pred, self.rules)
        return Predicted(
            averaged=averaged, by_net=pred["prediction"], proba=net_pred.proba
        )

    def save(self, folder: Path) -> None:
        """Write the models and how they are put together; nothing is pickled."""
        files = {
            name: save_models(folder, name, learned.models)
            for name, learned in self.learned.items()
        }
        _save_alignment(folder / ALIGNMENT, self.alignment)
        if self.views is not None:
            _save_alignment(folder / VIEWS_ALIGNMENT, self.views)
        target_columns = self.target_columns
        config = {
            "columns": [vars(column) for column in target_columns.columns],
            "metric": self.objective.name,
            "classes": list(target_columns.classes),
            "target_range": target_columns.target_range,
            "regression_task": target_columns.regression_task,
            "proba_task": target_columns.proba_task,
            "alignment": self.alignment.method,
            "views": self.views and self.views.method,
            "user_columns": self.user_columns and asdict(self.user_columns),
            "members": {
                name: {
                    "models": files[name],
                    "sees": learned.sees,
                    "inputs": learned.inputs.tolist(),
                }
                for name, learned in self.learned.items()
            },
            "means": dict(self.weights_by_mean),
            "selected": self.selected,
            "postprocess": [list(rule) for rule in self.rules],
        }
        write_json(folder / FILE, config)

    @classmethod
    def load(cls, folder: Path) -> "Predictor":
        """Read what ``save`` wrote.

        Raises:
            DamagedFileError: A file is missing, cut or changed.
            UserError: An older version wrote it.
        """
        config = read_json(folder / FILE)
        members = config.get("members", {}).values()
        if "postprocess" not in config or any("sees" not in of for of in members):
            raise UserError(
                f"{folder / FILE}: an older version wrote it; again: python -m"
                f" stacking.fit --run {folder.parent} --overwrite"
            )
        learned = {
            name: Learned(
                models=load_models(folder, name, member["models"]),
                inputs=np.array(member["inputs"], dtype=np.int64),
                sees=member["sees"],
            )
            for name, member in config["members"].items()
        }
        bounds = config["target_range"]
        target_columns = TargetColumns(
            columns=tuple(Column(**column) for column in config["columns"]),
            classes=tuple(config["classes"]),
            target_range=None if bounds is None else (bounds[0], bounds[1]),
            regression_task=config["regression_task"],
            proba_task=config["proba_task"],
        )
        objective = Objective(
            name=config["metric"],
            class_values=tuple(target_columns.class_values.tolist()),
            is_number=target_columns.is_number,
        )
        user_columns, views = config["user_columns"], config["views"]
        return cls(
            target_columns=target_columns,
            alignment=_load_alignment(folder / ALIGNMENT, config["alignment"]),
            learned=learned,
            weights_by_mean=config["means"],
            selected=config["selected"],
            objective=objective,
            rules=[(name, rule) for name, rule in config["postprocess"]],
            user_columns=user_columns and UserColumns.from_json(user_columns),
            views=views and _load_alignment(folder / VIEWS_ALIGNMENT, views),
        )


def _save_alignment(path: Path, alignment: Alignment) -> None:
    np.savez(path, knots=alignment.knots, places=alignment.common)


def _load_alignment(path: Path, method: str) -> Alignment:
    with intact(path), np.load(path, allow_pickle=False) as stored:
        return Alignment(method=method, knots=stored["knots"], common=stored["places"])
