"""The chain where folds are dealt twice, on made-up pictures: nets, features, stack."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from data_prep.prepared import Prepared
from data_prep.run_folders.runs import Run
from features.store import open_store
from stacking import fit
from stacking.ensemble.deals import DealPredictors
from stacking.ensemble.new_rows import NewRows
from stacking.inputs.tta_views import read_views
from stacking.predict import predict
from tests.prepared_runs import elsewhere, extract, finetune, make_run, table_of
from tests.stacking.pixels_of_runs import write_pixels
from transfer.jobs import plan
from transfer.settings import FinetuneSettings


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of two deals of two folds: four nets, extracted."""
    folder = tmp_path_factory.mktemp("dealt") / "run"
    run = make_run(folder, n_train=32, n_test=6, n_folds=2, n_deals=2)
    finetune(run, "--joint", "--learning-rate=0.03")
    extract(run)
    return run


def test_every_row_has_a_net_of_each_deal_that_never_saw_it(run: Run) -> None:
    table = table_of(run)
    nets = run.finished("transfer.finetune").metadata["nets"]
    assert [net["fold"] for net in nets] == ["0", "1", "2", "3"]
    assert {net["rows"] for net in nets} == {16}
    extracted = run.folder / "features.extract"
    of_nets = {
        fold: open_store(extracted / "views" / f"target.test.fold{fold}.pkl").matrix(
            table["id"][table["split"] == "test"].tolist()
        )
        for fold in range(4)
    }
    assert len({views.tobytes() for views in of_nets.values()}) == 4
    mean = open_store(extracted / "features.pkl")
    deals = [open_store(extracted / "deals" / f"deal{d}.pkl") for d in (0, 1)]
    ids = table["id"][table["fold"] >= 0].tolist()
    by_hand = (deals[0].matrix(ids) + deals[1].matrix(ids)) / 2
    assert_allclose(mean.matrix(ids), by_hand, rtol=1e-6)
    for number, deal in enumerate(deals):
        held_out = table.set_index("id").loc[ids, ["fold", "fold_1"][number]]
        assert_array_equal(deal.folds[deal.rows_of(ids)], held_out)


def test_single_views_are_read_by_deal(run: Run) -> None:
    table = table_of(run)
    is_held_out = table["fold"] >= 0
    ids = table["id"][is_held_out].tolist()
    test_ids = table["id"][table["split"] != "train"].tolist()
    folder = run.folder / "features.extract"
    for deal, column in enumerate(("fold", "fold_1")):
        views = read_views(folder, ["target"], ids, test_ids, 2, deal=deal)
        folds = table[column][is_held_out].to_numpy() - 2 * deal
        assert_array_equal(views.fold_of_net, folds)
        views.aligned("none", folds)  # refuses the views of other nets
        pooled = open_store(folder / "deals" / f"deal{deal}.pkl")
        column_idx = list(pooled.columns).index("target__mean")
        means = views.values[:, :, 0].mean(axis=1)
        assert_allclose(means, pooled.matrix(ids)[:, column_idx], rtol=1e-5)
        net = open_store(folder / "nets" / f"fold{2 * deal + 1}.pkl")
        means = views.nets[1][:, :, 0].mean(axis=1)
        assert_allclose(means, net.matrix(test_ids)[:, column_idx], rtol=1e-5)


def test_a_stack_of_it_serves_as_it_was_scored(run: Run, tmp_path: Path) -> None:
    flags = ["--stackers=ridge", "--threads=1", "--align=none"]
    with elsewhere(run):
        stage = fit.main([f"--run={run.folder}", *flags])
    predictions = pd.read_csv(stage / "predictions.csv")
    oof = pd.read_parquet(stage / "oof.parquet")
    assert len(oof) == 32
    assert oof["prediction"].between(0, 3).all()
    # the same pictures as if they came later, through the nets of both deals
    predictor, fitted = DealPredictors.load(stage), run.finished("stacking.fit")
    later = shutil.copytree(run.folder / "features.extract", tmp_path / "later")
    write_pixels(run.folder, open_store(later / "nets" / "fold0.pkl").ids, later)
    rows = NewRows.read([later], predictor, fitted)
    served = predict(rows, predictor).set_index("id")
    expected = served.loc[predictions["id"].astype(str), "prediction"]
    assert_allclose(predictions["level"], expected, rtol=1e-6)
    assert len(rows.nets) == 4


def test_the_nets_of_a_deal_can_be_planned_alone(run: Run) -> None:

    table, settings = table_of(run), FinetuneSettings(folds=("2",), batch_size=8)
    tasks = Prepared.open(run.finished("data_prep.prepare")).tasks({})
    (job,) = plan(table, tasks[:1], settings, n_folds=4)
    held_out = np.flatnonzero(table["fold_1"] == 2)
    assert_array_equal(job.val_idx, held_out)
    assert not set(job.train_idx) & set(held_out)
    assert job.path == "target/fold2"
