"""Tests of transfer.explain: whose net is asked, what, and what the map is."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data_prep.errors import UserError
from data_prep.prepared import PREPARED, Prepared
from data_prep.run_folders.runs import Run
from pretext.data.pictures import Normalisation
from pretext.networks.backbones import build_backbone
from tests.prepared_runs import finetune, make_run, table_of
from tests.transfer.tiny_nets import TINY
from transfer.explain import main
from transfer.networks.task_net import TaskNet, load_net
from transfer.results.explanations import explain, worst_misses
from transfer.results.gradcam import LOWERS, RAISES, ExplainedTask, maps_of, overlay
from transfer.results.trained_nets import TrainedNets

SIDE = 64
NUMBER = {
    "name": "target",
    "kind": "regression",
    "outputs": [""],
    "activation": "identity",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Make a run with joint nets of two folds."""
    run = make_run(tmp_path_factory.mktemp("explained"), n_folds=2)
    finetune(run, "--joint", "--steps=2")
    return run


@pytest.mark.parametrize("backbone", TINY)
def test_every_family_of_networks_has_a_map(backbone: str) -> None:
    torch.manual_seed(0)
    plain = Normalisation((0.0, 0.0, 0.0), (255.0, 255.0, 255.0))
    net = TaskNet(build_backbone(backbone, SIDE), [NUMBER], plain, SIDE).eval()
    torch.nn.init.normal_(net.head("target").linear.weight)
    images = torch.randint(0, 255, (2, 3, SIDE, SIDE), dtype=torch.uint8)
    explained = ExplainedTask(net, NUMBER)
    with torch.inference_mode():
        value = net.predict(images)["target"][:, 0]
    explained.output_idx, explained.signs = torch.zeros(2).long(), torch.ones(2)
    assert torch.allclose(explained(images.float()), value, atol=1e-5)
    idx = np.zeros(2, np.int64)
    raises = maps_of(explained, images, idx, np.full(2, RAISES))
    lowers = maps_of(explained, images, idx, np.full(2, LOWERS))
    assert raises.shape == lowers.shape == (2, SIDE, SIDE)
    both = np.concatenate([raises, lowers])
    assert both.min() >= 0
    assert both.max() == pytest.approx(1, abs=0.1)
    assert not np.allclose(raises, lowers)


class Corner(torch.nn.Module):
    """A backbone of one feature map: the red level of each quarter of the picture."""

    num_features = 1

    def __init__(self) -> None:
        super().__init__()
        self.level = torch.nn.Parameter(torch.ones(1))

    def forward_features(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.level * torch.nn.functional.avg_pool2d(inputs[:, :1], SIDE // 2)

    def forward_head(self, features: torch.Tensor) -> torch.Tensor:
        return features.mean(dim=(2, 3))


def test_the_map_is_where_the_feature_is() -> None:
    plain = Normalisation((0.0, 0.0, 0.0), (255.0, 255.0, 255.0))
    net = TaskNet(Corner(), [NUMBER], plain, SIDE).eval()
    torch.nn.init.ones_(net.head("target").linear.weight)
    images = torch.zeros(1, 3, SIDE, SIDE, dtype=torch.uint8)
    images[:, 0, : SIDE // 2, SIDE // 2 :] = 255
    explained, idx = ExplainedTask(net, NUMBER), np.zeros(1, np.int64)
    (raises,) = maps_of(explained, images, idx, np.array([RAISES]))
    assert raises[: SIDE // 4, -SIDE // 4 :].min() > 0.9
    assert raises[:, : SIDE // 4].max() < 0.1
    (lowers,) = maps_of(explained, images, idx, np.array([LOWERS]))
    assert lowers.max() == 0  # nothing lowers it
    shown = overlay(np.full((SIDE, SIDE, 3), 100, np.uint8), raises)
    assert (shown[-1, 0] == 100).all()  # grey where nothing counts
    assert shown[0, -1, 0] > shown[0, -1, 2] + 50  # warm where it does


def test_the_worst_misses_by_the_nets_that_never_saw_them(run: Run) -> None:
    trained = TrainedNets.of(run).of_task("target")
    prepared = Prepared.open(run.finished(PREPARED))
    (task,) = trained.tasks(prepared, "target")
    rows = worst_misses(trained, prepared, task, 5)
    table, pixels = prepared.table, np.load(prepared.images_path)
    errors = np.full(len(table), -1.0)
    for fold in range(2):
        path = run.folder / f"transfer.finetune/joint/fold{fold}/weights.safetensors"
        of_fold = np.flatnonzero(table["fold"] == fold)
        images = torch.from_numpy(pixels[of_fold]).permute(0, 3, 1, 2)
        with torch.inference_mode():
            y_pred = load_net(path)[0].predict(images)["target"][:, 0].numpy()
        errors[of_fold] = np.abs(y_pred - table["target"][of_fold])
    assert rows.tolist() == np.argsort(-errors, kind="stable")[:5].tolist()
    explanations = explain(trained, prepared, task, rows)
    assert [e.id_ for e in explanations] == table["id"][rows].tolist()
    for row, explanation in zip(rows, explanations, strict=True):
        question = explanation.caption.partition("\n")[2]
        label, _, predicted = explanation.caption.partition("\n")[0].partition(" → ")
        is_low = float(predicted) < float(label) == table["target"][row]
        assert question == ("what lowers it" if is_low else "what raises it")


def test_a_net_that_has_seen_the_label_is_named(run: Run) -> None:
    trained = TrainedNets.of(run).of_task("target")
    prepared = Prepared.open(run.finished(PREPARED))
    (task,) = trained.tasks(prepared, "target")
    of_fold_0 = trained.of_fold("0")  # as if fold 1 had not been trained
    folds = prepared.table["fold"].to_numpy()
    rows = np.array([np.flatnonzero(folds == fold)[0] for fold in (0, 1, -1)])
    captions = [e.caption for e in explain(of_fold_0, prepared, task, rows)]
    is_named = ["has seen its label" in caption for caption in captions]
    assert is_named == [False, True, False]


@pytest.mark.parametrize("task", ["target", "onehot", "date"])
def test_the_command_writes_maps_and_a_page(run: Run, task: str) -> None:
    ids = table_of(run)["id"][[3, 1]].tolist()
    page = main([f"--run={run.folder}", f"--task={task}", f"--ids={','.join(ids)}"])
    assert sorted(p.stem for p in page.parent.glob("*.png")) == sorted(ids)
    with Image.open(page.parent / f"{ids[0]}.png") as image:
        assert image.size == (32, 32)
    trained = run.finished("transfer.finetune").record
    made = json.loads((page.parent / "task.json").read_bytes())
    assert made == {"task": task, "nets": trained["digest"]}
    text = page.read_text(encoding="utf-8")
    assert text.index(ids[0]) < text.index(ids[1])  # in the order given
    assert f"{task} (" in text


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--task=targt"], r"task = 'targt': no such task; did you mean 'target'"),
        (["--ids=nobody"], r"ids = 'nobody': no such picture"),
        (["--task=words"], r"task = 'words': words have no single output to explain"),
    ],
)
def test_bad_flags(run: Run, flags: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        main([f"--run={run.folder}", *flags])


def test_without_the_package(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pytorch_grad_cam", None)
    with pytest.raises(UserError, match=r"further package: pip install grad-cam$"):
        main([f"--run={run.folder}", "--n=1"])


def test_a_run_without_nets(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"transfer.finetune"):
        main([f"--run={make_run(tmp_path).folder}"])
