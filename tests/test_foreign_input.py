"""Foreign bytes and texts are read, or refused in a line; they do nothing else."""

import csv
import io
import math
import pickle
import tomllib
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from numpy.testing import assert_array_equal

from data_prep.errors import UserError
from data_prep.experiment import read_experiment
from data_prep.settings import from_table
from data_prep.tables.cells import as_numbers, as_texts
from data_prep.tables.csv_files import read_csv
from data_prep.tables.dates import as_years
from features.foreign import load_foreign
from features.store import StoreError, load_safely, open_store, verify, write_store

# The same examples in every run: a failure is of the change, not of the day.
fuzzed = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
words = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1
).filter(str.strip)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that each example writes anew."""
    return tmp_path / "file"


def attempt(call: Callable[..., Any], *arguments: Any) -> tuple[Any, str]:
    """Return what a call gives and "", or None and the message of its refusal."""
    try:
        return call(*arguments), ""
    except UserError as error:
        return None, str(error)


# csv files and their cells


@fuzzed
@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_any_bytes_are_a_table_or_refused_in_a_line(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    table, refusal = attempt(read_csv, path)
    if table is None:
        assert refusal.startswith(f"{path}: ")
        assert "\n" not in refusal
    else:
        assert table.index.is_monotonic_increasing
        for name in table:
            column = table[name]
            assert len(as_texts(column)) == len(table)
            assert np.isfinite(as_numbers(column)).sum() <= len(table)
            as_years(column)


@fuzzed
@given(
    st.integers(1, 4).flatmap(
        lambda n: st.tuples(
            st.lists(words.map(str.strip), min_size=n, max_size=n, unique=True),
            st.lists(st.lists(words, min_size=n, max_size=n), min_size=1, max_size=6),
        )
    ),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_what_a_csv_writer_writes_is_read_back(
    path: Path, table: tuple[list[str], list[list[str]]], separator: str, end: str
) -> None:
    header, rows = table
    # one column without a separator, or a header that looks like several, is no table
    assume(len(header) > 1 and not any(mark in "".join(header) for mark in ",;\t"))
    assume(not header[0].lower().startswith(("sep=", "\ufeff")))
    text = io.StringIO(newline="")
    writer = csv.writer(
        text, delimiter=separator, lineterminator=end, quoting=csv.QUOTE_ALL
    )
    writer.writerows([header, *rows])
    path.write_text(text.getvalue(), encoding="utf-8", newline="")
    read = read_csv(path)
    assert list(read.columns) == header
    for col_idx, name in enumerate(header):
        expected = [unicodedata.normalize("NFC", row[col_idx].strip()) for row in rows]
        assert as_texts(read[name]) == expected


@fuzzed
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_numbers_as_python_writes_them_keep_their_value(values: list[float]) -> None:
    column = pd.Series([repr(value) for value in values], dtype=object)
    assert_array_equal(as_numbers(column), values)


@fuzzed
@given(st.lists(st.text(max_size=12) | st.none() | st.floats(), min_size=1))
def test_a_cell_is_a_number_or_missing_never_an_error(cells: list[Any]) -> None:
    column = pd.Series(cells, dtype=object)
    numbers = as_numbers(column)
    assert numbers.shape == (len(cells),)
    for cell, number in zip(cells, numbers, strict=True):
        if isinstance(cell, str) and not any(map(str.isdigit, cell)):
            assert not math.isfinite(number)


@fuzzed
@given(st.dates())
def test_a_date_lies_within_its_year(day: Any) -> None:
    years, _ = as_years(pd.Series([day.isoformat()], dtype=object))
    assert int(years[0]) == day.year


# settings


@dataclass(frozen=True, kw_only=True)
class Some:
    """Settings of each type."""

    whole: Annotated[int, "a whole number"] = 1
    number: Annotated[float, "a number"] = 1.0
    switch: Annotated[bool, "a switch"] = False
    name: Annotated[Literal["a", "b"], "a choice"] = "a"
    path: Annotated[Path | None, "a path"] = None
    names: Annotated[tuple[str, ...], "several"] = ()


toml_values = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=5,
)


@fuzzed
@given(st.sampled_from(sorted(Some.__annotations__)), toml_values)
def test_a_setting_takes_a_value_of_its_type_or_names_it(key: str, value: Any) -> None:
    read, refusal = attempt(from_table, Some, {key: value}, "file [table]", {})
    if read is None:
        assert refusal.startswith(f"file [table]: {key}")
    else:
        types = {"whole": int, "number": float, "switch": bool, "name": str}
        assert isinstance(vars(read)[key], types.get(key, (Path, tuple)))
        assert key != "number" or math.isfinite(read.number)


@fuzzed
@given(st.text(max_size=8).filter(lambda key: key not in Some.__annotations__))
def test_an_unknown_key_is_named(key: str) -> None:
    with pytest.raises(UserError, match="unknown key"):
        from_table(Some, {key: 1}, "here", {})


@fuzzed
@given(st.text(max_size=60))
def test_any_text_is_an_experiment_or_refused(path: Path, text: str) -> None:
    file = path.with_suffix(".toml")
    file.write_text(text, encoding="utf-8", newline="")
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        with pytest.raises(UserError, match="not a TOML file"):
            read_experiment(file, path.parent)
        return
    experiment, refusal = attempt(read_experiment, file, path.parent)
    assert experiment is not None or str(file) in refusal


# pickles of other programs


arrays = st_numpy.arrays(
    st.sampled_from(["<f4", "<f8", ">f4", "<i8", "|u1", "|b1"]),
    st_numpy.array_shapes(max_dims=2, max_side=4),
    elements={"allow_nan": False, "allow_infinity": False},
)


@fuzzed
@given(
    st.dictionaries(st.integers(0, 999) | st.from_regex(r"[a-z]{1,5}"), arrays),
    st.integers(0, pickle.HIGHEST_PROTOCOL),
)
def test_pickled_dicts_of_arrays_come_back(
    path: Path, content: dict[Any, Any], protocol: int
) -> None:
    content = {
        key.strip() if isinstance(key, str) else key: value
        for key, value in content.items()
    }
    path.write_bytes(pickle.dumps(content, protocol))
    if not content:
        with pytest.raises(StoreError, match="no dict with ids"):
            load_foreign(path)
        return
    read = load_foreign(path)
    assert list(read) == [str(key) for key in content]
    for key, value in content.items():
        assert_array_equal(read[str(key)], value)


@fuzzed
@given(st.binary(max_size=200), st.data())
def test_no_bytes_do_more_than_be_refused(
    path: Path, noise: bytes, data: st.DataObject
) -> None:
    whole = bytearray(pickle.dumps({"a": np.arange(6.0).reshape(2, 3)}))
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(
            st.integers(0, 255)
        )
    for content in (noise, bytes(whole), bytes(whole) + noise):
        path.write_bytes(content)
        read, refusal = attempt(load_foreign, path)
        if read is None:
            assert refusal.startswith(f"{path}: ")
        else:
            assert all(isinstance(value, np.ndarray) for value in read.values())


# our own stores, cut or changed


@fuzzed
@given(st.data())
def test_a_changed_byte_of_a_store_never_passes(
    path: Path, data: st.DataObject
) -> None:
    ids = data.draw(st.lists(words, min_size=1, max_size=4, unique=True))
    values = data.draw(
        st_numpy.arrays(
            np.float32,
            (len(ids), 3),
            elements={"allow_nan": False, "allow_infinity": False},
        )
    )
    header = {
        "columns": [{"name": f"c{col_idx}"} for col_idx in range(3)],
        "roles": ["oof"] * len(ids),
        "folds": [0] * len(ids),
        "views": None,
    }
    write_store(path, ids, values, header)
    whole = path.read_bytes()
    assert list(open_store(path)) == ids
    is_in_values = data.draw(st.booleans())  # most bytes are the header's
    offset = open_store(path).header["offset"]
    first = offset if is_in_values else 0
    position = data.draw(st.integers(first, len(whole) - 1))
    is_cut = data.draw(st.booleans())
    changed = bytearray(whole)
    changed[position] ^= data.draw(st.integers(1, 255))
    path.write_bytes(whole[:position] if is_cut else bytes(changed))
    with pytest.raises(StoreError):
        verify(path)
    if is_cut or position < offset:  # load_safely takes the values as they are
        with pytest.raises(StoreError):
            load_safely(path)
