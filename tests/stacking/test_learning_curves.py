"""Tests of stacking.analysis.learning_curves: scores that the training itself made."""

from pathlib import Path

import pytest

from data_prep.reporting.charts import ChartLine
from data_prep.run_folders.runs import Run, write_json
from pretext.engine.history import History
from stacking.analysis.learning_curves import (
    Curves,
    held_out_scores,
    kept_epochs,
    training_losses,
)
from stacking.reporting.sections.learning import end_text, task_of


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Give a run of two nets whose folds were scored after epochs 2 and 4."""
    with Run(tmp_path).stage("transfer.finetune", {}) as stage:
        places = [f"joint/fold{fold}" for fold in range(2)]
        for fold, place in enumerate(places):
            logs = stage.folder / place / "logs"
            logs.mkdir(parents=True)
            steps = [f"{step},target,{step + fold}" for step in range(2, 21, 2)]
            (logs / "metrics.csv").write_text("\n".join(["step,name,value", *steps]))
            history = History(stage.folder / place / "logs" / "epochs.csv")
            for epoch in range(1, 5):
                row = {"step": 5 * epoch, "loss": 1.0, "inner/target_rmse": 3.0}
                if epoch % 2 == 0:
                    row |= {"held_out/target_rmse": epoch + fold, "held_out/a_b": 1.0}
                history.add(epoch, row)
        nets = [{"fold": str(k), "place": place} for k, place in enumerate(places)]
        stage.metadata = {"nets": nets}
    with Run(tmp_path).stage("features.extract", {}, reads=["transfer.finetune"]):
        pass
    return tmp_path


def test_without_a_watcher_they_are_those_of_the_epochs(run: Path) -> None:
    curves = held_out_scores(run)
    assert list(curves) == ["a_b", "target_rmse"]
    points = [(line.name, line.x, line.y) for line in curves["target_rmse"]]
    assert points == [("fold 0", [2, 4], [2, 4]), ("fold 1", [2, 4], [3, 5])]


def test_losses_are_by_epoch_as_the_scores_are(run: Path) -> None:
    first, second = training_losses(run)["target"]
    assert first.x == [0.4, 0.8, 1.2, 1.6, 2.0, 2.4, 2.8, 3.2, 3.6, 4.0]
    assert first.y == [*range(2, 21, 2)]
    assert (second.name, second.y[0]) == ("fold 1", 3)


def test_epochs_are_kept_if_every_net_has_several(run: Path) -> None:
    assert kept_epochs(run) == 0
    for fold, n_kept in enumerate((3, 2)):
        folder = run / f"transfer.finetune/joint/fold{fold}/epochs"
        folder.mkdir()
        for epoch in range(n_kept):
            (folder / f"epoch{epoch}.safetensors").touch()
    assert kept_epochs(run) == 2
    (folder / "epoch0.safetensors").unlink()
    assert kept_epochs(run) == 0  # one epoch is no curve


@pytest.mark.parametrize(
    ("score", "curves", "words"),
    [
        ("t_rmse", [(3, 1, 2), (2, 1, 1.5)], "1.7500 at the end, after epoch 3; the"),
        ("t_rmse", [(3, 1, 2), (2, 1, 1.5)], "best was 1.0000, after epoch 2. Do not"),
        ("t_accuracy", [(3, 1, 2)], "of the fold: 2.0000 at the end, after epoch 3;"),
        ("t_accuracy", [(3, 1, 2)], "best was 3.0000, after epoch 1."),
        ("t_rmse", [(3, 2, 1)], "best at the end, 1.0000 after epoch 3; more epochs"),
        ("t_rmse", [(3, 1, 1)], "of the fold: 1.0000 at the end, and no better before"),
        ("t_rmse", [(3, 2), (2,)], ""),
    ],
)
def test_the_last_epoch_is_compared_with_the_best(
    score: str, curves: list[tuple[float, ...]], words: str
) -> None:
    drawn = [
        ChartLine(name="", x=[k + 1.0 for k in range(len(y))], y=y) for y in curves
    ]
    text = end_text(score, drawn)
    assert words in text if words else not text


def test_a_score_belongs_to_the_longest_name_of_a_task() -> None:
    losses: Curves = {"kind": [], "kind_of": []}
    scores = ("kind_rmse", "kind_of_rmse", "date_rmse")
    assert [task_of(score, losses) for score in scores] == ["kind", "kind_of", "date"]


def test_those_of_a_watcher_are_of_all_views_and_shown_instead(run: Path) -> None:
    trained = Run(run).finished("transfer.finetune").record
    training = {key: trained[key] for key in ("settings", "reads")}
    write_json(run / "features.watch" / "training.json", training)
    lines = ["net,fold,epoch,score,value,pictures,seconds"]
    lines += [f"joint,0,{epoch},target_rmse,7,9,1.0" for epoch in (1, 2)]
    (run / "features.watch" / "scores.csv").write_text("\n".join(lines))
    curves = held_out_scores(run)
    assert [line.y for line in curves["target_rmse"]] == [[7, 7]]
    assert list(curves) == ["target_rmse"]
