"""Tests of features.fresh, and of asking it from another process."""

import csv
import errno
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from data_prep.dihedral import VIEWS, apply_view
from data_prep.errors import UserError
from data_prep.pictures.fit import fit_square
from data_prep.run_folders.damage import RECORD, digest_of
from data_prep.run_folders.runs import Run
from features import fresh, fresh_stores, inference, merge, passes
from features.earlier import PIXEL_STORE
from features.inference import default_path, infer_features, name_of
from features.merge import check_alike
from features.passes import views_of
from features.pixel_columns import pixel_columns
from features.store import open_store, verify
from tests.damaging import scene
from tests.power_cut import PowerCutError
from tests.prepared_runs import (
    STAGE,
    elsewhere,
    extract,
    finetune,
    make_pretext,
    make_run,
    pixels_of,
    table_of,
    whole_header,
)
from transfer.networks.task_net import load_net

pytestmark = pytest.mark.usefixtures("tampering_goes_unseen")

ROOT = Path(__file__).parents[2]
HELD = ("features.pkl", "nets/all.pkl", "nets/fold0.pkl", "nets/fold1.pkl")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with joint nets of two folds and one of all rows, extracted."""
    run = make_run(tmp_path_factory.mktemp("run"), n_folds=2, n_test=9, words=0)
    finetune(run, "--joint", "--all", "--learning-rate=0.02")
    extract(run, "--statistics=mean,std")
    return run


@pytest.fixture
def run(original: Run, tmp_path: Path) -> Run:
    """A copy of that run without its pictures."""
    copy = Run(tmp_path / "run")
    shutil.copytree(original.folder, copy.folder)
    (copy.folder / STAGE / "images.npy").unlink()
    return copy


@pytest.fixture
def images(original: Run, tmp_path: Path) -> Path:
    """The test pictures of the run, as files under the ids they have there."""
    folder = tmp_path / "new"
    table, pixels = table_of(original), pixels_of(original)
    for row in np.flatnonzero(table["split"] != "train"):
        draw(folder / f"{table['id'][row]}.png", pixels[row])
    return folder


def draw(path: Path, pixels: NDArray[np.uint8]) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path)


def noise(path: Path, height: int = 32, width: int = 32, seed: int = 0) -> None:
    rng = np.random.default_rng(seed)
    draw(path, rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def ask(run: Run, *flags: Any) -> Path:
    with elsewhere(run):
        return fresh.main([f"--run={run.folder}", "--threads=1", *map(str, flags)])


def left_out(folder: Path) -> list[dict[str, str]]:
    with (folder / "left_out.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def difference(ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    """Measure the largest difference of a column, in units of its spread."""
    flat = theirs.reshape(-1, theirs.shape[-1]).astype(np.float64)
    errors = np.abs(ours.reshape(flat.shape) - flat).max(axis=0)
    return float((errors / flat.std(axis=0)).max())


def stores(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*.pkl")
    }


def test_a_picture_gets_what_the_extraction_gave_it_as_a_test_row(
    run: Run, images: Path
) -> None:
    gone = max(images.iterdir())  # other blocks, so that only rounding may differ
    gone.unlink()
    out = ask(run, f"--images={images}")
    assert out == run.folder / "fresh" / "new"
    names = sorted(stores(out))
    theirs = run.folder / "features.extract"
    expected = [p.relative_to(theirs).as_posix() for p in theirs.rglob("*.pkl")]
    of_nets = sorted(n for n in expected if not n.endswith("oof.pkl"))
    assert names == sorted([*of_nets, PIXEL_STORE])
    assert set(names) >= set(HELD)
    for name in of_nets:
        verify(out / name)
        ours, old = open_store(out / name), open_store(theirs / name)
        assert list(ours.ids) == sorted(path.stem for path in images.iterdir())
        assert difference(ours.matrix(), old.matrix(ours.ids)) < 0.02
        assert difference(ours.matrix(), old.matrix(reversed(ours.ids))) > 1
        assert set(ours.roles) == {"test"}
        assert set(ours.folds.tolist()) == {-1}
        check_alike(old, ours)
    assert left_out(out) == []
    assert not (out / "checkpoints").exists()


def test_what_needs_no_net_is_told_of_the_runs_own_pixels(
    run: Run, images: Path
) -> None:
    out = ask(run, f"--images={images}")
    verify(out / PIXEL_STORE)
    store = open_store(out / PIXEL_STORE)
    drawn = [np.asarray(Image.open(images / f"{id_}.png")) for id_ in store.ids]
    expected = pixel_columns(np.stack(drawn), np.arange(len(drawn)))
    np.testing.assert_array_equal(store.matrix(), expected)
    assert store.columns[:3] == ["red_0_0", "green_0_0", "blue_0_0"]
    assert store.columns[3 * 12**2 :][:2] == ["colour_0", "colour_1"]
    assert store.columns[-1] == "std_blue"
    assert set(store.roles) == {"label_free"}


def test_features_of_before_there_were_columns_of_pixels_are_made_anew(
    run: Run, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = ask(run, f"--images={images}")
    before = stores(out)
    (out / PIXEL_STORE).unlink()
    record = json.loads((out / RECORD).read_text())
    del record["files"][PIXEL_STORE], record["settings"]["pixel_columns"]
    record.pop("record_sha256")
    record["digest"] = digest_of(record["files"])
    (out / RECORD).write_text(json.dumps(record))
    sent = counted(monkeypatch)
    assert stores(ask(run, f"--images={images}")) == before
    assert sent == [11]


@pytest.mark.parametrize("fit", ["pad", "squash", "crop"])
def test_pictures_are_decoded_as_those_of_the_run(
    run: Run, tmp_path: Path, fit: str
) -> None:
    path = run.folder / "features.extract" / "features.pkl"
    transform = open_store(path).header["transform"]
    restate(path, transform=transform | {"fit": fit})
    settle(run, "features.extract")
    noise(tmp_path / "new" / "wide.png", 40, 90)
    noise(tmp_path / "new" / "tall.png", 70, 30, seed=1)
    out = ask(run, f"--images={tmp_path / 'new'}")
    place = run.folder / "transfer.finetune" / "joint" / "fold1" / "weights.safetensors"
    net, _ = load_net(place)
    store = open_store(out / "views" / "target.test.fold1.pkl")
    for id_ in ("tall", "wide"):
        image = Image.open(tmp_path / "new" / f"{id_}.png")
        pixels = fit_square(image, 32, fit)  # type: ignore[arg-type]
        views = [apply_view(v, pixels, axes=(0, 1)).transpose(2, 0, 1) for v in VIEWS]
        with torch.no_grad():
            theirs = net.predict(torch.from_numpy(np.stack(views)))["target"]
        np.testing.assert_allclose(store[id_], theirs.numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("is_selected", [False, True])
def test_a_backbone_without_labels_gives_rows_of_its_own_role(
    tmp_path: Path, is_selected: bool
) -> None:
    run = make_run(tmp_path / "run", n_folds=0, target=None, dates=False, words=0)
    make_pretext(run)
    note = run.folder / "pretext.jigsaw" / "backbone.json"
    about = json.loads(note.read_text()) | {"selected_with_labels": is_selected}
    note.write_text(json.dumps(about))
    settle(run, "pretext.jigsaw")
    extract(run, "--source=pretext.jigsaw", "--views=c4")
    old = open_store(run.folder / "features.extract" / "features.pkl")
    id_ = old.ids[3]
    draw(tmp_path / "new" / f"{id_}.png", pixels_of(run)[3])
    out = ask(run, f"--images={tmp_path / 'new'}")
    assert sorted(stores(out)) == ["features.pkl", PIXEL_STORE, "views/embedding.pkl"]
    ours = open_store(out / "features.pkl")
    role = "selected_with_labels" if is_selected else "label_free"
    assert ours.roles.tolist() == [role]
    np.testing.assert_allclose(ours[id_], old[id_], rtol=1e-4, atol=1e-4)
    check_alike(old, ours)


def test_ready_weights_are_asked_again_where_they_are_gone(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", n_train=6, n_test=2)
    make_pretext(run)
    file = tmp_path / "ready.pth"
    torch.save(load_file(run.folder / "pretext.jigsaw/backbone.safetensors"), file)
    flags = [f"--source={file}", "--backbone=test_resnet", "--views=e"]
    for number in range(2):
        extract(run, *flags, f"--shard={number}/2")
    with elsewhere(run):
        merge.main([f"--run={run.folder}"])
    file.unlink()
    old = open_store(run.folder / "features.extract" / "features.pkl")
    id_ = old.ids[3]
    draw(tmp_path / "new" / f"{id_}.png", pixels_of(run)[3])
    new = open_store(ask(run, f"--images={tmp_path / 'new'}") / "features.pkl")
    assert new.roles.tolist() == ["label_free"]
    np.testing.assert_allclose(new[id_], old[id_], rtol=1e-4, atol=1e-4)
    check_alike(old, new)


def settle(run: Run, stage: str) -> None:
    """Make a record fit files that a test has changed."""
    from data_prep.run_folders.damage import digest_of
    from data_prep.run_folders.runs import digest_files

    note = run.folder / stage / RECORD
    record = json.loads(note.read_text())
    del record["sizes"], record["record_sha256"]
    record["files"] = digest_files(note.parent)
    record["digest"] = digest_of(record["files"])
    note.write_text(json.dumps(record))


def test_the_arithmetic_is_that_of_the_extraction(run: Run, images: Path) -> None:
    for path in sorted(images.iterdir())[2:]:
        path.unlink()  # bfloat16 is slow where it is emulated
    shutil.copytree(run.folder, run.folder.with_name("exact"))
    exact = ask(Run(run.folder.with_name("exact")), f"--images={images}")
    for path in (run.folder / "features.extract").rglob("*.pkl"):
        restate(path, precision="bf16")
    settle(run, "features.extract")
    out = ask(run, f"--images={images}")
    ours, theirs = (open_store(f / "features.pkl") for f in (out, exact))
    assert ours.header["precision"] == "bf16"
    difference = np.abs(ours.matrix() - theirs.matrix()).max()
    assert 1e-4 < difference < 0.2


def restate(path: Path, **header: Any) -> None:
    from features.store import write_store

    store = open_store(path)
    write_store(path, store.ids, store.matrix(), whole_header(store) | header)


def test_what_cannot_be_read_or_is_not_finite_is_left_out(
    run: Run, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (images / "broken.jpg").write_bytes(b"no picture")
    (images / "notes.txt").write_text("not looked at")
    first = min(path for path in images.iterdir() if path.suffix == ".png")
    (images / "link.png").symlink_to(images / "gone.png")
    open_source = fresh_stores.open_source

    def with_one_blind_net(*given: Any) -> Any:
        source = open_source(*given)
        load = source.load

        def loaded(fold: str, device: torch.device) -> Any:
            def forward(pictures: Tensor) -> Tensor:
                outputs = load(fold, device)(pictures).clone()
                if fold == "1":
                    outputs[0] = torch.nan  # a view of the first picture
                return outputs

            return forward

        source.load = loaded
        return source

    monkeypatch.setattr(fresh_stores, "open_source", with_one_blind_net)
    monkeypatch.setattr(passes, "CPU_PICTURES", 32)
    out = ask(run, f"--images={images}")
    lost = left_out(out)
    assert [(row["id"], row["file"]) for row in lost] == sorted(
        [("broken", "broken.jpg"), ("link", "link.png"), (first.stem, first.name)]
    )
    reasons = {row["id"]: row["reason"] for row in lost}
    assert reasons.pop("link") == "it is a link to a file that is not there"
    assert "in no format" in reasons["broken"]
    assert reasons[first.stem] == "outputs of the nets of fold 1 are not finite"
    store = open_store(out / "features.pkl")
    assert len(store) == len(list(images.iterdir())) - 4
    assert store.header["failures"] == reasons
    assert store.header["n_expected"] == len(store) + 2
    record = json.loads((out / RECORD).read_text())
    assert (record["facts"]["pictures"], record["facts"]["left_out"]) == (len(store), 3)


def test_killed_and_resumed_gives_the_same_bytes(
    run: Run, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "BLOCK", 4)
    monkeypatch.setattr(passes, "JOURNAL_EVERY_S", 0.0)
    whole = stores(ask(run, f"--images={images}"))
    calls: list[int] = []

    def failing(pictures: Tensor, names: tuple[str, ...]) -> Tensor:
        calls.append(len(pictures))
        if len(calls) == 3:
            raise PowerCutError
        return views_of(pictures, names)

    monkeypatch.setattr(passes, "views_of", failing)
    flags = (f"--images={images}", "--overwrite")
    with pytest.raises(PowerCutError):
        ask(run, *flags)
    kept = run.folder / "fresh" / "new"
    assert stores(kept) == whole  # what was finished stays until then
    assert stores(ask(run, *flags)) == whole
    assert len(calls) == 3 + 1  # 11 pictures are 3 blocks
    assert not kept.with_name("new.partial").exists()


def test_what_is_done_is_not_repeated_and_other_nets_make_it_anew(
    run: Run, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = ask(run, f"--images={images}")
    before = open_store(out / "features.pkl").matrix()
    monkeypatch.setattr(fresh, "infer", None)
    assert ask(run, f"--images={images}") == out
    monkeypatch.undo()
    old = run.folder / "features.extract" / "features.pkl"
    restate(old, note="made anew")
    settle(run, "features.extract")
    made_at = (out / RECORD).stat().st_mtime_ns
    assert ask(run, f"--images={images}") == out
    assert (out / RECORD).stat().st_mtime_ns > made_at
    np.testing.assert_array_equal(open_store(out / "features.pkl").matrix(), before)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count the pictures of each forward from now on."""
    sent: list[int] = []

    def counting(pictures: Tensor, names: tuple[str, ...]) -> Tensor:
        sent.append(len(pictures))
        return views_of(pictures, names)

    monkeypatch.setattr(passes, "views_of", counting)
    return sent


def test_only_new_and_changed_pictures_are_asked_about(
    run: Run, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    noise(images / "torn.png")
    (images / "torn.png").write_bytes((images / "torn.png").read_bytes()[:99])
    before = ask(run, f"--images={images}")
    old = {n: open_store(before / n).frame() for n in stores(before)}
    changed, renamed, gone, *kept = sorted(i for i in old["features.pkl"].index)
    noise(images / f"{changed}.png", seed=5)
    (images / f"{renamed}.png").rename(images / "another.png")
    (images / f"{gone}.png").unlink()
    for number, id_ in enumerate(("a0", "q500", "zz")):  # before, among and after
        noise(images / f"{id_}.png", seed=10 + number)
    for id_ in ("a0", "q500", "zz", changed, "torn"):
        (tmp_path / "alone").mkdir(exist_ok=True)
        shutil.copy(images / f"{id_}.png", tmp_path / "alone")
    sent = counted(monkeypatch)
    with caplog.at_level("INFO"):
        out = ask(run, f"--images={images}")
    assert out == before
    assert sent == [4]
    assert "9 pictures have features already, which are kept, 5 are new" in caplog.text
    alone = ask(run, f"--images={tmp_path / 'alone'}")
    for name, theirs in old.items():
        verify(out / name)
        ours = open_store(out / name).frame()
        expected = {"a0", "another", "q500", "zz", changed, *kept}
        assert list(ours.index) == sorted(expected)
        pd.testing.assert_frame_equal(ours.loc[kept], theirs.loc[kept])
        assert (ours.loc["another"] == theirs.loc[renamed]).all()
        new = open_store(alone / name).frame()
        pd.testing.assert_frame_equal(ours.loc[new.index], new)
        assert (ours.loc[changed] != theirs.loc[changed]).any()
    assert [row["id"] for row in left_out(out)] == ["torn"]
    sent.clear()
    assert ask(run, f"--images={images}", "--overwrite") == out
    assert sent == [13]


def test_pages_are_pictures_where_those_of_the_run_are(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    pages = [scene(k, (40 + k, 30)) for k in range(3)]
    alone, new = tmp_path / "alone", tmp_path / "new"
    for folder in (alone, new):
        folder.mkdir()
    for id_, page in zip("abc", pages, strict=True):
        page.copy().save(alone / f"{id_}.png")  # Pillow keeps a note of PNG in it
    pages[0].save(new / "a.tif", save_all=True, append_images=[pages[1]])
    pages[2].save(new / "c.tif")
    store = open_store(ask(run, f"--images={new}") / "features.pkl")
    assert list(store.ids) == ["a", "c"]  # the first page alone
    expected = open_store(ask(run, f"--images={alone}") / "features.pkl")
    record = json.loads((run.folder / STAGE / RECORD).read_text())
    record["settings"]["page"] = "all"
    record.pop("record_sha256", None)
    (run.folder / STAGE / RECORD).write_text(json.dumps(record))
    sent = counted(monkeypatch)
    with caplog.at_level("INFO"):
        out = ask(run, f"--images={new}")
    assert "1 file has several pages, 2 in all" in caplog.text
    assert sent == [2]  # that of c is there
    store = open_store(out / "features.pkl")
    assert list(store.ids) == ["a@1", "a@2", "c"]
    matrix = store.matrix(["a@1", "a@2", "c"])
    np.testing.assert_allclose(matrix, expected.matrix(["a", "b", "c"]), rtol=1e-3)
    sent.clear()
    pages[2].save(new / "d.tif", save_all=True, append_images=pages[:2])
    again = open_store(ask(run, f"--images={new}") / "features.pkl")
    assert sent == [3]
    names = ["a@1", "a@2", "c"]
    np.testing.assert_array_equal(again.matrix(names), store.matrix(names))
    matrix = again.matrix(["d@2", "d@3", "d@1"])
    np.testing.assert_allclose(matrix, expected.matrix(["a", "b", "c"]), rtol=1e-3)


def test_without_anything_new_no_net_is_asked(
    run: Run, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = stores(ask(run, f"--images={images}"))
    gone = min(images.iterdir())
    held = gone.read_bytes()
    gone.unlink()
    (images / "torn.png").write_bytes(b"torn")
    sent = counted(monkeypatch)
    out = ask(run, f"--images={images}")
    assert sent == []
    assert len(open_store(out / "features.pkl")) == 10
    assert [row["id"] for row in left_out(out)] == ["torn"]
    (images / "link.png").symlink_to(images / "gone.png")
    assert [row["id"] for row in left_out(ask(run, f"--images={images}"))] == [
        "link",
        "torn",
    ]
    (images / "link.png").unlink()
    assert sent == []
    gone.write_bytes(held)  # it had dropped out
    (images / "torn.png").unlink()
    after = stores(ask(run, f"--images={images}"))
    assert sent == [1]
    assert after.keys() == before.keys()
    for path in images.iterdir():
        path.unlink()
    (images / "torn.png").write_bytes(b"torn")
    assert "none of 1 pictures can be read" in mistake(run, f"--images={images}")
    assert stores(out) == after


def test_a_backbones_features_grow_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", n_folds=0, target=None, dates=False, words=0)
    make_pretext(run)
    extract(run, "--source=pretext.jigsaw", "--views=c4")
    noise(tmp_path / "new" / "b.png")
    old = open_store(ask(run, f"--images={tmp_path / 'new'}") / "features.pkl")["b"]
    noise(tmp_path / "new" / "a.png", seed=1)
    sent = counted(monkeypatch)
    store = open_store(ask(run, f"--images={tmp_path / 'new'}") / "features.pkl")
    assert sent == [1]
    assert store.ids == ("a", "b")
    np.testing.assert_array_equal(store["b"], old)
    assert (store["a"] != old).any()


def test_killed_while_it_grows_it_goes_on(
    run: Run, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "BLOCK", 2)
    monkeypatch.setattr(passes, "JOURNAL_EVERY_S", 0.0)
    first = stores(ask(run, f"--images={images}"))
    for number in range(7):
        noise(images / f"a{number}.png", seed=number)
    sent = counted(monkeypatch)
    whole = stores(ask(run, f"--images={images}", f"--out={run.folder / 'whole'}"))
    grown = run.folder / "grown"
    shutil.copytree(run.folder / "fresh" / "new", grown)
    sent.clear()
    failing = passes.views_of

    def cut(pictures: Tensor, names: tuple[str, ...]) -> Tensor:
        if len(sent) == 2:
            raise PowerCutError
        return failing(pictures, names)

    monkeypatch.setattr(passes, "views_of", cut)
    with pytest.raises(PowerCutError):
        ask(run, f"--images={images}", f"--out={grown}")
    assert stores(grown) == first
    monkeypatch.setattr(passes, "views_of", failing)
    ask(run, f"--images={images}", f"--out={grown}")
    assert sent == [2, 2, 2, 1]
    uncut = ask(run, f"--images={images}")
    assert stores(grown) == stores(uncut)
    assert whole.keys() == first.keys()
    # with --overwrite, other pictures are new: what was begun must not be gone on with
    noise(images / "b.png", seed=9)
    monkeypatch.setattr(passes, "views_of", cut)
    sent[:] = [0]
    with pytest.raises(PowerCutError):
        ask(run, f"--images={images}", "--overwrite")
    monkeypatch.setattr(passes, "views_of", failing)
    after = ask(run, f"--images={images}")
    for id_ in ("a0", "b"):
        alone = ask(
            run, f"--images={images}", f"--out={run.folder / 'a'}", "--overwrite"
        )
        ours, theirs = (open_store(f / "features.pkl") for f in (after, alone))
        np.testing.assert_allclose(ours[id_], theirs[id_], rtol=1e-3, atol=1e-3)


def test_what_is_not_as_it_was_written_is_not_reused(
    run: Run, images: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    out = ask(run, f"--images={images}")
    damaged = out / "views" / "target.test.fold0.pkl"
    data = bytearray(damaged.read_bytes())
    data[-40] ^= 1
    whole = damaged.read_bytes()
    (out / "notes.txt").write_text("of the user")
    sent = counted(monkeypatch)
    ask(run, f"--images={images}")
    assert sent == []
    for number in range(2):  # the same pictures, and one more
        damaged.write_bytes(data)
        ask(run, f"--images={images}")
        assert sent == [11 + number]
        assert damaged.read_bytes() != data
        assert (damaged.read_bytes() == whole) == (number == 0)
        assert "new is not as it was written: all is inferred anew" in caplog.text
        noise(images / "a.png")
        caplog.clear()
        sent.clear()


def test_two_folders_of_one_name_have_a_place_each(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = tmp_path / "a" / "new", tmp_path / "b" / "new"
    for seed, folder in enumerate((a, b)):
        folder.parent.mkdir()
        noise(folder / "same.png", seed=seed)
    first, second = ask(run, f"--images={a}"), ask(run, f"--images={b}")
    assert (first.name, second.name) == ("new", "new-2")
    ours, theirs = (open_store(f / "features.pkl")["same"] for f in (first, second))
    assert (ours != theirs).any()
    sent = counted(monkeypatch)
    assert ask(run, f"--images={b}") == second
    assert ask(run, f"--images={a}") == first
    assert sent == []
    c = tmp_path / "c" / "new"
    assert default_path(run.folder, [c]).name == "new-3"
    a.rename(tmp_path / "a" / "old")
    assert default_path(run.folder, [c]) == first  # what is gone has no claim
    assert default_path(run.folder, [b]) == second


def test_a_table_names_pictures_by_their_folders(run: Run, tmp_path: Path) -> None:
    new, table = tmp_path / "new", tmp_path / "new.csv"
    for seed, name in enumerate(["oak/7", "elm/7", "8"]):
        (new / name).parent.mkdir(parents=True, exist_ok=True)
        noise(new / f"{name}.png", seed=seed)
    table.write_text("id\noak/7\nelm/7\n8\n")
    out = ask(run, f"--images={new}", f"--table={table}")
    assert set(open_store(out / "features.pkl").ids) == {"oak/7", "elm/7", "8"}
    assert infer_features(run.folder, [new], out, 1, table=table) == out
    table.write_text("id\n7\n8\n")
    message = mistake(run, f"--images={new}", f"--table={table}")
    assert message.endswith("or write the ids of all tables with folders, as 'elm/7'")


def test_without_a_table_the_folder_tells_one_name_apart(
    run: Run, tmp_path: Path
) -> None:
    new = tmp_path / "by year"
    for seed, name in enumerate(["oak/7", "elm/7", "8"]):
        (new / name).parent.mkdir(parents=True, exist_ok=True)
        noise(new / f"{name}.png", seed=seed)
    out = ask(run, f"--images={new}")
    assert set(open_store(out / "features.pkl").ids) == {"oak/7", "elm/7", "8"}


def test_names_are_not_too_long_for_a_disk(tmp_path: Path) -> None:
    folders = [tmp_path / f"series {number}" for number in range(80)]
    names = {name_of(folders), name_of(folders[:-1]), name_of(folders[::-1])}
    assert len(names) == 3
    assert max(map(len, names)) < 120
    assert name_of([Path("/")]) == "pictures"


def test_advice_names_flags_of_this_command(
    run: Run, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed:
        def __enter__(self) -> None:
            raise BrokenProcessPool

        def __exit__(self, *_: object) -> None:
            """Nothing is left to end."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("data_prep.pictures.decoded.CHUNK", 1)
    monkeypatch.setattr("data_prep.processes.pool_of", lambda _: Killed())
    message = mistake(run, f"--images={images}", "--threads=2")
    assert message.endswith(
        "for want of memory; run again with fewer: --workers 1, or --threads 1"
    )
    monkeypatch.setattr("data_prep.pictures.images._reserve", full)
    message = mistake(run, f"--images={images}", f"--out={images.parent / 'other'}")
    assert " MB of pixels; free some space, or" in message


def test_training_pictures_are_told_whatever_their_files(
    run: Run, images: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import hashlib

    path = run.folder / STAGE / "table.parquet"
    table = pd.read_parquet(path)
    some = min(images.iterdir())
    with Image.open(some) as image:
        pixels = np.asarray(image)
        image.save(some.with_suffix(".bmp"))  # at the side that is stored
    some.unlink()
    table["sha256"], table["pixels_sha256"] = "none", "none"
    row = (table["split"] == "train").idxmax()
    table.loc[row, "pixels_sha256"] = hashlib.sha256(pixels.tobytes()).hexdigest()
    table.to_parquet(path)
    with caplog.at_level("WARNING"):
        ask(run, f"--images={images}")
    assert "1 of 11 pictures are training pictures of the run" in caplog.text


def test_what_the_files_are_is_told(
    run: Run, images: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pages = [Image.new("RGB", (32, 32), colour) for colour in ("red", "black")]
    pages[0].save(images / "pages.tif", save_all=True, append_images=pages[1:])
    with caplog.at_level("WARNING"):
        ask(run, f"--images={images}")
    assert "1 file with further pages or frames, up to 2 in all" in caplog.text


def mistake(run: Run, *flags: Any) -> str:
    with pytest.raises(UserError) as caught:
        ask(run, *flags)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_mistakes_about_the_pictures(run: Run, tmp_path: Path) -> None:
    new = tmp_path / "new"
    assert "there is no such folder (--images)" in mistake(run, f"--images={new}")
    new.mkdir()
    message = mistake(run, f"--images={new}")
    assert "no pictures here" in message
    assert message.endswith("name the folder that holds them in --images")
    noise(new / "a.png")
    noise(new / "a.jpg")
    assert "have the same id 'a'; rename one" in mistake(run, f"--images={new}")
    (new / "a.jpg").unlink()
    (new / "a.png").write_bytes(b"")
    assert "none of 1 pictures can be read" in mistake(run, f"--images={new}")
    assert not (run.folder / "fresh" / "new").exists()
    noise(new / "a.png")  # what was begun with the broken one is dropped
    assert ask(run, f"--images={new}").is_dir()


def test_mistakes_about_the_run(run: Run, images: Path, tmp_path: Path) -> None:
    flag = f"--images={images}"
    bare = make_run(tmp_path / "bare")
    assert "first: python -m features.extract --run" in mistake(bare, flag)
    assert "threads = -1: give 0 or more" in mistake(run, flag, "--threads=-1")
    no_run = r"there is no run yet.* or: python -m features\.fresh --run FOLDER$"
    with pytest.raises(UserError, match=no_run), elsewhere(run):
        fresh.main([flag])
    shutil.copytree(run.folder, tmp_path / "layers")
    make_run(tmp_path / "pictures", n_folds=2, n_test=9, words=0)
    shutil.copy(
        tmp_path / "pictures" / STAGE / "images.npy", tmp_path / "layers" / STAGE
    )
    extract(Run(tmp_path / "layers"), "--layer=layer3", "--overwrite")
    message = mistake(Run(tmp_path / "layers"), flag)
    assert "holds inner layers (--layer)" in message
    place = run.folder / "transfer.finetune" / "joint" / "fold0"
    weights = place / "weights.safetensors"
    held = weights.read_bytes()
    shutil.copy(place.parent / "fold1" / weights.name, weights)
    assert f"{weights} is changed since it was" in mistake(run, flag)
    weights.unlink()
    assert f"{weights} is missing; put it back" in mistake(run, flag)
    weights.write_bytes(held)
    restate(
        run.folder / "features.extract" / "features.pkl",
        nets=[{"task": "target", "fold": 0, "digest": "another"}],
    )
    settle(run, "features.extract")
    assert "is from other nets than these" in mistake(run, flag)
    shutil.rmtree(run.folder / "transfer.finetune")
    assert "first: python -m transfer.finetune --run" in mistake(run, flag)


def test_nothing_of_others_is_replaced(run: Run, images: Path, tmp_path: Path) -> None:
    flag, out = f"--images={images}", tmp_path / "out"
    noise(out / "holiday.png")
    assert "was not made by features.fresh" in mistake(run, flag, f"--out={out}")
    assert (out / "holiday.png").exists()
    shutil.rmtree(out)
    noise(tmp_path / "out.partial" / "holiday.png")
    assert "out.partial is there and" in mistake(
        run, flag, "--overwrite", f"--out={out}"
    )
    shutil.rmtree(tmp_path / "out.partial")
    out.mkdir()  # an empty one is taken
    assert ask(run, flag, f"--out={out}") == out
    shutil.copytree(out, tmp_path / "out.old")
    assert "out.old is in the way" in mistake(run, flag, "--overwrite", f"--out={out}")
    shutil.rmtree(tmp_path / "out.old")
    noise(tmp_path / "other" / "a.png")
    more = (f"--images={tmp_path / 'other'}", f"--out={out}")
    assert "holds the features of other pictures" in mistake(run, *more)
    assert len(open_store(out / "features.pkl")) == 11
    assert list(open_store(ask(run, *more, "--overwrite") / "features.pkl").ids) == [
        "a"
    ]


def test_a_child_does_it_and_the_parent_never_loads_torch(
    run: Run, images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "a, b"
    ask(run, f"--images={images}", f"--out={out}")
    # it is done already, so that the child need not load torch either
    code = """
import sys
from pathlib import Path
from features.inference import infer_features

run, images, out = map(Path, sys.argv[1:])
assert infer_features(run, [images], out, 1) == out
assert "torch" not in sys.modules
"""
    child = subprocess.run(
        [sys.executable, "-c", code, str(run.folder), str(images), str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    assert f"{out} is already done" in child.stderr


def test_what_the_child_is_told_and_how_its_end_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Sequence[str]] = []
    status = 0

    def child(command: Sequence[str], **_: Any) -> subprocess.CompletedProcess[str]:
        told.append(command[1:])
        return subprocess.CompletedProcess(command, status)

    monkeypatch.setattr(inference.subprocess, "run", child)
    out = tmp_path / "out"
    a, b = tmp_path / "a", tmp_path / "b"
    given = (Path("run"), [a, b], out)
    with pytest.raises(UserError, match=r"a: there is no such folder \(--images\)"):
        infer_features(*given)
    assert not told
    noise(a / "1.png")
    noise(b / "2.png")
    assert infer_features(*given, 3, overwrite=True) == out
    flags = ["--run", "run", "--out", str(out), "--threads", "3", "--overwrite"]
    assert told == [["-m", "features.fresh", *flags, "--images", str(a), str(b)]]
    status = 2
    with pytest.raises(UserError, match="did not finish, for the reason above"):
        infer_features(*given)
    status = -9
    with pytest.raises(UserError, match="killed by signal 9, probably for want of mem"):
        infer_features(*given)
