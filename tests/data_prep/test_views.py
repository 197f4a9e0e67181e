"""Tests of data_prep.views and data_prep.pictures.view_files."""

import io
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data_prep import views as command
from data_prep.dihedral import VIEW_SETS, VIEWS, apply_view
from data_prep.errors import UserError
from data_prep.pictures.decode import read_picture
from data_prep.pictures.view_files import can_be_turned, turned
from data_prep.views import main

needs_jpegtran = pytest.mark.skipif(
    shutil.which("jpegtran") is None, reason="libjpeg-turbo's jpegtran is not installed"
)
# What ImageMagick calls each view.
MOGRIFY = {
    "h": ["-flop"],
    "v": ["-flip"],
    "hv": ["-flop", "-flip"],
    "r": ["-rotate", "90"],
    "hr": ["-flop", "-rotate", "90"],
    "vr": ["-flip", "-rotate", "90"],
    "hvr": ["-flop", "-flip", "-rotate", "90"],
}


def painted(
    width: int = 24, height: int = 16, *, seed: int = 0, mode: str = "RGB"
) -> Image.Image:
    """A smooth picture without any symmetry."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    image = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
    return image.convert(mode)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with pictures of several kinds, one in a subfolder."""
    folder = tmp_path / "leaves"
    (folder / "oak").mkdir(parents=True)
    painted(mode="L").save(folder / "grey.png")
    painted(mode="RGBA").save(folder / "clear.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    painted(seed=1).save(folder / "turned.jpg", exif=exif)
    painted(seed=2).save(folder / "oak" / "a-1.b.tif")
    return folder


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def files_of(out: Path) -> dict[str, bytes]:
    """All files of the views, by path."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for view in VIEWS
        for path in sorted((out / view).rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("workers", ["1", "2"])
def test_each_folder_holds_the_exact_pixels_of_its_view(
    folder: Path, tmp_path: Path, workers: str
) -> None:
    out = main([str(folder), str(tmp_path / "out"), "--workers", workers])
    sources = [path for path in folder.rglob("*") if path.is_file()]
    for source in sources:
        decoded = read_picture(source.read_bytes(), 10_000, source.suffix)
        upright = np.asarray(decoded.image)
        for view in VIEWS:
            file = (out / view / source.relative_to(folder)).with_suffix(".png")
            expected = apply_view(view, upright, (0, 1))
            np.testing.assert_array_equal(pixels(file), expected, err_msg=view)
    assert len(files_of(out)) == len(VIEWS) * len(sources)


@pytest.mark.skipif(shutil.which("mogrify") is None, reason="ImageMagick is missing")
@pytest.mark.parametrize("view", MOGRIFY)
def test_they_are_the_copies_that_imagemagick_makes(tmp_path: Path, view: str) -> None:
    folder = tmp_path / "leaves"
    folder.mkdir()
    painted().save(folder / "a.png")
    out = main([str(folder), str(tmp_path / "out")])
    copy = tmp_path / "a.png"
    shutil.copy(folder / "a.png", copy)
    subprocess.run(["mogrify", *MOGRIFY[view], "+repage", str(copy)], check=True)
    np.testing.assert_array_equal(pixels(out / view / "a.png"), pixels(copy))


@pytest.mark.parametrize("views", ["flip", "c4"])
def test_fewer_views_are_fewer_folders(
    folder: Path, tmp_path: Path, views: str
) -> None:
    out = main([str(folder), str(tmp_path / "out"), "--views", views])
    folders = {path.name for path in out.iterdir() if path.is_dir()}
    assert folders == set(VIEW_SETS[views])


def test_a_jpeg_that_is_written_anew_is_near(folder: Path, tmp_path: Path) -> None:
    out = main([str(folder), str(tmp_path / "out"), "--format", "jpeg"])
    upright = np.asarray(painted(mode="L").convert("RGB"))
    for view in VIEWS:
        turned_pixels = pixels(out / view / "grey.jpg").astype(float)
        off = np.abs(turned_pixels - apply_view(view, upright, (0, 1)))
        assert off.mean() < 2, view


@needs_jpegtran
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_a_jpeg_of_whole_blocks_is_turned_without_loss(
    tmp_path: Path, mode: str, subsampling: int
) -> None:
    folder = tmp_path / "leaves"
    folder.mkdir()
    file = folder / "a.jpg"
    painted(64, 32, mode=mode).save(file, quality=60, subsampling=subsampling)
    data = file.read_bytes()
    assert can_be_turned(data)
    out = main([str(folder), str(tmp_path / "out"), "--format", "jpeg"])
    assert (out / "e" / "a.jpg").read_bytes() == data
    back = {view: view for view in VIEWS} | {"r": "hvr", "hvr": "r"}
    for view in VIEWS:
        copy = (out / view / "a.jpg").read_bytes()
        # what was lost in one turn would still be lost after the way back
        again = Image.open(io.BytesIO(turned(copy, back[view])))
        np.testing.assert_array_equal(np.asarray(again.convert("RGB")), pixels(file))
        off = np.abs(
            pixels(out / view / "a.jpg").astype(float)
            - apply_view(view, pixels(file).astype(float), (0, 1))
        )
        assert off.mean() < 1, view  # the inverse transform rounds by direction


@needs_jpegtran
@pytest.mark.parametrize(("width", "height"), [(60, 32), (64, 36), (40, 32)])
def test_blocks_that_are_cut_off_are_not_moved(width: int, height: int) -> None:
    buffer = io.BytesIO()
    painted(width, height).save(buffer, "JPEG", subsampling=2)  # blocks of 16 px
    assert not can_be_turned(buffer.getvalue())


@needs_jpegtran
def test_what_a_turned_file_would_lose_is_applied(tmp_path: Path) -> None:
    folder = tmp_path / "leaves"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise makes it upright
    painted(64, 32).save(folder / "a.jpg", exif=exif, quality=95)
    out = main([str(folder), str(tmp_path / "out"), "--format", "jpeg"])
    upright = apply_view("r", pixels(folder / "a.jpg").astype(float), (0, 1))
    assert np.abs(pixels(out / "e" / "a.jpg") - upright).mean() < 2


def test_the_same_command_makes_only_what_is_new_or_changed(
    folder: Path, tmp_path: Path
) -> None:
    arguments = [str(folder), str(tmp_path / "out")]
    out = main(arguments)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    painted(seed=3, mode="L").save(folder / "grey.png")
    painted(seed=4).save(folder / "new.png")
    (out / "hv" / "clear.png").unlink()
    main(arguments)
    after = {path: path.stat().st_mtime_ns for path in out.rglob("*.png")}
    changed = {path.stem for path, time in after.items() if before.get(path) != time}
    assert changed == {"grey", "new", "clear"}
    expected = apply_view(
        "vr", np.asarray(painted(seed=3, mode="L").convert("RGB")), (0, 1)
    )
    np.testing.assert_array_equal(pixels(out / "vr" / "grey.png"), expected)


@pytest.mark.parametrize("n_renames", [0, 3, 8, 13, 30])
def test_a_killed_command_goes_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_renames: int
) -> None:
    whole = main([str(folder), str(tmp_path / "whole")])
    rename, renamed = Path.replace, []

    def die(self: Path, target: Path) -> Path:
        if command.DRAFTS in self.parts:
            if len(renamed) == n_renames:
                raise KeyboardInterrupt
            renamed.append(self)
        return rename(self, target)

    arguments = [str(folder), str(tmp_path / "out"), "--workers", "1"]
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", die)
        with pytest.raises(KeyboardInterrupt):
            main(arguments)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.png")}
    assert len(before) == n_renames
    out = main(arguments)
    kept = [path for path, time in before.items() if path.stat().st_mtime_ns == time]
    assert len(kept) == n_renames // 8 * 8  # whole pictures are not made twice
    assert files_of(out) == files_of(whole)
    assert not (out / command.DRAFTS).exists()
    assert not (out / command.JOURNAL).exists()


def test_what_is_not_its_own_is_never_replaced(folder: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "out" / "vr" / "grey.png"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"mine")
    other = tmp_path / "out" / "notes.txt"
    other.write_bytes(b"mine, too")
    with pytest.raises(UserError, match=r"vr/grey\.png is there and was not made by"):
        main([str(folder), str(tmp_path / "out")])
    assert foreign.read_bytes() == b"mine"
    foreign.unlink()
    main([str(folder), str(tmp_path / "out")])
    (folder / "grey.png").unlink()
    out = main([str(folder), str(tmp_path / "out")])
    assert other.read_bytes() == b"mine, too"
    assert (out / "vr" / "grey.png").exists()  # nor is anything deleted


def test_views_of_pictures_that_are_gone_are_told(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    main([str(folder), str(tmp_path / "out")])
    (folder / "grey.png").unlink()
    main([str(folder), str(tmp_path / "out")])
    assert "views remain of 1 picture no longer in" in caplog.text
    assert "such as grey.png" in caplog.text


def test_a_damaged_picture_is_left_out_with_its_reason(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "cut.png").write_bytes((folder / "grey.png").read_bytes()[:60])
    (folder / "empty.jpg").touch()
    (folder / "gone.png").symlink_to(folder / "nowhere.png")
    out = main([str(folder), str(tmp_path / "out")])
    lines = (out / "left_out.csv").read_text(encoding="utf-8").splitlines()
    assert sorted(line.partition(",")[0] for line in lines) == [
        "cut",
        "empty",
        "gone",
        "id",
    ]
    assert "3 pictures are left out" in caplog.text
    assert len(files_of(out)) == 8 * 4


def test_other_settings_want_another_folder(folder: Path, tmp_path: Path) -> None:
    main([str(folder), str(tmp_path / "out")])
    with pytest.raises(
        UserError, match="holds views made with --views d4 --format png"
    ):
        main([str(folder), str(tmp_path / "out"), "--format", "jpeg"])


def test_names_that_would_meet_are_refused(folder: Path, tmp_path: Path) -> None:
    painted().save(folder / "grey.bmp")
    with pytest.raises(UserError, match=r"grey\.bmp and grey\.png in .* would both"):
        main([str(folder), str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("inside", ["views", "."])
def test_views_among_pictures_are_refused(folder: Path, inside: str) -> None:
    with pytest.raises(UserError, match="lie within each other"):
        main([str(folder), str(folder / inside)])


def test_pictures_among_views_are_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="lie within each other"):
        main([str(folder), str(folder.parent)])


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no pictures here nor in folders within"):
        main([str(tmp_path / "empty"), str(tmp_path / "out")])
    with pytest.raises(UserError, match=r"there is no such folder \(FOLDER\)"):
        main([str(tmp_path / "nothing"), str(tmp_path / "out")])


def test_the_form_is_kept_beside_the_views(folder: Path, tmp_path: Path) -> None:
    out = main([str(folder), str(tmp_path / "out"), "--views", "flip"])
    form = json.loads((out / "views.json").read_text(encoding="utf-8"))
    assert form == {"views": "flip", "format": "png"}
