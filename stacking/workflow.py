"""The work of ``stacking.fit`` between reading and writing.

Shapes: N scored rows, M pictures that all nets have in common, K nets.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.arrays import Floats
from data_prep.executors.pool import Pool
from data_prep.experiment import Experiment
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
from stacking.analysis.verdicts import verdicts_on
from stacking.cross_fitting import CrossFit
from stacking.ensemble.aligned_features import AlignedFeatures
from stacking.ensemble.deals import DealPredictors
from stacking.ensemble.insample import fit_insample
from stacking.ensemble.members import (
    FIRST_BY_LATER,
    FIRST_BY_NET,
    Member,
    first_by_net,
    fit_stackers,
    fit_tasks,
    read_fixed,
)
from stacking.ensemble.objective import Objective, ScoringData
from stacking.ensemble.postprocessors import choose_postprocessors
from stacking.ensemble.selection import cross_select
from stacking.ensemble.stack import Stacked, stack
from stacking.inputs.alignment import MIN_COMMON, MIN_HELD_OUT
from stacking.inputs.assemble import USER_TASK
from stacking.inputs.data import StackingData
from stacking.inputs.leak_guards import check_net_of_all, check_proba
from stacking.inputs.target_columns import TargetColumns
from stacking.inputs.tta_views import Views, read_views
from stacking.models.boosting import Boosting, cross_fit_boosters, quick, threads_for
from stacking.models.linear import cross_fit_ridge
from stacking.models.pixel_trees import PIXELS
from stacking.models.registry import STACKERS
from stacking.models.stacker import FitContext
from stacking.reporting.run_files import records
from stacking.settings import FitSettings

CHECKPOINTS = "checkpoints"  # folder of what an interrupted fit goes on with
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class StackingJob:
    """One run of the stack, with all inputs checked.

    Attributes:
        data: What is learned from, and what is predicted.
        settings: Of the stage.
        target_columns: Which columns speak of the target.
        objective: What is scored by.
        context: What stackers are told, but for the names of columns.
        extracted: The first extraction, for single views.
        records: Of the stages before, for what they took.
    """

    data: StackingData
    settings: FitSettings
    target_columns: TargetColumns
    objective: Objective
    context: FitContext
    extracted: Finished | None = None
    records: Sequence[Mapping[str, Any]] = ()

    @classmethod
    def of(
        cls,
        data: StackingData,
        settings: FitSettings,
        experiment: Experiment,
        prepared: Finished | None = None,
        *,
        extracted: Finished | None = None,
    ) -> "StackingJob":
        """Check the settings against the data.

        Raises:
            UserError: A setting does not fit the data.
        """
        target_columns = TargetColumns.find(
            data.columns,
            data.classes,
            data.target_range,
            tasks=experiment.tasks,
            target_column=experiment.data.target,
        )
        X = data.rows.X
        if task := target_columns.proba_task:
            means = X[:, target_columns.proba_columns("mean")]
            check_proba(means, task, data.info.ids)
        objective = Objective.named(
            settings.metric,
            target_columns.class_values.tolist(),
            is_number=target_columns.is_number,
        )
        check_net_of_all(settings.test_nets, is_there=data.common.of_all is not None)
        # refuses those that do not fit
        choose_postprocessors(
            settings.postprocess, target_columns.net_pred(X), objective
        )
        if data.info.deal[0] == 0:
            log.info("%s", data.counts)
        n_workers, n_threads = threads_for(X.size, settings.threads)
        return cls(
            data=_with_first_fold_told(data, target_columns),
            settings=settings,
            target_columns=target_columns,
            objective=objective,
            context=FitContext(
                seed=settings.seed,
                n_seeds=settings.seeds,
                max_rounds=settings.max_rounds,
                n_trials=settings.tune,
                n_workers=n_workers,
                n_threads=n_threads,
                pool=Pool.of(settings, data.rows.n_folds, threads=1, usual_threads=1),
            ),
            extracted=extracted,
            records=records(prepared.folder.parent) if prepared else (),
        )

    @property
    def boosting(self) -> Boosting:
        """How boosters that only compare are boosted."""
        return Boosting.of(self.data.rows, self.context)

    def fit(self, folder: Path) -> Stacked:
        """Fit the members, select among them and post-process.

        Args:
            folder: For what an interrupted tuning goes on with.
        """
        settings, (deal, n_deals) = self.settings, self.data.info.deal
        if n_deals > 1:
            log.info("deal %d of %d", deal + 1, n_deals)
        if settings.protocol == "insample":
            features = AlignedFeatures.of(self.data, self.target_columns, "none")
            n_threads = self.context.n_threads
            leaky = fit_insample(features, settings.seed, n_threads)
            members = {"lightgbm": leaky, **read_fixed(features)}
            return self._stack(features, members, ("lightgbm",))
        features = self._features()
        names = tuple(dict.fromkeys(settings.stackers))
        views = None
        if settings.stackers_of_views:
            folds = self.data.rows.folds
            views = self.views.aligned(features.alignment.method, folds)
        fitted = {
            **fit_tasks(features, settings.seed),
            **fit_stackers(
                features,
                names,
                replace(self.context, folder=self.checkpoints(folder)),
                None if views is None else views.values,
            ),
        }
        members = {**first_by_net(fitted, features), **read_fixed(features)}
        return self._stack(features, members, names, views)

    def checkpoints(self, folder: Path) -> Path:
        """Say where an interrupted fit goes on from, in the folder of the stage."""
        deal, n_deals = self.data.info.deal
        return folder / CHECKPOINTS / (f"deal{deal}" if n_deals > 1 else "")

    def _features(self) -> AlignedFeatures:
        data, align = self.data, self.settings.align
        if align == "auto":
            features = AlignedFeatures.chosen(
                data, self.target_columns, self.objective, self.boosting
            )
        else:
            features = AlignedFeatures.of(data, self.target_columns, align)
        is_aligned = features.alignment.method != "none" or features.tried
        if align != "none" and not is_aligned and not data.info.is_label_free:
            log.info(
                "the nets are not aligned: that takes %d %ss that none of them learned"
                " from, such as those of a test table (there are %d)%s",
                MIN_COMMON,
                data.info.noun,
                len(data.common.ids),
                f", or {MIN_HELD_OUT} in each fold" * data.info.has_like_folds,
            )
        return features

    @cached_property
    def views(self) -> Views:
        """The single views of the first extraction."""
        assert self.extracted is not None
        data, (deal, n_deals) = self.data, self.data.info.deal
        tasks = [column.task for column in data.columns if column.task != USER_TASK]
        return read_views(
            folder=self.extracted.folder,
            tasks=list(dict.fromkeys(tasks)),
            ids=data.info.ids,
            common_ids=data.common.ids,
            n_folds=data.rows.n_folds,
            deal=deal if n_deals > 1 else None,
            is_label_free=data.info.is_label_free,
        )

    def _stack(
        self,
        features: AlignedFeatures,
        members: Mapping[str, Member],
        stackers: tuple[str, ...],
        views: Views | None = None,
    ) -> Stacked:
        if PIXELS not in members and self.data.pixels is not None:
            # what does not compete is compared with, soon, and keeps no models
            pred = quick(features.with_inputs(self.data.pixels), self.boosting)
            fit = CrossFit.of_fixed(pred, features.rows.folds)
            without_nets = Member(title=STACKERS[PIXELS].title, fit=fit)
            members = {**members, PIXELS: without_nets}
        return stack(
            features,
            members,
            self.objective,
            stackers=stackers,
            postprocess=self.settings.postprocess,
            views=None if views is None else views.alignment,
        )

    def evaluate(
        self, stacked: Stacked, further: Sequence["StackingJob"] = ()
    ) -> Findings:
        """Find out all that is told beside the scores.

        Args:
            stacked: The finished stack.
            further: Where folds are dealt several times, the jobs of the further deals;
                what a deal alone can tell is told of the first.
        """
        settings, is_leaky = self.settings, self.data.is_leaky
        predicted, disagreement = self._predict_common(stacked, further)
        shift, shift_through_all = self._shift(stacked.features)
        task_gains: Mapping[str, Interval] = {}
        if "lightgbm" in stacked.members and not is_leaky:
            task_gains = leave_one_out(stacked.features, self.objective, self.boosting)
        return Findings(
            predicted=predicted,
            disagreement=disagreement,
            averaging=self.expect(stacked, further),
            task_gains=task_gains,
            column_gains=gain_table(stacked.features, stacked.members),
            shift=shift,
            shift_of_all=shift_through_all,
            is_by_all=settings.test_nets == "all",
            control=self._control(stacked.features) if settings.control else None,
            verdicts=verdicts_on(stacked, self.records),
        )

    def _predict_common(
        self, stacked: Stacked, further: Sequence["StackingJob"]
    ) -> tuple[Mapping[str, Floats], Floats]:
        """Predict the pictures without label, and say how far the nets disagree."""
        data, common = self.data, self.data.common
        predictor, jobs = DealPredictors.of(stacked), (self, *further)
        predicted: Mapping[str, Floats] = {}
        disagreement = np.array([])
        if data.info.is_label_free:
            jobs = (self,)  # the net is the same in each deal
        if common.nets:
            nets = [net for job in jobs for net in job.data.common.nets]
            views = None
            if "views" in predictor.sees:
                views = [net for job in jobs for net in job.views.nets]
            pred = predictor.predict(
                nets, views, pixels=common.pixels, in_fold=data.is_leaky
            )
            predicted = pred.averaged
            if not data.is_leaky and not data.info.is_label_free:
                disagreement = pred.by_net.std(axis=0)
        if self.settings.test_nets == "all" and common.of_all is not None:
            pred = predictor.predict(
                [common.of_all], pixels=common.pixels, first=len(common.nets)
            )
            predicted = pred.averaged
        return predicted, disagreement

    def expect(
        self, stacked: Stacked, further: Sequence["StackingJob"] = ()
    ) -> Averaging | None:
        """Tell what the average of the nets may be expected to score.

        That is told before the average is rounded or cut: only until then does the
        disagreement of the nets say what averaging takes off the error.

        Each net predicts with the models of its own fold, which never saw it: such
        pairs are what cross-validation scores: of several deals, the mean of one pair
        of each.

        Args:
            stacked: The finished stack.
            further: The jobs of the further deals.
        """
        data = self.data
        if data.is_leaky or data.info.is_label_free or not data.common.nets:
            return None
        if data.rows.in_time:
            return None  # nets of other times differ by more than chance
        preds = []
        for job, deal in zip((self, *further), stacked.by_deal, strict=True):
            predictor, nets = deal.predictor, job.data.common.nets
            views = job.views.nets if "views" in predictor.sees else None
            pixels = job.data.common.pixels
            pred = predictor.predict_by_net(nets, views, pixels=pixels, in_fold=True)
            preds.append(pred["prediction"])
        score = stacked.averaged.scores.pooled
        return expect_of_averaging(np.mean(preds, axis=0), score, self.objective)

    def _shift(
        self, features: AlignedFeatures
    ) -> tuple[list[TaskShift], list[TaskShift]]:
        """Compare the pictures to predict with the labelled ones.

        Returns:
            As the fold nets see both, net by net; and as the net of all rows sees those
            to predict, beside what the stack learned from; empty: there is no such net.
        """
        data, rows, common = self.data, self.data.rows, self.data.common
        test_mask = common.is_predicted
        if not test_mask.any() or common.cv_groups is None or data.is_leaky:
            return [], []
        test_cv_groups = common.cv_groups[test_mask]
        groups = {"cv_groups": rows.groups, "test_cv_groups": test_cv_groups}
        nets = [net[test_mask] for net in common.nets]
        through_folds = shift_of_folds(rows.X, rows.folds, nets, data.columns, **groups)
        if common.of_all is None:
            return through_folds, []
        alignment = features.alignment.with_net(common.of_all)
        of_all = alignment.apply(len(common.nets), common.of_all)[test_mask]
        nets = [of_all] * rows.n_folds  # by fold: trees tell more of more rows
        through_all = shift_of_folds(
            features.rows.X, rows.folds, nets, data.columns, **groups
        )
        return through_folds, through_all

    def _control(self, features: AlignedFeatures) -> Interval:
        """Stack labels permuted within the folds; they must score like a constant."""
        rows = features.rows
        folds = rows.folds
        if not self.data.info.has_like_folds:  # features may tell folds and their means
            folds = np.zeros_like(folds)
        y = permuted(rows.y, folds, self.settings.seed)
        rows = replace(rows, y=y, sample_weight=np.ones(len(y)))
        narrow = replace(rows, X=features.narrow_rows.X)
        boosting, names = replace(self.boosting, n_seeds=1), features.column_names
        fits = {
            "lightgbm": cross_fit_boosters(rows, boosting, names=names),
            "ridge": cross_fit_ridge(narrow),
        }
        scoring = ScoringData.of(rows, self.objective)
        blend, _, _ = cross_select(fits, scoring)
        return judge_control(scoring, blend.oof_pred)


def _with_first_fold_told(
    data: StackingData, target_columns: TargetColumns
) -> StackingData:
    """Say what predicts the first fold of those in time."""
    if not data.rows.in_time:
        return data
    text = FIRST_BY_NET if target_columns.fixed(data.rows.X) else FIRST_BY_LATER
    messages = (*data.info.messages, text)
    return replace(data, info=replace(data.info, messages=messages))
