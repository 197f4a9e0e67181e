"""Tests of data_prep.prepare: what has changed is seen, what is done is kept."""

import ast
import json
import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from data_prep import decoding
from data_prep.experiment import read_experiment
from data_prep.outlook import Outlook
from data_prep.pictures import decoded, images, reuse
from data_prep.pictures.images import store_pictures
from data_prep.prepare_settings import START_S, PrepareSettings
from data_prep.run_folders import witness
from data_prep.run_folders.runs import Run
from tests.data_prep.sheets import (
    IDS,
    N,
    picture,
    prepare,
    refused,
    table_of,
    write_table,
)
from tests.drilled import in_drills

pytestmark = pytest.mark.usefixtures("tampering_goes_unseen")


def change_in_the_middle(path: Path) -> None:
    """Turn a bit far from both ends of a large bitmap; its size stays."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.fixture
def large(folder: Path) -> Path:
    """One picture that is larger than what was once looked at."""
    path = folder / "pictures" / "p005.bmp"
    path.with_suffix(".png").unlink()
    picture(5).resize((200, 200)).save(path)
    return path


@pytest.mark.parametrize("is_dated_back", [False, True])
def test_a_change_in_the_middle_of_a_file_is_seen(
    folder: Path, large: Path, is_dated_back: bool
) -> None:
    stage = prepare(folder)
    before = table_of(stage)
    status = large.stat()
    change_in_the_middle(large)
    if is_dated_back:
        os.utime(large, ns=(status.st_atime_ns, status.st_mtime_ns))
    after = table_of(prepare(folder))
    assert after.loc["p005", "sha256"] == witness.hash_of(large)
    changed = before["sha256"] != after["sha256"]
    assert list(before.index[changed]) == ["p005"]


def test_touched_and_copied_files_are_not_changed(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    stage = prepare(folder)
    record = (stage / "record.json").read_bytes()
    for path in (folder / "pictures").iterdir():
        os.utime(path, (1e9, 1e9))
    prepare(folder)
    elsewhere = folder.with_name("elsewhere")
    shutil.copytree(folder, elsewhere, copy_function=shutil.copyfile)
    copied = prepare(elsewhere)
    assert (stage / "record.json").read_bytes() == record
    assert (copied / "record.json").read_bytes() == record
    assert caplog.text.count("already done") == 2


def test_unchanged_files_are_not_read_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(witness, "RECENT_NS", -1)  # files settle at once
    stage = prepare(folder)
    record = (stage / "record.json").read_bytes()
    monkeypatch.setattr(witness, "hash_of", pytest.fail)
    monkeypatch.setattr(decoded, "_decode_file", pytest.fail)
    prepare(folder)
    assert (stage / "record.json").read_bytes() == record


def test_the_dates_of_files_are_in_no_digest(folder: Path) -> None:
    stage = prepare(folder)
    first = json.loads((stage / "record.json").read_text())
    for path in (folder / "pictures").iterdir():
        os.utime(path, (1e9, 1e9))
    prepare(folder, "--overwrite")
    assert json.loads((stage / "record.json").read_text())["digest"] == first["digest"]


def test_what_an_older_version_prepared_is_made_anew(folder: Path) -> None:
    stage = prepare(folder)
    new = (stage / "table.parquet").read_bytes()
    old = {"split": "part", "cv_group": "cluster"}
    table = pd.read_parquet(stage / "table.parquet").rename(columns=old)
    table.to_parquet(stage / "table.parquet", index=False)
    prepare(folder)
    assert (stage / "table.parquet").read_bytes() == new


def stop_after(n: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Stop when so many pictures are decoded; return their names as they come."""
    original, decoded_names = decoded._decode_file, []

    def decode(path: Path, **options: Any) -> Any:
        if len(decoded_names) == n:
            raise KeyboardInterrupt
        decoded_names.append(path.stem)
        return original(path, **options)

    monkeypatch.setattr(decoded, "CHUNK", 1)
    monkeypatch.setattr(images, "SAVE_EVERY_S", 0)
    monkeypatch.setattr(decoded, "_decode_file", decode)
    return decoded_names


def begin(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop an attempt after thirty pictures."""
    with monkeypatch.context() as patch:
        stop_after(30, patch)
        with pytest.raises(KeyboardInterrupt):
            prepare(folder)


@pytest.mark.parametrize("number", [3, 20, 40])
def test_a_file_that_changed_meanwhile_is_decoded_again(
    folder: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(folder, monkeypatch)
    picture(777).save(folder / "pictures" / f"{IDS[number]}.png")
    (folder / "pictures" / "p001.png").touch()
    with monkeypatch.context() as patch:
        decoded_names = stop_after(N, patch)
        stage = prepare(folder)
    assert decoded_names == IDS[min(number, 30) :]
    whole = prepare(folder, run="whole")
    for name in ("table.parquet", "images.npy", "left_out.csv"):
        assert (stage / name).read_bytes() == (whole / name).read_bytes()


@pytest.mark.parametrize("change", ["table", "cv", "seed"])
def test_what_is_decoded_is_kept_when_only_rows_or_folds_change(
    folder: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(folder, monkeypatch)
    flags = {"cv": ["--cv=sgkfold2"], "seed": ["--seed=3"]}.get(change, [])
    if change == "table":
        write_table(folder, grade=[row // 2 % 3 for row in range(N)])
    with monkeypatch.context() as patch:
        decoded_names = stop_after(N, patch)
        stage = prepare(folder, *flags)
    assert decoded_names == IDS[30:]
    whole = prepare(folder, *flags, run="whole")
    for name in ("table.parquet", "images.npy", "left_out.csv"):
        assert (stage / name).read_bytes() == (whole / name).read_bytes()


def new_picture(folder: Path) -> list[str]:
    picture(99).save(folder / "pictures" / "p0155.png")
    return ["p0155"]


def changed_picture(folder: Path) -> list[str]:
    picture(777).save(folder / "pictures" / "p005.png")
    return ["p005"]


def lost_picture(folder: Path) -> list[str]:
    (folder / "pictures" / "p003.png").unlink()
    return []


def renamed_picture(folder: Path) -> list[str]:
    (folder / "pictures" / "p004.png").rename(folder / "pictures" / "p0045.png")
    return ["p0045"]


def touched_pictures(folder: Path) -> list[str]:
    for path in (folder / "pictures").iterdir():
        os.utime(path, (1e9, 1e9))
    return []


def another_table(folder: Path) -> list[str]:
    write_table(folder, grade=[row // 2 % 3 for row in range(N)])
    return []


def damaged_pixels(folder: Path) -> list[str]:
    path = folder / "run" / "data_prep.prepare" / "images.npy"
    content = bytearray(path.read_bytes())
    content[128 + 7 * 16 * 16 * 3 + 50] ^= 1
    path.write_bytes(bytes(content))
    return [IDS[7], *another_table(folder)]


def mended_picture(folder: Path) -> list[str]:
    picture(5).save(folder / "pictures" / "bad.png")
    return ["bad"]


CHANGES = [new_picture, changed_picture, lost_picture, another_table, damaged_pixels]
FURTHER_CHANGES = [renamed_picture, touched_pictures, mended_picture]


@pytest.mark.parametrize(
    ("change", "flag"),
    [
        *((change, "--seed=3") for change in CHANGES),
        *(in_drills(change, "--seed=3") for change in FURTHER_CHANGES),
        in_drills(another_table, "--cv=sgkfold2"),
        in_drills(changed_picture, "--placeholders=leave_out"),
    ],
)
def test_only_what_has_changed_since_is_decoded_again(
    folder: Path,
    change: Callable[[Path], list[str]],
    flag: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (folder / "pictures" / "bad.png").write_bytes(b"no picture")
    deep = np.full((20, 26), 1200, np.uint16)  # of which something is to be told
    Image.fromarray(deep).save(folder / "pictures" / "p009.png")
    prepare(folder)
    expected = change(folder)
    with monkeypatch.context() as patch:
        decoded_names = stop_after(2 * N, patch)
        stage = prepare(folder, flag)
    assert sorted({*decoded_names} - {"bad"}) == sorted({*expected} - {"bad"})
    whole = prepare(folder, flag, run="whole")
    for name in ("table.parquet", "images.npy", "left_out.csv", "logs/decoding.json"):
        assert (stage / name).read_bytes() == (whole / name).read_bytes(), name
    facts = [
        json.loads((s / "record.json").read_text())["facts"] for s in (stage, whole)
    ]
    assert facts[0] == facts[1]
    assert "p009" in json.loads((stage / "logs" / "decoding.json").read_text())["infos"]


@pytest.mark.parametrize(
    "flag",
    ["--side=18", "decoder", *map(in_drills, ["--fit=crop", "--overwrite", "older"])],
)
def test_everything_is_decoded_again_where_it_would_be_otherwise(
    folder: Path, flag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = prepare(folder)
    flags = [flag, "--seed=3"] if flag.startswith("--") else ["--seed=3"]
    if flag == "decoder":
        monkeypatch.setattr(decoding, "decoders", lambda: {"pillow": "0"})
    elif flag == "older":  # a version that noted nothing
        (stage / "logs" / "decoding.json").unlink()
    with monkeypatch.context() as patch:
        decoded_names = stop_after(2 * N, patch)
        prepare(folder, *flags)
    assert decoded_names == IDS


def test_several_processes_take_over_as_one_does(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoded, "CHUNK", 1)
    stage = prepare(folder)
    for number in range(0, N, 3):
        picture(500 + number).save(folder / "pictures" / f"{IDS[number]}.png")
    prepare(folder, "--workers=2")
    whole = prepare(folder, run="whole")
    for name in ("table.parquet", "images.npy"):
        assert (stage / name).read_bytes() == (whole / name).read_bytes()


def test_an_interrupted_attempt_goes_on_taking_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(folder)
    for number in (10, 20, 30, 40):
        picture(500 + number).save(folder / "pictures" / f"{IDS[number]}.png")
    with monkeypatch.context() as patch:
        stop_after(2, patch)
        with pytest.raises(KeyboardInterrupt):
            prepare(folder)
    with monkeypatch.context() as patch:
        decoded_names = stop_after(N, patch)
        stage = prepare(folder)
    assert decoded_names == [IDS[30], IDS[40]]
    whole = prepare(folder, run="whole")
    for name in ("table.parquet", "images.npy"):
        assert (stage / name).read_bytes() == (whole / name).read_bytes()


def test_every_module_that_decodes_is_watched() -> None:
    folder = Path(reuse.__file__).parent
    known, open_ends = {"decode", "fit"}, ["decode", "fit"]
    while open_ends:
        tree = ast.parse((folder / f"{open_ends.pop()}.py").read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
                for name in [node.module, *names]:
                    stem = name.removeprefix("data_prep.pictures.")
                    if (folder / f"{stem}.py").is_file() and stem not in known:
                        known.add(stem)
                        open_ends.append(stem)
    assert known == set(reuse.MODULES)


def test_a_plan_counts_what_is_to_be_decoded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoded, "time_decoding", lambda *_: 1.0)  # second a picture

    def seconds(side: int = 16) -> float:
        experiment = read_experiment(folder / "x.toml", folder / "run")
        settings = PrepareSettings(side=side, workers=1, copies="equal", seed=5)
        outlook = Outlook.of_tables(
            Run(folder / "run"), experiment, {"data_prep.prepare": settings}
        )
        return settings.workload(outlook).seconds - START_S

    looking_s = 0.01  # at the pixels, for the report
    prepare(folder, run="another")
    assert seconds() == pytest.approx(N, abs=looking_s)
    prepare(folder)
    assert seconds() == pytest.approx(0, abs=looking_s)
    assert seconds(side=18) == pytest.approx(N, abs=looking_s)
    new_picture(folder)
    assert seconds() == pytest.approx(1, abs=looking_s)


def test_another_side_is_still_asked_about(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(folder, monkeypatch)
    assert "was begun with side = 16 and not 18" in refused(folder, "--side=18")


def test_an_attempt_at_other_pictures_is_dropped(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(folder, monkeypatch)
    picture(1).save(folder / "pictures" / "a-new-one.png")
    assert len(table_of(prepare(folder))) == N + 1


def test_an_attempt_of_an_earlier_version_is_dropped(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(folder, monkeypatch)
    partial = folder / "run" / "data_prep.prepare.partial"
    made_from = json.loads((partial / "stage.json").read_text())
    made_from["settings"]["source"] = "0123"
    (partial / "stage.json").write_text(json.dumps(made_from))
    journal = partial / "images.journal"
    old = [
        {
            name: json.loads(line)[name]
            for name in ("sha256", "width", "height", "reason")
        }
        for line in journal.read_text().splitlines()
    ]
    journal.write_text("".join(f"{json.dumps(line)}\n" for line in old))
    stage = prepare(folder)
    whole = prepare(folder, run="whole")
    for name in ("table.parquet", "images.npy"):
        assert (stage / name).read_bytes() == (whole / name).read_bytes()


def test_a_journal_of_an_earlier_version_is_begun_anew(folder: Path) -> None:
    paths = sorted((folder / "pictures").iterdir())[:4]
    target = folder / "images.npy"
    expected = store_pictures(paths, target, 16, "pad", 1)
    content = target.read_bytes()
    lines = [
        json.dumps(
            {"sha256": file_name.sha256, "width": 26, "height": 20, "reason": ""}
        )
        for file_name in expected
    ]
    target.with_suffix(".journal").write_text("\n".join(lines) + "\n")
    assert store_pictures(paths, target, 16, "pad", 1) == expected
    assert target.read_bytes() == content


def test_a_check_of_many_files_is_quick(folder: Path) -> None:
    paths = {id_: folder / "pictures" / f"{id_}.png" for id_ in IDS}
    before = {
        id_: witness.ReadFile(
            witness=witness.Witness.of(path.stat()), sha256=witness.hash_of(path)
        )
        for id_, path in paths.items()
    }
    began = time.perf_counter()
    for _ in range(20):
        assert witness.compare(paths, before) is not None
    assert time.perf_counter() - began < 5
