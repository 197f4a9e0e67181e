"""Tests of pretext.dino and of the settings it shares with pretext.simsiam."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from data_prep.errors import UserError
from data_prep.run_folders.runs import Run
from pretext import dino
from pretext.data.augment import AugmentParams
from pretext.dino import DinoSettings
from pretext.engine import training
from pretext.engine.learner import Learner
from pretext.methods import distillation
from pretext.methods.distillation import DinoLearner
from pretext.networks.backbones import build_backbone, load_backbone
from pretext.simsiam import SimSiamSettings
from pretext.view_settings import COLOUR_CHANGES, spread_verdict

MakeRun = Callable[..., Run]
TINY = (
    *("--backbone", "test_resnet", "--epochs", "2", "--batch-size", "8"),
    *("--precision", "fp32", "--threads", "1", "--outputs", "16"),
    *("--local-crops", "2", "--health-every", "0"),
)
each_kind = pytest.mark.parametrize("kind", [SimSiamSettings, DinoSettings])


@pytest.fixture(autouse=True)
def _small_and_on_the_cpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(training, "pick_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(distillation, "WIDTH", 24)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def learners(monkeypatch: pytest.MonkeyPatch) -> list[DinoLearner]:
    """Note every learner that is trained."""
    noted: list[DinoLearner] = []
    train = training.train

    def noting(learner: Learner, *given: Any, **named: Any) -> training.Outcome:
        assert isinstance(learner, DinoLearner)
        noted.append(learner)
        return train(learner, *given, **named)

    monkeypatch.setattr(training, "train", noting)
    return noted


def pretrain(run: Run, *flags: str) -> Path:
    return dino.main(["--run", str(run.folder), *TINY, *flags])


def test_the_teacher_is_what_is_kept(
    prepared_run: MakeRun,
    learners: list[DinoLearner],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    run = prepared_run()
    folder = pretrain(run)
    (learner,) = learners
    kept, _ = load_backbone(folder / "backbone.safetensors", "test_resnet", 32)
    taught, learnt = learner.backbone.state_dict(), learner.student.state_dict()
    torch.manual_seed(0)
    untrained = build_backbone("test_resnet", 32).state_dict()
    for name, tensor in kept.state_dict().items():
        assert torch.equal(tensor, taught[name])
    for other in (learnt, untrained):
        assert not torch.equal(other["conv1.0.weight"], taught["conv1.0.weight"])
    about = json.loads((folder / "backbone.json").read_text())
    assert (about["stage"], about["label_free"]) == ("pretext.dino", True)
    assert about["side_px"] == 32
    facts = run.finished(dino.STAGE).metadata
    assert facts["steps"] == 6
    assert 0 < facts["spread"] <= 1.1
    assert 0 < facts["entropy"] <= 1
    assert "mean of the outputs: entropy 0." in caplog.text
    assert "spread of the outputs" in caplog.text


def test_flags_reach_the_learner(
    prepared_run: MakeRun, learners: list[DinoLearner]
) -> None:
    pretrain(
        prepared_run(side=48),
        *("--side", "32", "--local-crops", "3", "--outputs", "20", "--turns"),
        *("--teacher-decay", "0.5", "--epochs", "10", "--min-area", "0.5"),
        *("--batch-size", "24"),
    )
    (learner,) = learners
    crops = learner.crops
    assert (crops.side_px, crops.local_side_px(), crops.n_local) == (32, 14, 3)
    assert (crops.global_params.min_area, crops.global_params.max_area) == (0.5, 1)
    assert (crops.local_params.min_area, crops.local_params.max_area) == (0.05, 0.5)
    assert crops.global_params.d4
    assert crops.local_params.d4
    assert (learner.decay, learner.warm_epochs) == (0.5, 3)
    assert learner.head.get_parameter("last_layer.weight_v").shape == (20, 256)


def test_the_temperature_rises_over_a_share_of_the_steps_too(
    prepared_run: MakeRun, learners: list[DinoLearner]
) -> None:
    # 10 passes over 24 pictures
    pretrain(prepared_run(), "--steps", "10", "--batch-size", "24")
    assert learners[0].warm_epochs == 3


def test_a_network_of_one_size_is_refused_before_anything_is_written(
    prepared_run: MakeRun,
) -> None:
    run = prepared_run(side=96)
    before = sorted(run.folder.iterdir())
    message = r"local_crops = 2: this backbone takes no views of 41 px beside .*96 px"
    with pytest.raises(UserError, match=message):
        pretrain(run, "--backbone", "test_vit")
    assert sorted(run.folder.iterdir()) == before
    folder = pretrain(run, "--backbone", "test_vit", "--local-crops", "0")
    assert (folder / "backbone.safetensors").exists()


@pytest.mark.parametrize("n", [1, 7])
def test_too_few_pictures_are_refused(n: int, prepared_run: MakeRun) -> None:
    run = prepared_run(n=n, words=0, n_folds=0, dates=False)
    with pytest.raises(UserError, match=r"batch_size = 8, but the collection has"):
        pretrain(run)


@each_kind
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, 64 / 256),
        ({"batch_size": 256}, 1.0),
        ({"batch_size": 32, "accumulate": 4}, 0.5),
    ],
)
def test_the_learning_rate_is_for_256_pictures(
    kind: type[Any], change: dict[str, int], expected: float
) -> None:
    settings = kind(learning_rate=0.3, **change)
    assert settings.peak_rate == pytest.approx(0.3 * expected)


def test_the_papers_rates_are_the_defaults() -> None:
    siamese, distilled = SimSiamSettings(), DinoSettings()
    assert (siamese.optimizer, siamese.learning_rate) == ("sgd", 0.05)
    assert (distilled.optimizer, distilled.learning_rate) == ("adamw", 5e-4)
    assert siamese.schedule == distilled.schedule == "cosine"


@each_kind
def test_colours_are_kept_unless_strong_ones_are_asked_for(kind: type[Any]) -> None:
    assert set(COLOUR_CHANGES) == {"keep", "strong"}
    kept = kind().augment_params(0.3)
    assert kept == kind(colour="keep").augment_params(0.3)
    assert kept == AugmentParams(
        min_area=0.3,
        ratio=4 / 3,
        tries=10,
        d4=False,
        brightness=0.2,
        contrast=0.2,
        saturation=0.2,
        grey=0.1,
    )
    strong = kind(colour="strong", turns=True).augment_params(0.1, 0.4)
    assert (strong.brightness, strong.contrast, strong.saturation) == (0.4, 0.4, 0.4)
    assert (strong.hue, strong.colour_p, strong.grey, strong.blur) == (
        *(0.1, 0.8, 0.2, 0.5),
    )
    assert (strong.min_area, strong.max_area, strong.d4) == (0.1, 0.4, True)


@pytest.mark.parametrize(
    ("side", "scale", "expected"), [(0, 1.0, 96), (0, 1.25, 120), (64, 1.5, 96)]
)
def test_the_side_of_the_views_by_hand(side: int, scale: float, expected: int) -> None:
    assert DinoSettings(side=side).net_side_px(96, scale) == expected


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        *(
            (kind, {"min_area": v}, f"min_area = {v}: give above 0, at most 1")
            for kind in (SimSiamSettings, DinoSettings)
            for v in (0.0, 1.1)
        ),
        *(
            (kind, {"side": 31}, "side = 31: give 32 or more, or 0")
            for kind in (SimSiamSettings, DinoSettings)
        ),
        (SimSiamSettings, {"colour": "weak"}, "colour = 'weak': give keep or strong"),
        (SimSiamSettings, {"width": 7}, "width = 7: give 8 or more"),
        (
            DinoSettings,
            {"min_area": 0.05},
            "min_area = 0.05: give more than 0.05, the smallest share in a local view",
        ),
        (DinoSettings, {"local_crops": -1}, "local_crops = -1: give 0 or more"),
        (DinoSettings, {"outputs": 1}, "outputs = 1: give 2 or more"),
        *(
            (
                DinoSettings,
                {"teacher_decay": value},
                f"teacher_decay = {value}: give 0 to below 1",
            )
            for value in (-0.1, 1.0)
        ),
        (DinoSettings, {"epochs": 0}, "epochs = 0: give more than 0"),
    ],
)
def test_settings_out_of_range_are_refused(
    kind: type[Any], change: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=f"^{message}$"):
        kind(**change)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--colour", "srong"], "argument --colour: 'srong': did you mean 'strong'?"),
        (["--colour", "0.2"], "argument --colour: '0.2': there are: keep, strong"),
        (["--local-crop", "3"], "'--local-crop'; did you mean '--local-crops'?"),
    ],
)
def test_a_misspelt_flag_is_one_line_with_the_nearest(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        dino.main(flags)
    assert left.value.code == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1


def test_a_collapse_is_called_by_its_name() -> None:
    assert spread_verdict({"spread": 0.29}).endswith(
        "0.29 of 1/sqrt(d): the outputs have COLLAPSED: try a smaller --learning-rate,"
        " stronger views"
    )
    assert spread_verdict({"spread": 0.3}) == "spread of the outputs 0.30 of 1/sqrt(d)"
