"""Tests of features.store, features.stream, features.header and drafts."""

import hashlib
import json
import os
import pickle
import pickletools
import resource
import struct
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from data_prep.errors import UserError
from data_prep.run_folders import drafts
from features import stream
from features.header import FIRST_FORMAT
from features.index import Index
from features.pooling import pool
from features.store import StoreError, load_safely, open_store, verify, write_store

FIRST, GOLDEN = (Path(__file__).with_name(f"golden_v{n}.pkl") for n in (1, 2))
VIEWS = ["e", "h", "v", "hv", "r", "hr", "vr", "hvr"]
READERS = [open_store, load_safely, verify]
OPCODES = [
    *("PROTO", "BINUNICODE", "POP", "BINBYTES8", "POP"),
    *("SHORT_BINUNICODE", "SHORT_BINUNICODE", "STACK_GLOBAL") * 3,
    *("BINUNICODE8", "SHORT_BINUNICODE", "TUPLE2", "REDUCE"),
    *("SHORT_BINUNICODE", "SHORT_BINUNICODE", "STACK_GLOBAL"),
    *("MARK", "BININT", "BININT", "BININT", "TUPLE"),
    *("SHORT_BINUNICODE", "BYTEARRAY8"),
    *("TUPLE3", "REDUCE", "TUPLE2", "REDUCE", "TUPLE1", "REDUCE", "STOP"),
]
PLAIN_LOAD = """
import pickle, sys
rows = pickle.load(open(sys.argv[1], "rb"))
assert type(rows) is dict and list(rows) == ["a", "b"], rows
assert type(rows["a"]).__name__ == "ndarray" and rows["b"][7, 2] == 47
rows["a"][0, 0] = -1
ours = {"features", "data_prep", "pandas", "torch"} & {*sys.modules}
assert not ours, ours
"""


def header_of(shape: tuple[int, ...], **more: Any) -> dict[str, Any]:
    """Give a header that fits values of the shape."""
    return {
        "columns": [{"name": f"target_{i}"} for i in range(shape[-1])],
        "views": VIEWS[: shape[1]] if len(shape) == 3 else None,
        "roles": ["oof"] * shape[0],
        "folds": [row % 3 for row in range(shape[0])],
        **more,
    }


def sample(path: Path, ids: str = "ab", views: bool = True, **more: Any) -> Path:
    """Write a store of running numbers: 0, 1, 2 ... ."""
    shape = (len(ids), 8, 3) if views else (len(ids), 3)
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    write_store(path, ids, values, header_of(shape, **more))
    return path


def forge(path: Path, change: dict[str, Any]) -> None:
    """Change the header of a store and give it a checksum that fits."""
    data = path.read_bytes()
    length = struct.unpack_from("<I", data, 3)[0]
    header = json.loads(data[7 : 7 + length]) | change
    del header["header_sha256"]
    body = json.dumps(header, separators=(",", ":")).removesuffix("}").encode()
    seal = ',"header_sha256":"' + hashlib.sha256(body).hexdigest() + '"}'
    text = (body + seal.encode()).ljust(length)
    assert len(text) == length, "no room for the change"
    path.write_bytes(data[:7] + text + data[7 + length :])


# What is written is read again


@pytest.mark.parametrize("shape", [(5, 4), (5, 8, 4), (1, 1), (1, 1, 1), (0, 4)])
@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4", ">f8"])
@pytest.mark.parametrize("seed", range(3))
def test_every_way_in_gives_the_values(
    tmp_path: Path, shape: tuple[int, ...], dtype: str, seed: int
) -> None:
    path = tmp_path / "store.pkl"
    values = np.random.default_rng(seed).normal(size=shape).astype(dtype)
    ids = [f"id {row}" for row in range(shape[0])]
    write_store(path, ids, values, header_of(shape))
    verify(path)
    opened = open_store(path)
    assert_array_equal(opened.values, values)
    assert opened.values.dtype.str == dtype.replace(">", "<")
    with path.open("rb") as file:
        plain = pickle.load(file)
    for rows in (plain, load_safely(path), {id_: opened[id_] for id_ in opened}):
        assert list(rows) == ids == list(opened)
        for id_, row in zip(ids, values, strict=True):
            assert type(rows[id_]) is np.ndarray
            assert_array_equal(rows[id_], row)


def test_plain_pickle_needs_no_package_of_ours(tmp_path: Path) -> None:
    path = sample(tmp_path / "store.pkl")
    child = subprocess.run(
        [sys.executable, "-I", "-c", PLAIN_LOAD, str(path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr


def test_the_opcodes_are_these_and_nothing_follows() -> None:
    data = GOLDEN.read_bytes()
    found = [*pickletools.genops(data)]
    assert [opcode.name for opcode, _, _ in found] == OPCODES
    assert found[-1][2] == len(data) - 1
    assert [arg for op, arg, _ in found if op.name == "SHORT_BINUNICODE"] == [
        *("builtins", "dict", "builtins", "zip", "builtins", "str.split"),
        *("\n", "numpy", "ndarray", "<f2"),
    ]
    assert "kaki\nkåki" in [arg for op, arg, _ in found if op.name == "BINUNICODE8"]


def golden_store(path: Path) -> None:
    """Write what ``golden_v1.pkl`` and ``golden_v2.pkl`` were written from."""
    shape = (2, 8, 2)
    values = np.arange(32, dtype=np.float16).reshape(shape) / 4
    more = {"roles": ["oof", "test"], "folds": [1, -1], "fold_hash": "f00d"}
    write_store(path, ["kaki", "kåki"], values, header_of(shape, **more))


@pytest.mark.parametrize("path", [FIRST, GOLDEN])
def test_the_files_of_each_format_stay_readable(path: Path) -> None:
    verify(path)
    opened = open_store(path)
    assert opened.header["format"] == f"tessera-features/{path.stem[-1]}"
    assert opened.columns == ["target_0", "target_1"]
    assert opened.ids == ("kaki", "kåki")
    assert opened.roles.tolist() == ["oof", "test"]
    assert opened.folds.tolist() == [1, -1]
    assert not {"ids", "roles", "folds"} & opened.header.keys()
    expected = np.arange(32).reshape(2, 8, 2) / 4
    with path.open("rb") as file:
        plain = pickle.load(file)
    for rows in (plain, load_safely(path)):
        assert_array_equal([rows["kaki"], rows["kåki"]], expected)
    assert_array_equal(opened.matrix(), expected)


def test_the_same_rows_give_the_same_bytes_on_every_machine(tmp_path: Path) -> None:
    golden_store(tmp_path / "store.pkl")
    assert (tmp_path / "store.pkl").read_bytes() == GOLDEN.read_bytes()
    assert b"created" not in GOLDEN.read_bytes()


@pytest.mark.parametrize("n_letters", range(130))
def test_the_payload_is_aligned_whatever_the_header(
    tmp_path: Path, n_letters: int
) -> None:
    path = sample(tmp_path / "store.pkl", command="x" * n_letters)
    offset = open_store(path).header["offset"]
    payload = np.arange(48, dtype=np.float32).tobytes()
    assert offset % 64 == 0
    assert path.read_bytes()[offset : offset + len(payload)] == payload


@pytest.mark.parametrize("id_", ["", "ü", "叶子", "🍎", "a\nb", "\0", "'", "x" * 300])
def test_any_text_is_an_id(tmp_path: Path, id_: str) -> None:
    path = tmp_path / "store.pkl"
    write_store(path, [id_, "other"], np.ones((2, 3)), header_of((2, 3)))
    verify(path)
    with path.open("rb") as file:
        assert [*pickle.load(file)] == [id_, "other"] == [*open_store(path)]


def test_ids_that_hold_every_separator_but_a_few_come_back(tmp_path: Path) -> None:
    path = tmp_path / "store.pkl"
    ids = ["".join(map(chr, range(300))), "b\nc", ""]
    write_store(path, ids, np.ones((3, 3)), header_of((3, 3)))
    verify(path)
    with path.open("rb") as file:
        assert [*pickle.load(file)] == ids == [*open_store(path)]


def test_many_ids_are_opened_without_making_texts_of_them(tmp_path: Path) -> None:
    n_rows = 100_000
    path = tmp_path / "store.pkl"
    ids = [f"picture_{row:07d}" for row in range(n_rows)]
    header = {"roles": np.full(n_rows, "oof"), "folds": np.arange(n_rows) % 5}
    write_store(path, ids, np.zeros((n_rows, 1), "f2"), header_of((0, 1)) | header)
    assert path.stat().st_size < 25 * n_rows
    tracemalloc.start()
    store = open_store(path)
    assert tracemalloc.get_traced_memory()[1] < 6 * n_rows  # a text alone takes 60
    tracemalloc.stop()
    assert (len(store), store.ids[-1], store.folds[-1]) == (n_rows, ids[-1], 4)


def test_loaded_rows_can_be_changed_and_opened_ones_cannot(tmp_path: Path) -> None:
    path = sample(tmp_path / "store.pkl")
    with path.open("rb") as file:
        plain = pickle.load(file)
    for rows in (plain, load_safely(path)):
        rows["a"] += 100
        assert rows["a"][0, 0] == 100
        assert rows["b"][0, 0] == 24
    with pytest.raises(ValueError, match="read-only"):
        open_store(path)["a"][0, 0] = 1
    verify(path)


def test_matrix_follows_the_ids_and_is_a_copy(tmp_path: Path) -> None:
    opened = open_store(sample(tmp_path / "store.pkl", "abc", views=False))
    asked = opened.matrix(pd.Series(["c", "a", "c"]))
    assert_array_equal(asked, [[6, 7, 8], [0, 1, 2], [6, 7, 8]])
    asked[0] = opened.matrix()[0] = 0
    assert_array_equal(opened["c"], [6, 7, 8])
    assert opened.matrix([]).shape == (0, 3)


def test_a_store_knows_its_ids(tmp_path: Path) -> None:
    opened = open_store(sample(tmp_path / "store.pkl", "abc"))
    assert len(opened) == 3
    assert "a" in opened
    assert "d" not in opened
    assert opened.ids == ("a", "b", "c")


def test_frame_names_rows_columns_and_views(tmp_path: Path) -> None:
    flat = open_store(sample(tmp_path / "flat.pkl", views=False)).frame(["b"])
    assert (flat.index.name, flat.index.tolist()) == ("id", ["b"])
    assert flat.to_dict("list") == {"target_0": [3], "target_1": [4], "target_2": [5]}
    apart = open_store(sample(tmp_path / "apart.pkl")).frame()
    assert apart.columns[:9].tolist() == [
        *(f"target_0__{view}" for view in VIEWS),
        "target_1__e",
    ]
    assert apart.loc["b", "target_1__hvr"] == 24 + 7 * 3 + 1


def test_views_are_pooled_by_name(tmp_path: Path) -> None:
    opened = open_store(sample(tmp_path / "store.pkl"))
    names, ids = ("max", "mean"), ["b", "a"]
    columns = [f"{output}__{name}" for output in opened.columns for name in names]
    pooled = pd.DataFrame(pool(opened.matrix(ids), names), ids, columns)
    assert pooled.columns[:3].tolist() == [
        *("target_0__max", "target_0__mean"),
        "target_1__max",
    ]
    assert pooled.loc["a", "target_1__max"] == 22
    assert pooled.loc["b", "target_0__mean"] == 24 + 3 * 3.5
    assert pool(opened.matrix()).shape == (2, 12)


def test_pooled_views_are_not_pooled_again(tmp_path: Path) -> None:
    opened = open_store(sample(tmp_path / "store.pkl", views=False))
    with pytest.raises(UserError, match=r"have no views to pool"):
        pool(opened.matrix(), ["mean"])


def test_missing_ids_are_counted_and_three_are_named(tmp_path: Path) -> None:
    opened = open_store(sample(tmp_path / "store.pkl"))
    message = r"store.pkl: 4 of 5 ids are not in it, such as 'v', 'w', 'x'; its 2 ids"
    for ask in (opened.matrix, opened.frame):
        with pytest.raises(StoreError, match=message):
            ask(["a", "v", "w", "x", "y"])
    with pytest.raises(StoreError, match="1 of 1 ids are not in it, such as 7"):
        opened[7]  # type: ignore[index]


# What does not fit is not written


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ids": ["a", "b"]}, r"2 ids for values of shape \(3, 2\)"),
        ({"ids": ["a", "b", "a"]}, "1 ids occur twice or more, such as 'a'"),
        ({"ids": ["a", "b", 3]}, "id 3 is int; ids are text"),
        ({"ids": ["a", "b", "\ud800"]}, "is not valid text"),
        (
            {"values": np.full((3, 2), np.nan)},
            "values of 3 ids are not finite.*'a', 'b'",
        ),
        ({"values": np.diag([1, np.inf, 1])[:, :2]}, "1 ids are not finite.*of 'b'"),
        ({"values": np.diag([1, -np.inf, 1])[:, :2]}, "1 ids are not finite.*of 'b'"),
        ({"values": np.ones((3, 2), int)}, "values are int64; give float16"),
        ({"values": np.ones((3, 2), object)}, "values are object; give float16"),
        ({"values": np.ones(3)}, r"shape \(3,\); give \(rows, columns\)"),
        ({"values": np.ones((3, 1, 1, 2))}, r"shape \(3, 1, 1, 2\); give"),
        ({"values": np.ones((3, 0, 2))}, r"shape \(3, 0, 2\); give"),
        ({"values": np.ones((3, 0))}, r"shape \(3, 0\); give"),
        ({"values": np.ones((3, 5))}, r"2 columns for values of shape \(3, 5\)"),
        (
            {"columns": [{"name": "x"}] * 2},
            "1 columns occur twice or more, such as 'x'",
        ),
        ({"columns": [{"name": "x"}, {"name": "y z"}]}, "column .*'y z'.*letters"),
        ({"columns": ["x", "y"]}, "column 'x'; give a table with a name"),
        ({"columns": None}, "no list of columns"),
        ({"views": ["e"]}, "views are named, and values have none"),
        ({"values": np.ones((3, 4, 2))}, "no list of views"),
        ({"values": np.ones((3, 1, 2)), "views": ["e", "h"]}, "2 views for values"),
        ({"roles": ["oof"] * 2}, "2 roles for values"),
        ({"roles": ["oof", "test", "tets"]}, "role 'tets'; did you mean 'test'"),
        ({"folds": [0, 1]}, "2 folds for values"),
        ({"folds": [0, 1, 1.5]}, "float.* cannot be interpreted as an integer"),
        ({"folds": [0, 1, 1 << 31]}, "fold 2147483648; the last is 2147483647"),
        ({"folds": [0, 1, -1]}, "id 'c' has role 'oof' and fold -1"),
        ({"folds": [0, 1, -2]}, "id 'c' has role 'oof' and fold -2"),
        (
            {"note": float("nan")},
            "header cannot be written as JSON.*not JSON compliant",
        ),
        ({"note": {1, 2}}, "header cannot be written as JSON: {1, 2} is a set"),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = tmp_path / "store.pkl"
    header = header_of((3, 2)) | change
    ids, values = header.pop("ids", "abc"), header.pop("values", np.ones((3, 2)))
    with pytest.raises(StoreError, match=f"store.pkl: .*{message}"):
        write_store(path, ids, values, header)
    assert not [*tmp_path.iterdir()]


def test_own_keys_are_set_and_all_others_kept(tmp_path: Path) -> None:
    path, again = tmp_path / "store.pkl", tmp_path / "again.pkl"
    header = header_of((2, 8, 3), nets=[{"fold": np.int64(2)}], shares=np.ones(2))
    header |= {"shape": [9], "format": "x", "dtype": "|O8", "offset": 1, "index": 7}
    write_store(path, "ab", np.ones((2, 8, 3)), header)
    opened = open_store(path)
    assert opened.header["shape"] == [2, 8, 3]
    assert opened.ids == ("a", "b")
    assert opened.header["nets"] == [{"fold": 2}]
    assert opened.header["shares"] == [1, 1]
    rows = {"roles": opened.roles, "folds": opened.folds}
    write_store(again, opened, opened.values, opened.header | rows)
    assert again.read_bytes() == path.read_bytes()


# A file appears whole or not at all


@contextmanager
def disk_of(n_bytes: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("n_bytes", [0, 1, 500, 100_000])
@pytest.mark.parametrize("is_new", [True, False])
def test_a_full_disk_leaves_what_there_was(
    tmp_path: Path, n_bytes: int, is_new: bool
) -> None:
    path = tmp_path / "store.pkl"
    if not is_new:
        sample(path)
    before = [(file, file.read_bytes()) for file in tmp_path.iterdir()]
    values = np.ones((5, 10_000))
    with disk_of(n_bytes), pytest.raises(OSError, match="too large") as caught:
        write_store(path, "vwxyz", values, header_of(values.shape))
    assert caught.value.filename == str(path)
    assert [(file, file.read_bytes()) for file in tmp_path.iterdir()] == before
    sample(path, "xyz")
    assert open_store(path).ids == ("x", "y", "z")
    assert [*tmp_path.iterdir()] == [path]


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / ".store.pkl.4711-0a1b2c3d.draft"
    left.write_bytes(b"half of a much longer store" * 1000)
    verify(sample(tmp_path / "store.pkl"))
    assert [*tmp_path.iterdir()] == [tmp_path / "store.pkl"]


def test_an_open_store_outlives_its_replacement(tmp_path: Path) -> None:
    old = open_store(sample(tmp_path / "store.pkl"))
    write_store(old.path, "ab", np.zeros((2, 8, 3)), header_of((2, 8, 3)))
    assert old["b"][7, 2] == 47
    assert open_store(old.path)["b"][7, 2] == 0


def test_an_open_store_travels_to_another_process(tmp_path: Path) -> None:
    path = sample(tmp_path / "store.pkl")
    store = open_store(path)
    assert store["b"][7, 2] == 47
    packed = pickle.dumps(store)
    assert len(packed) < 1000, "the name of the file, and no values"
    assert pickle.loads(packed)["b"][7, 2] == 47


def test_many_writers_of_one_file_never_mix_their_bytes(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "store.pkl"
    failures = []

    def write(seed: int) -> None:
        try:
            with drafts.drafted(path) as file:
                file.write(bytes([seed]) * 1000)
                time.sleep(0.001)
                file.write(bytes([seed]) * seed)
                if seed % 4 == 0:
                    raise RuntimeError
        except RuntimeError:
            pass
        except BaseException as error:  # noqa: BLE001 (a thread's error is not seen)
            failures.append(error)

    writers = [threading.Thread(target=write, args=(seed,)) for seed in range(1, 21)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert not failures
    written = path.read_bytes()
    assert written == written[:1] * (1000 + written[0])
    assert [*path.parent.iterdir()] == [path]


# What was damaged or forged is not trusted


def test_a_changed_bit_anywhere_is_found(tmp_path: Path) -> None:
    path = sample(tmp_path / "store.pkl")
    sound = path.read_bytes()
    rng = np.random.default_rng(0)
    for position in range(len(sound)):
        damaged = bytearray(sound)
        damaged[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(StoreError, match=r"store.pkl: "):
            verify(path)


def test_only_damaged_values_pass_without_verify(tmp_path: Path) -> None:
    path = sample(tmp_path / "store.pkl")
    sound, start = path.read_bytes(), open_store(path).header["offset"]
    for position in range(start - 200, len(sound)):
        damaged = bytearray(sound)
        damaged[position] ^= 1
        path.write_bytes(damaged)
        is_value = start <= position < len(sound) - len(stream.ENDING)
        if is_value:
            load_safely(path)
        else:
            with pytest.raises(StoreError, match="damaged"):
                load_safely(path)


@pytest.mark.parametrize("reader", READERS)
def test_a_file_cut_short_or_too_long_is_refused(
    tmp_path: Path, reader: Callable[[Path], object]
) -> None:
    path = sample(tmp_path / "store.pkl")
    sound = path.read_bytes()
    for length in [*range(0, len(sound), 13), len(sound) - 1]:
        path.write_bytes(sound[:length])
        match = r"cut short.*; make it again: python|not a feature store"
        with pytest.raises(StoreError, match=match):
            reader(path)
    path.write_bytes(sound + b"\0")
    with pytest.raises(StoreError, match=r"too long.*; make it again: python -m feat"):
        reader(path)


class Hostile:
    """Runs a command when it is unpickled."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_hostile_pickle_is_refused_and_not_run(
    tmp_path: Path, protocol: int, reader: Callable[[Path], object]
) -> None:
    path, trace = tmp_path / "store.pkl", tmp_path / "trace"
    path.write_bytes(pickle.dumps({"a": Hostile(f"touch {trace}")}, protocol))
    with pytest.raises(StoreError, match=r"not a feature store; .* features\.convert"):
        reader(path)
    assert not trace.exists()
    pickle.loads(path.read_bytes())
    assert trace.exists(), "the sample does no harm, so it shows nothing"


@pytest.mark.parametrize("place", ["beside", "instead"])
def test_a_hostile_pickle_behind_a_sound_header_is_found(
    tmp_path: Path, place: str
) -> None:
    path = sample(tmp_path / "store.pkl")
    data = path.read_bytes()
    if place == "beside":  # the same length; the header and the values stay as they are
        forged = data.replace(
            b"\x8c\x08builtins\x8c\x03zip", b"\x8c\x08builtins\x8c\x03map"
        )
    else:
        forged = data.replace(
            b"\x8c\x05numpy\x8c\x07ndarray", b"\x8c\x05posix\x8c\x07_exit__"
        )
    assert forged != data
    path.write_bytes(forged)
    for reader in (load_safely, verify):
        with pytest.raises(StoreError, match="forged: its pickle is not the one"):
            reader(path)
    assert open_store(path)["b"][7, 2] == 47  # reads no pickle at all


def test_a_store_of_objects_is_refused(tmp_path: Path) -> None:
    # numpy.ndarray((6,), "O", bytes) takes the bytes for addresses of objects.
    path = tmp_path / "store.pkl"
    write_store(path, "ab", np.ones((2, 3), "f8"), header_of((2, 3)))
    path.write_bytes(path.read_bytes().replace(b"<f8\x96", b"|O8\x96"))
    for reader in (load_safely, verify):
        with pytest.raises(StoreError, match="its pickle is not the one"):
            reader(path)
    assert_array_equal(open_store(path).values, 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "tessera-features/3"}, "this version reads 'tessera-features/2'"),
        ({"shape": [2, 8, 4]}, "cut short: it has .* bytes and not"),
        ({"shape": [1, 8, 3]}, "too long: it has .* bytes and not"),
        ({"shape": [2, 8, -3]}, r"header says shape = \[2, 8, -3\]"),
        ({"shape": [2, 8, True]}, "header says shape = "),
        ({"shape": [48]}, "header says shape = "),
        ({"shape": "x"}, "header says shape = "),
        ({"shape": [8, 2, 3]}, "8 views for values of shape"),
        ({"shape": [2, 3, 8]}, "3 columns for values of shape"),
        ({"dtype": "|O8"}, "header says dtype = '|O8'"),
        ({"dtype": "<i4"}, "header says dtype = '<i4'"),
        ({"dtype": []}, "header says dtype"),
        ({"offset": -64}, "header says offset = -64"),
        ({"offset": 0}, "header says offset = 0"),
        ({"offset": 129}, "header says offset = 129"),
        ({"offset": 64}, "too long"),
        ({"index": 3}, "its header does not describe the rows"),
        ({"index": {"ids_bytes": -3}}, "its header does not describe the rows"),
        ({"format": FIRST_FORMAT}, "its header does not describe the rows"),
        ({"columns": 3}, "no list of columns"),
        ({"views": [1, *VIEWS[1:]]}, "views are text, and 1 is not"),
        ({"views": [{}, *VIEWS[1:]]}, "views are text, and {} is not"),
    ],
)
def test_a_forged_header_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = sample(tmp_path / "store.pkl", command="x" * 200)
    forge(path, {"command": ""})
    open_store(path)
    forge(path, change)
    with pytest.raises(StoreError, match=f"store.pkl: .*{message}"):
        open_store(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ids": ["a", "a"]}, "1 ids occur twice or more, such as 'a'"),
        ({"ids": ["a", 1]}, "id 1 is int; ids are text"),
        ({"ids": ["a"]}, r"1 ids for values of shape \(2, 8, 2\)"),
        ({"ids": 3}, "its header does not describe the rows"),
        ({"roles": ["oof", "seen"]}, "role 'seen'; there are"),
        ({"roles": ["oof", {}]}, "role '{}'; there are"),
        ({"folds": [0, 1 << 32]}, "fold 4294967296; the last is 2147483647"),
        ({"folds": [0, 1 << 64]}, "damaged: Python int too large"),
        ({"folds": [0, "1"]}, "'str' object cannot be interpreted as an integer"),
        ({"folds": [-1, -1]}, "id 'kaki' has role 'oof' and fold -1"),
    ],
)
def test_a_forged_header_of_the_first_format_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = tmp_path / "store.pkl"
    path.write_bytes(FIRST.read_bytes())
    forge(path, {"fold_hash": "", "views": [*"abcdefgh"]})
    open_store(path)
    forge(path, change | {"fold_hash": "", "views": [*"abcdefgh"]})
    with pytest.raises(StoreError, match=f"store.pkl: .*{message}"):
        open_store(path)


@pytest.mark.parametrize(
    "key", ["ids_bytes", "traits_bytes", "separator", "role_names", "sha256"]
)
def test_an_index_that_lacks_a_key_is_refused(tmp_path: Path, key: str) -> None:
    path = sample(tmp_path / "store.pkl")
    index = dict(open_store(path).header["index"])
    del index[key]
    forge(path, {"index": index})
    with pytest.raises(StoreError, match=r"store.pkl: .*does not describe the rows"):
        open_store(path)


def forge_index(path: Path, change: Callable[[Index], Index]) -> None:
    """Change the index of a store, and write it as if it had been checked."""
    store = open_store(path)
    index = change(store.index)
    header = store.header | {"index": index.header()}
    opening = stream.opening(header, index.traits(), bytes(index.text))
    path.write_bytes(opening + store.values.tobytes() + stream.ENDING)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": b"a\na"}, "1 ids occur twice or more, such as 'a'"),
        ({"text": b"a\nb\nc"}, "damaged: 3 ids of 2 rows"),
        ({"text": b"a\n\xff"}, "invalid start byte"),
    ],
)
def test_forged_ids_are_refused_when_they_are_read(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = sample(tmp_path / "store.pkl")
    forge_index(path, lambda index: replace(index, **change))
    store = open_store(path)
    with pytest.raises(StoreError, match=f"store.pkl: .*{message}"):
        store["a"]
    with pytest.raises(StoreError, match=f"store.pkl: .*{message}"):
        verify(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"role_names": ("seen",)}, "role 'seen'; there are"),
        ({"role_names": ()}, "roles that its header does not name"),
        ({"folds": np.array([1, -1], np.int32)}, "id 'b' has role 'oof' and fold -1"),
        ({"folds": np.array([1], np.int32)}, "damaged: 6 bytes of roles for 2 rows"),
    ],
)
def test_forged_roles_and_folds_are_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = sample(tmp_path / "store.pkl")
    forge_index(path, lambda index: replace(index, **change))
    with pytest.raises(StoreError, match=f"store.pkl: .*{message}"):
        open_store(path)


def test_a_forged_checksum_of_the_values_is_found(tmp_path: Path) -> None:
    path = sample(tmp_path / "store.pkl")
    forge(path, {"payload_sha256": "0" * 64})
    again = r"make it again: python -m features\.extract --overwrite$"
    with pytest.raises(StoreError, match=f"do not fit their checksum; {again}"):
        verify(path)


def test_values_that_are_not_finite_are_found(tmp_path: Path) -> None:
    path = sample(tmp_path / "store.pkl")
    start = open_store(path).header["offset"]
    data = bytearray(path.read_bytes())
    data[start : start + 4] = np.float32("nan").tobytes()
    path.write_bytes(data)
    values = open_store(path).values
    forge(path, {"payload_sha256": hashlib.sha256(values.tobytes()).hexdigest()})
    with pytest.raises(StoreError, match=r"values of 1 ids are not finite.*'a'"):
        verify(path)


@pytest.mark.parametrize(
    "text", [b"[1]", b"{]", b"[" * 100_000, b'{"a":' * 50_000, b"\xff"]
)
def test_a_sealed_header_that_is_no_table_is_refused(
    tmp_path: Path, text: bytes
) -> None:
    path = tmp_path / "store.pkl"
    body = text.removesuffix(b"}")
    seal = b',"header_sha256":"' + hashlib.sha256(body).hexdigest().encode() + b'"}'
    length = struct.pack("<I", len(body + seal))
    path.write_bytes(stream.MAGIC + length + body + seal)
    with pytest.raises(StoreError, match=r"store.pkl: damaged: its header is"):
        open_store(path)


@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file_is_named(
    tmp_path: Path, reader: Callable[[Path], object]
) -> None:
    with pytest.raises(StoreError, match=r"none.pkl: there is no such file"):
        reader(tmp_path / "none.pkl")
    with pytest.raises(StoreError, match="this is a folder; name a file in it"):
        reader(tmp_path)
    (tmp_path / "x.pkl").write_bytes(b"id,name\n")
    with pytest.raises(StoreError, match=r"x.pkl: this is not a feature store; "):
        reader(tmp_path / "x.pkl")
    (tmp_path / "x.pkl").write_bytes(stream.MAGIC + b"\x08\0\0\0 a text.")
    with pytest.raises(StoreError, match="not a feature store: it has no header"):
        reader(tmp_path / "x.pkl")
