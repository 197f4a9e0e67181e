"""Predict pictures that came after the run was made, by its stored nets and models.

    python -m stacking.predict --images new_leaves

The nets run in a child process (``features.fresh``), the models of
``stacking.fit`` here; no training picture is needed. Writes
``runs/NAME/stacking.predict/new_leaves.csv``, or ``--out FILE``:

- the id of a picture, or the name of an object where the run has those, in a column
  that is called as in your tables, as in oof.csv and predictions.csv,
- ``prediction``, as in oof.csv: averaged over the nets and then ended as what was
  scored, and so the value that predictions.csv has in the column of the target,
- ``low``, ``high``: where the target of a picture of a new group lies in a share
  ``coverage`` of the cases, or ``expected``: the classes among which it does, by
  out-of-fold residuals,
- ``probability_CLASS``: where the nets give some,
- ``spread_nets``, ``spread_views``: standard deviation over the nets, before they are
  averaged and the average is rounded or cut to a class, and over the
  views of the plain net, or of its probabilities: where they disagree, look twice.

``--net distilled`` predicts by the one net of ``transfer.distill`` in place of all nets
and models, into ``new_leaves.distilled.csv``; intervals are by the rows that the
distilled nets of the folds held out.

Of objects (``[data] object``) ``--table FILE`` says which pictures show which. Of files
whose pages are pictures (``page = "all"`` of ``data_prep.prepare``) none is needed.

Pictures that cannot be read are in ``new_leaves.left_out.csv``, and named. Typed again
after pictures were added to the folder, it asks the nets about these only.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from data_prep.command import run_command
from data_prep.errors import UserError, named
from data_prep.prepared import PREPARED, Prepared, name_column, pages_of
from data_prep.run_folders.damage import intact, read_frame, read_json
from data_prep.run_folders.runs import Finished, Run
from data_prep.run_places import chosen_run
from data_prep.settings import from_flags
from data_prep.tables.spelling import write_csv
from features.inference import DISTILLED, NewPictures, default_path
from stacking.oof import EXACT, probability_column, with_name_of_ids

if TYPE_CHECKING:
    import pandas as pd

    from data_prep.user_columns import UserColumns
    from stacking.ensemble.deals import DealPredictors
    from stacking.ensemble.new_rows import NewRows
    from stacking.inputs.target_columns import TargetColumns

STAGE = "stacking.predict"
FIT, EXTRACTED, DISTILL = "stacking.fit", "features.extract", "transfer.distill"
MANY = 5  # ids of pictures left out that are named
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PredictSettings(NewPictures):
    """Predict new pictures by the stored nets and models of a run."""

    out: Annotated[
        Path | None,
        "where to (default: stacking.predict/<name of --images>.csv in the run)",
    ] = None
    coverage: Annotated[float, "share of targets within their interval"] = 0.9


def main(argv: Sequence[str] | None = None) -> Path:
    """Predict as the command line says, and return the file."""
    settings = from_flags(PredictSettings, STAGE, argv)
    run = Run(chosen_run(settings.run, STAGE))
    prepared = run.finished(PREPARED)
    from stacking.analysis.conformal import least_groups

    least_groups(settings.coverage)  # refuses what is not between 0 and 1
    predict_by = _predict_by_net if settings.net == DISTILLED else _predict_by_stack
    served = predict_by(settings, run, prepared)
    name = served.folders[0].name + ".distilled" * (settings.net == DISTILLED)
    out = settings.out or run.folder / STAGE / f"{name}.csv"
    cv_groups = Prepared.open(prepared).rows_by_name()["cv_group"]
    predictions, oof = served.predictions, served.oof
    from data_prep.tables.cells import as_texts

    oof["cv_group"] = cv_groups.loc[as_texts(oof["id"])].to_numpy()
    _add_interval(predictions, oof, served.target_columns, settings.coverage)
    write_csv(out, with_name_of_ids(predictions, name_column(prepared.metadata)))
    _tell_left_out(served.folders, out)
    if served.warning:
        log.warning("%s", served.warning)
    noun = "objects" if served.is_by_object else "pictures"
    log.info("%d %s predicted -> %s", len(predictions), noun, out)
    return out


@dataclass(frozen=True, kw_only=True)
class Served:
    """What was predicted of new pictures, or objects.

    Attributes:
        predictions: A row each.
        oof: The out-of-fold predictions of the run, by what predicts now.
        target_columns: Say what the target is.
        folders: Of the features of the pictures, by run.
        is_by_object: A row is an object.
        warning: Of the score; empty: none.
    """

    predictions: "pd.DataFrame"
    oof: "pd.DataFrame"
    target_columns: "TargetColumns"
    folders: Sequence[Path]
    is_by_object: bool
    warning: str = ""


def _predict_by_stack(
    settings: PredictSettings, run: Run, prepared: Finished
) -> Served:
    """Predict by the nets of all folds and the models stacked on them."""
    fitted = run.finished(FIT)
    from data_prep.new_columns import with_sizes
    from features.earlier import SIDECAR
    from stacking.ensemble.deals import DealPredictors
    from stacking.ensemble.new_rows import NewRows

    predictor = DealPredictors.load(fitted.folder)
    oof = read_frame(fitted.folder / EXACT)
    runs = [run, *_other_runs(run, fitted)]
    # looked at before any net is asked
    table, objects = _read_table(settings, predictor.user_columns, prepared, runs=runs)
    folders = _infer(settings, runs)
    rows = NewRows.read(folders, predictor, fitted)
    if table is not None:
        if (sidecar := folders[0] / SIDECAR).is_file():
            table = with_sizes(table, read_json(sidecar))
        rows = rows.with_user_columns(table, predictor)
    if objects is not None:
        rows = rows.of_objects(objects, predictor)
    return Served(
        predictions=predict(rows, predictor),
        oof=oof,
        target_columns=predictor.target_columns,
        folders=folders,
        is_by_object=objects is not None,
        warning=_warning_of_score(fitted.metadata, predictor),
    )


def _predict_by_net(settings: PredictSettings, run: Run, prepared: Finished) -> Served:
    """Predict by the distilled net alone."""
    distilled = run.finished(DISTILL)
    from stacking.ensemble.distilled import DistilledRows

    oof = read_frame(distilled.folder / EXACT)
    _, objects = _read_table(settings, None, prepared, runs=[run])
    folders = _infer(settings, [run])
    opened = Prepared.open(prepared)
    rows = DistilledRows.read(folders[0], distilled, opened, objects)
    return Served(
        predictions=rows.predict(),
        oof=oof,
        target_columns=rows.target_columns,
        folders=folders,
        is_by_object=objects is not None,
    )


def _infer(settings: PredictSettings, runs: Sequence[Run]) -> list[Path]:
    """Have the nets of each run look at the pictures; returns where that lies."""
    from features.inference import infer_features

    images, net = settings.images, settings.net
    return [
        infer_features(
            one_run.folder,
            images,
            default_path(one_run.folder, images, net),
            settings.threads,
            table=settings.table,
            net=net,
            overwrite=settings.overwrite,
        )
        for one_run in runs
    ]


def _read_table(
    settings: PredictSettings,
    user_columns: "UserColumns | None",
    prepared: Finished,
    *,
    runs: Sequence[Run],
) -> "tuple[pd.DataFrame | None, pd.Series[str] | None]":
    """Read what stack and nets need to know of the new pictures beside their pixels.

    Returns:
        A row per picture with the columns of the stack, and the object that each shows;
        None: there are none.

    Raises:
        UserError: The table does not fit, or is missing.
    """
    from data_prep.new_columns import read_columns, read_objects_of
    from features.fresh_columns import FreshColumns, columns_of_run
    from features.inference import find_pictures, paged_pictures

    path = settings.table
    of_nets = {
        one_run.folder: (columns, one_run.finished(PREPARED))
        for one_run in runs
        if (columns := columns_of_run(one_run, settings.net)) is not None
    }
    has_objects = prepared.metadata.get("object_column") is not None
    has_pages = pages_of(prepared.record) == "all"
    is_needed = bool(of_nets or has_objects or user_columns)
    if path is None and not (is_needed or has_pages):
        return None, None
    searched = [find_pictures(settings.images, path, one_run) for one_run in runs]
    files, paged = list(searched[0].pictures), paged_pictures(searched[0], runs[0])
    if path and not is_needed:
        log.warning(
            "%s: neither stack nor nets were given any column of yours: only its ids"
            " are used",
            path,
        )
    objects = read_objects_of(path, files, prepared)
    if objects is not None:
        objects = paged.repeated(objects)
    for columns, prepared_there in of_nets.values():
        FreshColumns.read(path, files, columns, prepared_there)
    if user_columns is None:
        return None, objects
    table = read_columns(path, files, user_columns, prepared)
    return paged.repeated(table), objects


def predict(rows: "NewRows", predictor: "DealPredictors") -> "pd.DataFrame":
    """Predict M pictures, a row each, by all nets averaged.

    Returns:
        ``id, prediction, probability_CLASS ..., spread_nets, spread_views``.
    """
    import pandas as pd

    from stacking.ensemble.final_step import labels_of

    target_columns = predictor.target_columns
    pred = predictor.predict(
        rows.nets, rows.views, pixels=rows.pixels, first=rows.first
    )
    table = pd.DataFrame({"id": rows.ids})
    table["prediction"] = labels_of(pred.prediction, target_columns.classes)
    proba, spread = pred.proba, pred.by_net.std(axis=0)
    if not target_columns.is_number:
        proba, spread = pred.prediction, np.sqrt((spread**2).mean(axis=1))
    if proba is not None:
        for k, name in enumerate(target_columns.classes):
            table[probability_column(name)] = proba[:, k]
    table["spread_nets"] = spread
    col_idx = target_columns.columns_of_target("var")
    if len(col_idx):
        variances = np.mean([net[:, col_idx] for net in rows.nets], axis=(0, 2))
        table["spread_views"] = np.sqrt(np.maximum(variances, 0))
    return table


def _add_interval(
    predictions: "pd.DataFrame",
    oof: "pd.DataFrame",
    target_columns: "TargetColumns",
    coverage: float,
) -> None:
    """Add where the target is to be expected, by the run's out-of-fold residuals."""
    from stacking.analysis.conformal import (
        conformal_radius,
        conformal_set_threshold,
        prediction_sets,
    )

    if target_columns.is_number:
        residuals = oof["prediction"].astype(float) - oof["target"].astype(float)
        radius = conformal_radius(residuals, oof["cv_group"], coverage)
        pred = predictions["prediction"].to_numpy()
        predictions.insert(2, "low", target_columns.clip(pred - radius))
        predictions.insert(3, "high", target_columns.clip(pred + radius))
        predictions.insert(4, "coverage", coverage)
        return
    classes = target_columns.classes
    names = [probability_column(name) for name in classes]
    proba = oof[names].to_numpy(dtype=np.float64)
    class_index = [classes.index(str(name)) for name in oof["target"]]
    least = conformal_set_threshold(proba, class_index, oof["cv_group"], coverage)
    sets = prediction_sets(predictions[names].to_numpy(), least)
    expected = [
        " | ".join(name for name, is_in in zip(classes, row, strict=True) if is_in)
        for row in sets
    ]
    predictions.insert(2, "expected", expected)
    predictions.insert(3, "coverage", coverage)


def _other_runs(run: Run, fitted: Finished) -> list[Run]:
    """Find the other runs that the stack was made from, beside this one."""
    runs = []
    for name, digest in fitted.record["settings"]["also"].items():
        folder = _run_beside(run.folder, name)
        if not folder.is_dir():
            raise UserError(
                f"{folder}: the stack was made with the nets of this run too, and it is"
                " not there; bring it back"
            )
        other_run = Run(folder)
        if other_run.finished(EXTRACTED).record["digest"] != digest:
            raise UserError(
                f"{other_run.folder}: its features are others than the stack was made"
                f" from; again: python -m {FIT} --run {run.folder} --overwrite"
            )
        runs.append(other_run)
    return runs


def _run_beside(run: Path, name: str) -> Path:
    """Give the run of a name beside another; either may be a link to where it lies."""
    for parent in (run.absolute().parent, run.resolve().parent):
        for folder in (parent / name, *parent.iterdir()):
            if folder.is_dir() and folder.resolve().name == name:
                return folder
    return run.absolute().parent / name


def _warning_of_score(metadata: Mapping[str, Any], predictor: "DealPredictors") -> str:
    """Repeat what the fit said of a stack that is no better than what needs no nets.

    Args:
        metadata: Of the fit.
        predictor: Of its models.
    """
    from stacking.analysis.verdicts import RIVALS, on_result

    rivals = {
        title: metadata[name]
        for name, title in RIVALS.items()
        if metadata.get(name) is not None
    }
    return on_result(metadata["score"], rivals, predictor.objective)


def _tell_left_out(folders: Sequence[Path], out: Path) -> None:
    """Keep and name the pictures that have no prediction."""
    import pandas as pd

    tables = []
    for folder in folders:
        with intact(folder / "left_out.csv") as listed:
            tables.append(pd.read_csv(listed, dtype=str, keep_default_na=False))
    left_out = pd.concat(tables).drop_duplicates("id")
    path = out.with_name(f"{out.stem}.left_out.csv")
    path.unlink(missing_ok=True)
    if len(left_out):
        write_csv(path, left_out)
        have = "has" if len(left_out) == 1 else "have"
        ids = named(left_out["id"], MANY)
        log.warning("%s %s no prediction: %s says why", ids, have, path)


if __name__ == "__main__":
    run_command(main)
