"""A made-up run of houses: each photo shows a part of the price.

A net sees a photo, which tells the price of its house with an error of its own, and so
it says less than it sees: the best for one photo is too near the mean for the mean of
many. It has a scale of its own, as each fold net has.

Shapes: P photos, N houses, V views.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_prep.folds import fold_hash
from data_prep.run_folders.runs import Run
from features.pooling import USUAL, pool
from features.store import write_store

N_VIEWS, SIDE_PX, N_FOLDS = 8, 16, 3
SPLITS = ("train", "test", "unlabelled")
MIDDLE, SPREAD = 300.0, 50.0  # of the prices
ERROR = 1.5  # of what a photo tells of its house, in spreads
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Houses:
    """What to make up; ``write`` writes it and returns the run's folder.

    The first house of the training table has one photo, the second forty; the last
    photos are in no table. Nets that have hardly been trained say little of what they
    could (``learned``), each around a price of its own (``shift``, its deviation).
    """

    n_train: int = 150
    n_test: int = 60
    n_unlabelled: int = 3
    is_label_free: bool = False
    learned: float = 1.0
    shift: float = 2.0
    seed: int = 0

    def write(self, folder: Path) -> Path:
        """Write both stages and the experiment."""
        rng = np.random.default_rng(self.seed)
        n_houses = self.n_train + self.n_test
        price = rng.normal(size=n_houses)
        n_photos = rng.integers(2, 9, n_houses)
        n_photos[:2] = 1, 40
        house = np.repeat(np.arange(n_houses), n_photos)
        shown = price[house] + rng.normal(0, ERROR, len(house))
        table = self._table(house, price, rng)
        shown = np.concatenate([shown, rng.normal(size=self.n_unlabelled)])
        run = Run(folder)
        self._prepare(run, table, rng)
        self._extract(run, table, shown[table["photo"]], rng)
        (folder / "experiment.toml").write_text("[data]\ntarget = 'price'\n")
        origin = {"base": ".", "experiment": "experiment.toml"}
        (folder / "run.json").write_text(json.dumps(origin))
        return folder

    def _table(
        self, house: NDArray[np.int64], price: Floats, rng: np.random.Generator
    ) -> pd.DataFrame:
        """Make the prepared table, its photos in an order that says nothing."""
        n = len(house) + self.n_unlabelled
        houses = np.concatenate([house, np.full(self.n_unlabelled, -1)])
        is_train = (houses >= 0) & (houses < self.n_train)
        is_test = houses >= self.n_train
        photos = pd.DataFrame(
            {
                "photo": np.arange(n),
                "split": np.select([is_train, is_test], SPLITS[:2], SPLITS[2]),
                "object": [f"h{k:03d}" for k in houses],
                "target": np.where(is_train, MIDDLE + SPREAD * price[houses], np.nan),
                "cv_group": np.where(houses >= 0, houses, 1000 + np.arange(n)),
                "fold": np.where(is_train, houses % N_FOLDS, -1),
                "given.floor": np.where(houses % 2, 1.0, 2.0),
                "given.size": np.where(houses % 2, 10.0, 20.0) + np.arange(n) % 3,
            }
        )
        photos = photos.sample(frac=1, random_state=rng).reset_index(drop=True)
        photos["id"] = [f"p{number:04d}" for number in range(n)]
        is_lone = photos["split"] == "unlabelled"
        # in no table, and called as a house is
        names = [f"h{k:03d}" for k in range(1, 1 + self.n_unlabelled)]
        photos.loc[is_lone, "id"] = photos.loc[is_lone, "object"] = names
        photos["group"] = photos["object"]
        photos["sha256"] = photos["pixels_sha256"] = photos["id"]
        constants = {"date": np.nan, "weight": 1.0, "width": 100, "height": 100}
        return photos.assign(image_row=np.arange(n), **constants)

    def _prepare(self, run: Run, table: pd.DataFrame, rng: np.random.Generator) -> None:
        target = table["target"]
        with run.stage("data_prep.prepare", {"seed": self.seed}) as stage:
            table.drop(columns="photo").to_parquet(stage.folder / "table.parquet")
            shape = (len(table), SIDE_PX, SIDE_PX, 3)
            np.save(
                stage.folder / "images.npy", rng.integers(0, 256, shape, dtype=np.uint8)
            )
            (stage.folder / "left_out.csv").write_text("id,file,reason\n")
            test = table["object"][table["split"] == "test"].unique()
            # one house has no photo that can be read
            names = sorted([*test, "gone"], reverse=True)
            sample = pd.DataFrame({"house": names, "price": 0.0})
            sample.to_csv(stage.folder / "sample.csv", index=False)
            stage.metadata = {
                "side": SIDE_PX,
                "fit": "pad",
                "cv": f"sgkfold{N_FOLDS}",
                "n_folds": N_FOLDS,
                "fold_hash": fold_hash(table["id"], table["fold"]),
                "classes": None,
                "target_kind": "numeric",
                "target_range": [float(target.min()), float(target.max())],
                "has_group": True,
                "id_column": "id",
                "object_column": "house",
                "target_column": "price",
                "words": 0,
            }

    def _extract(
        self, run: Run, table: pd.DataFrame, shown: Floats, rng: np.random.Generator
    ) -> None:
        header = {
            "cv": f"sgkfold{N_FOLDS}",
            "fold_hash": fold_hash(table["id"], table["fold"]),
            "views": None,
            "selected_with_labels": False,
            "failures": {},
            "nets": [{"task": "target", "fold": str(k)} for k in range(N_FOLDS)],
            "columns": [
                {
                    "name": f"target__{statistic}",
                    "task": "target",
                    "output": "",
                    "activation": "identity",
                    "statistic": statistic,
                    "space": "3f2a" if self.is_label_free else "outputs",
                }
                for statistic in USUAL
            ],
        }
        fold, ids = table["fold"].to_numpy(), table["id"].to_numpy()
        common = np.flatnonzero(fold < 0)
        with run.stage("features.extract", {}, ["data_prep.prepare"]) as stage:
            nets = 1 if self.is_label_free else N_FOLDS
            values = np.zeros((nets, len(table), len(USUAL)), dtype=np.float32)
            for net in range(nets):
                values[net] = self._net(shown, rng)
            held_out = np.where(fold >= 0, fold % nets, 0)
            own = values[held_out, np.arange(len(table))]
            own[common] = values[:, common].mean(axis=0)
            roles = ["label_free"] * len(table)
            if not self.is_label_free:
                roles = ["oof" if k >= 0 else "test" for k in fold]
            about = {"roles": roles, "folds": fold.tolist()}
            path = stage.folder / "features.pkl"
            write_store(path, ids.tolist(), own, {**header, **about})
            about = {"roles": ["test"] * len(common), "folds": [-1] * len(common)}
            for net in range(0 if self.is_label_free else nets):
                write_store(
                    stage.folder / "nets" / f"fold{net}.pkl",
                    ids[common].tolist(),
                    values[net, common],
                    {**header, **about},
                )

    def _net(self, shown: Floats, rng: np.random.Generator) -> Floats:
        """Say of (P,) photos what is best for each alone, on a scale of the net's."""
        scale, shift = rng.uniform(0.9, 1.1), rng.normal(0, self.shift)
        best = shown / (1 + ERROR**2)
        views = best[:, None] + rng.normal(0, 0.05, (len(shown), N_VIEWS))
        spread = self.learned * scale * SPREAD
        return pool((MIDDLE + shift + spread * views)[..., None])
