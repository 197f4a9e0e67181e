"""A made-up run: a prepared table, and what simulated fold nets say of its pictures.

Each picture has a date that nobody sees; the target is the period it falls in. A net
reads the date with an error, on a scale of its own, and has learned its training rows
by heart, as the fold nets of ``transfer.finetune`` do.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from data_prep.folds import fold_columns, hash_of_folds
from data_prep.run_folders.runs import Run
from data_prep.time_folds import with_time_folds
from features.pooling import USUAL, pool
from features.store import write_store
from stacking.cross_fitting import TrainingRows

# Read when LightGBM loads; without, two threads on a busy machine take seconds.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

SIDE_PX = 16
N_VIEWS = 8
PERIODS = [-0.7, 0.0, 0.8]  # between classes 0, 1, 2 and 3
ALL_TASKS = ("target", "onehot", "date", "words")
Floats = NDArray[np.float64]


@dataclass
class FakeRun:
    """What to make up; ``write`` writes it and returns the run's folder."""

    n_train: int = 240
    n_test: int = 80
    n_unlabelled: int = 10
    n_folds: int = 3
    n_deals: int = 1
    tasks: Sequence[str] = ALL_TASKS
    n_words: int = 5
    is_text: bool = False
    is_continuous: bool = False
    has_signal: bool = True
    has_insample: bool = False
    has_sample: bool = True
    is_shifted: bool = True
    is_label_free: bool = False
    is_in_time: bool = False
    seed: int = 0
    net_seed: int = 0  # other nets of the same pictures
    header: dict[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        """Write the two stages and the experiment."""
        rng = np.random.default_rng(self.seed)
        n = self.n_train + self.n_test + self.n_unlabelled
        parts = ["train"] * self.n_train + ["test"] * self.n_test
        split = np.array(parts + ["unlabelled"] * self.n_unlabelled)
        order = rng.permutation(n)
        ids, split = [f"p{number:04d}" for number in range(n)], split[order]
        cv_group = np.arange(n) // 2  # pairs of like pictures
        date = rng.normal(size=n // 2 + 1)[cv_group] + rng.normal(0, 0.1, n)
        period = np.searchsorted(PERIODS, date)
        if not self.has_signal:
            period = rng.permutation(period)
        is_train = split == "train"
        fold = np.where(is_train, rng.integers(self.n_folds, size=n)[cv_group], -1)
        table = self._table(ids, split, cv_group, date, period, fold)
        if self.is_in_time:
            years = np.random.default_rng(self.seed + 1).integers(1850, 1900, n)
            table = table.assign(date=years.astype(np.float64))
            table = with_time_folds(table, self._cv, is_train, gap=0.0)
            fold = table["fold"].to_numpy()
        for deal in range(1, self.n_deals):
            others = np.random.default_rng([self.seed, deal]).integers(
                self.n_folds, size=n
            )
            drawn = others[cv_group] + deal * self.n_folds
            table[f"fold_{deal}"] = np.where(is_train, drawn, -1)
        run = Run(folder)
        self._prepare(run, table, rng)
        nets = np.random.default_rng(self.net_seed) if self.net_seed else rng
        self._extract(run, table, date, period, nets)
        (folder / "experiment.toml").write_text("[data]\ntarget = 'period'\n")
        origin = {"base": ".", "experiment": "experiment.toml"}
        (folder / "run.json").write_text(json.dumps(origin))
        return folder

    @property
    def _cv(self) -> str:
        often = f"x{self.n_deals}" * (self.n_deals > 1)
        return f"{'time' if self.is_in_time else 'sgkfold'}{self.n_folds}{often}"

    @property
    def _has_classes(self) -> bool:
        return not self.is_continuous

    @property
    def _classes(self) -> list[Any] | None:
        names = ["antique", "medieval", "modern", "young"]
        numbers = [0.0, 1.0, 2.0, 3.0] if self._has_classes else None
        return names if self.is_text else numbers

    def _table(
        self,
        ids: list[str],
        split: Any,
        cv_group: Any,
        date: Any,
        period: Any,
        fold: Any,
    ) -> pd.DataFrame:
        is_train = split == "train"
        names = np.array(["antique", "medieval", "modern", "young"], dtype=object)
        target = names[period] if self.is_text else period.astype(np.float64)
        if self.is_continuous:
            target = np.clip(date + 1.5, 0, 3)
        missing = None if self.is_text else np.nan
        return pd.DataFrame(
            {
                "id": ids,
                "split": split,
                "image_row": np.arange(len(ids)),
                "target": np.where(is_train, target, missing),
                "class_index": np.where(is_train & self._has_classes, period, -1),
                "group": [f"g{number}" for number in cv_group],
                "cv_group": cv_group,
                "date": np.where(is_train, 1900 + 20 * date, np.nan),
                "fold": fold,
                "weight": 1.0,
                "sha256": ids,
                "width": 100,
                "height": 100,
                "pixels_sha256": ids,
            }
        )

    def _prepare(self, run: Run, table: pd.DataFrame, rng: np.random.Generator) -> None:
        metadata = {
            "side": SIDE_PX,
            "fit": "pad",
            "cv": self._cv,
            "n_folds": self.n_folds * self.n_deals,
            "fold_hash": hash_of_folds(table),
            "classes": self._classes,
            "target_kind": "classes" if self.is_text else "numeric",
            "target_range": None if self.is_text else [0.0, 3.0],
            "has_group": True,
            "id_column": "name",
            "target_column": "period",
            "words": 0,
        }
        with run.stage("data_prep.prepare", {"seed": self.seed}) as stage:
            table.to_parquet(stage.folder / "table.parquet")
            shape = (len(table), SIDE_PX, SIDE_PX, 3)
            pictures = rng.integers(0, 256, shape, dtype=np.uint8)
            np.save(stage.folder / "images.npy", pictures)
            (stage.folder / "left_out.csv").write_text("id,file,reason\n")
            test = table["id"][table["split"] == "test"]
            if self.has_sample and len(test):
                sample = pd.DataFrame({"name": test.iloc[::-1], "period": 0.0})
                sample.to_csv(stage.folder / "sample.csv", index=False)
            stage.metadata = metadata

    def _extract(
        self, run: Run, table: pd.DataFrame, date: Floats, period: Any, rng: Any
    ) -> None:
        outputs = {
            "target": [""],
            "onehot": ["0", "1", "2", "3"],
            "date": [""],
            "words": [str(k) for k in range(self.n_words)],
        }
        described = [
            (f"{task}_{output}" if output else task, task, output)
            for task in self.tasks
            for output in outputs[task]
        ]
        header = {
            "cv": self._cv,
            "fold_hash": hash_of_folds(table),
            "views": None,
            "selected_with_labels": False,
            "failures": {},
            "nets": [
                {"task": task, "fold": str(k)}
                for task in self.tasks
                for k in range(self.n_folds * self.n_deals)
            ],
            "columns": [
                {
                    "name": f"{name}__{statistic}",
                    "task": "embedding" if self.is_label_free else task,
                    "output": output,
                    "activation": "softmax" if task == "onehot" else "identity",
                    "statistic": statistic,
                    "space": "3f2a" if self.is_label_free else "outputs",
                }
                for name, task, output in described
                for statistic in USUAL
            ],
        } | self.header
        is_train, rows = table["split"] == "train", np.arange(len(table))
        common = rows[~is_train]
        with run.stage("features.extract", {}, ["data_prep.prepare"]) as stage:
            path = stage.folder / "features.pkl"
            if self.is_label_free:
                values = self._net(date, period, rng)(rows, False)
                _store(path, table, rows, values, "label_free", header)
                return
            by_deal = []
            for deal, column in enumerate(fold_columns(table)):
                fold, oof_rows, oof, tests = table[column].to_numpy(), [], [], []
                for k in range(deal * self.n_folds, (deal + 1) * self.n_folds):
                    net = self._net(date, period, rng)
                    held_out = rows[fold == k]
                    oof_rows.append(held_out)
                    oof.append(net(held_out, False))
                    tests.append(net(common, False))
                    name = f"fold{k}.pkl"
                    if len(common):
                        store_file = stage.folder / "nets" / name
                        _store(store_file, table, common, tests[-1], "test", header)
                    if self.has_insample:
                        seen = rows[is_train & (fold != k)]
                        store_file = stage.folder / "insample" / name
                        _store(
                            store_file, table, seen, net(seen, True), "insample", header
                        )
                order = np.concatenate([*oof_rows, common])
                values = np.concatenate([*oof, np.mean(tests, axis=0)])
                roles = ["oof"] * sum(map(len, oof_rows)) + ["test"] * len(common)
                by_deal.append(values[order.argsort()])  # by picture
                if self.n_deals > 1:
                    of_deal = stage.folder / "deals" / f"deal{deal}.pkl"
                    its_folds = table.assign(fold=table[column])
                    _store(of_deal, its_folds, order, values, roles, header)
            header |= {"deals": self.n_deals} if self.n_deals > 1 else {}
            if self.n_deals > 1:
                values = np.mean(by_deal, axis=0)[order]
            _store(path, table, order, values, roles, header)

    def _net(self, date: Floats, period: Any, rng: np.random.Generator) -> Any:
        """Give a net: what it says of rows, which it may know by heart."""
        scale, shift = (rng.uniform(0.6, 1.6), rng.normal(0, 0.5))
        if not self.is_shifted:
            scale, shift = 1.0, 0.0
        words = np.random.default_rng(99).normal(size=self.n_words)

        def read(rows: Any, by_heart: bool, error: float) -> Floats:
            """Read the date in (rows, views), with an error of the task's own."""
            if by_heart:
                own = 0.02 * error * rng.normal(size=(len(rows), N_VIEWS))
                return np.asarray(period[rows][:, None] - 1.5 + own)
            views = rng.normal(0, 0.15, (len(rows), N_VIEWS))
            own = rng.normal(0, error, (len(rows), 1))
            return np.asarray(date[rows][:, None] + own + views)

        def net(rows: Any, by_heart: bool) -> NDArray[np.float32]:
            seen = {
                task: read(rows, by_heart, error)
                for task, error in zip(ALL_TASKS, (0.8, 0.5, 0.7, 0.6), strict=True)
            }
            middles = np.array([-1.2, -0.4, 0.4, 1.2])
            shares = np.exp(-3 * scale * (seen["onehot"][..., None] - middles) ** 2)
            said = {
                "target": (scale * seen["target"] + shift + 1.5)[..., None],
                "onehot": shares / shares.sum(axis=-1, keepdims=True),
                "date": (1900 + 20 * scale * seen["date"] + 10 * shift)[..., None],
                "words": np.tanh(seen["words"])[..., None] * words + shift,
            }
            views = np.concatenate([said[task] for task in self.tasks], axis=-1)
            return pool(views.astype(np.float32)).astype(np.float32)

        return net


def rows_in_folds(
    X: Floats,
    y: Floats,
    sample_weight: Floats | None = None,
    *,
    folds: NDArray[np.int64],
    groups: NDArray[np.int64],
) -> TrainingRows:
    """Give rows to learn from; all count alike where no weights are given."""
    if sample_weight is None:
        sample_weight = np.ones(len(y))
    return TrainingRows(
        X=X, y=y, folds=folds, groups=groups, sample_weight=sample_weight
    )


def _store(
    path: Path,
    table: pd.DataFrame,
    rows: Any,
    values: NDArray[np.float32],
    role: str | list[str],
    header: dict[str, Any],
) -> None:
    roles = [role] * len(rows) if isinstance(role, str) else role
    fold = table["fold"].to_numpy()[rows]
    write_store(
        path,
        table["id"].to_numpy()[rows].tolist(),
        values,
        {**header, "roles": roles, "folds": fold.tolist()},
    )


@pytest.fixture(scope="module", autouse=True)
def few_rounds() -> Iterator[None]:
    """Let boosters that only compare be small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("stacking.models.boosting.QUICK_ROUNDS", 20)
        patch.setattr("stacking.analysis.shift.N_ROUNDS", 10)
        yield


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Give a function that makes up a run, by the fields of ``FakeRun``."""

    def make(**fields: Any) -> Path:
        return FakeRun(**fields).write(tmp_path / "run")

    return make
