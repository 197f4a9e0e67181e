"""Scores of held-out folds over the epochs of a run, as its logs have them.

Torch-free. Nothing is chosen by these curves: they tell what a training was like.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from data_prep.errors import UserError
from data_prep.scoring.metrics import METRICS
from pretext.engine.epochs import FILE, HELD_OUT
from pretext.engine.history import History
from transfer.results.trained_nets import STAGE

if TYPE_CHECKING:
    import pandas as pd

EPOCHS = f"logs/{FILE}"  # in the folder of a net


@dataclass(frozen=True, kw_only=True)
class RunCurves:
    """What one run's nets scored.

    Attributes:
        run: Name of the run.
        by_metric: By task and metric, such as ``target_rmse``: a table with a row for
            each epoch and a column for each fold; NaN where it was not measured.
    """

    run: str
    by_metric: "dict[str, pd.DataFrame]"

    @classmethod
    def of(cls, folder: Path) -> "RunCurves":
        """Read the logs of a run, also of one that is being trained.

        Raises:
            UserError: There are none.
        """
        import pandas as pd

        files = nets_logged(folder)
        scores: dict[str, dict[str, dict[int, float]]] = {}
        for file in files:
            fold = file.parents[1].name
            history = History(file)
            names = {name for epoch in history.by_epoch.values() for name in epoch}
            for name in sorted(n for n in names if n.startswith(HELD_OUT)):
                metric = name.removeprefix(HELD_OUT)
                scores.setdefault(metric, {})[fold] = history.of(name)
        if not scores:
            raise UserError(
                f"{folder}: its nets have no score of a held-out fold; train folds,"
                " with --score-every 1 to see each epoch"
            )
        tables = {
            metric: pd.DataFrame(of_folds).sort_index().rename_axis("epoch")
            for metric, of_folds in scores.items()
        }
        return cls(run=folder.resolve().name, by_metric=tables)

    def mean(self, metric: str) -> "pd.DataFrame":
        """Give mean, lowest and highest score of the folds, by epoch.

        Only of epochs that every fold has: a mean over fewer would jump.
        """
        import pandas as pd

        whole = self.by_metric[metric].dropna()
        return pd.DataFrame(
            {name: whole.agg(name, axis=1) for name in ("mean", "min", "max")}
        )


def nets_logged(folder: Path) -> list[Path]:
    """Find the logs of the nets of a run: of the stage, or of one being trained.

    Raises:
        UserError: The run has none.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such run")
    for stage in (folder / STAGE, folder / f"{STAGE}.partial"):
        if files := sorted(stage.glob(f"*/fold*/{EPOCHS}")):
            return files
    raise UserError(
        f"{folder}: no {EPOCHS} of a net; first: python -m {STAGE} --run {folder}"
        " --score-every 1"
    )


def is_higher_better(metric: str) -> bool:
    """Tell the direction of a score such as ``target_rmse`` by its metric."""
    name = metric.rpartition("_")[2]
    return name in METRICS and METRICS[name].higher_is_better


def table_of(curves: Sequence[RunCurves]) -> "pd.DataFrame":
    """Put the last epoch, and the best one to look at, in a row per run and score."""
    import pandas as pd

    rows = []
    for metric in metrics_of(curves):
        for run in (c for c in curves if metric in c.by_metric):
            mean = run.mean(metric)
            if mean.empty:
                continue
            scores = mean["mean"].to_numpy()
            best = int(scores.argmax() if is_higher_better(metric) else scores.argmin())
            last = mean.iloc[-1]
            rows.append(
                {
                    "score": metric,
                    "run": run.run,
                    "folds": run.by_metric[metric].shape[1],
                    "epochs": int(mean.index[-1]),
                    "last": last["mean"],
                    "lowest fold": last["min"],
                    "highest fold": last["max"],
                    "best": scores[best],
                    "best epoch": int(mean.index[best]),
                }
            )
    return pd.DataFrame(rows)


def metrics_of(curves: Sequence[RunCurves]) -> list[str]:
    """List every score of the runs, in the order of the first that has it."""
    return list(dict.fromkeys(metric for run in curves for metric in run.by_metric))
