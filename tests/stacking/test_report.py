"""Tests of stacking.report and stacking.residuals."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score

from stacking.fit import main
from stacking.residuals import spread_sample

MakeRun = Callable[..., Path]


def report(folder: Path, *flags: str) -> str:
    quick = ["--seeds", "1", "--max-rounds", "60"]
    stage = main(["--run", str(folder), *quick, *flags])
    return (stage / "report.html").read_text(encoding="utf-8")


@pytest.fixture
def page(make_run: MakeRun) -> str:
    return report(make_run())


def test_the_report_says_what_matters(page: str) -> None:
    for words in (
        "Predicting period",
        "the plain net",
        "a constant",
        "Post-processing",
        "Worst misses",
        "Cross-validation measures a prediction by one net per picture",
        "pretext stage saw all pictures",
        "lightgbm",
        "sgkfold3",
    ):
        assert words in page, words


FOLD_NETS = (
    "one net per picture",
    "trained on 2 of 3 folds",
    "all 3 nets",
    "nets whose training labels include",
)


def test_the_fold_nets_are_told_of_where_there_are_some(page: str) -> None:
    for words in FOLD_NETS:
        assert words in page, words
    assert "one net that saw no label" not in page


def test_one_net_that_saw_no_label_is_not_said_to_be_one_of_each_fold(
    make_run: MakeRun,
) -> None:
    page = report(make_run(is_label_free=True), "--cv", "gkfold3")
    for words in (*FOLD_NETS, "1 nets", "plain net"):
        assert words not in page, words
    assert "one net that saw no label" in page
    assert "80 pictures, each through the one net." in page


def test_what_was_decided_on_all_rows_is_said(page: str) -> None:
    assert "Every figure but those called apparent is of pictures whose label" in page
    assert "only whether a step is on was decided on all rows" in page


def test_the_report_is_one_small_file(page: str) -> None:
    assert len(page) < 2_000_000
    assert not re.search(r"https?:", page)


def test_a_dot_shows_its_picture(page: str) -> None:
    dots = re.findall(r'class="point".*?data-caption="([^"]+)" data-pict', page, re.S)
    assert len(dots) == 240
    assert all("target" in caption for caption in dots)


def test_the_confusion_counts_every_row_once(page: str, tmp_path: Path) -> None:
    oof = pd.read_csv(tmp_path / "run" / "stacking.fit" / "oof.csv")
    heat = page[page.index('class="heat"') :]
    cells = re.findall(r'--share:[0-9.]+">(\d+)<small>', heat)
    nearest = oof["prediction"].round().clip(0, 3)
    counts = pd.crosstab(oof["target"], nearest)
    counts = counts.reindex(index=range(4), columns=range(4), fill_value=0)
    found = np.array(cells[:16], dtype=int).reshape(4, 4)
    assert found.sum() == 240
    assert np.abs(found - counts.to_numpy()).sum() <= 2  # of halves


def test_the_worst_pictures_come_first(page: str, tmp_path: Path) -> None:
    oof = pd.read_csv(tmp_path / "run" / "stacking.fit" / "oof.csv")
    error = (oof["prediction"] - oof["target"]).abs().to_numpy()
    worst = oof["id"].to_numpy()[error.argmax()]
    first = re.search(r"<figcaption>(\w+)\n", page)
    assert first is not None
    assert first[1] == worst


def test_names_of_classes_are_escaped(make_run: MakeRun, tmp_path: Path) -> None:
    folder = make_run(is_text=True, tasks=("onehot",))
    path = tmp_path / "run" / "data_prep.prepare" / "record.json"
    path.write_text(path.read_text().replace('"modern"', '"<b>modern"'))
    page = report(folder)
    assert "<b>modern" not in page
    assert "&lt;b&gt;modern" in page


def test_other_scores_are_those_of_scikit_learn(page: str, tmp_path: Path) -> None:
    oof = pd.read_csv(tmp_path / "run" / "stacking.fit" / "oof.csv")
    said = dict(re.findall(r"<dt>([^<]+)</dt><dd>(-?[0-9.]+)</dd>", page))
    error = oof["prediction"] - oof["target"]
    assert float(said["mean absolute error"]) == pytest.approx(
        error.abs().mean(), abs=6e-4
    )
    nearest = oof["prediction"].round().astype(int)
    kappa = cohen_kappa_score(oof["target"].astype(int), nearest, weights="quadratic")
    shown = float(said["quadratic kappa of the nearest class"])
    assert shown == pytest.approx(kappa, abs=6e-3)


def test_a_sample_is_spread_along_the_target() -> None:
    target = np.concatenate([np.zeros(90), np.ones(10)])
    chosen = spread_sample(target, 20)
    assert len(set(chosen.tolist())) == 20
    assert target[chosen].sum() == 2
    assert sorted(spread_sample(target, 400).tolist()) == list(range(100))
