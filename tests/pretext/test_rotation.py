"""Tests of pretext.rotation, and of the page that explains it."""

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.testing import assert_close

from data_prep.errors import UserError
from data_prep.experiment import commands
from data_prep.prepared import Prepared
from data_prep.run_folders.runs import Run
from pretext import rotation
from pretext.data import training_data
from pretext.data.keyed_rng import keys_of, uniforms
from pretext.data.pictures import Normalisation, Pictures
from pretext.data.training_data import TrainingData
from pretext.init_weights import pretexts
from pretext.methods.classification import ClassificationLearner
from pretext.networks.backbones import build_backbone
from pretext.rotation import RotationSettings

pytestmark = pytest.mark.usefixtures("tampering_goes_unseen")

ROOT = Path(__file__).parents[2]
SIDE = 16
PLAIN = Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
TINY = (
    *("--backbone=test_resnet", "--epochs=2", "--batch-size=8"),
    *("--precision=fp32", "--threads=1", "--health-every=0"),
)
MakeRun = Callable[..., Run]


def noise(n: int = 64) -> Pictures:
    rng = np.random.default_rng(0)
    return Pictures(rng.integers(0, 256, (n, SIDE, SIDE, 3), dtype=np.uint8))


@pytest.fixture
def learner_of(
    prepared_run: MakeRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., ClassificationLearner]:
    """Make the learner as the command does, for pictures given."""
    monkeypatch.chdir(tmp_path)
    run = prepared_run()

    def make(
        pictures: Pictures,
        fill_frac: NDArray[np.float32] | None = None,
        *flags: str,
        normalise: Normalisation = PLAIN,
    ) -> ClassificationLearner:
        n = len(pictures.pixels)
        data = TrainingData(
            prepared=Prepared.open(run.finished("data_prep.prepare")),
            pictures=pictures,
            keys=keys_of([str(number) for number in range(n)]),
            train_idx=np.arange(n),
            val_idx=np.arange(0),
            normalise=normalise,
            fill_frac=np.ones((n, 2), np.float32) if fill_frac is None else fill_frac,
        )
        built: list[Any] = []

        def build_only(_: str, settings: RotationSettings, *__: Any) -> Path:
            backbone = build_backbone("test_resnet", SIDE)
            built.append(settings.build_learner(backbone, data))
            return tmp_path

        monkeypatch.setattr(rotation, "pretrain", build_only)
        rotation.main([f"--run={run.folder}", *TINY, *flags])
        learner: ClassificationLearner = built[0]
        return learner

    return make


def examples_of(
    learner: ClassificationLearner, seed: int, scale: float = 1.0
) -> tuple[Tensor, Tensor]:
    rows = np.arange(len(learner.pictures.pixels))
    keys = keys_of([str(row) for row in rows])
    u = uniforms(keys, learner.n_random, seed=seed, epoch=0, purpose="rotation")
    return learner.make_examples(learner.pictures.take(rows), u, rows, scale)


@pytest.mark.parametrize("seed", range(3))
def test_the_answer_is_the_number_of_quarter_turns(
    learner_of: Callable[..., ClassificationLearner], seed: int
) -> None:
    pictures = noise()
    learner = learner_of(pictures, None, "--min-area=1")
    views, labels = examples_of(learner, seed)
    assert labels.shape == (64, 1)
    images = pictures.take(np.arange(64)).float()
    for view, image, answer in zip(views, images, labels[:, 0], strict=True):
        assert_close(view, image.rot90(int(answer), (1, 2)), atol=0.01, rtol=0)


def test_views_are_normalised_by_the_collection(
    learner_of: Callable[..., ClassificationLearner],
) -> None:
    normalise = Normalisation((100.0, 120.0, 140.0), (50.0, 60.0, 70.0))
    views, _ = examples_of(learner_of(noise(), normalise=normalise), 0)
    raw, _ = examples_of(learner_of(noise()), 0)
    assert_close(views, normalise(raw))


def test_all_turns_are_asked_equally_often(
    learner_of: Callable[..., ClassificationLearner],
) -> None:
    _, labels = examples_of(learner_of(noise(1000)), 0)
    assert (labels.flatten().bincount(minlength=4) - 250).abs().max() < 60


def test_views_are_parts_of_the_picture_and_grow_with_the_scale(
    learner_of: Callable[..., ClassificationLearner],
) -> None:
    ramp = np.arange(SIDE, dtype=np.uint8)[:, None, None]  # the level is the place
    pictures = Pictures(np.broadcast_to(ramp, (64, SIDE, SIDE, 3)).copy())
    views, labels = examples_of(learner_of(pictures, None, "--min-area=0.25"), 0, 1.5)
    assert views.shape == (64, 3, 24, 24)
    shown = views.amax(dim=(1, 2, 3)) - views.amin(dim=(1, 2, 3))
    share = (shown + 1) / SIDE  # of the side
    by_turn = torch.stack([share[labels[:, 0] == turn].mean() for turn in range(4)])
    assert by_turn.max() - by_turn.min() < 0.12  # the size does not tell the turn
    assert 0.45 < share.min() < 0.7
    assert 0.85 < share.max() <= 1.05


def test_padding_does_not_tell_the_turn(
    learner_of: Callable[..., ClassificationLearner],
) -> None:
    pixels = noise().pixels.copy()
    pixels[:, :4] = pixels[:, 12:] = 255
    pixels[:, 4:12] //= 2
    fill_frac = np.tile(np.array([1, 0.5], np.float32), (64, 1))
    views, _ = examples_of(learner_of(Pictures(pixels), fill_frac), 0)
    # the last pixel inside may be mixed with one of the padding, never be it
    assert (views.amax(dim=(1, 2, 3)) < 200).all()


def test_noise_stays_at_chance(
    prepared_run: MakeRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "pretext.engine.training.pick_device", lambda: torch.device("cpu")
    )
    split = np.arange(40), np.arange(40, 120)
    monkeypatch.setattr(training_data, "split_rows", lambda *_, **__: split)
    run = prepared_run(n=120, target=None)
    images = run.folder / "data_prep.prepare" / "images.npy"
    rng = np.random.default_rng(0)
    np.save(images, rng.integers(0, 256, (120, 32, 32, 3), dtype=np.uint8))
    rotation.main([f"--run={run.folder}", *TINY, "--epochs=4"])
    # chance is 0.25, and three standard errors are 0.15
    assert run.finished(rotation.STAGE).metadata["held_out"] < 0.4


def test_turns_that_show_are_learnt(
    prepared_run: MakeRun,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "pretext.engine.training.pick_device", lambda: torch.device("cpu")
    )
    run = prepared_run(n=64, target=None)
    images = run.folder / "data_prep.prepare" / "images.npy"
    pixels = np.load(images)
    pixels[:, :16] += 100  # the sky is above
    np.save(images, pixels)
    folder = rotation.main([f"--run={run.folder}", *TINY, "--epochs=6"])
    assert run.finished(rotation.STAGE).metadata["held_out"] > 0.6
    assert "% of the turns told right (chance 25.0%)" in caplog.text
    about = json.loads((folder / "backbone.json").read_text())
    assert (about["stage"], about["side_px"]) == ("pretext.rotation", 32)


def test_it_is_a_command_and_first_weights_for_others() -> None:
    assert rotation.STAGE in commands()
    assert rotation.STAGE in pretexts()


@pytest.mark.parametrize("min_area", [0.0, -1.0, 1.1])
def test_a_share_out_of_range_is_refused(min_area: float) -> None:
    message = f"^min_area = {min_area}: give above 0, at most 1$"
    with pytest.raises(UserError, match=message):
        RotationSettings(min_area=min_area)


def test_the_page_shows_the_whole_file_and_nothing_else() -> None:
    page = (ROOT / "docs" / "new_pretext_task.md").read_text(encoding="utf-8")
    pieces = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    code = (ROOT / "pretext" / "rotation.py").read_text(encoding="utf-8")
    shown = [line for piece in pieces for line in piece.splitlines() if line]
    assert shown == [line for line in code.splitlines() if line]


def test_the_files_and_commands_that_the_page_names_exist() -> None:
    page = (ROOT / "docs" / "new_pretext_task.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_]+/[a-z_/]+\.\w+)`", page))
    assert len(named) >= 5
    assert [name for name in named if not (ROOT / name).exists()] == []
    modules = set(re.findall(r"python -m ([a-z_.]+)", page))
    assert modules <= set(commands())
