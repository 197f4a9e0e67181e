"""Tests of the comparisons: what is trained, what is averaged."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from benchmarks import compare_arms
from benchmarks.arms import Arm, Training, arm_of, check_arms, read_arms
from benchmarks.compare_arms import (
    Outcome,
    check_inits,
    prediction_of,
    report,
    usual_of,
)
from benchmarks.compare_pretexts import link_stages
from data_prep.dihedral import VIEW_SETS
from data_prep.errors import UserError
from data_prep.executors.pool import Pool
from data_prep.executors.work import Outcome as WorkOutcome
from data_prep.executors.work import Work
from data_prep.experiment import read_experiment
from data_prep.run_folders.runs import Run

FOLDER = Path(__file__).parents[1] / "experiments" / "compare"


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.toml")), ids=lambda p: p.stem)
def test_the_comparisons_name_settings_that_there_are(file: Path) -> None:
    experiment, groups = read_arms(file)
    assert experiment.is_file()
    assert all(len(arms) > 1 for arms in groups.values())
    check_arms(file, groups, read_experiment(experiment, experiment.parent / "run"))


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ('augmnt = "strong"', r"'b'\]: unknown key 'augmnt'; did you mean 'augment'?"),
        ('augment = "strog"', r"'b'\]: augment = 'strog': did you mean 'strong'?"),
        ("mix_alpha = 0.4", "'b'\\]: mix_alpha = 0.4 is for mixed pictures, but mix ="),
        ('mix = "cutmix"\nmix_last_plain = 9', r"'b'\]: mix_last_plain = 9, but the"),
    ],
)
def test_a_mistake_in_a_later_arm_is_told_before_the_first_is_trained(
    tmp_path: Path, arm: str, message: str
) -> None:
    (tmp_path / "b.toml").write_text("[transfer.finetune]\nepochs = 4\n")
    file = tmp_path / "a.toml"
    file.write_text(f'experiment = "b.toml"\n[aug.a]\n[aug.b]\n{arm}\n')
    path, groups = read_arms(file)
    with pytest.raises(UserError, match=rf"a.toml: \[aug.{message}"):
        check_arms(file, groups, read_experiment(path, tmp_path / "run"))


def test_seeds_are_trainings_and_equal_settings_are_one() -> None:
    two = arm_of("two", {"seeds": [0, 1], "dropout": 0.5}, "here")
    (again,) = arm_of("one", {"seeds": [1], "dropout": 0.5}, "here").trainings
    assert [each.settings["seed"] for each in two.trainings] == [0, 1]
    assert two.trainings[1].slug == again.slug
    assert "--seed=1" in again.flags
    assert Arm(name="as it is").trainings == [Training(settings={})]


def test_views_and_seeds_are_averaged_by_hand() -> None:
    n_views = len(VIEW_SETS["d4"])
    by_view = np.arange(2 * n_views, dtype=float).reshape(2, n_views)  # 0..7, 8..15
    outcomes: dict[str, Outcome] = {
        "seed_0": (by_view, 1.5),
        "seed_1": (by_view + 2, 2.0),
    }
    arm = arm_of("c4", {"seeds": [0, 1], "views": "c4"}, "here")
    outcome = prediction_of(arm, outcomes, (0.0, 9.0))
    assert outcome is not None
    # e, hv, r, hvr are 0, 3, 4, 7: mean 3.5, 1 more by the seeds; 12.5 is cut
    assert_allclose(outcome[0], [4.5, 9.0])
    assert outcome[1] == 3.5
    alone = prediction_of(
        arm_of("e", {"seeds": [1], "views": "e"}, "-"), outcomes, (0, 9)
    )
    assert alone is not None
    assert_allclose(alone[0], [2.0, 9.0])
    assert (
        prediction_of(arm_of("lost", {"seeds": [7]}, "here"), outcomes, (0, 9)) is None
    )


def test_nets_without_turns_are_asked_in_what_they_learned() -> None:
    assert arm_of("up", {"turns": False}, "here").view_indices == [0, 1]
    assert len(arm_of("turned", {}, "here").view_indices) == 8
    assert len(Arm(name="turned").view_indices) == 8


@pytest.mark.parametrize(
    ("table", "match"),
    [
        ({"seeds": 2}, r"seeds = 2: a list of numbers"),
        ({"seeds": [0], "seed": 1}, "seed and seeds"),
        ({"views": "d5"}, "views = 'd5'.*d4"),
        ({"turns": False, "views": "d4"}, "its nets learn 'flip' alone"),
    ],
)
def test_mistakes_in_an_arm(table: dict[str, object], match: str) -> None:
    with pytest.raises(UserError, match=match):
        arm_of("x", table, "a.toml: [g.'x']")


def test_a_file_without_experiment_or_group(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text("[losses.a]\n")
    with pytest.raises(UserError, match=r'experiment = "FILE.toml" is missing'):
        read_arms(file)
    file.write_text('experiment = "b.toml"\n[losses.a]\ndropout = 0.5\n')
    with pytest.raises(UserError, match=r"no group of arms 'loss'; did you mean 'loss"):
        read_arms(file, ["loss"])
    common = ["dropout=0.1", "init=w/lite0.pth", 'tasks=["date"]', "turns=false"]
    (arm,) = read_arms(file, common=common)[1]["losses"]
    assert arm.settings == {
        "dropout": 0.5,
        "init": "w/lite0.pth",
        "tasks": ["date"],
        "turns": False,
    }
    assert arm.trainings[0].scored_task == "date"
    assert arm.views == "flip"


def test_a_failed_training_leaves_its_arms_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = pd.DataFrame({"target": [0.0, 1.0, 2.0], "cv_group": [0, 1, 2]})
    right = np.tile(table["target"].to_numpy()[:, None], (1, 8))
    arms = [
        arm_of(name, {"seeds": [seed]}, "here")
        for seed, name in enumerate(["lost", "right", "one off"])
    ]
    resumed = float("nan")  # what it took is not known
    outcomes: dict[str, Outcome] = {
        "seed_1": (right, 1.0),
        "seed_2": (right + 1, resumed),
    }
    report({"g": arms}, outcomes, table, (0.0, 3.0))
    printed = capsys.readouterr().out
    assert "lost" not in printed
    assert "| right | 0.0000 | 0.0000 to 0.0000 |  | 1.0 |" in printed
    assert "| one off | 1.0000 | 1.0000 to 1.0000 | +1.0000 (+1.0000" in printed
    assert printed.endswith(" |  |\n")


@pytest.mark.parametrize(
    ("text", "views", "task"),
    [
        ("", "d4", "target"),
        ("[data]\nup = true", "flip", "target"),
        ("[transfer.finetune]\nturns = false", "flip", "target"),
        (
            '[tasks.price]\nkind = "regression"\n[tasks.kind]\nkind = "classes"',
            "",
            "price",
        ),
        ('[transfer.finetune]\ntasks = ["kind"]', "d4", "kind"),
    ],
)
def test_an_experiment_decides_views_and_task_of_its_arms(
    tmp_path: Path, text: str, views: str, task: str
) -> None:
    (tmp_path / "a.toml").write_text(text)
    comparison = tmp_path / "arms.toml"
    comparison.write_text('experiment = "a.toml"\n[dropout.none]\ndropout = 0.0\n')
    usual = usual_of(read_experiment(tmp_path / "a.toml", tmp_path))
    (arm,) = read_arms(comparison, common=usual)[1]["dropout"]
    assert arm.views == (views or "d4")
    assert arm.trainings[0].scored_task == task
    assert bool(usual) == ((views, task) != ("d4", "target"))


def test_first_weights_that_are_not_there_are_told_first(tmp_path: Path) -> None:
    check_inits(["", "scratch", "pretext.jigsaw"])
    with pytest.raises(UserError, match=r"init = '.*none.pth'"):
        check_inits([str(tmp_path / "none.pth")])


def test_what_was_linked_before_a_stage_was_made_anew_is_linked_again(
    tmp_path: Path,
) -> None:
    base, other = Run(tmp_path / "base"), Run(tmp_path / "other")
    names = ["data_prep.prepare", "pretext.jigsaw"]
    for side in (64, 64, 96):
        with base.stage(names[0], {"side": side}, reads=[]) as stage:
            (stage.folder / "side.txt").write_text(str(side))
        link_stages(base.folder, other.folder, names)
        linked = other.folder / names[0] / "side.txt"
        assert linked.read_text() == str(side)
    with other.stage(names[1], {}, reads=[]):
        pass
    link_stages(base.folder, other.folder, names)  # what the base lacks is kept
    assert other.has(names[1])


def test_trainings_side_by_side_share_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[int] = []

    def fit(*_: Any, threads: int) -> tuple[np.ndarray, float]:
        given.append(threads)
        return np.zeros((2, 8)), 1.0

    def run(works: Sequence[Work], pool: Pool, **_: Any) -> WorkOutcome:
        assert (pool.n_at_once, pool.threads) == (2, 3)
        results = {work.name: work.function(lambda *_: None) for work in works}
        return WorkOutcome(results=results, failures={})

    monkeypatch.setattr(compare_arms, "fit_and_predict", fit)
    monkeypatch.setattr(compare_arms, "run", run)
    monkeypatch.setattr(compare_arms, "n_cores", lambda: 6)
    arms = [arm_of(name, {"seeds": [k]}, "here") for k, name in enumerate("ab")]
    trainings = [training for arm in arms for training in arm.trainings]
    outcomes = compare_arms.run_all(
        trainings, Path("x.toml"), base=tmp_path / "run", folds=["0"], jobs=2
    )
    assert len(outcomes) == 2
    assert given == [3, 3]
