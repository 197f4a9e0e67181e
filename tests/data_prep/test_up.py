"""Tests of data_prep.up: what [data] up sets for the stages, what contradicts it."""

from pathlib import Path
from typing import Any

import pytest

from data_prep.errors import UserError
from data_prep.experiment import Experiment, read_experiment, settings_class
from data_prep.up import check_learned, views_to_ask
from pretext.jigsaw import JigsawSettings
from transfer.tune import base_of

# by stage, its settings of turns and views: usually, with an up, and without
SET: dict[str, dict[str, tuple[Any, Any, Any]]] = {
    "pretext.jigsaw": {"turns": (False, False, True)},
    "pretext.simsiam": {"turns": (False, False, True)},
    "pretext.dino": {"turns": (False, False, True)},
    "pretext.visreg": {"turns": (False, False, True)},
    "pretext.swav": {"turns": (False, False, True)},
    "pretext.diet": {"turns": (False, False, True)},
    "transfer.finetune": {"turns": (True, False, True)},
    "features.extract": {"views": ("d4", "flip", "d4")},
    "features.watch": {"views": (None, "flip", "d4")},
    "stacking.fit": {},
}


def experiment_of(folder: Path, text: str) -> Experiment:
    file = folder / "leaves.toml"
    file.write_text(text, encoding="utf-8")
    return read_experiment(file, folder / "run")


@pytest.mark.parametrize("stage", SET)
@pytest.mark.parametrize(
    ("number", "line"), list(enumerate(["", "up = true", "up = false"]))
)
def test_one_key_sets_turns_and_views_of_all_stages(
    stage: str, number: int, line: str, tmp_path: Path
) -> None:
    experiment = experiment_of(tmp_path, f"[data]\n{line}")
    settings = experiment.settings_of(stage, settings_class(stage), {})
    for name, values in SET[stage].items():
        assert getattr(settings, name) == values[number], name
    assert settings == settings_class(stage)(
        **{name: values[number] for name, values in SET[stage].items()}
    )


def test_the_search_of_recipes_begins_from_them_too(tmp_path: Path) -> None:
    assert not base_of(experiment_of(tmp_path, "[data]\nup = true")).turns
    assert base_of(experiment_of(tmp_path, "")).turns


@pytest.mark.parametrize(
    "line",
    [
        'up = true\n[features.extract]\nviews = "e"',
        'up = true\n[features.extract]\nviews = "flip"',
        "up = true\n[transfer.finetune]\nturns = false",
        # whoever has no up may turn less
        'up = false\n[features.extract]\nviews = "c4"',
        "up = false\n[transfer.finetune]\nturns = false",
        "up = false\n[pretext.jigsaw]\nexact_original = true",
    ],
)
def test_what_is_written_wins_where_it_fits(line: str, tmp_path: Path) -> None:
    experiment = experiment_of(tmp_path, f"[data]\n{line}")
    (stage,) = experiment.stages
    settings = experiment.settings_of(stage, settings_class(stage), {})
    for name, value in experiment.stages[stage].items():
        assert getattr(settings, name) == value


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "[transfer.finetune]\nturns = true",
            r"leaves.toml \[transfer.finetune\]: turns = true, but \[data\] up = true"
            r" says that the pictures have an up; take one of the two out$",
        ),
        ("[pretext.dino]\nturns = true", r"\[pretext.dino\]: turns = true, but"),
        (
            "[pretext.jigsaw]\nexact_original = true",
            r"\[pretext.jigsaw\]: exact_original means turns = true, but \[data\] up",
        ),
        (
            '[features.extract]\nviews = "d4"',
            r"\[features.extract\]: views = 'd4' turns pictures, but \[data\] up = true"
            r" says that they have an up; give views = 'flip' or 'e', or take up out",
        ),
        ('[features.extract]\nviews = "c4"', r"views = 'c4' turns pictures"),
    ],
)
def test_an_up_and_turns_contradict_each_other(
    line: str, message: str, tmp_path: Path
) -> None:
    experiment = experiment_of(tmp_path, f"[data]\nup = true\n{line}")
    (stage,) = experiment.stages
    with pytest.raises(UserError, match=message):
        experiment.settings_of(stage, settings_class(stage), {})


def test_a_flag_contradicts_it_too(tmp_path: Path) -> None:
    experiment = experiment_of(tmp_path, "[data]\nup = true")
    with pytest.raises(UserError, match="turns = true, but"):
        experiment.settings_of("pretext.jigsaw", JigsawSettings, {"turns": True})


def test_up_is_true_or_false(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"up = 'yes' is not true or false"):
        experiment_of(tmp_path, '[data]\nup = "yes"')


@pytest.mark.parametrize(
    ("turns", "views", "asked"),
    [
        (True, None, "d4"),
        (False, None, "flip"),
        (True, "c4", "c4"),
        (False, "e", "e"),
        (False, "flip", "flip"),
    ],
)
def test_nets_are_asked_in_views_that_they_learned(
    turns: bool, views: str | None, asked: str
) -> None:
    assert views_to_ask(views, "transfer.finetune", {"turns": turns}) == asked


@pytest.mark.parametrize("views", ["d4", "c4"])
def test_nets_are_not_asked_in_views_that_they_never_learned(views: str) -> None:
    message = (
        f"views = '{views}', but the nets of transfer.finetune were not trained on"
        r" turned pictures \(turns = false\); give views = 'flip', or 'e'"
    )
    with pytest.raises(UserError, match=message):
        views_to_ask(views, "transfer.finetune", {"turns": False})
    check_learned(views, "pretext.rotation", None)  # nobody can tell
