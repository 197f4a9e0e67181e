"""Tests of features where folds are dealt several times: plans, passes and stores."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from features import merge, plan
from features.assembly import Assembly, Extracted
from features.plan import (
    OutputColumn,
    RoleRows,
    in_shard,
    plan_passes,
    plan_rows,
)
from features.rows import array_rows, chosen_rows
from features.store import open_store

N_TRAIN, N = 12, 15
VIEWS = ("e", "h")


def table_of(n_deals: int = 2) -> pd.DataFrame:
    """Twelve rows in two folds, dealt otherwise each time, and three to predict."""
    index = np.arange(N)
    is_train = index < N_TRAIN
    table = pd.DataFrame(
        {
            "id": [f"p{k:02d}" for k in index[::-1]],
            "split": np.where(is_train, "train", "test"),
            "cv_group": index,
            "fold": np.where(is_train, index % 2, -1),
        }
    )
    for deal in range(1, n_deals):
        folds = 2 * deal + index // 2**deal % 2
        table[f"fold_{deal}"] = np.where(is_train, folds, -1)
    return table


def roles(planned: list[RoleRows]) -> dict[tuple[str, str], list[int]]:
    return {(rows.fold, rows.role): rows.rows.tolist() for rows in planned}


@pytest.mark.parametrize("n_deals", [1, 2, 3])
def test_a_row_is_held_out_by_a_net_of_each_deal(n_deals: int) -> None:
    table = table_of(n_deals)
    folds = [str(k) for k in range(2 * n_deals)]
    planned = plan_rows(table, folds, insample=True)
    times = np.zeros((N, n_deals), int)
    for rows in planned:
        assert rows.deal == int(rows.fold) // 2
        if rows.role == "oof":
            times[rows.rows, rows.deal] += 1
            seen = roles(planned)[rows.fold, "insample"]
            assert sorted([*rows.rows, *seen]) == list(range(N_TRAIN))
    assert (times[:N_TRAIN] == 1).all()
    assert not times[N_TRAIN:].any()
    assert all(rows.tolist() == [12, 13, 14] for rows in [planned[1].rows])


@pytest.mark.parametrize("insample", [False, True])
@pytest.mark.parametrize("n_deals", [1, 2, 3])
def test_passes_send_each_row_through_its_nets_once(
    n_deals: int, insample: bool
) -> None:
    folds = [str(k) for k in range(2 * n_deals)]
    planned = plan_rows(table_of(n_deals), folds, insample=insample)
    passes = plan_passes(planned)
    wanted = sorted((r.fold, row) for r in planned for row in r.rows.tolist())
    sent = sorted((f, row) for p in passes for f in p.folds for row in p.rows.tolist())
    assert sent == sorted(set(wanted)) == wanted
    # a pass for each fold of labelled rows, and not one for each choice of folds
    assert len(passes) <= 2 * n_deals + 1
    assert len({p.folds for p in passes}) == len(passes)  # they name the files


def test_one_deal_is_planned_as_ever() -> None:
    planned = plan_rows(table_of(1), ["0", "1"], insample=True)
    (passed,) = plan_passes(planned)  # test and training rows go together
    assert passed.folds == ("0", "1")
    assert_array_equal(passed.rows, np.arange(N))


def assembly_of(table: pd.DataFrame, folder: Path, **options: Any) -> Assembly:
    folds = [column for column in table.columns if column.startswith("fold")]
    numbers = range(2 * len(folds))
    column = OutputColumn(
        name="target", task="target", output="", activation="identity", space="outputs"
    )
    return Assembly(
        folder=folder,
        ids=table["id"].to_numpy(dtype=object),
        folds_of=[table[column].to_numpy() for column in folds],
        columns={str(k): [column] for k in numbers},
        nets=[{"task": "target", "fold": str(k), "digest": f"d{k}"} for k in numbers],
        views=VIEWS,
        statistics=("mean", "max"),
        header={},
        failures={},
        **options,
    )


def extracted_of(table: pd.DataFrame, folds: list[str]) -> list[Extracted]:
    """Let the net of fold k say 100 k + the row, and one more in the second view."""
    extracted = []
    for rows in plan_rows(table, folds, insample=False):
        views = 100.0 * int(rows.fold) + rows.rows[:, None, None] + [[[0.0], [1.0]]]
        extracted.append(
            Extracted(**vars(rows), views=array_rows(views.astype(np.float32)))
        )
    return extracted


def test_stores_of_each_deal_and_of_their_mean(tmp_path: Path) -> None:
    table = table_of()
    extracted = extracted_of(table, ["0", "1", "2", "3"])
    assembly_of(table, tmp_path).write(extracted)
    mean = open_store(tmp_path / "features.pkl")
    deals = [open_store(tmp_path / "deals" / f"deal{d}.pkl") for d in (0, 1)]
    index = np.arange(N_TRAIN)
    held_out = [table[c].to_numpy()[:N_TRAIN] for c in ("fold", "fold_1")]
    ids = table["id"].tolist()
    for deal, folds in zip(deals, held_out, strict=True):
        expected = 100 * folds + index
        matrix = deal.matrix(ids[:N_TRAIN])
        assert_allclose(matrix, np.stack([expected + 0.5, expected + 1.0], axis=1))
        assert_array_equal(deal.folds[deal.rows_of(ids[:N_TRAIN])], folds)
        assert "deals" not in deal.header
    by_hand = 100 * (held_out[0] + held_out[1]) / 2 + index
    matrix = mean.matrix(ids[:N_TRAIN])
    assert_allclose(matrix, np.stack([by_hand + 0.5, by_hand + 1.0], axis=1))
    # row 5 by hand: odd, so fold 1; 5 // 2 is even, so fold 2 of the second deal
    assert mean.matrix([ids[5]])[0, 0] == pytest.approx((105.5 + 205.5) / 2)
    assert_array_equal(mean.folds[mean.rows_of(ids[:N_TRAIN])], held_out[0])
    assert mean.header["deals"] == 2
    assert {net["fold"] for net in mean.header["nets"]} == {"0", "1", "2", "3"}
    assert {net["fold"] for net in deals[1].header["nets"]} == {"2", "3"}
    # pictures to predict: by the nets of all deals, or of that deal
    test = ids[N_TRAIN:]
    for store, nets in ((mean, 150.0), (deals[0], 50.0), (deals[1], 250.0)):
        assert_allclose(store.matrix(test)[:, 0], nets + np.arange(12, 15) + 0.5)
        assert set(store.roles[store.rows_of(test)]) == {"test"}
        assert set(store.roles[store.rows_of(ids[:N_TRAIN])]) == {"oof"}
    names = {path.name for path in (tmp_path / "views").iterdir()}
    assert names == {
        *(f"target.oof.deal{d}.pkl" for d in (0, 1)),
        *(f"target.test.fold{k}.pkl" for k in range(4)),
    }
    views = open_store(tmp_path / "views" / "target.oof.deal1.pkl")
    assert_allclose(views.matrix([ids[5]])[0, :, 0], [205, 206])


def test_a_deal_alone_is_what_it_would_be_without_others(tmp_path: Path) -> None:
    table = table_of()
    assembly_of(table, tmp_path / "two").write(extracted_of(table, list("0123")))
    first = table.drop(columns="fold_1")
    assembly_of(first, tmp_path / "one").write(extracted_of(first, ["0", "1"]))
    paths = (tmp_path / "two/deals/deal0.pkl", tmp_path / "one/features.pkl")
    two, one = (open_store(path) for path in paths)
    assert two.header == one.header
    assert_array_equal(np.asarray(two.values), np.asarray(one.values))
    assert "deals" not in one.header
    assert not (tmp_path / "one" / "deals").exists()


def test_a_row_without_a_net_of_each_deal_is_in_no_mean(tmp_path: Path) -> None:
    table = table_of()
    assembly_of(table, tmp_path).write(extracted_of(table, ["0", "1", "2"]))
    mean = open_store(tmp_path / "features.pkl")
    is_labelled = np.isin(mean.ids, table["id"][:N_TRAIN])
    shown = set(np.array(mean.ids)[is_labelled])
    assert shown == set(table["id"][table["fold_1"] == 2])
    assert len(open_store(tmp_path / "deals" / "deal0.pkl")) == N
    # nets of the first deal alone: nothing but the pictures to predict
    assembly_of(table, tmp_path / "first").write(extracted_of(table, ["0", "1"]))
    assert set(open_store(tmp_path / "first" / "features.pkl").roles) == {"test"}
    assert not (tmp_path / "first" / "deals" / "deal1.pkl").exists()


def shard_of(extracted: list[Extracted], number: int, n_shards: int) -> list[Extracted]:
    """Keep what one of several machines would extract."""
    passes = [whole.shard(number, n_shards) for whole in plan_passes(extracted)]
    kept = [in_shard(of_role, passes).rows for of_role in extracted]
    return [
        replace(
            of_role,
            rows=rows,
            views=chosen_rows(of_role.views, np.searchsorted(of_role.rows, rows)),
        )
        for of_role, rows in zip(extracted, kept, strict=True)
        if len(rows)
    ]


@pytest.mark.parametrize("n_deals", [1, 2, 3])
@pytest.mark.parametrize("n_shards", [2, 3])
def test_shards_joined_have_the_mean_of_every_row(
    n_deals: int, n_shards: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine may have a row of one deal and not of another."""
    monkeypatch.setattr(plan, "BLOCK", 1)
    table = table_of(n_deals)
    extracted = extracted_of(table, [str(k) for k in range(2 * n_deals)])
    assembly_of(table, tmp_path / "whole").write(extracted)
    folders = [tmp_path / f"shard{number}" for number in range(n_shards)]
    for number, folder in enumerate(folders):
        of_shard = assembly_of(table, folder)
        of_shard = replace(of_shard, header={"shard": [number, n_shards]})
        of_shard.write(shard_of(extracted, number, n_shards))
    merge.merge_folders(folders, tmp_path / "joined")
    files = sorted((tmp_path / "whole").rglob("*.pkl"))
    assert len(files) == 1 + n_deals * (n_deals > 1) + 3 * n_deals + 2 * n_deals
    for path in files:
        joined = tmp_path / "joined" / path.relative_to(tmp_path / "whole")
        whole, store = open_store(path), open_store(joined)
        assert list(store.ids) == list(whole.ids), joined
        assert_array_equal(np.asarray(store.values), np.asarray(whole.values))
        assert_array_equal(store.roles, whole.roles)
        assert_array_equal(store.folds, whole.folds)
        assert store.header["n_expected"] == whole.header["n_expected"]
        assert store.header.get("deals") == whole.header.get("deals")
