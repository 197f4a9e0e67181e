"""Tests of pages as pictures: data_prep.pictures.pages, and prepare --page all."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from data_prep.errors import UnreadableError, UserError
from data_prep.pictures import decoded
from data_prep.pictures.decode import read_picture
from data_prep.pictures.decoded import decode_files
from data_prep.pictures.fit import fit_square
from data_prep.pictures.pages import Page, PagedPictures, ids_of_files, page_numbers
from data_prep.prepare import main
from data_prep.run_folders import witness
from tests.damaging import as_bytes, scene
from tests.data_prep.sheets import table_of

pytestmark = pytest.mark.usefixtures("tampering_goes_unseen")

MODES = ("RGB", "L", "1", "P", "CMYK", "RGBA")
SUBFILE, BITS = 254, 258


def draw_pages(seed: int, n: int) -> list[Image.Image]:
    """Draw pages of other sizes and modes."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(9, 60, (n, 2)).tolist()
    modes = rng.choice(MODES, n).tolist()
    return [
        scene(100 * seed + k, (width, height)).convert(mode)
        for k, ((width, height), mode) in enumerate(zip(sizes, modes, strict=True))
    ]


def joined(pages: Sequence[Image.Image], kind: str = "TIFF", **options: Any) -> bytes:
    """Put pages into one file."""
    more = {"save_all": True, "append_images": pages[1:]} if len(pages) > 1 else {}
    return as_bytes(pages[0], kind, **more, **options)


def patched(data: bytes, page: int, tag: int, value: int) -> bytes:
    """Overwrite the value of a short tag of the n-th directory of a TIFF."""
    changed, offset = bytearray(data), int.from_bytes(data[4:8], "little")
    for _ in range(page - 1):
        n_entries = int.from_bytes(data[offset : offset + 2], "little")
        behind = offset + 2 + 12 * n_entries
        offset = int.from_bytes(data[behind : behind + 4], "little")
    n_entries = int.from_bytes(data[offset : offset + 2], "little")
    for start in range(offset + 2, offset + 2 + 12 * n_entries, 12):
        if int.from_bytes(data[start : start + 2], "little") == tag:
            changed[start + 8 : start + 10] = value.to_bytes(2, "little")
            return bytes(changed)
    raise AssertionError


def pixels_of(data: bytes, page: int | None = None) -> np.ndarray[Any, Any]:
    return np.asarray(read_picture(data, 16, ".tif", page).image)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("big_tiff", [False, True])
def test_a_page_is_read_as_a_file_of_its_own_is(
    tmp_path: Path, seed: int, big_tiff: bool
) -> None:
    pages = draw_pages(seed, 1 + seed % 4)
    options = {"compression": "tiff_adobe_deflate", "big_tiff": big_tiff}
    data, path = joined(pages, **options), tmp_path / "a.tif"
    path.write_bytes(data)
    assert page_numbers(path) == tuple(range(1, 1 + len(pages)))
    for number, page in enumerate(pages, start=1):
        alone = read_picture(as_bytes(page, "TIFF", **options), 16)
        read = read_picture(data, 16, ".tif", number)
        assert (read.size, read.info) == (alone.size, alone.info)
        assert_array_equal(np.asarray(read.image), np.asarray(alone.image))
    with pytest.raises(UnreadableError, match=r"no more images|outside sequence"):
        read_picture(data, 16, ".tif", len(pages) + 1)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF"])
@pytest.mark.parametrize("n", [1, 3])
def test_frames_are_pages(tmp_path: Path, kind: str, n: int) -> None:
    frames = [scene(k, (40, 30)) for k in range(n)]
    path = tmp_path / "a.bin"
    path.write_bytes(joined(frames, kind))
    assert page_numbers(path) == tuple(range(1, 1 + n))
    for number, frame in enumerate(frames, start=1):
        read = pixels_of(path.read_bytes(), number).astype(float)
        error = np.abs(read - np.asarray(frame, float)).mean()
        others = [f for f in frames if f is not frame]
        assert all(
            np.abs(read - np.asarray(f, float)).mean() > 3 * error for f in others
        )


def test_pictures_of_a_heic_are_pages(tmp_path: Path) -> None:
    wand_image = pytest.importorskip("wand.image", exc_type=ImportError)
    from wand.exceptions import WandException

    pages = [scene(k) for k in range(2)]
    first, second = (wand_image.Image(blob=as_bytes(page, "PNG")) for page in pages)
    first.sequence.append(second)
    try:
        (tmp_path / "a.jpg").write_bytes(first.make_blob("heic"))  # as phones call it
    except WandException as error:
        pytest.skip(f"ImageMagick does not write it: {error}")
    assert page_numbers(tmp_path / "a.jpg") == (1, 2)
    for number, page in enumerate(pages, start=1):
        read = pixels_of((tmp_path / "a.jpg").read_bytes(), number).astype(float)
        assert np.abs(read - np.asarray(page, float)).mean() < 10


def test_smaller_versions_masks_and_previews_are_no_pages(tmp_path: Path) -> None:
    pages = [scene(k, (40, 30)) for k in range(5)]
    for page, kind in zip(pages, (0, 1, 2, 4, 0), strict=True):
        page.encoderinfo = {"tiffinfo": {SUBFILE: kind}}  # type: ignore[attr-defined]
    path = tmp_path / "a.tif"
    path.write_bytes(joined(pages))
    assert page_numbers(path) == (1, 3, 5)
    assert_array_equal(pixels_of(path.read_bytes(), 5), np.asarray(pages[4]))
    path = tmp_path / "phone.jpg"
    path.write_bytes(joined([scene(0), scene(1, (64, 48))], "MPO"))
    with Image.open(path) as image:
        assert image.n_frames == 2  # type: ignore[attr-defined]
    assert page_numbers(path) == (1,)


def test_a_page_of_an_unknown_kind_hides_no_other(tmp_path: Path) -> None:
    pages = [scene(k, (40 - 9 * k, 30)).convert("L") for k in range(4)]
    path = tmp_path / "a.tif"
    data = joined(pages)
    for page in (2, 3):
        data = patched(data, page, BITS, 5)
    path.write_bytes(data)
    assert page_numbers(path) == (1, 2, 3, 4)
    for number in (2, 3):
        with pytest.raises(UnreadableError):
            pixels_of(data, number)
    for number in (1, 4, None):  # None: the first
        expected = np.asarray(pages[(number or 1) - 1].convert("RGB"))
        assert_array_equal(pixels_of(data, number), expected)


@pytest.mark.parametrize("seed", range(12))
def test_of_a_file_that_is_cut_the_whole_pages_stay(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pages = draw_pages(seed, 4)
    options = {"compression": "tiff_adobe_deflate"}
    # the first pages of a file are a file of fewer pages, but for the last link
    ends = [len(joined(pages[:n], **options)) for n in range(1, 5)]
    data = joined(pages, **options)
    length = int(rng.integers(ends[0], ends[-1]))
    path = tmp_path / "a.tif"
    path.write_bytes(data[:length])
    numbers = page_numbers(path)
    n_whole = sum(end <= length for end in ends)
    assert numbers == tuple(range(1, 1 + len(numbers)))
    assert len(numbers) in (n_whole, n_whole + 1)
    for number in numbers[:n_whole]:
        assert_array_equal(pixels_of(data[:length], number), pixels_of(data, number))
    for number in numbers[n_whole:]:
        with pytest.raises(UnreadableError):
            pixels_of(data[:length], number)


def test_directories_in_a_ring_end(tmp_path: Path) -> None:
    data = bytearray(joined([scene(0, (20, 20)), scene(1, (20, 20))]))
    first = int.from_bytes(data[4:8], "little")
    n_entries = int.from_bytes(data[first : first + 2], "little")
    behind = first + 2 + 12 * n_entries
    second = int.from_bytes(data[behind : behind + 4], "little")
    behind = second + 2 + 12 * int.from_bytes(data[second : second + 2], "little")
    data[behind : behind + 4] = first.to_bytes(4, "little")
    (tmp_path / "a.tif").write_bytes(data)
    assert page_numbers(tmp_path / "a.tif") == (1, 2)


@pytest.mark.parametrize(
    "content",
    [b"", b"II*\0", b"II+\0\0\0\0\0\0\0\0\0", b"GIF89a", b"\xff\xd8", b"text"],
)
def test_what_cannot_be_read_is_one_page(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tif").write_bytes(content)
    assert page_numbers(tmp_path / "a.tif") == (1,)
    assert page_numbers(tmp_path / "gone.tif") == (1,)


def test_the_id_of_a_page_is_of_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(joined([scene(0, (9, 9)), scene(1, (9, 9))]))
    Image.new("L", (9, 9)).save(tmp_path / "a@2.png")
    files = {"a": tmp_path / "a.tif"}
    paged = PagedPictures.find(files, "all", ids={"a"})
    assert paged.pictures == {
        f"a@{n}": Page(path=tmp_path / "a.tif", number=n) for n in (1, 2)
    }
    message = r"'a@2' is page 2 of a\.tif, and the id of a@2\.png; rename one of the"
    with pytest.raises(UserError, match=message):
        PagedPictures.find(files | {"a@2": tmp_path / "a@2.png"}, "all")
    message = r"'a@1' is page 1 of a\.tif, and a table names it: .*; write 'a' once"
    with pytest.raises(UserError, match=message):
        PagedPictures.find(files, "all", ids={"a@1"})
    nowhere = {"a": tmp_path / "gone.tif"}  # not even looked at
    assert PagedPictures.find(nowhere, "first").pictures == nowhere
    ids = {"a@1", "a@x", "@1", "a", "b@2@3"}
    assert ids_of_files(ids) == {*ids, "b@2"}


def test_rows_are_repeated_as_a_join_repeats_them() -> None:
    paged = PagedPictures(pictures={}, pages={"b": ("b@1", "b@2"), "d": ("d@2",)})
    rows = pd.DataFrame({"x": [3, 1, 2]}, index=pd.Index(["c", "b", "a"], name="id"))
    pages = pd.DataFrame({"id": ["b", "b", "d"], "page": ["b@1", "b@2", "d@2"]})
    expected = rows.reset_index().merge(pages, on="id", how="left")
    expected = expected.assign(id=expected["page"].fillna(expected["id"]))
    repeated = paged.repeated(rows)
    assert repeated.index.name == "id"
    assert repeated.reset_index().equals(expected[["id", "x"]])
    assert paged.file_ids == {"b@1": "b", "b@2": "b", "d@2": "d"}
    assert PagedPictures(pictures={}).repeated(rows) is rows


# Prepared: scans s00 to s23 of one to four pages, s24 and s25 to predict, and u in no
# table.


N = 24


def make_scans(folder: Path) -> dict[str, list[Image.Image]]:
    """Draw scans and their tables; the second page of s03 is damaged."""
    (folder / "scans").mkdir()
    scans = {f"s{k:02d}": draw_pages(k, 1 + k % 4) for k in range(N + 2)}
    scans["u"] = draw_pages(90, 3)
    for id_, pages in scans.items():
        data = joined(pages, compression="raw")
        if id_ == "s03":
            data = patched(data, 2, BITS, 5)
        (folder / "scans" / f"{id_}.tif").write_bytes(data)
    ids = [f"s{k:02d}" for k in range(N)]
    train = pd.DataFrame({"id": ids, "grade": [k // 2 % 3 for k in range(N)]})
    train.assign(box=[k % 12 for k in range(N)]).to_csv(
        folder / "train.csv", index=False
    )
    (folder / "test.csv").write_text("id\ns25\ns24\n")
    (folder / "names.csv").write_text("id,name\ns01,oak\ns01,elm\ns02,oak\ns04,elm\n")
    return scans


def prepare(folder: Path, *flags: str, data: str = "", run: str = "run") -> Path:
    (folder / "x.toml").write_text(
        '[data]\nimages = "scans"\ntrain = "train.csv"\ntest = "test.csv"\n'
        f'target = "grade"\nattributes = "names.csv"\n{data}\n'
    )
    paths = [f"--experiment={folder / 'x.toml'}", f"--run={folder / run}"]
    return main([*paths, "--side=16", "--workers=1", *flags])


@pytest.fixture
def scans(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, list[Image.Image]]:
    monkeypatch.chdir(tmp_path)
    return make_scans(tmp_path)


def test_each_page_is_a_picture_of_its_file(
    tmp_path: Path,
    scans: dict[str, list[Image.Image]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    stage = prepare(tmp_path, "--page=all")
    table = table_of(stage)
    expected = {
        f"{id_}@{k}" if len(pages) > 1 else id_: page
        for id_, pages in scans.items()
        for k, page in enumerate(pages, start=1)
    }
    assert list(table.index) == sorted(expected.keys() - {"s03@2"})
    n_pages = sum(len(pages) for pages in scans.values() if len(pages) > 1)
    note = f"20 files have several pages, {n_pages} in all and up to 4: each is a pic"
    assert note in caplog.text
    assert "the first of each was taken" not in caplog.text
    pixels = np.load(stage / "images.npy")
    for id_, row in table.iterrows():
        alone = read_picture(as_bytes(expected[str(id_)], "TIFF"), 16)
        square = fit_square(alone.image, 16, "pad")
        assert_array_equal(pixels[row["image_row"]], square)
        assert (row["width"], row["height"]) == expected[str(id_)].size
    assert table["object"].tolist() == [id_.partition("@")[0] for id_ in table.index]
    labels = pd.read_csv(tmp_path / "train.csv").set_index("id")["grade"]
    train = table[table["split"] == "train"]
    assert train["target"].tolist() == labels[train["object"]].tolist()
    assert (train.groupby("object")["fold"].nunique() == 1).all()
    assert set(table["split"][table["object"] == "u"]) == {"unlabelled"}
    left_out = pd.read_csv(stage / "left_out.csv", dtype=str)
    assert left_out[["id", "file"]].to_numpy().tolist() == [["s03@2", "s03.tif"]]
    assert (stage / "test_ids.csv").read_text() == "id\ns25\ns24\n"
    names = pd.read_parquet(stage / "attributes.parquet")
    assert names["id"].tolist() == [
        *["s01@1", "s01@2"] * 2,
        *["s02@1", "s02@2", "s02@3"],
        "s04",
    ]
    report = (stage / "report.html").read_text()
    assert "24 objects (files) of the train table, of 1 to 4 pictures each" in report


def test_folds_are_of_files(
    tmp_path: Path, scans: dict[str, list[Image.Image]]
) -> None:
    del scans
    stage = prepare(tmp_path, "--page=all")
    folds = pd.read_csv(stage / "folds.csv").set_index("id")["fold"]
    assert list(folds.index) == [f"s{k:02d}" for k in range(N)]
    table = table_of(stage)
    train = table[table["split"] == "train"]
    assert folds[train["object"]].tolist() == train["fold"].tolist()
    shuffled = folds.sample(frac=1, random_state=0)
    shuffled.to_csv(tmp_path / "folds.csv")
    again = table_of(prepare(tmp_path, "--page=all", "--folds=folds.csv", run="again"))
    assert again["fold"].tolist() == table["fold"].tolist()


def test_objects_of_the_table_have_the_pages_of_their_files(
    tmp_path: Path, scans: dict[str, list[Image.Image]]
) -> None:
    table = pd.read_csv(tmp_path / "train.csv")
    table.assign(grade=table["box"] // 3).to_csv(tmp_path / "train.csv", index=False)
    (tmp_path / "test.csv").write_text("id,box\ns24,x\ns25,x\n")
    prepared = table_of(prepare(tmp_path, "--page=all", data='object = "box"'))
    boxes = table.set_index("id")["box"].astype(str).to_dict() | dict.fromkeys(
        ["s24", "s25"], "x"
    )
    for id_, row in prepared.iterrows():
        file_id = str(id_).partition("@")[0]
        assert row["object"] == boxes.get(file_id, file_id)
    assert (prepared["object"] == "x").sum() == len(scans["s24"]) + len(scans["s25"])


def test_what_tears_or_names_pages_is_refused(
    tmp_path: Path, scans: dict[str, list[Image.Image]]
) -> None:
    del scans
    message = r"'skfold3' would tear the pages of a file apart .*set cv = 'sgkfold3'"
    with pytest.raises(UserError, match=message):
        prepare(tmp_path, "--page=all", "--cv=skfold3")
    (tmp_path / "test.csv").write_text("id\ns25\ns24@1\n")
    (tmp_path / "scans" / "s24.tif").write_bytes(joined(draw_pages(5, 2)))
    with pytest.raises(UserError, match=r"'s24' once, or store the pages as files"):
        prepare(tmp_path, "--page=all")


def test_pages_of_the_same_files_are_not_decoded_again(
    tmp_path: Path,
    scans: dict[str, list[Image.Image]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    del scans
    monkeypatch.setattr(witness, "RECENT_NS", -1)  # files settle at once
    decoded_pictures: list[Any] = []
    decode_file = decoded._decode_file

    def counted(picture: Any, *args: Any, **options: Any) -> Any:
        decoded_pictures.append(picture)
        return decode_file(picture, *args, **options)

    monkeypatch.setattr(decoded, "_decode_file", counted)
    stage = prepare(tmp_path, "--page=all")
    record = (stage / "record.json").read_bytes()
    n_decoded = len(decoded_pictures)
    prepare(tmp_path, "--page=all")
    assert len(decoded_pictures) == n_decoded
    assert (stage / "record.json").read_bytes() == record
    changed = tmp_path / "scans" / "s05.tif"
    changed.write_bytes(joined(draw_pages(50, 3)))
    decoded_pictures.clear()
    kept = table_of(stage)
    again = prepare(tmp_path, "--page=all")
    numbers = [(picture.name, picture.number) for picture in decoded_pictures]
    # what could not be read has no square
    assert numbers == [("s03.tif", 2), *(("s05.tif", n) for n in (1, 2, 3))]
    same = kept.index.difference(["s05@1", "s05@2"])
    after = table_of(again)
    assert after.loc[same, "pixels_sha256"].equals(kept.loc[same, "pixels_sha256"])
    decoded_pictures.clear()
    with caplog.at_level("INFO"):
        first = table_of(prepare(tmp_path, "--page=first", "--cv=skfold3"))
    note = 'the first of each was taken; page = "all" in [data_prep.prepare] makes a'
    assert note in caplog.text
    assert len(first) == N + 3
    n_lone = sum("@" not in id_ for id_ in kept.index)
    assert len(decoded_pictures) == len(first) - n_lone  # what had no pages is kept


def test_a_file_is_read_once_for_its_pages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [tmp_path / name for name in ("a.tif", "b.tif")]
    for seed, path in enumerate(files):
        path.write_bytes(joined(draw_pages(seed, 3)))
    pages = [Page(path=path, number=n) for path in files for n in (1, 2, 3)]
    expected = [decoded._decode_file(page, 16, "pad") for page in reversed(pages)][::-1]
    decoded._kept.cache_clear()
    read: list[int] = []
    hashed = decoded._hashed

    def counted(data: bytes) -> tuple[bytes, str]:
        read.append(len(data))
        return hashed(data)

    monkeypatch.setattr(decoded, "_hashed", counted)
    results = list(decode_files(pages, 16, "pad", 1))
    assert read == [path.stat().st_size for path in files]
    for (file, square), (same_file, same_square) in zip(results, expected, strict=True):
        assert file == same_file
        assert square is not None
        assert_array_equal(square, same_square)
    files[0].write_bytes(joined(draw_pages(7, 3)))
    changed, _ = next(decode_files(pages[:1], 16, "pad", 1))
    assert changed.sha256 == witness.hash_of(files[0]) != results[0][0].sha256


def test_without_pages_nothing_is_another(
    tmp_path: Path, scans: dict[str, list[Image.Image]]
) -> None:
    del scans
    plain = prepare(tmp_path, "--cv=skfold3", run="plain")
    first = prepare(tmp_path, "--cv=skfold3", "--page=first", run="first")
    for path in plain.iterdir():
        if path.is_file() and path.name not in ("report.html", "record.json"):
            assert path.read_bytes() == (first / path.name).read_bytes()
    records = [json.loads((s / "record.json").read_text()) for s in (plain, first)]
    assert records[0]["settings"] == records[1]["settings"]
    assert "page" not in records[0]["settings"]
    assert "object" not in table_of(first)
