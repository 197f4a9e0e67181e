"""Tests of stacking.analysis.learning_curves: scores that the training itself made."""

from pathlib import Path

import pytest

from data_prep.run_folders.runs import Run, write_json
from pretext.engine.history import History
from stacking.analysis.learning_curves import held_out_scores


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Give a run of two nets whose folds were scored after epochs 2 and 4."""
    with Run(tmp_path).stage("transfer.finetune", {}) as stage:
        places = [f"joint/fold{fold}" for fold in range(2)]
        for fold, place in enumerate(places):
            history = History(stage.folder / place / "logs" / "epochs.csv")
            for epoch in range(1, 5):
                row = {"loss": 1.0, "inner/target_rmse": 3.0}
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
