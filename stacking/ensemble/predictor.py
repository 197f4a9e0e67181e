"""From the columns of a net to the prediction: what is stored and asked about new rows.

The same path serves the pictures without label of a run and pictures that come later
(``stacking.predict``): each net's rows pass through the members and the post-processing
as a row of its fold did in cross-validation; then the nets are averaged, and the
average ends as what was scored (``stacking.ensemble.final_step``).

Shapes: M pictures, C columns, K nets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.run_folders.damage import intact, read_json
from data_prep.run_folders.runs import write_json
from data_prep.tables.spelling import class_names
from stacking.cross_fitting import Model
from stacking.ensemble.final_step import bend, end_prediction
from stacking.ensemble.objective import Objective
from stacking.ensemble.selection import weighted
from stacking.inputs.alignment import Alignment
from stacking.inputs.baseline_columns import OwnColumns
from stacking.inputs.data import Column
from stacking.inputs.target_columns import NetPredictions, TargetColumns
from stacking.inputs.tta_views import apply_to_views
from stacking.models.registry import load_models, save_models

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
FILE = "predictor.json"
SCALES = "alignment.npz"
OF_VIEWS = "alignment_of_views.npz"


@dataclass(frozen=True)
class Learned:
    """The models of one member.

    Attributes:
        models: One for each fold.
        inputs: Positions of the columns they see, aligned.
        sees_views: They see single views instead.
    """

    models: list[Model]
    inputs: Ints
    sees_views: bool = False


@dataclass(frozen=True)
class Predicted:
    """What is predicted of the same pictures by all nets.

    Attributes:
        averaged: (M, ...) by name: every member and ``prediction``, averaged over the
            nets and ended as what was scored.
        by_net: (K, M, ...) the prediction through each net, before it is averaged and
            ended: where the nets disagree.
        shares: (M, K) class probabilities of the nets, averaged; None: there are none.
    """

    averaged: Mapping[str, Floats]
    by_net: Floats
    shares: Floats | None

    @property
    def prediction(self) -> Floats:
        """(M, ...) what is handed out."""
        return self.averaged["prediction"]


@dataclass(frozen=True)
class Predictor:
    """All that turns columns into predictions.

    Attributes:
        target_columns: Which columns speak of the target.
        alignment: The maps between the nets.
        learned: By member, its models.
        means: By name, the weights of a mean of members, each of those before it.
        selected: The member that is post-processed.
        objective: What was scored by.
        links: Names and rules of the links that are on.
        own: How the user's own columns are made numbers; None: there are none.
        views: The maps between the nets' single views, where a member sees those.
    """

    target_columns: TargetColumns
    alignment: Alignment
    learned: Mapping[str, Learned]
    means: Mapping[str, Mapping[str, float]]
    selected: str
    objective: Objective
    links: Sequence[tuple[str, dict[str, Any]]] = ()
    own: OwnColumns | None = None
    views: Alignment | None = None

    @property
    def sees_views(self) -> bool:
        """Whether single views are needed."""
        return any(one.sees_views for one in self.learned.values())

    def say(
        self,
        net: int,
        values: Floats,
        views: Floats | None = None,
        *,
        own: bool = False,
    ) -> dict[str, Floats]:
        """Predict rows through one net; nothing is ended yet.

        Args:
            net: Its number, for its scale.
            values: (M, C) unaligned columns.
            views: (M, V, F) single views, where a member sees them.
            own: Ask the models of the net's own fold alone, not those of all folds.

        Returns:
            (M, ...) by name: every member, and ``prediction``, bent by the links that
            come before the nets are averaged.
        """
        target_columns = self.target_columns
        aligned = self.alignment.apply(net, values)
        found = dict(target_columns.fixed(values))
        if views is not None and self.views is not None:
            views = apply_to_views(self.views, net, views)
        for name, learned in self.learned.items():
            X = views if learned.sees_views else aligned[:, learned.inputs]
            assert X is not None
            models = learned.models[net : net + 1] if own else learned.models
            said = np.mean([model.predict(X) for model in models], axis=0)
            found[name] = target_columns.clip(said)
        for name, weights in self.means.items():
            found[name] = weighted(weights, found)
        bent = bend(found[self.selected], target_columns.net_pred(values), self.links)
        return found | {"prediction": target_columns.clip(bent)}

    def predict_by_net(
        self,
        nets: Sequence[Floats],
        views: Sequence[Floats] | None = None,
        *,
        first: int = 0,
        own: bool = False,
    ) -> dict[str, Floats]:
        """Predict the same rows through every net.

        Args:
            nets: K arrays (M, C), unaligned.
            views: K arrays (M, V, F), unaligned.
            first: Number of the first of the nets, for its scale.
            own: See ``say``.

        Returns:
            (K, M, ...) by name; nothing where there are no nets.
        """
        by_net = [
            self.say(
                first + net, values, None if views is None else views[net], own=own
            )
            for net, values in enumerate(nets)
        ]
        names = by_net[0] if by_net else []
        return {name: np.stack([said[name] for said in by_net]) for name in names}

    def predict(
        self,
        nets: Sequence[Floats],
        views: Sequence[Floats] | None = None,
        *,
        first: int = 0,
        own: bool = False,
    ) -> Predicted:
        """Predict the same rows by all nets, averaged, as what was scored.

        Args:
            nets: K arrays (M, C), unaligned; one at least.
            views: K arrays (M, V, F), unaligned.
            first: Number of the first of the nets, for its scale.
            own: See ``say``.
        """
        target_columns, objective = self.target_columns, self.objective
        said = self.predict_by_net(nets, views, first=first, own=own)
        net_pred = NetPredictions.averaged(
            [target_columns.net_pred(values) for values in nets]
        )
        averaged = {
            name: end_prediction(
                values.mean(axis=0),
                target_columns,
                objective,
                self.links if name == "prediction" else (),
                net_pred,
            )
            for name, values in said.items()
        }
        return Predicted(averaged, said["prediction"], net_pred.shares)

    def save(self, folder: Path) -> None:
        """Write the models and how they are put together; nothing is pickled."""
        files = {
            name: save_models(folder, name, learned.models)
            for name, learned in self.learned.items()
        }
        for file, alignment in ((SCALES, self.alignment), (OF_VIEWS, self.views)):
            if alignment is not None:
                knots, places = alignment.knots, alignment.places
                np.savez(folder / file, knots=knots, places=places)
        target_columns = self.target_columns
        about = {
            "columns": [vars(column) for column in target_columns.columns],
            "metric": self.objective.name,
            "classes": list(target_columns.classes),
            "target_range": target_columns.target_range,
            "plain": target_columns.plain,
            "shares_of": target_columns.proba_task,
            "alignment": self.alignment.method,
            "views": None if self.views is None else self.views.method,
            "own": None if self.own is None else asdict(self.own),
            "members": {
                name: {
                    "models": files[name],
                    "inputs": learned.inputs.tolist(),
                    "sees_views": learned.sees_views,
                }
                for name, learned in self.learned.items()
            },
            "means": {name: dict(weights) for name, weights in self.means.items()},
            "winner": self.selected,
            "links": [list(link) for link in self.links],
        }
        write_json(folder / FILE, about)

    @classmethod
    def load(cls, folder: Path) -> "Predictor":
        """Read what ``save`` wrote.

        Raises:
            DamagedFileError: A file is missing, cut or changed.
        """
        path = folder / FILE
        about = read_json(path)
        learned = {
            name: Learned(
                load_models(folder, name, one["models"]),
                np.array(one["inputs"], dtype=np.int64),
                one["sees_views"],
            )
            for name, one in about["members"].items()
        }
        bounds, classes = about["target_range"], about["classes"]
        if bounds is not None:  # older runs say "0.0" where others say "0"
            classes = map(float, classes)
        target_columns = TargetColumns(
            tuple(Column(**column) for column in about["columns"]),
            class_names(classes),
            None if bounds is None else (bounds[0], bounds[1]),
            about["plain"],
            about["shares_of"],
        )
        links = [(name, rule) for name, rule in about["links"]]
        objective = Objective(
            about.get("metric") or _metric_of(folder),
            tuple(target_columns.class_values.tolist()),
            target_columns.is_number,
        )
        return cls(
            target_columns,
            _scales_of(folder / SCALES, about["alignment"]),
            learned,
            about["means"],
            about["winner"],
            objective,
            links,
            about["own"] and OwnColumns.from_json(about["own"]),
            about["views"] and _scales_of(folder / OF_VIEWS, about["views"]),
        )


def _metric_of(folder: Path) -> str:
    """Read the metric of a run whose predictor does not name it."""
    return str(read_json(folder / "stacking.json")["metric"])


def _scales_of(path: Path, method: str) -> Alignment:
    with intact(path), np.load(path, allow_pickle=False) as stored:
        return Alignment(method, stored["knots"], stored["places"])
