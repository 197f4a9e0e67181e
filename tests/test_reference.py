"""Tests of reference: the page, the command, and the words of other programs."""

import re
import tomllib
from collections import Counter
from dataclasses import make_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import pandas as pd
import pytest

import pipeline
from data_prep.errors import UserError
from data_prep.experiment import DataSettings, settings_class, stage_names
from data_prep.folds import MAX_CLASSES
from data_prep.settings import fields_of, from_table, nearest
from data_prep.synonyms import BY_WORD, SYNONYMS
from data_prep.tables.target import read_target
from data_prep.task_types.registry import TASK_TYPES
from reference import NUMBER_OR_CLASS, Entry, Part, explain, page, parts
from stacking.ensemble.objective import TITLES
from stacking.ensemble.postprocessors import POSTPROCESSORS
from stacking.models.registry import STACKERS

PAGE = Path(__file__).parents[1] / "docs" / "reference.md"
CLASSES: dict[str, type[Any]] = {
    "[data]": DataSettings,
    **{f"[{stage}]": settings_class(stage) for stage in stage_names()},
}
PARTS = list(parts())


def test_the_page_is_what_the_command_prints(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pipeline.main(["--explain"])
    printed = capsys.readouterr().out
    assert printed == page()
    assert printed == PAGE.read_text(encoding="utf-8"), (
        "write it anew: python -m pipeline --explain > docs/reference.md"
    )


def test_its_first_entry_is_number_or_class() -> None:
    headings = re.findall("^## (.*)$", page(), re.M)
    assert headings[:3] == ["Number or class", "`[data]`", "`[tasks.NAME]`"]
    assert f"at most {MAX_CLASSES} values" in NUMBER_OR_CLASS
    for word in ("number", "class", "target_kind", "[data]"):
        assert "target_kind" in explain([word])


@pytest.mark.parametrize(
    ("cells", "declared", "kind"),
    [
        ([0, 1, 2.5], None, "numeric"),
        (["oak", "ash", "oak"], None, "classes"),
        ([True, False, True], None, "classes"),
        ([0, 1, 0], "classes", "classes"),
    ],
)
def test_what_it_says_of_number_and_class_is_so(
    cells: list[Any], declared: str | None, kind: str
) -> None:
    assert read_target(pd.Series(cells), "x", declared)[1:] == (kind, "")
    assert read_target(pd.Series(["a", 1, 2]), "x", "numbers")[2]


def test_every_key_stands_at_its_tables() -> None:
    listed = Counter(
        (place, entry.name)
        for part in PARTS
        for entry in part.entries
        for place in entry.tables
    )
    expected = {
        (place, key) for place, kind in CLASSES.items() for key in fields_of(kind)
    }
    for name, task_type in TASK_TYPES.items():
        for key in fields_of(task_type):
            is_common = key in ("column", "weight")
            place = "[tasks.NAME]" + f' with kind = "{name}"' * (not is_common)
            expected.add((place, key))
    assert expected <= set(listed)
    assert set(listed.values()) == {1}, "twice in one place"
    named = {entry.name for part in PARTS for entry in part.entries}
    assert {*TITLES, *STACKERS, "weighted", *(p.name for p in POSTPROCESSORS)} <= named


@pytest.mark.parametrize("place", CLASSES)
def test_every_example_is_a_line_that_is_read(place: str) -> None:
    kind = CLASSES[place]
    hints = get_type_hints(kind, include_extras=True)
    for part in PARTS:
        for entry in part.entries:
            if place in entry.tables:
                # alone: some need others beside them
                alone = make_dataclass("Alone", [(entry.name, hints[entry.name])])
                table = tomllib.loads(entry.example)
                value = getattr(from_table(alone, table, place, {}), entry.name)
                assert value not in (None, "", ())


@pytest.mark.parametrize("name", TASK_TYPES)
def test_every_example_of_a_kind_goes_with_it(name: str) -> None:
    place = f'[tasks.NAME] with kind = "{name}"'
    entries = [e for part in PARTS for e in part.entries if place in e.tables]
    assert entries
    table = tomllib.loads("\n".join(entry.example for entry in entries))
    assert from_table(TASK_TYPES[name], table, place, {}).loss_name == table["loss"]


def test_an_entry_is_a_line_in_markdown() -> None:
    entry = Entry(name="gap", tables=("[x]",), example="gap = 0.1", text="word " * 20)
    part = Part(title="x", text="About it.", entries=(entry,))
    lines = part.markdown().splitlines()
    assert lines[:5] == ["## x", "", "About it.", "", lines[4]]
    assert lines[4].startswith("- `gap = 0.1`: word word")
    assert lines[5].startswith("  word"), "goes on under it"
    assert (
        "- `patience = 5`: end after N epochs that are no better, by select; 0: never"
        in page()
    )


@pytest.mark.parametrize(
    ("word", "lines"),
    [
        ("stacking.fit.metric", ["[stacking.fit]:", '- `metric = "mae"`: what is']),
        ("--batch-size", ["[transfer.finetune]:", "- `batch_size = 32`: pictures"]),
        ("lr", ["lr is called learning_rate here.", "[pretext.simsiam]:"]),
        ("stacking.noise", ["- `share = 0.02`: ", "- `weight = 0.0`: "]),
        ("ordinal", ['- `grades = ["poor", "fair", "good"]`']),
        ("svr", ["stackers of [stacking.fit]:", '- `stackers = ["svr"]`: support']),
        ("isotonic", ["a rising curve"]),
    ],
)
def test_a_word_is_explained(word: str, lines: list[str]) -> None:
    told = explain([word])
    for line in lines:
        assert line in told
    assert len(told) < len(page()) / 3


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("cuda", "'cuda': there is no such key; a GPU is used if there is one, and"),
        ("epcohs", "'epcohs': there is no such key; did you mean 'epochs'?"),
        ("zzzz", "'zzzz': there is no such key; python -m pipeline --explain lists"),
    ],
)
def test_an_unknown_word_is_refused(word: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        pipeline.main(["--explain", word])


def test_each_word_of_others_stands_once_and_leads_to_a_name_of_ours() -> None:
    words = Counter(word for synonym in SYNONYMS for word in synonym.words.split())
    assert max(words.values()) == 1, words.most_common(3)
    names = {entry.name for part in PARTS for entry in part.entries}
    names |= {loss for kind in TASK_TYPES.values() for loss in kind.losses}
    names |= {*TASK_TYPES, "numbers", "experiment", "run", "out", "overwrite"}
    for synonym in SYNONYMS:
        assert set(synonym.names) <= names, synonym
        assert synonym.names or synonym.elsewhere, synonym
        for key in re.findall(r"\b([a-z]+_[a-z]+) =", synonym.elsewhere):
            assert key in names, f"{key} of {synonym.words}"


@pytest.mark.parametrize(
    ("word", "place", "message"),
    [
        ("lr", "[transfer.finetune]", "did you mean 'learning_rate'?"),
        (
            "lr",
            "[data]",
            "it is called 'learning_rate', and is a key of other tables: ",
        ),
        ("batch", "[pretext.dino]", "did you mean 'batch_size'?"),
        ("patience", "[pretext.jigsaw]", "patience of [transfer.finetune] with select"),
        ("early_stopping", "[transfer.finetune]", "patience of [transfer.finetune]"),
        ("freeze", "[transfer.finetune]", "what moves of a net is train of [transfer."),
        ("mixup", "[transfer.finetune]", "did you mean 'mix'"),
        ("class_weights", "[transfer.finetune]", "it is a key of [tasks.NAME] with"),
        ("class weights", "[stacking.fit]", "it is a key of [tasks.NAME] with kind ="),
        ("gpus", "[transfer.finetune]", "did you mean 'devices'?"),
        ("gpus", "[features.extract]", "a GPU is used if there is one, and CUDA_"),
        ("sam", "[transfer.finetune]", "did you mean 'sam_rho'?"),
        ("mixup_alpha", "[transfer.finetune]", "did you mean 'mix_alpha'?"),
        ("cutmix_prob", "[transfer.finetune]", "did you mean 'mix_share'?"),
        ("cutmix", "[pretext.jigsaw]", "mix of [transfer.finetune] mixes the pic"),
        ("pseudo_labeling", "[transfer.finetune]", "did you mean 'pseudo_labels'?"),
        ("pseudo_labeling", "[stacking.fit]", "pseudo_labels of [transfer.finetune]"),
        ("distillation", "[transfer.distill]", "did you mean 'teacher_share'?"),
        ("distillation", "[transfer.finetune]", "python -m transfer.distill, after"),
        ("n_repeats", "[data_prep.prepare]", "did you mean 'cv'?"),
        ("repeats", "[stacking.fit]", "did you mean 'cv'?"),
        ("repeats", "[data]", "cv of [data_prep.prepare] deals the folds several"),
        ("pages", "[data_prep.prepare]", "did you mean 'page'?"),
        ("ensemble", "[stacking.fit]", "did you mean 'also'?"),
        ("pairwise_loss", "[transfer.finetune]", "it is a key of [tasks.NAME] with"),
        ("tta", "[features.extract]", "did you mean 'views'?"),
        ("tta", "[stacking.fit]", "views of features.extract says which flips"),
        ("augment", "[pretext.jigsaw]", "the views of a training are set by min_"),
        ("randaugment", "[transfer.finetune]", "did you mean 'augment'?"),
        ("num_workers", "[data_prep.prepare]", "did you mean 'workers'?"),
        ("num_workers", "[transfer.finetune]", "there is no loader and so no workers"),
        ("pretrained", "[transfer.finetune]", "did you mean 'init'?"),
        ("pretrained", "[data]", "weights of others are named by init, such as init ="),
        ("label", "[data]", "did you mean 'target'?"),
        ("Image-Size", "[data_prep.prepare]", "did you mean 'side'?"),
    ],
)
def test_a_key_of_others_is_answered(word: str, place: str, message: str) -> None:
    with pytest.raises(UserError) as refused:
        from_table(CLASSES[place], {word: 1}, place, {})
    assert str(refused.value).startswith(f"{place}: unknown key {word!r}; {message}")


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--lr", "unknown argument '--lr'; did you mean '--learning-rate'?"),
        ("--gpus", "unknown argument '--gpus'; did you mean '--devices'?"),
        ("--force", "unknown argument '--force'; did you mean '--overwrite'?"),
    ],
)
def test_a_flag_of_others_is_answered(
    flag: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from transfer.finetune import main

    with pytest.raises(SystemExit):
        main([flag, "1"])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("word", "choices", "name"),
    [
        ("mse", [*TITLES], "rmse"),
        ("xgboost", [*STACKERS], "lightgbm"),
        ("multilabel", [*TASK_TYPES], "tags"),
        ("qwk", [*TITLES], "quadratic_kappa"),
        ("l1", ["mse", "mae"], "mae"),
        ("huber_loss", [*TASK_TYPES["regression"].losses], "huber"),
    ],
)
def test_a_value_of_others_is_answered(
    word: str, choices: list[str], name: str
) -> None:
    assert nearest(word, choices) == f"did you mean {name!r}?"


def test_columns_of_the_user_are_no_questions() -> None:
    for word in BY_WORD:
        told = nearest(word, ["width", "colour_of_frame"])
        assert "did you mean" in told or told == "there are: colour_of_frame, width"
    assert nearest("gpu", ["width"]) == "there are: width"


@pytest.mark.parametrize("word", ["flat", "foo", "verbose", "xyz", "gamma", "beta"])
@pytest.mark.parametrize("place", CLASSES)
def test_nothing_is_suggested_where_nothing_is_near(word: str, place: str) -> None:
    assert nearest(word, fields_of(CLASSES[place]), is_key=True).startswith("there are")


def test_dashes_make_no_two_flags_alike() -> None:
    assert nearest("--x", ["--run", "--out"], is_key=True) == "there are: --out, --run"
