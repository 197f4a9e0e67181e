"""Predict pictures that came after the run was made, by its stored nets and models.

    python -m stacking.predict --images new_leaves

The nets are asked by a child process (``features.fresh``), the models of
``stacking.fit`` here; no training picture is needed. Writes
``runs/NAME/stacking.predict/new_leaves.csv``, or ``--out FILE``:

- ``id``, ``prediction``: as in predictions.csv, averaged over the nets and then ended
  as what was scored,
- ``low``, ``high``: where the target of a picture of a new group lies in 90 % of the
  cases, or ``expected``: the classes among which it does, by out-of-fold residuals,
- ``probability_CLASS``: where the nets give some,
- ``spread_nets``, ``spread_views``: standard deviation over the nets, before they are
  averaged and the average is snapped, cut or rounded to a class, and over the
  views of the plain net, or of its probabilities: where they disagree, look twice.

Pictures that cannot be read are in ``new_leaves.left_out.csv``, and named. Typed again
after pictures were added to the folder, it asks the nets about these only.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray

from data_prep.command import last_run, run_command
from data_prep.errors import UserError
from data_prep.prepared import PREPARED, Prepared
from data_prep.run_folders.damage import intact
from data_prep.run_folders.runs import Finished, Run
from data_prep.settings import from_flags
from data_prep.tables.spelling import write_csv
from features.inference import NewPictures, default_path

if TYPE_CHECKING:
    import pandas as pd

    from stacking.ensemble.predictor import Predictor

STAGE = "stacking.predict"
FIT, EXTRACTED = "stacking.fit", "features.extract"
MANY = 5  # ids of pictures left out that are named
Floats = NDArray[np.float64]
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PredictSettings(NewPictures):
    """Predict new pictures by the stored nets and models of a run."""

    out: Annotated[
        Path | None,
        "where to (default: stacking.predict/<name of --images>.csv in the run)",
    ] = None
    table: Annotated[
        Path | None, "table with the columns that stacking.fit --columns was given"
    ] = None
    coverage: Annotated[float, "share of targets within their interval"] = 0.9


def main(argv: Sequence[str] | None = None) -> Path:
    """Predict as the command line says, and return the file."""
    settings = from_flags(PredictSettings, STAGE, argv)
    run = Run(settings.run or last_run(STAGE, "--run FOLDER"))
    fitted, prepared = run.finished(FIT), run.finished(PREPARED)
    from features.inference import find_images, infer_features
    from stacking.analysis.conformal import least_groups
    from stacking.ensemble.predictor import Predictor
    from stacking.inputs.new_columns import read_columns, with_sizes
    from stacking.oof import oof_file

    least_groups(settings.coverage)  # refuses what is no share
    predictor = Predictor.load(fitted.folder)
    with intact(oof_file(fitted.folder)):
        pass  # it is read at the end, and should be known to be whole before
    table = None
    if predictor.own is not None:
        pictures = list(find_images(settings.images).pictures)
        table = read_columns(settings.table, pictures, predictor.own, prepared)
    elif settings.table:
        raise UserError(
            f"--table {settings.table}: the stack was not given any column of yours;"
            " leave it out"
        )
    runs = [run, *_other_runs(run, fitted)]
    places = [default_path(one.folder, settings.images) for one in runs]
    out = settings.out or run.folder / STAGE / f"{places[0].name}.csv"
    asked = [
        infer_features(
            one.folder,
            settings.images,
            place,
            settings.threads,
            overwrite=settings.overwrite,
        )
        for one, place in zip(runs, places, strict=True)
    ]
    fresh = Fresh.read(asked, predictor, fitted)
    if table is not None:
        fresh = fresh.with_own(with_sizes(table, asked[0]), predictor)
    found = predict(fresh, predictor)
    found = _with_interval(found, fitted, prepared, predictor, settings.coverage)
    _write(found, out)
    _tell_left_out(asked, out)
    log.info("%d pictures predicted -> %s", len(found), out)
    return out


@dataclass(frozen=True)
class Fresh:
    """What the nets say of M new pictures.

    Attributes:
        ids: M ids.
        nets: K arrays (M, C), or one, of the net of all rows or of one without labels.
        views: K arrays (M, V, F) of single views, where a member sees those.
        first: Number of the first of the nets, for its scale.
    """

    ids: tuple[str, ...]
    nets: tuple[Floats, ...]
    views: tuple[Floats, ...] | None = None
    first: int = 0

    @classmethod
    def read(
        cls, folders: Sequence[Path], predictor: "Predictor", fitted: Finished
    ) -> "Fresh":
        """Read the stores of ``features.fresh``, of one run or several.

        Raises:
            UserError: They do not have the columns that the models learned from.
        """
        from stacking.inputs.sources import joined, opened

        by_run = []
        is_of_all = fitted.record["settings"]["test_nets"] == "all"
        for folder in folders:
            paths = sorted((folder / "nets").glob("fold*.pkl"))
            if is_of_all:
                paths = [folder / "nets" / "all.pkl"]
            by_run.append([opened(path) for path in paths or [folder / "features.pkl"]])
        # A picture that one run's nets fail on has no prediction, and is told of.
        every = [store for stores in by_run for store in stores]
        ids = tuple(i for i in every[0].ids if all(i in store for store in every))
        if not ids:
            raise UserError(
                f"no picture came through the nets of all {len(folders)} runs;"
                f" {folders[-1] / 'left_out.csv'} and those of the others say why"
            )
        nets = joined(
            [
                [store.matrix(ids).astype(np.float64) for store in stores]
                for stores in by_run
            ]
        )
        own = predictor.own.names if predictor.own else ()
        n_columns = len(predictor.target_columns.columns) - len(own)
        if nets[0].shape[1] != n_columns:
            raise UserError(
                f"the nets give {nets[0].shape[1]} columns, and the models learned from"
                f" {n_columns}; again: python -m stacking.fit --overwrite"
            )
        views = None
        if predictor.sees_views:
            views = tuple(_views(folders[0], predictor, ids, len(nets)))
        n_nets = len(predictor.alignment.knots)
        return cls(ids, nets, views, n_nets - 1 if is_of_all else 0)

    def with_own(self, table: "pd.DataFrame", predictor: "Predictor") -> "Fresh":
        """Put the user's own columns beside those of the nets.

        Raises:
            UserError: The table lacks a picture.
        """
        from stacking.inputs.leak_guards import named

        if missing := set(self.ids) - set(table.index):
            raise UserError(f"--table has no row for {named(missing)}; add them")
        assert predictor.own is not None
        beside = predictor.own.apply(table.loc[list(self.ids)])
        nets = tuple(np.concatenate([net, beside], axis=1) for net in self.nets)
        return Fresh(self.ids, nets, self.views, self.first)


def _views(
    folder: Path, predictor: "Predictor", ids: Sequence[str], n_nets: int
) -> list[Floats]:
    """Read the single views of each fold net, (M, V, F), tasks side by side."""
    from stacking.inputs.sources import opened

    own = predictor.own.names if predictor.own else ()
    tasks = dict.fromkeys(
        column.task
        for column in predictor.target_columns.columns
        if column.name not in own
    )
    return [
        np.concatenate(
            [
                opened(folder / "views" / f"{task}.test.fold{fold}.pkl")
                .matrix(ids)
                .astype(np.float64)
                for task in tasks
            ],
            axis=2,
        )
        for fold in range(n_nets)
    ]


def predict(fresh: Fresh, predictor: "Predictor") -> "pd.DataFrame":
    """Predict M pictures, a row each, by all nets averaged.

    Returns:
        ``id, prediction, probability_CLASS ..., spread_nets, spread_views``.
    """
    import pandas as pd

    from stacking.ensemble.final_step import labels_of
    from stacking.oof import probability_column

    target_columns = predictor.target_columns
    said = predictor.predict(fresh.nets, fresh.views, first=fresh.first)
    found = pd.DataFrame({"id": fresh.ids})
    found["prediction"] = labels_of(said.prediction, target_columns.classes)
    shares, spread = said.shares, said.by_net.std(axis=0)
    if not target_columns.is_number:
        shares, spread = said.prediction, np.sqrt((spread**2).mean(axis=1))
    if shares is not None:
        for k, name in enumerate(target_columns.classes):
            found[probability_column(name)] = shares[:, k]
    found["spread_nets"] = spread
    own = target_columns.columns_of(
        target_columns.plain or target_columns.proba_task, "var"
    )
    if len(own):
        variances = np.mean([values[:, own] for values in fresh.nets], axis=(0, 2))
        found["spread_views"] = np.sqrt(np.maximum(variances, 0))
    return found


def _with_interval(
    found: "pd.DataFrame",
    fitted: Finished,
    prepared: Finished,
    predictor: "Predictor",
    coverage: float,
) -> "pd.DataFrame":
    """Add where the target is to be expected, by the run's out-of-fold residuals."""
    from data_prep.tables.cells import as_texts
    from stacking.analysis.conformal import (
        conformal_radius,
        conformal_set_threshold,
        prediction_sets,
    )
    from stacking.oof import oof_file, probability_column, read_oof

    oof = read_oof(oof_file(fitted.folder), prepared.metadata)
    table = Prepared.open(prepared).table.set_index("id")
    cv_groups = table["cv_group"].loc[as_texts(oof["id"])].to_numpy()
    target_columns = predictor.target_columns
    if target_columns.is_number:
        residuals = oof["prediction"].astype(float) - oof["target"].astype(float)
        radius = conformal_radius(residuals, cv_groups, coverage)
        found.insert(
            2, "low", target_columns.clip(found["prediction"].to_numpy() - radius)
        )
        found.insert(
            3, "high", target_columns.clip(found["prediction"].to_numpy() + radius)
        )
        return found
    names = [probability_column(name) for name in target_columns.classes]
    shares = oof[names].to_numpy(dtype=np.float64)
    index = [target_columns.classes.index(str(name)) for name in oof["target"]]
    least = conformal_set_threshold(shares, index, cv_groups, coverage)
    sets = prediction_sets(found[names].to_numpy(), least)
    texts = [
        " | ".join(
            n for n, is_in in zip(target_columns.classes, row, strict=True) if is_in
        )
        for row in sets
    ]
    found.insert(2, "expected", texts)
    return found


def _other_runs(run: Run, fitted: Finished) -> list[Run]:
    """Find the other runs that the stack was made from, beside this one."""
    found = []
    for name, digest in fitted.record["settings"]["also"].items():
        other = Run(run.folder.resolve().parent / name)
        if not other.folder.is_dir():
            raise UserError(
                f"{other.folder}: the stack was made with the nets of this run too, and"
                " it is not there; bring it back"
            )
        if other.finished(EXTRACTED).record["digest"] != digest:
            raise UserError(
                f"{other.folder}: its features are others than the stack was made from;"
                f" again: python -m {FIT} --run {run.folder} --overwrite"
            )
        found.append(other)
    return found


def _write(found: Any, out: Path) -> None:
    write_csv(out, found)


def _tell_left_out(asked: Sequence[Path], out: Path) -> None:
    """Keep and name the pictures that have no prediction."""
    import pandas as pd

    from stacking.inputs.leak_guards import named

    tables = []
    for folder in asked:
        with intact(folder / "left_out.csv") as path:
            tables.append(pd.read_csv(path, dtype=str, keep_default_na=False))
    left_out = pd.concat(tables).drop_duplicates("id")
    place = out.with_name(f"{out.stem}.left_out.csv")
    place.unlink(missing_ok=True)
    if len(left_out):
        _write(left_out, place)
        have = "has" if len(left_out) == 1 else "have"
        ids = named(left_out["id"], MANY)
        log.warning("%s %s no prediction: %s says why", ids, have, place)


if __name__ == "__main__":
    run_command(main)
