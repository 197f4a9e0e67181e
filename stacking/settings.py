"""The settings of the stack."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge

from data_prep.effort import Workload
from data_prep.errors import UserError
from data_prep.executor_settings import ExecutorSettings
from data_prep.experiment import Experiment
from data_prep.outlook import Outlook
from data_prep.prepared import PREPARED
from data_prep.run_folders.runs import Run
from data_prep.schemes import count_deals, parse_scheme
from data_prep.settings import NOT_HASHED, Example, nearest, recorded
from stacking.models.registry import STACKERS

START_S = 4.0  # loading, scoring, report
# Of a labelled picture and column, three seeds: 4,030 pictures and 156 columns took
# 19 s in all on one core, 960 and 104 took 5 to 7 s on two
CELL_S = 3.5e-5
# Of a labelled picture, three seeds, for the model without nets: 4,030 took 18 s; of
# four classes, each with a tree of its own in a round, 29 s of fewer rounds
PIXEL_ROW_S, OF_CLASS = 4.5e-3, 0.4
TUNED_SHARE = 0.3  # what a trial of optuna costs of that
LABEL_FREE_WIDTH = 512  # outputs of a backbone alone, of most small networks
USUAL_STATISTICS = ("mean", "var", "max", "min")
FINETUNED = "transfer.finetune"
# "weighted" has no model of its own: it is the mean of the sub-tasks
USUAL = (*(name for name, s in STACKERS.items() if not s.is_slow), "weighted")
SLOW = tuple(name for name, s in STACKERS.items() if s.is_slow)


@dataclass(frozen=True, kw_only=True)
class FitSettings(ExecutorSettings):
    """Stack the nets' outputs, tune the post-processing, score it honestly, predict.

    python -m stacking.fit --cv sgkfold3
    """

    cv: Annotated[
        str,
        "scheme of the folds; another than the run's only for label-free features",
        Example("skfold5"),
    ] = ""
    metric: Annotated[
        str,
        "what is scored: rmse, mae, r2 of numbers; accuracy, macro_f1, quadratic_kappa"
        " of ordered classes; log_loss, auc, accuracy, macro_f1 of named ones; left"
        " out: rmse, or log_loss and the accuracy told before it",
        Example("mae"),
    ] = ""
    also: Annotated[
        tuple[Path, ...],
        "other runs of the same rows and folds, whose features join; of experiment"
        " files the pipeline makes them before",
        Example(["../runs/a", "b.toml"]),
    ] = ()
    columns: Annotated[
        tuple[str, ...],
        "columns of your tables that the stackers see too, such as width,height",
        Example(["width", "height"]),
    ] = ()
    protocol: Annotated[
        Literal["oof", "insample"], "insample: the original's leak, for comparison"
    ] = "oof"
    align: Annotated[
        Literal["auto", "rank", "moments", "none"],
        "one scale for all fold nets: rank (quantiles), moments (mean, deviation),"
        " none, or the best of them (protocol oof only)",
    ] = "auto"
    stackers: Annotated[
        tuple[str, ...],
        f"what competes: {', '.join(USUAL)}; slower: {', '.join(SLOW)}"
        " (protocol oof only)",
    ] = ("lightgbm", "ridge", "weighted", "pixels")
    postprocess: Annotated[
        tuple[str, ...],
        "steps after the stack to try: blend, blend_expected, isotonic, thresholds,"
        " most_probable, round, round_to_class; left out: all that fit",
        Example(["blend", "isotonic"]),
    ] = ()
    test_nets: Annotated[
        Literal["folds", "all"],
        "what predicts: the fold nets averaged, or the net of transfer.finetune --all",
    ] = "folds"
    tune: Annotated[
        int,
        "trials of optuna per fold for the boosted trees; 0: none",
        Ge(0),
        Example(100),
    ] = 0
    seeds: Annotated[int, "boosters averaged per fold (protocol oof only)", Ge(1)] = 3
    max_rounds: Annotated[
        int, "cap on the boosting rounds (protocol oof only)", Ge(1)
    ] = 2000
    control: Annotated[
        bool,
        "also stack labels permuted within folds, which must score like a constant",
    ] = False
    seed: Annotated[int, "seed of the boosters and of the inner splits", Ge(0)] = 0
    threads: Annotated[int, "cores to use; 0: all", NOT_HASHED, Ge(0)] = 0

    def __post_init__(self) -> None:
        """Check what can be checked without data."""
        super().__post_init__()
        if not self.stackers:
            raise UserError(f"stackers is empty; give some of {', '.join(STACKERS)}")
        names = [*STACKERS, "weighted"]
        for name in self.stackers:
            if name not in names:
                raise UserError(f"stackers = {name!r}: {nearest(name, names)}")
        if self.tune and "lightgbm" not in self.stackers:
            raise UserError(
                f"tune = {self.tune}: it tunes the boosted trees; add lightgbm to"
                " stackers"
            )
        self._check_names()
        views, also, tune = next(iter(self.stackers_of_views), ""), "also", "tune"
        all_nets, insample = "test_nets = 'all'", "protocol = 'insample'"
        is_on = {
            views: bool(views),
            also: bool(self.also),
            tune: bool(self.tune),
            all_nets: self.test_nets == "all",
            insample: self.protocol == "insample",
        }
        for first, second, reason in (
            (all_nets, views, "single views of that net are not stacked"),
            (also, views, "the single views of other runs are not read"),
            (also, all_nets, "of several runs only the fold nets are stacked"),
            (tune, insample, "its booster is the original's"),
            (also, insample, "of other runs no outputs on training rows are read"),
        ):
            if is_on[first] and is_on[second]:
                raise UserError(
                    f"{first} and {second}: {reason}; leave one of them out"
                )

    @property
    def stackers_of_views(self) -> list[str]:
        """The stackers that read the single views."""
        return [
            name
            for name in self.stackers
            if name in STACKERS and STACKERS[name].inputs == "views"
        ]

    def _check_names(self) -> None:
        """Check names, most of whose homes need numpy: only where there are some."""
        if self.cv:
            parse_scheme(self.cv)
        if self.metric:
            from stacking.ensemble.objective import TITLES

            if self.metric not in TITLES:
                raise UserError(
                    f"metric = {self.metric!r}: {nearest(self.metric, TITLES)}"
                )
        if self.postprocess:
            from stacking.ensemble.postprocessors import check_postprocessors

            check_postprocessors(self.postprocess)

    @property
    def reads(self) -> list[str]:
        """The stages that it reads."""
        return ["data_prep.prepare", "features.extract"]

    @property
    def also_experiments(self) -> list[Path]:
        """Experiment files among ``also``, whose features the pipeline makes first."""
        return [path for path in self.also if path.suffix == ".toml"]

    @property
    def idle_by(self) -> str:
        """The setting by which the stage leaves nothing to read; empty: it does."""
        return "protocol = 'insample'" if self.protocol == "insample" else ""

    def config(self, experiment: Experiment, run: Run) -> dict[str, Any]:
        """Say what decides the stack besides the stages that are read.

        Raises:
            UserError: ``data_prep.prepare`` or another run is not finished.
        """
        from stacking.inputs.other_runs import other_runs

        also = other_runs(self.also, run)
        return recorded(self) | {
            "cv": self.cv or run.recorded(PREPARED).metadata["cv"],
            "tasks": {name: task.recorded() for name, task in experiment.tasks.items()},
            "also": {name: stage.record["digest"] for name, stage in also.items()},
        }

    def workload(self, outlook: Outlook) -> Workload:
        """Say about how long boosted trees take: they are most of it."""
        extract = "features.extract"
        n_statistics = len(outlook.setting(extract, "statistics") or USUAL_STATISTICS)
        n_outputs = LABEL_FREE_WIDTH
        if outlook.setting(extract, "source") in (None, FINETUNED):
            tasks = outlook.tasks(outlook.setting(FINETUNED, "tasks") or ())
            n_outputs = sum(len(task.columns) for task in tasks)
        n_deals = count_deals(self.cv or outlook.metadata["cv"])
        n_rows = len(outlook.scored()) * n_deals
        often = (2 + self.seeds) / 5
        of_nets = CELL_S * n_rows * n_outputs * n_statistics
        of_nets *= often + TUNED_SHARE * self.tune
        n_trees = 1.0
        if outlook.metadata.get("target_kind") != "numeric":
            n_trees = max(1.0, OF_CLASS * len(outlook.metadata.get("classes") or ()))
        of_pixels = PIXEL_ROW_S * n_rows * n_trees * often
        of_pixels *= "pixels" in self.stackers
        return Workload(seconds=START_S + of_nets + of_pixels)

    def check_libraries(self, outlook: Outlook) -> None:
        """Knock at the cluster.

        Raises:
            UserError: There is none.
        """
        del outlook
        self.check_cluster()

    def check_data(self, outlook: Outlook) -> None:
        """Check what the tables and the other stages decide.

        Raises:
            UserError: A setting does not fit them.
        """
        from stacking.preflight import check_fit

        check_fit(self, outlook)
