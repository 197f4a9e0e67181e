"""Predict pictures that came after the run was made, by its stored nets and models.

    python -m stacking.predict --images new_leaves

The nets are asked by a child process (``features.fresh``), the models of
``stacking.fit`` here; no training picture is needed. Writes
``runs/NAME/stacking.predict/new_leaves.csv``, or ``--out FILE``:

- ``id``, ``prediction``: as in predictions.csv,
- ``low``, ``high``: where the target of a picture of a new group lies in 90 % of the
  cases, or ``expected``: the classes among which it does, by out-of-fold residuals,
- ``probability_CLASS``: where the nets give some,
- ``spread_nets``, ``spread_views``: standard deviation over the nets, and over the
  views of the plain net, or of its probabilities: where they disagree, look twice.

Pictures that cannot be read are in ``new_leaves.left_out.csv``, and named.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data_prep.command import last_run, run_command
from data_prep.damage import intact, read_frame
from data_prep.drafts import drafted
from data_prep.errors import UserError
from data_prep.runs import Finished, Run
from data_prep.settings import Parser
from features.asking import add_flags, name_of

if TYPE_CHECKING:
    import pandas as pd

    from stacking.predictor import Predictor

STAGE = "stacking.predict"
FIT, PREPARED, EXTRACTED = "stacking.fit", "data_prep.prepare", "features.extract"
MANY = 5  # ids of pictures left out that are named
Floats = NDArray[np.float64]
log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> Path:
    """Predict as the command line says, and return the file."""
    parser = Parser(
        prog=f"python -m {STAGE}",
        description="Predict new pictures by the stored nets and models of a run.",
    )
    add_flags(parser)
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="where to (default: stacking.predict/<name of --images>.csv in the run)",
    )
    parser.add_argument(
        "--table",
        type=Path,
        metavar="FILE",
        help="table with the columns that stacking.fit --columns was given",
    )
    parser.add_argument(
        "--coverage",
        type=float,
        default=0.9,
        help="share of targets within their interval (default: 0.9)",
    )
    given = parser.parse(argv)
    run = Run(given["run"] or last_run(STAGE))
    fitted, prepared = run.finished(FIT), run.finished(PREPARED)
    from features.asking import ask_nets
    from stacking.conformal import least_groups
    from stacking.predictor import Predictor

    least_groups(given["coverage"])  # refuses what is no share
    predictor = Predictor.load(fitted.folder)
    with intact(fitted.folder / "oof.csv"):
        pass  # it is read at the end, and should be known to be whole before
    table = _own_table(given["table"], predictor, prepared.facts["id_column"])
    runs = [run, *_other_runs(run, fitted)]
    name = name_of(given["images"])
    out = given["out"] or run.folder / STAGE / f"{name}.csv"
    asked = [
        ask_nets(
            one.folder, given["images"], one.folder / "fresh" / name, given["threads"]
        )
        for one in runs
    ]
    fresh = Fresh.read(asked, predictor, fitted)
    if table is not None:
        fresh = fresh.with_own(table, predictor)
    found = predict(fresh, predictor)
    found = _with_interval(found, fitted, prepared, predictor, given["coverage"])
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
        from stacking.sources import joined, opened

        by_run, ids = [], tuple[str, ...]()
        is_of_all = fitted.record["settings"]["test_nets"] == "all"
        for folder in folders:
            paths = sorted((folder / "nets").glob("fold*.pkl"))
            if is_of_all:
                paths = [folder / "nets" / "all.pkl"]
            stores = [opened(path) for path in paths or [folder / "features.pkl"]]
            ids = ids or stores[0].ids
            by_run.append([store.matrix(ids).astype(np.float64) for store in stores])
        nets = joined(by_run)
        own = predictor.own.names if predictor.own else ()
        n_columns = len(predictor.reading.columns) - len(own)
        if nets[0].shape[1] != n_columns:
            raise UserError(
                f"the nets give {nets[0].shape[1]} columns, and the models learned from"
                f" {n_columns}; again: python -m stacking.fit --again"
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
        from stacking.guards import named

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
    from stacking.sources import opened

    own = predictor.own.names if predictor.own else ()
    tasks = dict.fromkeys(
        column.task for column in predictor.reading.columns if column.name not in own
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

    reading = predictor.reading
    by_net = [
        predictor.say(
            fresh.first + net, values, fresh.views[net] if fresh.views else None
        )["prediction"]
        for net, values in enumerate(fresh.nets)
    ]
    mean = np.mean(by_net, axis=0)
    found = pd.DataFrame({"id": fresh.ids})
    spread = np.std(by_net, axis=0)
    shares: Floats | None
    if reading.is_number:
        found["prediction"] = mean
        said = [reading.shares(values) for values in fresh.nets]
        given = [one for one in said if one is not None]
        shares = np.mean(given, axis=0) if given else None
    else:
        found["prediction"] = np.array(reading.classes, object)[mean.argmax(axis=1)]
        shares, spread = mean, np.sqrt((spread**2).mean(axis=1))
    if shares is not None:
        for k, name in enumerate(reading.classes):
            found[f"probability_{name.removesuffix('.0')}"] = shares[:, k]
    found["spread_nets"] = spread
    own = reading.columns_of(reading.plain or reading.shares_of, "var")
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
    from data_prep.cells import as_ids, read_table
    from stacking.conformal import (
        conformal_radius,
        conformal_set_threshold,
        prediction_sets,
    )

    with intact(fitted.folder / "oof.csv") as path:
        oof = read_table(path)
    table = read_frame(prepared.folder / "table.parquet").set_index("id")
    clusters = table["cluster"].loc[as_ids(oof["id"])].to_numpy()
    reading = predictor.reading
    if reading.is_number:
        residuals = oof["prediction"].astype(float) - oof["target"].astype(float)
        radius = conformal_radius(residuals, clusters, coverage)
        found.insert(2, "low", reading.clip(found["prediction"].to_numpy() - radius))
        found.insert(3, "high", reading.clip(found["prediction"].to_numpy() + radius))
        return found
    names = [f"probability_{name}" for name in reading.classes]
    shares = oof[names].to_numpy(dtype=np.float64)
    index = [reading.classes.index(str(name)) for name in oof["target"]]
    least = conformal_set_threshold(shares, index, clusters, coverage)
    sets = prediction_sets(found[names].to_numpy(), least)
    texts = [
        " | ".join(n for n, is_in in zip(reading.classes, row, strict=True) if is_in)
        for row in sets
    ]
    found.insert(2, "expected", texts)
    return found


def _own_table(
    path: Path | None, predictor: "Predictor", id_column: str
) -> "pd.DataFrame | None":
    """Read the user's own columns of the new pictures, ids as the index."""
    from data_prep.cells import as_ids, read_table

    if predictor.own is None:
        if path:
            raise UserError(
                f"--table {path}: the stack was not given any column of yours; leave"
                " it out"
            )
        return None
    names = ", ".join(column.name for column in predictor.own.columns)
    if path is None:
        raise UserError(f"the stack learned from {names} too; give --table FILE")
    table = read_table(path)
    if id_column not in table:
        raise UserError(f"{path}: there is no column {id_column!r}; it names the ids")
    return table.assign(**{id_column: as_ids(table[id_column])}).set_index(id_column)


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
                f" again: python -m {FIT} --run {run.folder} --again"
            )
        found.append(other)
    return found


def _write(found: Any, out: Path) -> None:
    with drafted(out) as file:
        found.to_csv(file, index=False, float_format="%.6f", lineterminator="\n")


def _tell_left_out(asked: Sequence[Path], out: Path) -> None:
    """Keep and name the pictures that have no prediction."""
    import pandas as pd

    from stacking.guards import named

    tables = []
    for folder in asked:
        with intact(folder / "left_out.csv") as path:
            tables.append(pd.read_csv(path, dtype=str, keep_default_na=False))
    left_out = pd.concat(tables).drop_duplicates("id")
    place = out.with_name(f"{out.stem}.left_out.csv")
    place.unlink(missing_ok=True)
    if len(left_out):
        _write(left_out, place)
        log.warning(
            "%s have no prediction: %s says why", named(left_out["id"], MANY), place
        )


if __name__ == "__main__":
    run_command(main)
