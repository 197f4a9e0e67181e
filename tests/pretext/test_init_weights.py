"""Tests of init_weights, and of how a pretraining may begin and end."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data_prep.errors import UserError
from data_prep.run_folders.runs import Run, UnfinishedStageError
from pretext import jigsaw, pretraining, simsiam
from pretext.data.training_data import split_rows
from pretext.engine import callbacks, training
from pretext.engine.learner import Batch
from pretext.engine.module import Module
from pretext.init_weights import find_weights, fingerprint_of, is_stage, pretexts
from pretext.networks import backbones
from pretext.networks.backbones import load_weights
from tests.drilled import in_drills
from tests.prepared_runs import make_pretext, table_of

TINY = (
    *("--backbone", "test_resnet", "--epochs", "1", "--batch-size", "8"),
    *("--precision", "fp32", "--threads", "1", "--health-every", "0"),
)
MakeRun = Callable[..., Run]


@pytest.fixture(autouse=True)
def _on_the_cpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(training, "pick_device", lambda: torch.device("cpu"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[Batch]:
    """Note every batch that is trained on."""
    seen: list[Batch] = []
    batch_of = Module.batch_of

    def note(module: Any, step: int, part: int = 0) -> Batch:
        seen.append(batch_of(module, step, part))
        return seen[-1]

    monkeypatch.setattr(Module, "batch_of", note)
    return seen


def pretrain(run: Run, *flags: str) -> Path:
    return jigsaw.main(["--run", str(run.folder), *TINY, *flags])


def trained_rows(batches: list[Batch]) -> set[int]:
    return {int(row) for batch in batches for row in batch.rows}


def test_the_stages_that_train_a_backbone_are_known() -> None:
    assert {"pretext.jigsaw", "pretext.simsiam"} <= set(pretexts())
    assert not {"pretext.probe", "pretext.export"} & set(pretexts())
    assert is_stage("pretext.jigsaw")
    assert not is_stage("pretext.safetensors")
    assert not is_stage("scratch")


def test_a_stage_is_identified_by_its_record_and_a_file_by_its_content(
    tmp_path: Path,
) -> None:
    file = tmp_path / "w.safetensors"
    file.write_bytes(b"abc")
    assert fingerprint_of("scratch", None) == {"init": "scratch"}
    assert fingerprint_of("pretext.jigsaw", file) == {"init": "pretext.jigsaw"}
    found = fingerprint_of(str(file), file)["init"]
    assert found["file"] == "w.safetensors"
    assert found["sha256"].startswith("ba7816bf8f01cfea")  # of "abc", FIPS 180-2
    # a configuration of timm's decides mean and std, whatever its name
    sidecar = file.with_suffix(".json")
    sidecar.write_text('{"architecture": "resnet18", "mean": [0, 0, 0]}')
    at_zero = fingerprint_of(str(file), file)["init"]
    sidecar.write_text('{"architecture": "resnet18", "mean": [1, 1, 1]}')
    assert at_zero["sha256"] == found["sha256"]
    assert fingerprint_of(str(file), file)["init"] != at_zero != found


@pytest.mark.parametrize(
    ("init", "message"),
    [
        (
            "pretext.jigsa",
            "'pretext.jigsa' is no .*did you mean 'pretext.jigsaw'",
        ),
        (
            "pretext.probe",
            "init = 'pretext.probe' is no pretext stage, scratch",
        ),
        ("nowhere/w.safetensors", "init = 'nowhere/w.safetensors': there is no such f"),
    ],
)
def test_first_weights_that_are_not_there_are_refused(
    init: str, message: str, prepared_run: MakeRun
) -> None:
    with pytest.raises(UserError, match=message):
        find_weights(init, prepared_run())


def test_a_stage_that_is_not_finished_is_named(prepared_run: MakeRun) -> None:
    with pytest.raises(
        UnfinishedStageError, match=r"first: python -m pretext\.simsiam"
    ):
        pretrain(prepared_run(), "--init", "pretext.simsiam")


@pytest.mark.parametrize("by_file", [False, True])
def test_a_pretraining_goes_on_from_other_weights(
    by_file: bool, prepared_run: MakeRun, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run = prepared_run()
    file = make_pretext(run)  # as if made by pretext.jigsaw
    simsiam.main(
        [
            *("--run", str(run.folder), *TINY, "--learning-rate", "1e-12"),
            *("--width", "16", "--weight-decay", "0"),
            *("--init", str(file) if by_file else "pretext.jigsaw"),
        ]
    )
    first, _ = load_weights(file)
    found, about = load_weights(run.folder / "pretext.simsiam" / "backbone.safetensors")
    for name in ("conv1.0.weight", "layer4.0.conv2.weight"):
        assert torch.allclose(found[name], first[name], atol=1e-6)
    assert about["begun_from"].endswith("tensors of test_resnet from pretext.jigsaw")
    assert "pretext.simsiam begins from" in caplog.text
    reads = run.finished("pretext.simsiam").record["reads"]
    assert ("pretext.jigsaw" in reads) != by_file


def test_weights_of_another_network_are_refused(prepared_run: MakeRun) -> None:
    run = prepared_run()
    make_pretext(run)
    with pytest.raises(UserError, match="weights of 'test_resnet', not of 'resnet18'"):
        simsiam.main(
            [
                *("--run", str(run.folder), *TINY, "--init", "pretext.jigsaw"),
                *("--backbone", "resnet18"),
            ]
        )


def test_test_pictures_may_be_left_out(
    prepared_run: MakeRun, batches: list[Batch]
) -> None:
    run = prepared_run(n=48)
    table = table_of(run)
    test_rows = set(table.loc[table["split"] == "test", "image_row"])
    assert len(test_rows) == 8
    for flags, expected in (((), True), (("--inductive",), False)):
        batches.clear()
        folder = pretrain(run, "--epochs", "4", "--held-out", "0.2", *flags)
        rows = trained_rows(batches)
        assert bool(rows & test_rows) == expected
        about = json.loads((folder / "backbone.json").read_text())
        assert about["inductive"] is not expected
        assert not expected or len(rows) > 34
    assert run.finished("pretext.jigsaw").metadata["pictures"] == 32  # of 40, 8 measure


def test_learning_rates_are_tried_without_touching_the_stage(
    prepared_run: MakeRun,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("pretext.engine.lr_finder.STEPS", 40)
    run = prepared_run(n=40)
    stage = pretrain(run)
    before = {p.name: p.read_bytes() for p in stage.iterdir() if p.is_file()}
    place = pretrain(run, "--find-lr")
    assert place == run.folder / "find_lr" / "pretext.jigsaw"
    assert {p.name for p in place.iterdir()} == {"range_test.csv", "range_test.png"}
    assert "pretext.jigsaw: --learning-rate" in caplog.text
    assert {p.name: p.read_bytes() for p in stage.iterdir() if p.is_file()} == before
    caplog.clear()
    pretrain(run)
    assert "is already done" in caplog.text


def test_the_last_part_may_see_larger_views(
    prepared_run: MakeRun, batches: list[Batch]
) -> None:
    run = prepared_run(n=40, side=48)
    flags = ("--side", "32", "--final-scale", "1.5", "--epochs", "5", "--width", "16")
    folder = simsiam.main(["--run", str(run.folder), *TINY, *flags])
    assert [batch.scale for batch in batches] == [1.0] * 20 + [1.5] * 5
    assert json.loads((folder / "backbone.json").read_text())["side_px"] == 48


def test_views_larger_than_the_pictures_are_refused(prepared_run: MakeRun) -> None:
    message = "final_scale = 1.5 makes views of 48 px, but the pictures are stored at"
    with pytest.raises(UserError, match=message):
        simsiam.main(
            [
                *("--run", str(prepared_run().folder), *TINY),
                *("--final-scale", "1.5", "--width", "16"),
            ]
        )


def test_a_network_of_one_size_cannot_see_larger_views(prepared_run: MakeRun) -> None:
    run = prepared_run(side=64)
    with pytest.raises(
        UserError, match=r"final_scale = 2\.0: test_vit3 takes pictures"
    ):
        simsiam.main(
            [
                *("--run", str(run.folder), *TINY, "--backbone", "test_vit3"),
                *("--side", "32", "--final-scale", "2", "--width", "16"),
            ]
        )
    assert not run.has("pretext.simsiam")


@pytest.mark.parametrize(
    ("flag", "value", "shown"),
    [
        ("--backbone", "test_resnet2", "backbone = 'test_resnet' and not 'test_resne"),
        in_drills("--grid", "2", "grid = 3 and not 2"),
        in_drills("--seed", "5", "seed = 0 and not 5"),
    ],
)
def test_what_was_begun_otherwise_is_not_gone_on_with(
    flag: str,
    value: str,
    shown: str,
    prepared_run: MakeRun,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(callbacks, "CHECKPOINT_EVERY_S", 0.0)
    monkeypatch.setattr(backbones, "begin_backbone", _renamed(backbones))
    monkeypatch.setattr(pretraining, "check_names", lambda *_: None)
    run = prepared_run(n=40)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(callbacks.TrainingCallback, "_between_epochs", _crash)
        with pytest.raises(ZeroDivisionError):
            pretrain(run, "--epochs", "3")
    with pytest.raises(UserError, match=f"was begun with {shown}"):
        pretrain(run, "--epochs", "3", flag, value)
    pretrain(run, "--epochs", "3")


def _crash(*_: Any) -> None:
    raise ZeroDivisionError


def _renamed(module: Any) -> Any:
    """Let the tiny network answer to another name too."""
    begin = module.begin_backbone

    def named(name: str, *args: Any) -> Any:
        return begin(name.removesuffix("2"), *args)

    return named


def test_held_out_pictures_do_not_depend_on_the_test_pictures() -> None:
    import pandas as pd

    from pretext.data.keyed_rng import keys_of

    ids = [f"p{k}" for k in range(60)]
    table = pd.DataFrame({"split": ["train"] * 40 + ["test"] * 20})
    both, alone = (
        split_rows(
            table[:n], keys_of(ids[:n]), held_out_frac=0.25, inductive=True, seed=0
        )
        for n in (60, 40)
    )
    for rows, expected in zip(both, alone, strict=True):
        assert np.array_equal(rows, expected)
    assert [len(rows) for rows in both] == [30, 10]
    assert sorted(np.concatenate(both)) == list(range(40))
