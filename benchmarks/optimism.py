"""Is the cross-validated score true of groups that the whole procedure never saw?

    python -m benchmarks.optimism experiments/pomological_optimism.toml

The labelled rows lie in four quarters that tear no cv group (``cv = "sgkfold4"``). Each
quarter in turn is held out from everything that sees a label: the other three are
cross-validated and stacked as ``stacking.fit`` does it, by both of its protocols, and
what comes out predicts the quarter. *Optimism* is the score on the held-out quarters
minus that of cross-validation; above zero, cross-validation promised too much.

``benchmarks.optimism_nets`` trains the nets that are missing; where none is, the same
command scores anew in a few minutes.

Shapes: N labelled rows, C columns.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.differences import told
from benchmarks.optimism_nets import ARMS, PREPARED, QUARTERS, make_missing, outputs_of
from data_prep.command import run_command
from data_prep.errors import UserError
from data_prep.experiment import Experiment, read_experiment
from data_prep.prepared import Prepared
from data_prep.run_folders.runs import Finished, Run
from data_prep.run_places import run_of
from data_prep.scoring.metrics import METRICS
from data_prep.scoring.scores import paired_bootstrap
from data_prep.settings import Parser, nearest
from data_prep.tables.spelling import class_names
from stacking.cross_fitting import TrainingRows
from stacking.inputs.data import (
    Column,
    CommonRows,
    InSample,
    RunInfo,
    StackingData,
    columns_of,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PLAIN = "plain net, mean of the views"
LEAKY = ("in-sample, boosted trees", "in-sample, post-processed")
HONEST = ("out-of-fold, boosted trees", "out-of-fold, post-processed")
PROCEDURES = {  # title: protocol, and the name of the member or line
    "constant": ("oof", "constant"),
    PLAIN: ("oof", "plain"),
    LEAKY[0]: ("insample", "lightgbm"),
    LEAKY[1]: ("insample", "prediction"),
    HONEST[0]: ("oof", "lightgbm"),
    HONEST[1]: ("oof", "prediction"),
}
RMSE = METRICS["rmse"]


@dataclass(frozen=True)
class Labelled:
    """The labelled rows, and what the nets of each pair say of all of them.

    Attributes:
        table: N rows of the prepared table.
        metadata: What ``data_prep.prepare`` found out.
        columns: C columns of the outputs.
        outputs: By pair, (N, C): the nets have seen neither of its quarters.
    """

    table: pd.DataFrame
    metadata: dict[str, Any]
    columns: tuple[Column, ...]
    outputs: dict[frozenset[int], Floats]

    @classmethod
    def read(cls, prepared: Finished, files: dict[frozenset[int], Path]) -> "Labelled":
        """Read the outputs of an arm."""
        table = Prepared.open(prepared).table
        described = next(iter(files.values())).with_name("columns.json")
        columns = [
            Column(name="{task}_{output}__{statistic}".format(**one), **one)
            for one in json.loads(described.read_text(encoding="utf-8"))
        ]
        return cls(
            table[table["fold"] >= 0],
            prepared.metadata,
            tuple(columns),
            {pair: np.load(file).astype(np.float64) for pair, file in files.items()},
        )

    @property
    def quarter(self) -> Ints:
        """(N,) quarter of each row."""
        return self.table["fold"].to_numpy(dtype=np.int64)

    @property
    def target(self) -> Floats:
        """(N,) numbers."""
        return self.table["target"].to_numpy(dtype=np.float64)

    def without(self, held_out: int, protocol: str) -> StackingData:
        """Give the stack's rows: three quarters, and the fourth to be predicted."""
        quarter = self.quarter
        kept_quarters = [number for number in QUARTERS if number != held_out]
        nets = [self.outputs[frozenset((held_out, number))] for number in kept_quarters]
        is_kept = quarter != held_out
        kept, to_predict = self.table[is_kept], self.table[~is_kept]
        folds = np.searchsorted(kept_quarters, quarter[is_kept])
        low, high = self.metadata["target_range"]
        in_sample = []
        for fold, net in enumerate(nets):
            idx = np.flatnonzero(folds != fold)
            in_sample.append(InSample(idx=idx, X=net[is_kept][idx]))
        return StackingData(
            rows=TrainingRows(
                X=np.stack(nets)[folds, np.flatnonzero(is_kept)],
                y=self.target[is_kept],
                folds=folds,
                groups=kept["cv_group"].to_numpy(dtype=np.int64),
                sample_weight=np.ones(len(kept)),
            ),
            columns=self.columns,
            classes=class_names(self.metadata["classes"]),
            target_range=(float(low), float(high)),
            common=CommonRows(
                ids=tuple(to_predict["id"]),
                nets=tuple(net[~is_kept] for net in nets),
                is_predicted=np.ones(len(to_predict), dtype=bool),
            ),
            info=RunInfo(ids=tuple(kept["id"])),
            in_sample=tuple(in_sample) if protocol == "insample" else (),
        )


@dataclass(frozen=True)
class ProcedurePredictions:
    """What one procedure says of all rows, over the four repeats.

    A row is cross-validated in three repeats, through three nets. In the fourth it is
    held out, and the same three nets predict it. So for a plain net both are equal, and
    what differs between them is the work of the stack.

    Attributes:
        cv: (N, 3) in cross-validation.
        one_net: (N, 3) held out, through one net and the models of its fold.
        averaged: (N,) held out, as the procedure predicts: averaged over the nets.
    """

    cv: Floats
    one_net: Floats
    averaged: Floats

    @classmethod
    def empty(cls, n: int) -> "ProcedurePredictions":
        """Make room for N rows."""
        return cls(np.full((n, 3), np.nan), np.full((n, 3), np.nan), np.full(n, np.nan))


def predict_all(
    labelled: Labelled, experiment: Experiment
) -> tuple[dict[str, ProcedurePredictions], Floats]:
    """Hold each quarter out, and collect what the procedures say of all rows.

    Returns:
        By procedure what it says; and (N,) the squared error that the honest one, to
        its end, expects of its average over the nets.
    """
    from stacking.settings import FitSettings
    from stacking.workflow import StackingJob

    quarter, n = labelled.quarter, len(labelled.table)
    predictions = {title: ProcedurePredictions.empty(n) for title in PROCEDURES}
    expected = np.full(n, np.nan)
    for held_out in tqdm(QUARTERS, desc="quarters held out"):
        train_idx, is_held_out = (
            np.flatnonzero(quarter != held_out),
            quarter == held_out,
        )
        # in which of its three repeats a row is: the quarters before its own count
        repeat = np.where(held_out < quarter[train_idx], held_out, held_out - 1)
        for protocol in ("oof", "insample"):
            data = labelled.without(held_out, protocol)
            settings = FitSettings(protocol=protocol, threads=1)
            job = StackingJob.of(data, settings, experiment)
            stacked = job.fit(Path())
            if averaging := job.expect(stacked):
                expected[is_held_out] = averaging.averaged**2
            predictor = stacked.predictor
            alone = [
                predictor.predict([net], first=number, in_fold=True).averaged
                for number, net in enumerate(data.common.nets)
            ]
            is_leaky = protocol == "insample"
            every = predictor.predict(data.common.nets, in_fold=is_leaky).averaged
            for title, (of, name) in PROCEDURES.items():
                if of != protocol:
                    continue
                of_procedure = predictions[title]
                of_procedure.cv[train_idx, repeat] = stacked.line(name).prediction
                if name == "constant":
                    of_procedure.one_net[is_held_out] = of_procedure.averaged[
                        is_held_out
                    ] = data.rows.y.mean()
                else:
                    of_procedure.one_net[is_held_out] = np.stack(
                        [net[name] for net in alone], axis=1
                    )
                    of_procedure.averaged[is_held_out] = every[name]
    return predictions, expected


def table_of(
    labelled: Labelled, predictions: Mapping[str, ProcedurePredictions]
) -> str:
    """Write the scores of the procedures, and how far cross-validation is from true."""
    cv_groups = labelled.table["cv_group"].to_numpy()

    def less(first: Floats, second: Floats) -> str:
        """Write the difference of two RMSE, of (N,) or (N, 3) predictions."""
        times = first.size // len(cv_groups)
        y, groups = (np.repeat(rows, times) for rows in (labelled.target, cv_groups))
        difference = paired_bootstrap(RMSE, y, first.ravel(), second.ravel(), groups)
        return told(difference)

    def score(pred: Floats) -> str:
        y = np.repeat(labelled.target, pred.size // len(cv_groups))
        return f"{RMSE(y, pred.ravel()):.4f}"

    plain = predictions[PLAIN]
    titles = ["procedure", "CV", "held out, one net", "optimism", "against plain"]
    titles += ["held out, nets averaged", "against plain"]
    lines = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for title, of_procedure in predictions.items():
        cells = [
            title,
            score(of_procedure.cv),
            score(of_procedure.one_net),
            less(of_procedure.one_net, of_procedure.cv),
        ]
        cells += ["", score(of_procedure.averaged), ""]
        if title != PLAIN:
            cells[4] = less(of_procedure.one_net, plain.one_net)
            cells[6] = less(of_procedure.averaged, plain.averaged)
        lines.append(f"| {' | '.join(cells)} |")
    for honest, leaky in zip(HONEST, LEAKY, strict=True):
        one_net = less(predictions[leaky].one_net, predictions[honest].one_net)
        averaged = less(predictions[leaky].averaged, predictions[honest].averaged)
        lines.append(f"{leaky} against {honest}: {one_net}; averaged {averaged}")
    return "\n".join(lines)


def memorised(labelled: Labelled) -> tuple[float, float]:
    """Give the RMSE of the plain nets on the rows they learned, and on all others."""
    (col_idx,), target = columns_of(labelled.columns, "target", "mean"), labelled.target
    errors: tuple[list[Floats], list[Floats]] = ([], [])
    for pair, outputs in labelled.outputs.items():
        pred = outputs[:, col_idx].clip(target.min(), target.max())
        is_other = np.isin(labelled.quarter, list(pair))
        for part, rows in zip(errors, (~is_other, is_other), strict=True):
            part.append((pred - target)[rows] ** 2)
    seen, unseen = (float(np.sqrt(np.concatenate(part).mean())) for part in errors)
    return seen, unseen


def main() -> None:
    """Train what is missing, and print a table for each arm."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before LightGBM loads
    parser = Parser(prog="python -m benchmarks.optimism", description=__doc__)
    parser.add_argument("experiment", type=Path, help="experiment file (TOML)")
    parser.add_argument("arms", nargs="*", help=f"some of: {', '.join(ARMS)}")
    flags = parser.parse(None)
    file, arms = flags["experiment"], flags["arms"] or list(ARMS)
    for name in arms:
        if name not in ARMS:
            raise UserError(f"no arm {name!r}; {nearest(name, ARMS)}")
    folder = run_of(file)
    for name in arms:
        make_missing(file, folder, name)
        labelled = Labelled.read(
            Run(folder).finished(PREPARED), outputs_of(folder, name)
        )
        seen, unseen = memorised(labelled)
        print(
            f"\n{name}, {ARMS[name].epochs} epochs: plain nets {seen:.4f} on the rows"
            f" they learned, {unseen:.4f} on others",
            flush=True,
        )
        predictions, expected = predict_all(labelled, read_experiment(file, folder))
        print(table_of(labelled, predictions))
        print(f"{HONEST[1]}, averaged: {np.sqrt(expected.mean()):.4f} is expected")


if __name__ == "__main__":
    run_command(main)
