"""Tests of folders within the folders of pictures, and of ids with folders."""

from pathlib import Path

import pandas as pd
import pytest

from data_prep.errors import UserError
from data_prep.pictures.folders import search_folders
from tests.data_prep.sheets import IDS, N, prepare, refused, table_of, write_table


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def ids_of(*folders: Path, ids: tuple[str, ...] = ()) -> dict[str, str]:
    """Give the path of each id, within the first folder."""
    pictures = search_folders(folders, ids=ids).pictures
    return {id_: str(path.relative_to(folders[0])) for id_, path in pictures.items()}


def test_folders_within_are_searched_at_any_depth(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "oak/b.png", "elm/wild/c.jpg", ".cache/d.png", "elm/e.txt")
    searched = search_folders([tmp_path])
    assert searched.notes == (
        "pictures lie in 3 folders: not in a subfolder (1), elm/wild (1), oak (1)",
    )
    assert ids_of(tmp_path) == {"a": "a.png", "b": "oak/b.png", "c": "elm/wild/c.jpg"}
    assert searched.other_names == ["elm/e.txt"]
    assert search_folders([tmp_path / "oak"]).notes == ()


def test_runs_within_are_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "runs/x/run.json", "runs/x/experiment.toml")
    touch(tmp_path, "runs/x/transfer.explain/map.png", "runs/notes/b.png")
    assert ids_of(tmp_path) == {"a": "a.png", "b": "runs/notes/b.png"}
    # but not where the folder is in a run itself
    assert list(search_folders([tmp_path / "runs/x/transfer.explain"]).pictures)


def test_a_folder_is_searched_once_however_it_is_linked(tmp_path: Path) -> None:
    touch(tmp_path, "all/oak/b.png", "disk/c.png")
    (tmp_path / "all" / "again").symlink_to(tmp_path / "all" / "oak")
    (tmp_path / "all" / "loop").symlink_to(tmp_path / "all")
    (tmp_path / "all" / "far").symlink_to(tmp_path / "disk")
    tops = [tmp_path / "all", tmp_path / "all" / "oak", tmp_path / "all"]
    assert list(search_folders(tops).pictures) == ["b", "c"]
    assert list(search_folders([tmp_path / "all/oak", tmp_path / "all"]).pictures) == [
        "b",
        "c",
    ]


def test_one_name_in_two_folders_is_refused_with_both_paths(tmp_path: Path) -> None:
    touch(tmp_path, "oak/7.png", "elm/7.jpg", "oak/8.png", "elm/8.png", "9.png")
    message = (
        r"elm/7\.jpg and .*oak/7\.png have the same id '7' \(2 such ids\); rename one,"
        r" or write the ids of all tables with folders, as '(elm|oak)/7'$"
    )
    for ids in (("7", "8"), ("other/7",)):
        with pytest.raises(UserError, match=message):
            search_folders([tmp_path], ids=ids)


def test_without_a_table_the_folder_tells_one_name_apart(tmp_path: Path) -> None:
    touch(tmp_path, "oak/7.png", "elm/7.jpg", "oak/8.png", "8.png", "9.png")
    expected = {
        "oak/7": "oak/7.png",
        "elm/7": "elm/7.jpg",
        "oak/8": "oak/8.png",
        "8": "8.png",
        "9": "9.png",
    }
    assert ids_of(tmp_path) == expected
    # and a table of just these ids means the same files
    assert ids_of(tmp_path, ids=tuple(expected)) == expected


def test_tables_may_name_the_folder(tmp_path: Path) -> None:
    touch(tmp_path, "oak/7.png", "elm/7.jpg", "oak/8.png", "9.png")
    both = {"elm/7": "elm/7.jpg", "oak/7": "oak/7.png"}
    rest = {"8": "oak/8.png", "9": "9.png"}
    assert ids_of(tmp_path, ids=("oak/7", "elm/7", "8")) == both | rest
    assert ids_of(tmp_path, ids=("oak/7",)) == both | rest  # the other has no row
    named = ids_of(tmp_path, ids=("oak/7", "elm/7", "oak/8"))
    assert named == both | {"oak/8": "oak/8.png", "9": "9.png"}
    with pytest.raises(UserError, match="in two ways, '7' and 'oak/7'; write the ids"):
        search_folders([tmp_path], ids=("oak/7", "7"))
    touch(tmp_path, "7.png")  # now 7 is the whole path of a picture
    assert ids_of(tmp_path, ids=("oak/7", "7"))["7"] == "7.png"


def test_several_folders_are_told_apart_by_their_names(tmp_path: Path) -> None:
    tops = [tmp_path / "old", tmp_path / "new"]
    touch(tmp_path, "old/1.png", "new/1.png", "old/2.png")
    with pytest.raises(UserError, match=r"or write .*, as '(old|new)/1'$"):
        search_folders(tops, ids=("1", "2"))
    for ids in ((), ("old/1", "new/1", "2")):
        assert search_folders(tops, ids=ids).pictures == {
            "old/1": tmp_path / "old/1.png",
            "new/1": tmp_path / "new/1.png",
            "2": tmp_path / "old/2.png",
        }


def test_a_file_that_is_named_as_a_folder_is_called_a_file(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    message = r"a\.png: it is a file and no folder \(\[data\] images\)"
    with pytest.raises(UserError, match=message):
        search_folders([tmp_path / "a.png"])


def test_two_formats_of_one_name_need_another_name(tmp_path: Path) -> None:
    touch(tmp_path, "oak/7.png", "oak/7.jpg")
    for ids in ((), ("oak/7",)):
        with pytest.raises(UserError, match=r"have the same id '7'; rename one$"):
            search_folders([tmp_path], ids=ids)


def test_what_cannot_be_read_keeps_the_id_of_the_table(tmp_path: Path) -> None:
    touch(tmp_path, "oak/7.png", "elm/8.png")
    (tmp_path / "elm" / "7.png").symlink_to("nowhere")
    unusable = search_folders([tmp_path], ids=("oak/7", "elm/7")).unusable
    assert list(unusable) == ["elm/7"]
    assert unusable["elm/7"].file == "elm/7.png"


@pytest.mark.parametrize("written", ["{}", "{folder}/{}"])
def test_pictures_in_folders_are_prepared(folder: Path, written: str) -> None:
    pictures = folder / "pictures"
    folders = ["oak" if number % 2 else "elm/wild" for number in range(N)]
    for id_, name in zip(IDS, folders, strict=True):
        (pictures / name).mkdir(parents=True, exist_ok=True)
        (pictures / f"{id_}.png").rename(pictures / name / f"{id_}.png")
    pairs = zip(IDS, folders, strict=True)
    ids = [written.format(id_, folder=name) for id_, name in pairs]
    write_table(folder, id=ids)
    stage = prepare(folder)
    rows = table_of(stage)
    assert set(rows.index) == set(ids)
    assert (rows["split"] == "train").all()
    assert "ictures lie in 2 folders: " in (stage / "report.html").read_text()
    assert prepare(folder) == stage  # and is current


def test_equal_names_in_two_folders_are_prepared_by_their_folders(folder: Path) -> None:
    pictures = folder / "pictures"
    ids = []
    for number, id_ in enumerate(IDS):
        name = f"{'oak' if number % 2 else 'elm'}/{number // 2}"
        (pictures / name).parent.mkdir(exist_ok=True)
        (pictures / f"{id_}.png").rename(pictures / f"{name}.png")
        ids.append(name)
    write_table(folder, id=[name.partition("/")[2] for name in ids])
    assert "2 such" not in refused(folder)
    write_table(folder, id=ids)
    stage = prepare(folder)
    assert set(table_of(stage).index) == set(ids)
    assert pd.read_csv(stage / "left_out.csv").empty
