"""The worked example of docs/new_task_kind.md: its file is found, trained and read."""

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close

from data_prep import task_types
from data_prep.task_types import registry
from data_prep.task_types.base import TaskType
from data_prep.task_types.registry import TASK_TYPES
from data_prep.tasks import Task
from tests.prepared_runs import make_run, pixels_of, table_of
from transfer import finetune
from transfer.networks.heads import Head
from transfer.networks.task_net import load_net

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "new_task_kind.md"
TASKS = '[tasks.level]\nkind = "quantile"\n'
QUANTILES = (0.1, 0.5, 0.9)
Kind = type[TaskType]

pytestmark = pytest.mark.usefixtures("tampering_goes_unseen")


@pytest.fixture
def quantile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kind]:
    """Put the page's file where kinds are looked for, for one test."""
    page = PAGE.read_text(encoding="utf-8")
    pieces = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    folder = tmp_path / "kinds"
    folder.mkdir()
    (folder / "quantile.py").write_text("\n".join(pieces))
    monkeypatch.setattr(task_types, "__path__", [*task_types.__path__, str(folder)])
    importlib.invalidate_caches()
    discovered = registry._discovered()
    assert discovered.keys() - TASK_TYPES.keys() == {"quantile"}
    monkeypatch.setitem(TASK_TYPES, "quantile", discovered["quantile"])
    yield discovered["quantile"]
    del sys.modules["data_prep.task_types.quantile"]
    del task_types.quantile  # type: ignore[attr-defined]


def task_of(quantile: Kind, y: list[float]) -> Task:
    values = np.array(y)[:, None]
    return Task(
        name="width",
        task_type=quantile(),
        values=values,
        has_label=np.ones(len(values), dtype=np.bool_),
        outputs=("10", "50", "90"),
    )


def test_training_begins_at_the_quantiles_of_the_labels(
    quantile: Kind,
) -> None:
    head = Head(quantile(), 4, 3)
    head.start_at(task_of(quantile, [*range(100, 111)]), np.arange(11))
    torch.nn.init.zeros_(head.linear.weight)
    outputs = head.predict(head(torch.zeros(1, 4)))
    assert_close(outputs, torch.tensor([[101.0, 105.0, 109.0]]))


def test_the_loss_by_hand(quantile: Kind) -> None:
    outputs, y_true = torch.tensor([[0.0, 0.0, 3.0]]), torch.tensor([[1.0]])
    loss = quantile().head_loss().row_losses(outputs, y_true, {})
    assert_close(loss, torch.tensor([(0.1 * 1 + 0.5 * 1 + 0.1 * 2) / 3]))
    metric, score = quantile().score(y_true.numpy(), outputs.numpy())
    assert (metric, score) == ("pinball", pytest.approx(loss.item()))


def test_a_net_is_trained_kept_and_read_again(quantile: Kind, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", n_train=48, experiment=TASKS)
    flags = ["--init=scratch", "--backbone=test_resnet", "--folds=0", "--epochs=12"]
    folder = finetune.main(
        ["--run", str(run.folder), *flags, "--learning-rate=0.003", "--dropout=0"]
    )
    (net,) = json.loads((folder / "record.json").read_text())["facts"]["nets"]
    (task,) = net["tasks"]
    assert task["columns"] == ["level_10", "level_50", "level_90"]
    file = folder / "level/fold0/weights.safetensors"
    assert load_file(file)["heads.of_level.centre"].shape == (1,)
    table = table_of(run)
    val_idx = np.flatnonzero(table["fold"] == 0)
    images = torch.from_numpy(pixels_of(run)[val_idx]).permute(0, 3, 1, 2)
    with torch.no_grad():
        y_pred = load_net(file)[0].predict(images)["level"].numpy()
    y_true = table["target"].to_numpy()[val_idx, None]
    _, score = quantile().score(y_true, y_pred)
    assert net["held_out_scores"] == {"level_pinball": pytest.approx(score, rel=1e-5)}
    constant = np.quantile(np.arange(4.0), QUANTILES)
    assert score < 0.8 * quantile().score(y_true, constant)[1]


def test_the_files_that_the_page_names_exist() -> None:
    page = PAGE.read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_]+/[a-z_/]+\.\w+)`", page))
    assert len(named) >= 2
    assert [name for name in named if not (ROOT / name).exists()] == []
