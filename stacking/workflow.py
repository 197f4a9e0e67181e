"""The work of ``stacking.fit`` between reading and writing.

Shapes: N scored rows, M pictures that all nets have in common, K nets.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data_prep.run_folders.damage import map_array
from data_prep.run_folders.runs import Finished
from data_prep.scoring.scores import Interval
from stacking.analysis.diagnostics import (
    Averaging,
    expect_of_averaging,
    judge_control,
    permuted,
)
from stacking.analysis.findings import Findings
from stacking.analysis.importance import gain_table, leave_one_out
from stacking.analysis.shift import TaskShift, shift_of_folds
from stacking.ensemble.insample import fit_insample
from stacking.ensemble.members import (
    AlignedFeatures,
    fit_stackers,
    fit_tasks,
    read_fixed,
)
from stacking.ensemble.objective import Objective
from stacking.ensemble.postprocessors import choose_links
from stacking.ensemble.selection import cross_select
from stacking.ensemble.stack import Stacked, stack
from stacking.inputs.assemble import OWN
from stacking.inputs.data import Assembled
from stacking.inputs.leak_guards import check_net_of_all, check_shares
from stacking.inputs.target_columns import TargetColumns
from stacking.inputs.tta_views import Views, read_views
from stacking.models.boosting import Boosting, cross_fit_boosters, quick, threads_for
from stacking.models.linear import cross_fit_ridge
from stacking.models.stacker import FitContext
from stacking.settings import FitSettings

if TYPE_CHECKING:
    from data_prep.experiment import Experiment

Floats = NDArray[np.float64]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Work:
    """One run of the stack, with all inputs checked.

    Attributes:
        rows: What is learned from.
        settings: How.
        target_columns: Which columns speak of the target.
        objective: What is judged by.
        boosting: How to boost.
        pixels: (n, S, S, 3) pictures of the run, for the model without nets; None:
            there are none.
        extracted: The first extraction, for single views.
    """

    rows: Assembled
    settings: FitSettings
    target_columns: TargetColumns
    objective: Objective
    boosting: Boosting
    pixels: NDArray[np.uint8] | None = None
    extracted: Finished | None = None

    @classmethod
    def of(
        cls,
        rows: Assembled,
        settings: FitSettings,
        experiment: "Experiment",
        prepared: Finished | None = None,
        extracted: Finished | None = None,
    ) -> "Work":
        """Check what is asked for against what there is.

        Raises:
            UserError: A setting does not fit the data.
        """
        target_columns = TargetColumns.of(
            rows, experiment.tasks, experiment.data.target
        )
        is_number = target_columns.is_number
        if target_columns.proba_task:
            means = rows.X[
                :, target_columns.columns_of(target_columns.proba_task, "mean")
            ]
            check_shares(means, target_columns.proba_task, rows.ids)
        objective = Objective.named(
            settings.metric, target_columns.class_values.tolist(), is_number=is_number
        )
        n_workers, n_threads = threads_for(rows.X.size, settings.threads)
        boosting = Boosting(
            n_classes=0 if is_number else len(rows.classes),
            n_seeds=settings.seeds,
            max_rounds=settings.max_rounds,
            n_threads=n_threads,
            n_workers=n_workers,
        )
        check_net_of_all(settings.test_nets, is_there=rows.of_all is not None)
        choose_links(
            settings.links, target_columns.net_pred(rows.X), objective
        )  # or refuse them
        path = prepared.folder / "images.npy" if prepared else None
        pixels = map_array(path) if path and path.exists() else None
        return cls(
            rows, settings, target_columns, objective, boosting, pixels, extracted
        )

    def fit(self, folder: Path) -> Stacked:
        """Fit the members, race and post-process them.

        Args:
            folder: For what an interrupted tuning goes on with.
        """
        rows, settings = self.rows, self.settings
        if settings.protocol == "insample":
            features = AlignedFeatures.of(rows, self.target_columns, "none")
            leaky = fit_insample(features, settings.seed, self.boosting.n_threads)
            members = {"lightgbm": leaky, **read_fixed(features)}
            return self._stack(features, members, ("lightgbm",))
        features = self._scales()
        names = tuple(dict.fromkeys(settings.stackers))
        views = None
        if settings.stackers_of_views:
            views = self._views().aligned(features.alignment.method, rows.folds)
        context = FitContext(
            seed=settings.seed,
            n_seeds=settings.seeds,
            max_rounds=settings.max_rounds,
            n_trials=settings.tune,
            folder=folder / "checkpoints",
            n_workers=self.boosting.n_workers,
            n_threads=self.boosting.n_threads,
        )
        members = {
            **fit_tasks(features, settings.seed),
            **fit_stackers(
                features, names, context, None if views is None else views.values
            ),
            **read_fixed(features),
        }
        stacked = self._stack(features, members, names)
        return stacked if views is None else replace(stacked, views=views.alignment)

    def _scales(self) -> AlignedFeatures:
        rows, settings = self.rows, self.settings
        if settings.align == "auto":
            features = AlignedFeatures.chosen(
                rows, self.target_columns, self.objective, self.boosting
            )
        else:
            features = AlignedFeatures.of(rows, self.target_columns, settings.align)
        is_asked = settings.align != "none" and not features.tried
        if is_asked and features.alignment.method == "none" and not rows.is_label_free:
            log.info(
                "the nets are not aligned: they have %d pictures in common",
                len(rows.common_ids),
            )
        return features

    def _views(self) -> Views:
        """Read the single views of the first extraction."""
        assert self.extracted is not None
        rows = self.rows
        tasks = [column.task for column in rows.columns if column.task != OWN]
        return read_views(
            self.extracted.folder,
            list(dict.fromkeys(tasks)),
            rows.ids,
            rows.common_ids,
            rows.n_folds,
            is_label_free=rows.is_label_free,
        )

    def _stack(
        self, features: AlignedFeatures, members: Any, names: tuple[str, ...]
    ) -> Stacked:
        return stack(
            features,
            members,
            self.objective,
            stackers=names,
            links=self.settings.links,
            no_net=self._without_nets(features),
        )

    def _without_nets(self, features: AlignedFeatures) -> Floats | None:
        """Predict from colours and tiny pixels alone, out of fold."""
        if self.pixels is None:
            return None
        from stacking.inputs.baseline_columns import tiny_columns

        X = tiny_columns(self.pixels, features.rows.image_rows).astype(np.float64)
        said = quick(features.training_rows(X), self.boosting)
        return self.target_columns.clip(said)

    def look(self, stacked: Stacked) -> Findings:
        """Find out all that is told beside the scores."""
        rows, settings = self.rows, self.settings
        is_leaky = settings.protocol == "insample"
        predictor = stacked.predictor
        views = self._views().nets if predictor.sees_views else None
        predicted: Mapping[str, Floats] = {}
        disagreement = np.array([])
        if rows.nets:
            said = predictor.predict(rows.nets, views, own=is_leaky)
            predicted = said.averaged
            if not is_leaky and not rows.is_label_free:
                disagreement = said.by_net.std(axis=0)
        if settings.test_nets == "all" and rows.of_all is not None:
            said = predictor.predict([rows.of_all], first=len(rows.nets))
            predicted = said.averaged
        shift, of_all = self._shift(stacked.features)
        has_trees = "lightgbm" in stacked.members and not is_leaky
        task_gains = (
            leave_one_out(stacked.features, self.objective, self.boosting)
            if has_trees
            else {}
        )
        control = self._control(stacked.features) if settings.control else None
        return Findings(
            predicted=predicted,
            disagreement=disagreement,
            averaging=self.expect(stacked, views),
            task_gains=task_gains,
            column_gains=gain_table(stacked.features, stacked.members),
            shift=shift,
            shift_of_all=of_all,
            control=control,
        )

    def expect(
        self, stacked: Stacked, views: Sequence[Floats] | None = None
    ) -> Averaging | None:
        """Tell what the average of the nets may be expected to score.

        That is told before the average is snapped or cut: only until then does what the
        nets disagree by say what averaging takes off the error.

        Each net is asked with the models of its own fold, which never saw it: such
        pairs are what cross-validation scores.

        Args:
            stacked: What came out.
            views: K arrays of single views of the common pictures, where a member sees
                those.
        """
        rows = self.rows
        if rows.in_sample or rows.is_label_free or not rows.nets:
            return None
        said = stacked.predictor.predict_by_net(rows.nets, views, own=True)[
            "prediction"
        ]
        score = stacked.averaged.scores.pooled
        return expect_of_averaging(said, score, self.objective)

    def _shift(
        self, features: AlignedFeatures
    ) -> tuple[list[TaskShift], list[TaskShift]]:
        """Compare the pictures to predict with the labelled ones, net by net."""
        rows, is_asked = self.rows, self.rows.is_predicted
        if not is_asked.any() or rows.common_cv_groups is None or rows.in_sample:
            return [], []
        test_cv_groups = rows.common_cv_groups[is_asked]
        through_folds = shift_of_folds(
            rows.X,
            rows.folds,
            [net[is_asked] for net in rows.nets],
            rows.columns,
            cv_groups=rows.cv_groups,
            test_cv_groups=test_cv_groups,
        )
        if rows.of_all is None:
            return through_folds, []
        alignment = features.alignment.with_net(rows.of_all)
        aligned = alignment.apply(len(rows.nets), rows.of_all)[is_asked]
        through_all = shift_of_folds(
            features.aligned,
            rows.folds,
            # fold by fold, because trees tell more of more rows
            [aligned] * rows.n_folds,
            rows.columns,
            cv_groups=rows.cv_groups,
            test_cv_groups=test_cv_groups,
        )
        return through_folds, through_all

    def _control(self, features: AlignedFeatures) -> Interval:
        """Stack labels permuted within the folds."""
        rows = features.rows
        target = permuted(features.target(), rows.folds, self.settings.seed)
        split = (rows.folds, rows.cv_groups)
        names = [column.name for column in rows.columns]
        how = replace(self.boosting, n_seeds=1)
        training = replace(
            features.training_rows(), y=target, sample_weight=np.ones(len(target))
        )
        linear = replace(training, X=training.X[:, features.linear_columns()])
        fits = {
            "lightgbm": cross_fit_boosters(training, how, names=names),
            "ridge": cross_fit_ridge(linear),
        }
        said, _, _ = cross_select(fits, target, rows.folds, self.objective)
        return judge_control(target, said.oof_pred, *split, self.objective)
