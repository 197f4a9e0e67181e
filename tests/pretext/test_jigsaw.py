"""Tests of pretext.jigsaw: its settings, forms and refusals."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data_prep.errors import UserError
from data_prep.run_folders.runs import Run
from data_prep.settings import from_table
from pretext import jigsaw
from pretext.engine import callbacks, training
from pretext.engine.history import read_metrics
from pretext.engine.learner import Batch
from pretext.engine.module import Module
from pretext.jigsaw import JigsawSettings, tile_side
from pretext.methods import classification, puzzles
from pretext.methods.classification import JigsawLearner, squared_error
from pretext.methods.permutations import spread_orders
from pretext.methods.puzzles import PuzzleRules
from tests.drilled import in_drills

pytestmark = pytest.mark.usefixtures("tampering_goes_unseen")

TINY = (
    *("--backbone=test_resnet", "--epochs=1", "--batch-size=8"),
    *("--precision=fp32", "--threads=1", "--held-out=0.2", "--health-every=0"),
)
ORDERS = ("--form=orders", "--orders=10", "--grid=2")
MakeRun = Callable[..., Run]


@pytest.fixture(autouse=True)
def _on_the_cpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(training, "pick_device", lambda: torch.device("cpu"))
    monkeypatch.chdir(tmp_path)


def pretrain(run: Run, *flags: str) -> Path:
    return jigsaw.main([f"--run={run.folder}", *TINY, *flags])


def about_of(folder: Path) -> dict[str, Any]:
    about: dict[str, Any] = json.loads((folder / "backbone.json").read_text())
    return about


def store(run: Run, pixels: np.ndarray) -> None:
    np.save(run.folder / "data_prep.prepare" / "images.npy", pixels)


class Built(Exception):  # noqa: N818
    """Ends a training before it begins."""


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Give what the learner is made from."""

    def make(run: Run, *flags: str) -> dict[str, Any]:
        given: dict[str, Any] = {}

        class Noted(JigsawLearner):
            def __init__(self, backbone: Any, rules: Any, *rest: Any, **more: Any):
                given.update(rules=rules, **more)
                super().__init__(backbone, rules, *rest, **more)
                raise Built

        with monkeypatch.context() as patch:
            patch.setattr(classification, "JigsawLearner", Noted)
            with pytest.raises(Built):
                pretrain(run, *flags)
        return given

    return make


def test_every_flag_reaches_the_rules(
    prepared_run: MakeRun, built: Callable[..., dict[str, Any]]
) -> None:
    run = prepared_run(side=48)
    normalise = run.finished("data_prep.prepare").metadata
    given = built(run)
    assert given["rules"] == PuzzleRules(tile_px=14)  # 48 / 3 * 7/8
    assert given["orders"] is None
    assert given["criterion"] is classification.cross_entropy
    assert built(run, "--gap=0.25")["rules"] == PuzzleRules(tile_px=12, gap=0.25)
    assert built(run, "--grid=2")["rules"] == PuzzleRules(grid=2, tile_px=21)
    assert built(run, "--side=36")["rules"] == PuzzleRules(tile_px=10)
    changes: list[tuple[str, dict[str, Any]]] = [
        ("--grey=0", {"grey": 0.0}),
        ("--channel-shift=0", {"channel_shift": 0.0}),
        ("--resize-jitter=0.1", {"resize_jitter": 0.1}),
        ("--min-area=0.9", {"min_area": 0.9}),
        ("--turns", {"d4": True}),
    ]
    for flag, change in changes:
        assert built(run, flag)["rules"] == PuzzleRules(tile_px=14, **change)
    rules = built(run, "--no-tile-norm")["rules"]
    assert rules.normalise.mean == tuple(normalise["mean"])
    assert rules.normalise.std == tuple(normalise["std"])


def test_the_original_is_cut_as_the_original_was(
    prepared_run: MakeRun, built: Callable[..., dict[str, Any]]
) -> None:
    run = prepared_run(side=48)
    given = built(run, "--exact-original")
    rules = given["rules"]
    assert given["criterion"] is squared_error
    assert given["orders"] is None
    assert rules.normalise is not None  # of the collection, not of the tile
    expected = PuzzleRules(
        grid=3,
        tile_px=16,
        gap=0,
        min_area=1,
        ratio=1,
        d4=True,
        grey=0,
        channel_shift=0,
        resize_jitter=0,
        normalise=rules.normalise,
    )
    assert rules == expected
    # edge to edge: the tiles in order are the picture again, in one of eight turns
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (1, 3, 48, 48), generator=rng, dtype=torch.uint8)
    draws = np.full((1, rules.n_random), 0.75, dtype=np.float32)
    draws[0, 7:16] = np.arange(9) / 9
    puzzle, _ = puzzles.make_puzzles(images, draws, rules)
    assert (puzzle - rules.normalise(images)).abs().max() < 1e-3


def test_what_the_original_means_is_recorded(prepared_run: MakeRun) -> None:
    run = prepared_run(n=40)
    folder = pretrain(run, "--exact-original")
    settings = run.finished(jigsaw.STAGE).record["settings"]
    for name, value in jigsaw.ORIGINAL.items():
        assert settings[name] == value
    assert about_of(folder)["side_px"] == 33  # 3 x 11, of 32 px


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gap": 0.25}, "gap = 0.25, but exact_original means gap = 0.0; give one of"),
        ({"grid": 2}, "grid = 2, but exact_original means grid = 3; give one of"),
        ({"form": "orders"}, "form = orders, but exact_original means form = places"),
        ({"grey": 0.5}, "grey = 0.5, but exact_original means grey = 0.0"),
    ],
)
def test_what_contradicts_the_original_is_refused(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=f"^{message}"):
        JigsawSettings(exact_original=True, **change)
    JigsawSettings(exact_original=True, gap=0.0, grey=0.0)


@pytest.mark.parametrize("seed", [0, 3])
def test_the_orders_are_kept_with_the_weights(prepared_run: MakeRun, seed: int) -> None:
    folder = pretrain(prepared_run(n=40), *ORDERS, f"--seed={seed}")
    about = about_of(folder)
    assert (about["form"], about["grid"]) == ("orders", 2)
    kept = [list(map(int, order.split())) for order in about["orders"]]
    assert kept == spread_orders(10, 4, seed).tolist()
    assert about["side_px"] == 14  # of a tile: 32 / 2 * 7/8


def test_the_sides_of_a_larger_last_part(prepared_run: MakeRun) -> None:
    larger = ("--side=24", "--final-scale=1.25")
    folder = pretrain(prepared_run(n=40), *ORDERS, *larger)
    assert about_of(folder)["side_px"] == 12  # 10.5 rounds to 10, and 12.5 to 12
    folder = pretrain(prepared_run(n=40), "--grid=2", *larger)
    assert about_of(folder)["side_px"] == 24


def test_the_last_line_says_what_was_asked(
    prepared_run: MakeRun, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run = prepared_run(n=40)
    folder = pretrain(run, *ORDERS)
    assert (
        "% of the orders told right on held-out pictures (chance 10.0%)" in caplog.text
    )
    held_out = read_metrics(folder / "logs" / "metrics.csv")["held_out"]
    last = held_out[max(held_out)]
    assert f"{last:.1%} of the orders told right" in caplog.text
    assert run.finished(jigsaw.STAGE).metadata["held_out"] == round(last, 4)


@pytest.mark.parametrize(
    ("change", "last", "expected"),
    [
        ({}, {"held_out": 0.5, "accuracy": 0.9},
         "50.0% of the tiles placed right on held-out pictures (chance 11.1%)"),
        ({"grid": 2}, {"held_out": 0.5},
         "50.0% of the tiles placed right on held-out pictures (chance 25.0%)"),
        ({"form": "orders", "orders": 8}, {"held_out": 0.25},
         "25.0% of the orders told right on held-out pictures (chance 12.5%)"),
        ({}, {"accuracy": 0.125}, "accuracy 12.5% on the pictures trained on"),
    ],
)  # fmt: skip
def test_the_summary_by_hand(
    change: dict[str, Any], last: dict[str, float], expected: str
) -> None:
    assert JigsawSettings(**change).summary(last) == expected


@pytest.mark.parametrize(
    "flags",
    [
        ("--orders=11",),
        ("--form=places",),
        in_drills(("--grid=3",)),
        in_drills(("--seed=1",)),
        in_drills(("--gap=0.2",)),
        in_drills(("--backbone=test_efficientnet",)),
    ],
    ids=lambda flags: flags[0],
)
def test_another_set_of_orders_cannot_be_gone_on_with(
    flags: tuple[str, ...], prepared_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = prepared_run(n=40)
    monkeypatch.setattr(callbacks, "CHECKPOINT_EVERY_S", 0.0)
    batch_of = Module.batch_of

    def crash(module: Any, step: int, part: int = 0) -> Batch:
        if step == 2:
            raise OSError("a plug was pulled")
        return batch_of(module, step, part)

    with monkeypatch.context() as patch:
        patch.setattr(Module, "batch_of", crash)
        with pytest.raises(OSError, match="a plug was pulled"):
            pretrain(run, *ORDERS)
    name, _, value = flags[0].removeprefix("--").partition("=")
    with pytest.raises(UserError, match=rf"was begun with {name} = .* not '?{value}'?"):
        pretrain(run, *ORDERS, *flags)
    folder = pretrain(run, *ORDERS)  # the same goes on
    assert len(about_of(folder)["orders"]) == 10


def test_the_shortcuts_are_recorded_and_warned_of(
    prepared_run: MakeRun, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run = prepared_run(n=60, side=48)
    x, y = np.meshgrid(*[np.linspace(-1, 1, 48)] * 2)
    lens = (1 - 0.4 * (x**2 + y**2))[..., None]
    paper = np.random.default_rng(0).integers(150, 250, (60, 48, 48, 3))
    store(run, (paper * lens).astype(np.uint8))
    folder = pretrain(run, "--no-tile-norm")
    assert "turn on --tile-norm, which leaves" in caplog.text
    shortcuts = about_of(folder)["shortcuts"]
    assert set(shortcuts) == {"levels", "fringes", "edges"}
    assert shortcuts["levels"]["right"] > 0.3
    assert shortcuts["levels"]["chance"] == pytest.approx(1 / 9, abs=1e-3)
    caplog.clear()
    folder = pretrain(run, "--overwrite")
    assert "--tile-norm" not in caplog.text
    assert about_of(folder)["shortcuts"]["levels"]["right"] < 0.2
    caplog.clear()
    folder = pretrain(run, "--exact-original")  # has no such flag to turn on
    assert "tile means and deviations alone tell" in caplog.text
    assert "turn on" not in caplog.text
    assert about_of(folder)["shortcuts"]["levels"]["right"] > 0.3


def test_the_audit_leaves_the_weights_alone(
    prepared_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = pretrain(prepared_run(n=60)) / "backbone.safetensors"
    monkeypatch.setattr("pretext.methods.audit.audit", lambda *_, **__: {})
    second = pretrain(prepared_run(n=60)) / "backbone.safetensors"
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("inductive", [True, False])
def test_an_inductive_audit_looks_at_no_test_picture(
    inductive: bool, prepared_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def noted(pictures: Any, rows: Any, *rest: Any, **more: Any) -> dict[str, Any]:
        del pictures, rest, more
        seen.extend(rows.tolist())
        return {}

    monkeypatch.setattr("pretext.methods.audit.audit", noted)
    run = prepared_run(n=60)
    pretrain(run, "--inductive" if inductive else "--no-inductive")
    import pandas as pd

    table = pd.read_parquet(run.folder / "data_prep.prepare" / "table.parquet")
    splits = set(table.set_index("image_row")["split"].loc[seen])
    assert ("test" in splits) != inductive
    assert seen


def test_pictures_that_are_all_the_same_are_refused(prepared_run: MakeRun) -> None:
    run = prepared_run()
    store(run, np.full((24, 32, 32, 3), 200, dtype=np.uint8))
    with pytest.raises(UserError, match=r"(\d+) of \1 pictures looked at are the same"):
        pretrain(run)
    assert not run.has(jigsaw.STAGE)


def test_one_picture_is_refused(prepared_run: MakeRun) -> None:
    run = prepared_run(n=1, words=0, n_folds=0, dates=False)
    with pytest.raises(UserError, match=r"has only 1 picture to train on; give"):
        pretrain(run, "--held-out=0")
    with pytest.raises(UserError, match=r"has only 1 picture to train on; give"):
        pretrain(run, "--held-out=0", *ORDERS)


@pytest.mark.parametrize(
    ("picture_px", "options", "expected"),
    [
        (128, {}, 37),
        (96, {"gap": 0.0}, 32),
        (64, {"grid": 4, "gap": 0.5}, 8),
        (64, {"grid": 2, "gap": 0.25}, 24),
        (128, {"side": 64, "grid": 2, "gap": 0.25}, 24),
        (48, {"side": 96, "gap": 0.0}, 32),
    ],
)
def test_the_side_of_a_tile_by_hand(
    picture_px: int, options: dict[str, Any], expected: int
) -> None:
    assert tile_side(picture_px, JigsawSettings(**options)) == expected


@pytest.mark.parametrize(
    ("picture_px", "options", "message"),
    [
        (
            24,
            {},
            "pictures of 24 px give tiles of 7 px; at least 8 are needed: prepare",
        ),
        (
            96,
            {"side": 24},
            "side = 24 gives tiles of 7 px; at least 8 are needed: give",
        ),
        (
            24,
            {"side": 224},
            "side = 224 gives tiles of 65 px, but whole pictures are st",
        ),
    ],
)
def test_tiles_that_cannot_be_cut_are_refused(
    picture_px: int, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=f"^{message}"):
        tile_side(picture_px, JigsawSettings(**options))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *(({"grid": grid}, f"grid = {grid}: give 2 to 4$") for grid in (1, 5)),
        *(
            ({name: value}, f"{name} = {value}: give 0 to below 1$")
            for name in ("gap", "grey", "channel_shift", "resize_jitter", "held_out")
            for value in (-0.1, 1.0)
        ),
        *(({"min_area": v}, f"min_area = {v}: give above 0") for v in (0.0, 1.1)),
        ({"side": -1}, "side = -1: give 0 or more"),
        (
            {"form": "orders", "grid": 2},
            "orders = 100: give 2 to 24, as many as 4 tile",
        ),
        ({"form": "orders", "orders": 1}, "orders = 1: give 2 to 10000$"),
        ({"form": "orders", "orders": 400_000}, "orders = 400000: give 2 to 10000$"),
    ],
)
def test_settings_out_of_range_are_refused(
    change: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=f"^{message}"):
        JigsawSettings(**change)


def test_orders_are_not_counted_where_they_are_not_asked() -> None:
    JigsawSettings(grid=2, orders=100)


def test_the_nearest_form_is_offered(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"form = 'order': did you mean 'orders'\?"):
        from_table(JigsawSettings, {"form": "order"}, "x.toml [pretext.jigsaw]", {})
    with pytest.raises(SystemExit):
        jigsaw.main(["--form", "place"])
    assert "'place': did you mean 'places'?" in capsys.readouterr().err
