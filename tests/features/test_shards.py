"""Tests of sharded extraction and of features.merge."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from data_prep.errors import UserError
from data_prep.run_folders.runs import Run, UnfinishedStageError
from features import merge, passes, plan
from features.plan import PassRows, RoleRows, in_shard, plan_passes
from features.store import open_store, write_store
from tests.drilled import in_drills
from tests.features.test_store import header_of
from tests.prepared_runs import elsewhere, extract, finetune, make_run


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Joint nets of three folds, and one of all rows."""
    run = make_run(tmp_path_factory.mktemp("run"), n_train=30)
    finetune(run, "--joint", "--all")
    return run


@pytest.fixture(autouse=True)
def no_shards(trained: Run) -> None:
    """Begin without those of the test before."""
    for path in trained.folder.glob("features.extract*"):
        shutil.rmtree(path)


def merge_run(run: Run, *flags: str) -> Path:
    with elsewhere(run):
        return merge.main([f"--run={run.folder}", *flags])


def payloads(run: Run) -> dict[str, Any]:
    """Give what the rows of each store say, by file."""
    folder = run.folder / "features.extract"
    found = {}
    for path in sorted(folder.rglob("*.pkl")):
        header = open_store(path).header
        keys = ("payload_sha256", "index", "failures", "n_expected")
        found[path.relative_to(folder).as_posix()] = [header[key] for key in keys]
    return found


@pytest.mark.parametrize(
    ("n_shards", "flags"),
    [
        (2, ["--insample"]),
        in_drills(1, []),
        in_drills(5, []),
        in_drills(5, ["--insample"]),
    ],
)
def test_shards_joined_are_what_one_machine_writes(
    trained: Run, n_shards: int, flags: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "BLOCK", 4)
    monkeypatch.setattr(plan, "BLOCK", 4)
    extract(trained, *flags, "--overwrite")
    whole = payloads(trained)
    metadata = trained.finished("features.extract").metadata
    shutil.rmtree(trained.folder / "features.extract")
    for number in range(n_shards):
        folder = extract(trained, *flags, f"--shard={number}/{n_shards}", "--overwrite")
    if n_shards > 1:
        assert folder.name == f"features.extract.shard{n_shards - 1}of{n_shards}"
        merge_run(trained)
    assert payloads(trained) == whole
    assert trained.finished("features.extract").metadata["rows"] == metadata["rows"]
    monkeypatch.setattr(passes, "run_pass", lambda *_, **__: pytest.fail("again"))
    extract(trained, *flags)  # it is current: nothing is done again


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("n_shards", [2, 3, 7])
def test_each_row_is_in_one_shard_and_blocks_stay_whole(
    seed: int, n_shards: int
) -> None:
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(2000, rng.integers(1, 900), replace=False))
    of_pass = PassRows(folds=("0",), rows=rows)
    shards = [of_pass.shard(number, n_shards).rows for number in range(n_shards)]
    assert_array_equal(np.sort(np.concatenate(shards)), rows)
    blocks = {tuple(rows[k : k + plan.BLOCK]) for k in range(0, len(rows), plan.BLOCK)}
    for shard in shards:
        for start in range(0, len(shard), plan.BLOCK):
            assert tuple(shard[start : start + plan.BLOCK]) in blocks
    assert max(map(len, shards)) - min(map(len, shards)) <= plan.BLOCK


def test_rows_of_the_same_nets_make_one_pass() -> None:
    planned = plan_passes(
        [
            RoleRows(fold="0", role="oof", rows=np.array([0, 3])),
            RoleRows(fold="0", role="test", rows=np.array([6, 7])),
            RoleRows(fold="1", role="oof", rows=np.array([1, 4])),
            RoleRows(fold="1", role="test", rows=np.array([6, 7])),
        ]
    )
    assert [(of_pass.folds, of_pass.rows.tolist()) for of_pass in planned] == [
        (("0",), [0, 3]),
        (("0", "1"), [6, 7]),
        (("1",), [1, 4]),
    ]
    first = PassRows(folds=("0", "1"), rows=np.array([7]))
    tests = RoleRows(fold="1", role="test", rows=np.array([6, 7]))
    assert in_shard(tests, [first]).rows.tolist() == [7]
    others = PassRows(folds=("0",), rows=np.array([7]))
    assert len(in_shard(tests, [others]).rows) == 0


def test_missing_shards_are_named(trained: Run) -> None:
    with pytest.raises(UserError, match=r"has no shards; make them with .*--shard 0/2"):
        merge_run(trained)
    extract(trained, "--shard=1/3")
    with pytest.raises(
        UnfinishedStageError, match=r"extract\.shard0of3 is not finished"
    ):
        merge_run(trained)
    extract(trained, "--shard=0/2")
    with pytest.raises(UserError, match=r"has shards of 2 and of 3; delete those"):
        merge_run(trained)


def test_shards_made_otherwise_are_not_joined(trained: Run) -> None:
    extract(trained, "--shard=0/2")
    extract(trained, "--shard=1/2", "--views=flip")
    with pytest.raises(UserError, match=r"shard1of2: made with views = 'flip' and not"):
        merge_run(trained)


@pytest.mark.parametrize(
    ("shard", "message"),
    [("2/2", "give i/n with i from 0"), ("1", "give i/n"), ("-1/2", "give i/n"),
     ("0/0", "give i/n"), ("a/b", "give i/n")],
)  # fmt: skip
def test_shards_that_are_none(trained: Run, shard: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        extract(trained, f"--shard={shard}")


# Single files


def written(path: Path, ids: str, value: float = 1.0, **more: Any) -> Path:
    shape = (len(ids), 2)
    values = np.full(shape, value, np.float32) + np.arange(len(ids))[:, None]
    write_store(path, list(ids), values.astype(np.float32), header_of(shape, **more))
    return path


def join(*files: Path, out: Path, flags: tuple[str, ...] = ()) -> Path:
    return merge.main([*map(str, files), f"--out={out}", *flags])


def test_files_are_joined_in_the_order_of_the_ids(tmp_path: Path) -> None:
    first = written(tmp_path / "a.pkl", "dab", failures={"x": "broken"})
    other = written(tmp_path / "b.pkl", "c", value=9.0, failures={})
    store = open_store(join(first, other, out=tmp_path / "all.pkl"))
    assert store.ids == ("a", "b", "c", "d")
    assert store.values[:, 0].tolist() == [2, 3, 9, 1]
    assert store.folds.tolist() == [1, 2, 0, 0]
    assert (store.header["failures"], store.header["n_expected"]) == (
        {"x": "broken"},
        5,
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"nets": [{"fold": 0, "digest": "b"}]},
         r"b\.pkl: made otherwise than .*a\.pkl: nets is digest 'b' and not 'a'"),
        ({"fold_hash": "2"}, r"fold_hash is '2' and not '1'"),
        ({"columns": [{"name": "target_0"}, {"name": "date"}]},
         r"columns is name 'date' and not 'target_1'"),
        ({"versions": {"torch": "2"}}, r"versions is torch '2' and not '1'"),
        ({"pooled_over": ["e"]}, r"pooled_over is \['e'\] and not None"),
    ],
)  # fmt: skip
def test_what_was_made_otherwise_is_refused(
    tmp_path: Path, more: dict[str, Any], message: str
) -> None:
    same: dict[str, Any] = {
        "nets": [{"fold": 0, "digest": "a"}],
        "fold_hash": "1",
        "versions": {"torch": "1"},
    }
    first = written(tmp_path / "a.pkl", "ab", **same)
    other = written(tmp_path / "b.pkl", "cd", **same | more)
    with pytest.raises(UserError, match=message):
        join(first, other, out=tmp_path / "all.pkl")
    assert not (tmp_path / "all.pkl").exists()


def test_mistakes_with_files(tmp_path: Path) -> None:
    first, other = written(tmp_path / "a.pkl", "ab"), written(tmp_path / "b.pkl", "bc")
    with pytest.raises(
        UserError, match=r"1 ids are in two stores or more, such as 'b'"
    ):
        join(first, other, out=tmp_path / "all.pkl")
    with pytest.raises(UserError, match=r"is there already; --overwrite replaces it"):
        join(first, out=other)
    with pytest.raises(UserError, match=r"where to\? give --out"):
        merge.main([str(first)])
    with pytest.raises(UserError, match=r"--out needs files"):
        merge.main(["--out=x.pkl"])
    with pytest.raises(UserError, match=r"no\.pkl: there is no such file"):
        join(tmp_path / "no.pkl", out=tmp_path / "all.pkl")
    shards = [
        written(tmp_path / f"s{k}.pkl", ids, shard=[k, n])
        for k, ids, n in ((0, "ab", 4), (2, "cd", 4), (1, "ef", 2))
    ]
    with pytest.raises(UserError, match=r"of 4 shards 1, 3 are missing"):
        join(*shards[:2], out=tmp_path / "all.pkl")
    with pytest.raises(UserError, match=r"of 2 shards number 0 is missing"):
        join(shards[2], out=tmp_path / "all.pkl")
    with pytest.raises(UserError, match=r"not shards of one extraction: .*\(1/2\)"):
        join(*shards[1:], out=tmp_path / "all.pkl")
    with pytest.raises(UserError, match=r"not shards of one extraction: .*\(whole\)"):
        join(shards[0], written(tmp_path / "c.pkl", "x"), out=tmp_path / "all.pkl")


def test_a_damaged_store_is_not_joined(tmp_path: Path) -> None:
    first, other = written(tmp_path / "a.pkl", "ab"), written(tmp_path / "b.pkl", "cd")
    data = bytearray(other.read_bytes())
    data[open_store(other).header["offset"]] ^= 1
    other.write_bytes(data)
    with pytest.raises(UserError, match=r"b\.pkl: damaged: its values do not fit"):
        join(first, other, out=tmp_path / "all.pkl")
