"""Tests of transfer.export: the graph, the folder and its card."""

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
import timm
import torch
from numpy.typing import NDArray
from PIL import Image

from data_prep.errors import UserError
from data_prep.prepared import Prepared
from data_prep.run_folders.runs import Run
from features.store import open_store
from pretext import probe
from pretext.init_weights import find_weights
from pretext.networks.backbones import begin_backbone
from tests.prepared_runs import (
    STAGE,
    elsewhere,
    extract,
    finetune,
    make_run,
    pixels_of,
    table_of,
)
from transfer.export import main
from transfer.networks.task_net import load_net
from transfer.results.graph import AveragedNets
from transfer.results.model_card import card_of
from transfer.results.trained_nets import TrainedNets

SIDE = 32
FAR = (1.0, 3e7)  # labels that float32 would lose


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Make a run with joint nets of two folds and their store."""
    run = make_run(tmp_path_factory.mktemp("exported"), n_folds=2, unit=FAR)
    finetune(run, "--joint", "--steps=2")
    extract(run)
    return run


def check_lines(lines: str, run: Run, folder: Path) -> None:
    """Check that what is printed for copying runs, on a picture as it is stored."""
    row = int(table_of(run)["image_row"].iloc[0])
    stored = Image.fromarray(pixels_of(run)[row])
    stored.save(folder / "picture.png")
    names: dict[str, Any] = {}
    exec(lines.replace("picture.jpg", str(folder / "picture.png")), names)
    assert np.array_equal(names["pixels"], stored)
    assert list(names["outputs"]) == ["target", "onehot", "date", "words"]
    assert "--fit pad" in lines
    assert f"side = {SIDE}  # px, of the views that the nets were trained on" in lines


def grey_levels(run: Run, ids: pd.Series) -> NDArray[np.float32]:
    rows = table_of(run).set_index("id")["image_row"][ids].to_numpy()
    return pixels_of(run)[rows].transpose(0, 3, 1, 2).astype(np.float32)


def test_the_graph_gives_what_the_store_has_of_test_pictures(
    run: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    out = main([f"--run={run.folder}", f"--out={tmp_path / 'nets.onnx'}"])
    check_lines(caplog.text.partition("to use it:\n\n")[2], run, tmp_path)
    store = open_store(run.folder / "features.extract" / "features.pkl")
    table = table_of(run)
    ids = table.loc[table["split"] == "test", "id"]
    session = onnxruntime.InferenceSession(out)
    outputs = dict(
        zip(
            [output.name for output in session.get_outputs()],
            session.run(None, {"images": grey_levels(run, ids)}),
            strict=True,
        )
    )
    assert list(outputs) == ["target", "onehot", "date", "words"]
    frame = store.frame(ids)
    for task, values in outputs.items():
        columns = [c for c in frame if c.startswith(task) and c.endswith("__mean")]
        expected = frame[columns].to_numpy()
        spread = max(np.ptp(expected), 1e-2)
        assert np.allclose(values, expected, rtol=3e-7, atol=1e-4 * spread), task
    notes = session.get_modelmeta().custom_metadata_map
    assert json.loads(notes["folds"]) == ["0", "1"]


def test_views_and_nets_are_averaged(run: Run) -> None:
    nets = [
        load_net(run.folder / f"transfer.finetune/joint/fold{k}/weights.safetensors")[0]
        for k in range(2)
    ]
    images = torch.from_numpy(grey_levels(run, table_of(run)["id"][:3]))
    model = AveragedNets(nets, ("e", "h"))
    assert model.tasks == nets[0].tasks
    with torch.inference_mode():
        outputs = dict(zip(model.tasks, model(images), strict=True))
        alone = [net.predict(x) for net in nets for x in (images, images.flip(3))]
    for task, values in outputs.items():
        expected = (
            torch.stack([outputs_of[task] for outputs_of in alone]).double().mean(dim=0)
        )
        expected += torch.tensor(nets[0].origins[task])
        assert torch.allclose(values.double(), expected, rtol=1e-6), task
    assert outputs["target"].dtype == torch.float64  # as float32 would lose it
    assert outputs["date"].dtype == torch.float32


def test_the_folder_is_what_timm_and_init_read(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "leaves"
    main([f"--run={run.folder}", "--to=folder", "--fold=0", f"--out={out}"])
    net, config = load_net(
        run.folder / "transfer.finetune/joint/fold0/weights.safetensors"
    )
    images = torch.from_numpy(grey_levels(run, table_of(run)["id"][:3]))
    with torch.inference_mode():
        expected = net.backbone(net.normalise(images))
        timms = timm.create_model(f"local-dir:{out}", pretrained=True).eval()
        assert torch.allclose(timms(net.normalise(images)), expected, atol=1e-5)
        ours = begin_backbone("", find_weights(str(out), run), SIDE)[1].eval()
        assert torch.allclose(ours(net.normalise(images)), expected, atol=1e-5)
    card = (out / "README.md").read_text(encoding="utf-8")
    record = json.loads((run.folder / "transfer.finetune/record.json").read_text())
    (net_record,) = [n for n in record["facts"]["nets"] if n["fold"] == "0"]
    score = net_record["held_out_scores"]["date_rmse"]
    for text in ("fold 0 of 2", f"trained on {net_record['rows']}", f"{score:.4g}"):
        assert text in card
    assert config["begun_from"] in card
    assert "no label of that fold." in card
    with pytest.raises(UserError, match=r"init = .*leaves.*labels of this very run"):
        finetune(run, f"--init={out}", "--overwrite")
    with pytest.raises(UserError, match=r"source = .*leaves.*labels of this very run"):
        extract(run, f"--source={out}", "--overwrite")
    with elsewhere(run), pytest.raises(UserError, match=r"weights = .*this very run"):
        probe.main([f"--run={run.folder}", f"--weights={out}"])
    with pytest.raises(UserError, match=r"leaves is there already; --overwrite"):
        main([f"--run={run.folder}", "--to=folder", "--fold=0", f"--out={out}"])


def test_a_record_may_have_the_former_name_of_a_loss(run: Run) -> None:
    trained = TrainedNets.of(run)
    task = {"kind": "regression", "column": None, "loss": "smooth_l1", "weight": 1.0}
    record = {"settings": {"tasks_of_experiment": {"target": task}}}
    earlier = replace(trained, finished=replace(trained.finished, record=record))
    (read,) = earlier.tasks(Prepared.open(run.finished(STAGE)))
    assert read.task_type.loss == "huber"


def test_the_card_says_what_chose_the_epoch(run: Run) -> None:
    trained = TrainedNets.of(run)
    net, config = trained.load(trained.nets[0])
    record = {**trained.nets[0], "chosen": {"by": "fold"}}
    card = card_of(trained, record, run, config=config, net=net, folder="leaves")
    assert "no label of that fold, but its epoch was chosen by them." in card


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--fold=7"], r"fold = '7': .* has no such nets; give 0, 1, mean$"),
        (["--to=folder", "--fold=mean"], r"fold = 'mean' is several nets.*give 0, 1$"),
        (["--to=folder"], r"fold = 'all': .* has no such nets; give 0, 1, mean$"),
        (["--out=nets.pt"], r"out = 'nets.pt': --to onnx writes a file NAME.onnx$"),
    ],
)
def test_bad_flags(run: Run, flags: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        main([f"--run={run.folder}", *flags])


def test_a_stage_is_no_place_for_it(run: Run) -> None:
    out = run.folder / "transfer.finetune"
    with pytest.raises(UserError, match=r"is the place of a stage; give another$"):
        main([f"--run={run.folder}", "--to=folder", "--fold=0", f"--out={out}"])
    assert (out / "record.json").exists()
