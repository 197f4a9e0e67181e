"""Tests of features.convert, features.foreign and features.exports."""

import bz2
import gzip
import io
import logging
import lzma
import pickle
import pickletools
import random
import subprocess
from collections import OrderedDict, UserDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from data_prep.dihedral import VIEWS
from data_prep.errors import UserError
from features import convert
from features.exports import to_npz, to_parquet
from features.foreign import load_foreign
from features.store import StoreError, open_store, verify
from tests.features.test_store import sample

RAN: list[str] = []


def run_me(*_: Any) -> str:
    """Show that a pickle was executed."""
    RAN.append("ran")
    return "ran"


class Hostile:
    """Runs something when it is unpickled."""

    def __init__(self, call: Any, *given: Any) -> None:
        self.call, self.given = call, given

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call, self.given


def original(ids: str, n_outputs: int, seed: int = 0) -> dict[str, list[Any]]:
    """Make what the first user of such pickles made: a defaultdict of lists."""
    rng = np.random.default_rng(seed)
    made: dict[str, list[Any]] = defaultdict(list)
    for id_ in ids:
        for _ in VIEWS:
            made[id_].append(rng.normal(size=(1, n_outputs)).astype(np.float32))
    return made


def pickled(path: Path, content: Any, protocol: int = 4) -> Path:
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return path


def bring_in(*files: Path, out: Path, flags: tuple[str, ...] = ()) -> Path:
    return convert.main([*map(str, files), f"--out={out}", *flags])


OOF = ("--task=date", "--role=oof", "--folds=0")


# Foreign pickles


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<f2", "<i8", "u1"])
def test_numbers_of_every_kind_and_protocol(
    tmp_path: Path, protocol: int, dtype: str
) -> None:
    rng = np.random.default_rng(0)
    plain = {k: rng.uniform(0, 99, (8, 3)).astype(dtype) for k in "ab"}
    lists = {k: [*array[:, None]] for k, array in plain.items()}
    turned = {k: np.asfortranarray(array) for k, array in plain.items()}
    for content in (plain, lists, turned, defaultdict(list, lists)):
        found = load_foreign(pickled(tmp_path / "x.pkl", content, protocol))
        for id_, array in plain.items():
            assert_array_equal(found[id_], array)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "as_id", [np.int64, np.int16, np.uint8, np.dtype(">i4").type, np.str_, float]
)
def test_ids_of_numpys_kinds(
    tmp_path: Path, protocol: int, as_id: Callable[[int], Any]
) -> None:
    content = OrderedDict((as_id(k), np.full(2, k)) for k in (7, 30))
    found = load_foreign(pickled(tmp_path / "x.pkl", content, protocol))
    assert {id_: array.tolist() for id_, array in found.items()} == {
        "7": [7, 7],
        "30": [30, 30],
    }


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1.5, [1.5]),
        (np.float32(1.5), [1.5]),
        (np.array(1.5), [1.5]),
        ([1, 2.5], [1, 2.5]),
        ((np.float64(1), np.int8(2)), [1, 2]),
        ((np.ones((1, 2)), np.zeros((1, 2))), [[1, 1], [0, 0]]),
        ([[1, 2], [3, 4], [5, 6]], [[1, 2], [3, 4], [5, 6]]),
        (np.array([True, False]), [1, 0]),
    ],
)
def test_numbers_lists_and_tuples(
    tmp_path: Path, protocol: int, value: Any, expected: Any
) -> None:
    found = load_foreign(pickled(tmp_path / "x.pkl", {"a": value}, protocol))
    assert_array_equal(found["a"], expected)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_packed_pickles_are_read_and_bombs_are_not(
    tmp_path: Path, pack: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    RAN.clear()
    path = tmp_path / "x.pkl.gz"
    content = {"a": np.arange(3.0), "b": np.ones(3)}
    packed = pack(pickle.dumps(content))
    path.write_bytes(packed)
    assert_array_equal(load_foreign(path)["a"], content["a"])
    path.write_bytes(packed[:-15])
    with pytest.raises(StoreError, match=r"x\.pkl\.gz: this is not a pickled dict"):
        load_foreign(path)
    path.write_bytes(pack(pickle.dumps({"a": [Hostile(run_me)]})))
    with pytest.raises(StoreError, match="run_me"):
        load_foreign(path)
    assert RAN == []
    monkeypatch.setattr("features.foreign.MIN_LIMIT", 2**12)
    for protocol in (0, 5):  # by lines, and at one stroke
        path.write_bytes(pack(pickle.dumps({"a": np.zeros(2**16)}, protocol)))
        with pytest.raises(StoreError, match="it unpacks to more than"):
            load_foreign(path)


def test_what_is_no_pickle_is_told(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", a=np.ones(2))
    with pytest.raises(StoreError, match="this is a zip archive, as torch"):
        load_foreign(tmp_path / "x.npz")
    (tmp_path / "x.zst").write_bytes(b"\x28\xb5\x2f\xfd....")
    with pytest.raises(StoreError, match="it is packed by zstd; unpack it first"):
        load_foreign(tmp_path / "x.zst")
    with pytest.raises(StoreError, match="Is a directory"):
        load_foreign(tmp_path)


def test_lists_in_themselves_have_an_end(tmp_path: Path) -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(StoreError, match="under 'a' is no array or list of arrays"):
        load_foreign(pickled(tmp_path / "x.pkl", {"a": endless}))
    with pytest.raises(StoreError, match="int too large to convert to float"):
        load_foreign(pickled(tmp_path / "x.pkl", {"a": [10**400]}))


def test_ids_are_spelt_as_those_of_tables(tmp_path: Path) -> None:
    found = load_foreign(pickled(tmp_path / "x.pkl", {"bla\u0308tter": np.ones(2)}))
    assert list(found) == ["bl\u00e4tter"]
    twice = {"bla\u0308tter": np.ones(2), "bl\u00e4tter": np.ones(2)}
    with pytest.raises(StoreError, match=r"some ids are there as text .*, or twice"):
        load_foreign(pickled(tmp_path / "x.pkl", twice))


@pytest.mark.parametrize("opened", [open, gzip.open, bz2.open, lzma.open])
def test_a_second_pickle_is_not_passed_over(
    tmp_path: Path, opened: Callable[..., Any]
) -> None:
    with opened(tmp_path / "old.pkl", "wb") as file:
        for k in range(2):
            pickle.dump({f"p{k}": np.ones(3)}, file)
    with pytest.raises(StoreError, match="something follows the first pickle"):
        load_foreign(tmp_path / "old.pkl")


def test_a_tensor_is_refused_with_the_remedy(tmp_path: Path) -> None:
    import torch

    path = pickled(tmp_path / "x.pkl", {"a": torch.ones(2)})
    with pytest.raises(StoreError, match=r"torch\._utils.*; save \{id: tensor\.numpy"):
        load_foreign(path)


def test_what_float32_cannot_hold_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(0)
    out = tmp_path / "out.pkl"
    good = {k: rng.normal(size=2) for k in "abcd"}
    first = pickled(tmp_path / "good.pkl", {"x": np.ones(2)})
    flags = ("--task=date", "--role=oof", "--folds=0,1")
    for value, message in (
        (1e300, r"huge\.pkl: values of 1 ids do not fit into float32, such as 1e\+300"),
        (np.inf, r"huge\.pkl: values of 1 ids are not finite, such as inf of 'c'"),
    ):
        huge = pickled(tmp_path / "huge.pkl", good | {"c": np.array([0, value])})
        with pytest.raises(UserError, match=message):
            bring_in(first, huge, out=out, flags=flags)
        assert not out.exists()
    far = {k: v * [1, 40] + [0, 1.6e9] for k, v in good.items()}
    with caplog.at_level(logging.WARNING):
        bring_in(pickled(tmp_path / "far.pkl", far), out=out, flags=OOF)
    assert "tells the rows of 1 of 2 outputs apart, such as of output 1" in caplog.text
    caplog.clear()
    constant = {k: np.array([v[0], 0.1]) for k, v in good.items()}
    with caplog.at_level(logging.WARNING):
        bring_in(
            pickled(tmp_path / "c.pkl", constant), out=out, flags=(*OOF, "--overwrite")
        )
    assert caplog.text == ""


@pytest.mark.parametrize("name", ["a.jpg", "train/a", "train\\a", "x/a.PNG"])
def test_ids_that_are_names_of_files_are_told(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = pickled(tmp_path / "x.pkl", {name: np.ones(2), "b.5": np.ones(2)})
    with caplog.at_level(logging.WARNING):
        bring_in(path, out=tmp_path / "out.pkl", flags=OOF)
    assert f"1 of 2 ids look like names of files, such as {name!r}" in caplog.text


def test_the_first_users_pickles_become_a_store(tmp_path: Path) -> None:
    made = [original("ba", 4, seed=1), original("dc", 4, seed=2)]
    files = [pickled(tmp_path / f"{k}.pkl", one) for k, one in enumerate(made)]
    flags = ("--task=onehot", "--role=oof", "--folds=1,0")
    out = bring_in(*files, out=tmp_path / "onehot.oof.pkl", flags=flags)
    verify(out)
    store = open_store(out)
    assert store.ids == ("a", "b", "c", "d")
    assert store.columns == [f"onehot_{k}" for k in range(4)]
    assert store.folds.tolist() == [1, 1, 0, 0]
    assert set(store.roles) == {"oof"}
    assert store.header["views"] == [*VIEWS]
    folders = ["e", "h", "v", "r", "hv", "hr", "vr", "hvr"]  # the order of the lists
    for id_ in store:
        theirs = (made[0] | made[1])[id_]
        for number, view in enumerate(VIEWS):
            assert_array_equal(store[id_][number], theirs[folders.index(view)][0])
    assert len({net["digest"] for net in store.header["nets"]}) == 2


def test_pooled_arrays_and_other_orders(tmp_path: Path) -> None:
    flat = pickled(tmp_path / "flat.pkl", {7: np.ones(2), 8: np.zeros(2)})
    flags = ("--task=date", "--role=label_free")
    store = open_store(bring_in(flat, out=tmp_path / "a.pkl", flags=flags))
    assert store.frame().to_dict("list") == {"date_0": [1, 0], "date_1": [1, 0]}
    assert store.ids == ("7", "8")
    two = pickled(tmp_path / "two.pkl", {"x": np.array([[1.0], [2.0]])})
    views = (*flags, "--views=h,e")
    store = open_store(bring_in(two, out=tmp_path / "b.pkl", flags=views))
    assert store.header["views"] == ["e", "h"]
    assert store["x"].tolist() == [[2], [1]]
    assert store.columns == ["date"]


@pytest.mark.parametrize(
    ("thing", "named"),
    [
        (Hostile(run_me), "run_me"),
        (Hostile(subprocess.getoutput, "true"), "subprocess.getoutput"),
        (Hostile(eval, "run_me()"), "builtins.eval"),
        (Hostile(np.ndarray, (1,), "O", b"12345678"), "builds arrays by hand"),
        (Hostile(np.load, "x"), "numpy.load"),
        (UserDict(a=1), "collections.UserDict"),
        (pd.DataFrame({"x": [1.0]}), r"pandas\..*; save dict\(zip\("),
        (np.array([None]), "arrays of 'O8' are not read"),
        (np.array(["text"]), "arrays of 'U4' are not read"),
        ({"a": Path("x")}, "pathlib"),
    ],
)
@pytest.mark.parametrize("protocol", [4, 5])
def test_what_no_dict_of_arrays_needs_is_refused_and_not_run(
    tmp_path: Path, thing: Any, named: str, protocol: int
) -> None:
    RAN.clear()
    path = pickled(tmp_path / "h.pkl", {"a": [thing]}, protocol)
    with pytest.raises(StoreError, match=named):
        load_foreign(path)
    assert RAN == []


def test_hundreds_of_broken_pickles_are_refused_and_run_nothing(tmp_path: Path) -> None:
    RAN.clear()
    rng = random.Random(0)
    good = pickle.dumps(original("ab", 2), protocol=4)
    bad = pickle.dumps({"a": [Hostile(run_me)]}, protocol=4)
    path, n_read = tmp_path / "x.pkl", 0
    for number in range(400):
        data = bytearray(bad if number % 3 == 0 else good)
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(len(data))
            match rng.randrange(3):
                case 0:
                    data[place] = rng.randrange(256)
                case 1:
                    del data[place : place + rng.randint(1, 9)]
                case _:
                    data[place:place] = rng.randbytes(rng.randint(1, 9))
        path.write_bytes(data)
        try:
            found = load_foreign(path)
        except StoreError as error:
            assert str(error).startswith(f"{path}: ")  # noqa: PT017
        else:  # another number or id is no fault that can be seen
            n_read += 1
            assert all(isinstance(value, np.ndarray) for value in found.values())
    assert RAN == []
    assert n_read < 280


def test_it_cannot_change_what_it_calls(tmp_path: Path) -> None:
    opcodes = io.BytesIO()
    opcodes.write(pickle.PROTO + b"\x04" + pickle.GLOBAL + b"builtins\nlist\n")
    opcodes.write(pickle.EMPTY_DICT + pickle.BUILD + pickle.STOP)
    path = tmp_path / "x.pkl"
    path.write_bytes(opcodes.getvalue())
    assert [op.name for op, _, _ in pickletools.genops(path.read_bytes())][
        1
    ] == "GLOBAL"
    with pytest.raises(StoreError, match="it tries to change what it calls"):
        load_foreign(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "no dict with ids, but nothing"),
        ({"a": np.zeros(0)}, "array under 'a' has no values"),
        ({"a": np.zeros(2), " ": np.ones(2)}, "the id ' ' is empty"),
        ({"a": np.zeros(2), "a ": np.ones(2)}, "or twice"),
        ([1], "no dict with ids, but list"),
        ({"a": []}, "under 'a' is no array or list of arrays, but nothing|list"),
        ({"a": "text"}, "under 'a' is no array or list of arrays, but str"),
        ({"a": [np.ones(2), np.ones(3)]}, "arrays under 'a' differ in their sizes"),
        ({(1, 2): np.ones(2)}, r"id \(1, 2\) is neither text nor a number"),
        ({"1": np.ones(2), 1: np.ones(2)}, "some ids are there as text and as numbers"),
    ],
)
def test_pickles_of_something_else(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        load_foreign(pickled(tmp_path / "x.pkl", content))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--role=oof", "--folds=0"), "task = '': say what the outputs are"),
        (("--task=date",), "role = '': .*say what the nets knew"),
        (("--task=date", "--role=of", "--folds=0"), "did you mean 'oof'"),
        (("--task=date", "--role=oof"), "1 files and 0 folds: give --folds"),
        (("--task=date", "--role=oof", "--folds=0,1"), "1 files and 2 folds"),
        (("--task=date", "--role=oof", "--folds=x"), "folds = 'x': give numbers"),
        ((*OOF, "--views=e,h"), "each id has 8 views, and --views names 2"),
        ((*OOF, "--views=e,h,x"), "views = 'x': give some of e,h,v"),
    ],
)
def test_flags_that_do_not_fit(
    tmp_path: Path, flags: tuple[str, ...], message: str
) -> None:
    file = pickled(tmp_path / "x.pkl", original("ab", 1))
    with pytest.raises(UserError, match=message):
        bring_in(file, out=tmp_path / "out.pkl", flags=flags)
    assert not (tmp_path / "out.pkl").exists()


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    first = pickled(tmp_path / "a.pkl", original("ab", 1))
    again = pickled(tmp_path / "b.pkl", original("bc", 1))
    other = pickled(tmp_path / "c.pkl", original("de", 2))
    flags = ("--task=date", "--role=oof", "--folds=0,1")
    with pytest.raises(UserError, match="1 of its ids are in an earlier file too"):
        bring_in(first, again, out=tmp_path / "out.pkl", flags=flags)
    with pytest.raises(UserError, match=r"have shapes \(8, 1\), \(8, 2\); one shape"):
        bring_in(first, other, out=tmp_path / "out.pkl", flags=flags)
    with pytest.raises(
        UserError, match=r"b\.pkl is there already; --overwrite replaces"
    ):
        bring_in(first, out=again, flags=OOF)
    with pytest.raises(UserError, match=r"where to\? give --out"):
        convert.main([str(first), *OOF])
    with pytest.raises(UserError, match=r"no\.pkl: there is no such file"):
        bring_in(tmp_path / "no.pkl", out=tmp_path / "out.pkl", flags=OOF)
    nan = pickled(tmp_path / "nan.pkl", {"a": np.array([np.nan])})
    with pytest.raises(StoreError, match="values of 1 ids are not finite"):
        bring_in(nan, out=tmp_path / "out.pkl", flags=OOF)


# Exports


@pytest.mark.parametrize("views", [True, False])
def test_parquet_is_read_without_us(tmp_path: Path, views: bool) -> None:
    path = sample(tmp_path / "s.pkl", "abc", views, cv="sgkfold3")
    out = convert.main([str(path), "--to=parquet"])
    assert out == tmp_path / "s.parquet"
    frame, store = pd.read_parquet(out), open_store(path)
    assert frame.index.name == "id"
    assert frame["role"].tolist() == ["oof"] * 3
    assert frame["fold"].tolist() == [0, 1, 2]
    pd.testing.assert_frame_equal(
        frame.drop(columns=["role", "fold"]), store.frame(), check_index_type=False
    )
    from pyarrow import parquet

    header = parquet.read_schema(out).metadata[b"tessera"].decode()
    assert '"cv": "sgkfold3"' in header


@pytest.mark.parametrize("views", [True, False])
def test_npz_is_read_without_pickle(tmp_path: Path, views: bool) -> None:
    path = sample(tmp_path / "s.pkl", "abc", views)
    convert.main([str(path), "--to=npz", f"--out={tmp_path / 'out.npz'}"])
    store = open_store(path)
    with np.load(tmp_path / "out.npz", allow_pickle=False) as found:
        assert_array_equal(found["values"], store.values)
        assert found["ids"].tolist() == ["a", "b", "c"]
        assert found["columns"].tolist() == store.columns
        assert found["views"].tolist() == ([*VIEWS] if views else [])
        assert found["folds"].tolist() == [0, 1, 2]
        assert '"format": "tessera-features/2"' in str(found["header"])


def test_mistakes_of_exports(tmp_path: Path) -> None:
    path = sample(tmp_path / "s.pkl", columns=[{"name": n} for n in ("a", "fold", "b")],
                  views=False)  # fmt: skip
    with pytest.raises(UserError, match="a feature is named 'fold'; give --to npz"):
        to_parquet(open_store(path), tmp_path / "x.parquet")
    assert not (tmp_path / "x.parquet").exists()
    with pytest.raises(UserError, match="--to takes one store at a time"):
        convert.main([str(path), str(path), "--to=npz"])
    to_npz(open_store(path), tmp_path / "s.npz")
    with pytest.raises(UserError, match=r"s\.npz is there already"):
        convert.main([str(path), "--to=npz"])
    foreign = pickled(tmp_path / "f.pkl", {"a": np.ones(2)})
    with pytest.raises(StoreError, match="this is not a feature store"):
        convert.main([str(foreign), "--to=npz", "--out=y.npz"])
