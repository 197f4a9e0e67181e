"""Tests of features.similar: the nearest pictures of a store, and their sheet."""

import logging
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageFont

from data_prep.errors import UserError
from data_prep.reporting.contact_sheet import (
    FONT_PX,
    MARK,
    SIDE_PX,
    Frame,
    _fitting,
    contact_sheet,
)
from data_prep.run_folders.runs import Run
from features import similar
from features.similar import neighbours, rows_of, unit_features, with_notes
from features.store import Store, open_store, write_store
from tests.prepared_runs import (
    elsewhere,
    extract,
    finetune,
    make_pretext,
    make_run,
    whole_header,
)

RNG = np.random.default_rng(0)


def store_of(folder: Path, values: np.ndarray, statistics: str = "mean") -> Store:
    views = [f"view{k}" for k in range(values.shape[1])] if values.ndim == 3 else None
    n = len(values)
    header: dict[str, Any] = {
        "columns": [
            {"name": f"c{k}", "statistic": statistics if views is None else None}
            for k in range(values.shape[-1])
        ],
        "roles": ["label_free"] * n,
        "folds": [-1] * n,
        "views": views,
    }
    write_store(folder / "store.pkl", [f"p{k:03d}" for k in range(n)], values, header)
    return open_store(folder / "store.pkl")


def test_a_caption_that_is_too_long_is_cut_where_a_part_begins() -> None:
    font = ImageFont.load_default(FONT_PX)
    name = "herbarium_sheet_of_1887_00123456"
    assert font.getlength(name) > SIDE_PX
    assert _fitting(name, font) == "...of_1887_00123456"
    assert _fitting("1887_00123", font) == "1887_00123"
    digits = "".join(str(k % 10) for k in range(60))
    for text in (digits, f"{digits}_7"):  # its parts are too long, or too short
        cut = _fitting(text, font)
        assert len(cut) > 12
        assert text.endswith(cut.removeprefix("..."))
        assert font.getlength(cut) <= SIDE_PX


def test_neighbours_are_those_of_plain_numpy(tmp_path: Path) -> None:
    values = RNG.normal(3, 2, (30, 12))
    store = store_of(tmp_path, values)
    table = neighbours(store, np.array([4, 17]), 5)
    standard = (values - values.mean(axis=0)) / values.std(axis=0)
    for row in (4, 17):
        cosines = [
            standard[row]
            @ other
            / np.linalg.norm(standard[row])
            / np.linalg.norm(other)
            for other in standard
        ]
        expected = [k for k in np.argsort(cosines)[::-1] if k != row][:5]
        of_row = table[table["id"] == f"p{row:03d}"]
        assert of_row["neighbour"].tolist() == [f"p{k:03d}" for k in expected]
        assert of_row["cosine"].tolist() == pytest.approx(
            [cosines[k] for k in expected]
        )
        assert of_row["rank"].tolist() == [1, 2, 3, 4, 5]


def test_no_unit_and_no_constant_column_decides(tmp_path: Path) -> None:
    values = RNG.normal(size=(20, 9))
    values[:, 3] = 0.1  # in all pictures
    plain = neighbours(store_of(tmp_path, values), np.arange(20), 3)
    scaled = values * 10.0 ** np.arange(-4, 5) + 5
    other = neighbours(store_of(tmp_path, scaled), np.arange(20), 3)
    pd.testing.assert_frame_equal(plain, other)


def test_views_are_averaged_and_other_statistics_left_out(tmp_path: Path) -> None:
    views = RNG.normal(size=(10, 4, 8))
    apart = unit_features(store_of(tmp_path, views))
    pooled = np.concatenate([views.mean(axis=1), views.var(axis=1)], axis=1)
    store = store_of(tmp_path, pooled)
    for column in store.header["columns"][8:]:
        column["statistic"] = "var"
    np.testing.assert_allclose(unit_features(store), apart)
    assert unit_features(store_of(tmp_path, pooled, "median")).shape == (10, 16)


def test_of_few_pictures_all_others_are_neighbours(tmp_path: Path) -> None:
    store = store_of(tmp_path, RNG.normal(size=(3, 8)))
    assert len(neighbours(store, np.array([0]), 12)) == 2


def test_rows_are_drawn_evenly_or_named_once(tmp_path: Path) -> None:
    store = store_of(tmp_path, RNG.normal(size=(15, 8)))
    assert rows_of((), store).tolist() == [0, 2, 4, 6, 8, 10, 12, 14]
    assert rows_of(("p003", "p001", "p003"), store).tolist() == [3, 1]


@pytest.mark.parametrize(
    ("values", "ids", "message"),
    [
        (np.ones((1, 8)), (), "it holds 1 pictures; two are needed"),
        (
            np.eye(8),
            ("p01",),
            "ids = 'p01': .* has no such picture; did you mean 'p001'",
        ),
        (np.ones((5, 8)), (), "0 of its columns differ .*docs/similar.md says how"),
        (np.arange(5.0)[:, None], (), "1 of its columns differ"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    tmp_path: Path, values: np.ndarray, ids: tuple[str, ...], message: str
) -> None:
    store = store_of(tmp_path, values)
    with pytest.raises(UserError, match=message):
        neighbours(store, rows_of(ids, store), 2)


def test_few_columns_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    neighbours(store_of(tmp_path, RNG.normal(size=(9, 3))), np.array([0]), 2)
    assert "3 columns tell little of a picture" in caplog.text
    assert "--source" not in caplog.text, "it would replace the features of the nets"


@pytest.mark.parametrize("told_by", ["pixels_sha256", "same_as"])
def test_copies_are_told_by_pixels_and_by_the_preparation(told_by: str) -> None:
    pairs = {"id": ["a", "a", "x"], "neighbour": ["b", "c", "a"]}
    table = pd.DataFrame({**pairs, "rank": 1, "cosine": 0.9})
    table = table[["id", "rank", "neighbour", "cosine"]]
    rows = pd.DataFrame({"id": ["a", "b", "c"], told_by: ["a", "a", "c"],
                         "split": "train", "target": [1.0, 2.0, 3.0]})  # fmt: skip
    noted = with_notes(table, rows)
    assert noted["is_copy"].tolist() == [True, False, False]
    assert noted["target"].tolist() == [2.0, 3.0, 1.0]
    assert not with_notes(table, rows.drop(columns=told_by))["is_copy"].any()


def test_the_sheet_sets_rows_and_marks_copies() -> None:
    red, blue = np.zeros((2, 40, 40, 3), np.uint8)
    red[..., 0] = blue[..., 2] = 255
    rows = [
        [Frame(pixels=red, lines=["a"]),
         Frame(pixels=blue, lines=["b" * 60, "copy"], is_marked=True)],
        [Frame(pixels=blue, lines=["c"])],
    ]  # fmt: skip
    image = Image.open(BytesIO(contact_sheet(rows)))
    pixels = np.asarray(image)
    assert image.width > 2 * SIDE_PX
    assert (pixels == (255, 0, 0)).all(axis=2).sum() == 40 * 40
    assert (pixels == (0, 0, 255)).all(axis=2).sum() == 2 * 40 * 40
    assert (pixels == MARK).all(axis=2).sum() > 3 * SIDE_PX
    assert (pixels[:, -4:] == 255).all()  # a long name is cut, and not drawn outside


# In a run.


@pytest.fixture(scope="module")
def plain_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A folder of pictures without labels, and the features of a pretext."""
    folder = tmp_path_factory.mktemp("plain") / "run"
    run = make_run(folder, n_train=0, n_test=0, n_unlabelled=12, n_folds=0,
                   target=None, dates=False, words=0)  # fmt: skip
    make_pretext(run)
    extract(run, "--source=pretext.jigsaw", "--views=e")
    return run


def look_up(run: Run, *flags: str) -> tuple[Path, pd.DataFrame]:
    with elsewhere(run):
        path = similar.main([f"--run={run.folder}", *flags])
    table = pd.read_csv(path.with_suffix(".csv"), dtype={"id": str, "neighbour": str})
    return path, table


def test_a_plain_folder_of_pictures(
    plain_run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path, table = look_up(plain_run, "--ids", "p003", "p001", "--n=4")
    assert path == plain_run.folder / "features.similar" / "similar.png"
    assert table["id"].tolist() == ["p003"] * 4 + ["p001"] * 4
    assert (table["id"] != table["neighbour"]).all()
    assert (np.diff(table["cosine"][:4]) <= 0).all()
    with Image.open(path) as image:
        assert image.width > 5 * SIDE_PX
    assert "2 pictures, 4 neighbours each" in caplog.text
    store = plain_run.folder / "features.extract" / "features.pkl"
    assert look_up(plain_run, f"--store={store}", "--ids", "p003", "--n=4")[1].equals(
        table[:4]
    )


def test_what_is_not_there_is_refused(plain_run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"ids = 'nothing': .* no such picture"):
        look_up(plain_run, "--ids=nothing")
    foreign = store_of(tmp_path, RNG.normal(size=(9, 8))).path
    with pytest.raises(UserError, match="give the --run that the store was made from"):
        look_up(plain_run, f"--store={_renamed(foreign)}")


def _renamed(path: Path) -> Path:
    """Write the same store under ids of no picture."""
    store = open_store(path)
    ids = [f"q{k}" for k in range(len(store))]
    write_store(path, ids, np.array(store.values), whole_header(store))
    return path


def test_a_fine_tuned_store(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    finetune(run, "--joint")
    extract(run, "--views=e")
    _, table = look_up(run)
    assert len(table) == 8 * 12
    assert {"split", "target", "is_copy"} <= {*table.columns}


def test_layers_of_several_nets_are_not_mixed(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    finetune(run, "--tasks=target")
    extract(run, "--views=e", "--layer=layer1")
    with pytest.raises(UserError, match=r"a store of their own; .*fold0\.pkl"):
        look_up(run)


def test_without_features_the_stages_are_named_in_their_order(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"pretext\.jigsaw, then: .*features\.extract"):
        similar.main(["--run", str(make_run(tmp_path).folder)])
