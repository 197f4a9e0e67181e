"""Tests of stacking.noise and stacking.reporting.noise_page."""

import json
import logging
import re
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from data_prep.errors import UserError
from data_prep.run_folders.runs import Run, UnfinishedStageError
from data_prep.run_folders.stale import StaleStageError
from data_prep.tables.id_tables import read_weights
from stacking.noise import main

pytestmark = pytest.mark.usefixtures("tampering_goes_unseen")

N = 60
NAMES = ["antique", "007", "<b>new"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # which run was the last worked on is noted here


def make_run(
    folder: Path, *, kind: str = "classes", has_pictures: bool = False
) -> pd.DataFrame:
    """Write what noise reads; return the out-of-fold predictions.

    Labels 5, 6 and 7 are wrong. ``kind`` is ``classes``, ``numeric`` (a quantity),
    ``levels`` (with classes) or ``both`` (whose probabilities are known, too).
    """
    rng = np.random.default_rng(0)
    ids = [f"{number:03d}" for number in range(N)]
    true = np.arange(N) % 3
    is_wrong = (np.arange(N) >= 5) & (np.arange(N) < 8)
    label = np.where(is_wrong, (true + 1) % 3, true)
    sure = np.where(is_wrong, 0.95, 0.7)
    shares = rng.dirichlet([1, 1, 1], N) * (1 - sure)[:, None]
    shares[np.arange(N), true] += sure
    names = NAMES if kind == "classes" else ["0", "1", "2"]
    oof = pd.DataFrame({"id": ids, "fold": np.arange(N) % 2})
    if kind == "classes":
        oof["target"] = np.array(NAMES, dtype=object)[label]
        oof["prediction"] = np.array(NAMES, dtype=object)[shares.argmax(axis=1)]
    else:
        oof["target"] = label.astype(float)
        oof["prediction"] = true + rng.normal(0, 0.1, N)
    if kind in ("classes", "both"):
        for k, name in enumerate(names):
            oof[f"probability_{name}"] = shares[:, k]
    table = pd.DataFrame({"id": [*ids, "other"], "image_row": np.arange(N + 1)[::-1]})
    table = table.assign(split="train", cv_group=np.arange(N + 1), fold=-1)
    run = Run(folder)
    with run.stage("data_prep.prepare", {}) as stage:
        table.to_parquet(stage.folder / "table.parquet")
        if has_pictures:
            levels = np.arange(N + 1, dtype=np.uint8)[:, None, None, None]
            np.save(stage.folder / "images.npy", np.tile(levels, (1, 16, 16, 3)))
        stage.metadata = {
            "target_kind": "classes" if kind == "classes" else "numeric",
            "id_column": "id",
            "target_column": "period",
            "classes": {"classes": NAMES, "numeric": None}.get(kind, [0.0, 1.0, 2.0]),
        }
    with run.stage("stacking.fit", {}, ["data_prep.prepare"]) as stage:
        oof.to_parquet(stage.folder / "oof.parquet", index=False)
    (folder / "experiment.toml").write_text("[data]\n")
    origin = {"base": ".", "experiment": "experiment.toml"}
    (folder / "run.json").write_text(json.dumps(origin))
    return oof


def issues_of(folder: Path, *flags: str) -> pd.DataFrame:
    stage = main([f"--run={folder}", *flags])
    path = stage / "label_issues.csv"
    return pd.read_csv(path, dtype={"id": str}, keep_default_na=False)


@pytest.mark.parametrize("kind", ["classes", "numeric", "levels", "both"])
def test_wrong_labels_come_first_and_are_flagged(tmp_path: Path, kind: str) -> None:
    oof = make_run(tmp_path, kind=kind)
    issues = issues_of(tmp_path, "--share=0.1")
    columns = ["id", "target", "prediction", "issue_score", "weight", "reason"]
    assert list(issues) == columns
    assert sorted(issues["id"]) == oof["id"].tolist()
    assert set(issues["id"][:3]) == {"005", "006", "007"}
    assert (issues["issue_score"].diff()[1:] <= 0).all()
    assert issues["issue_score"].between(0, 1).all()
    assert issues["weight"].tolist() == [0.0] * 3 + [1.0] * (N - 3)
    assert [bool(text) for text in issues["reason"]] == [True] * 3 + [False] * (N - 3)
    metadata = json.loads((tmp_path / "stacking.noise" / "record.json").read_text())
    assert metadata["facts"] == {"rows": N, "issues": 3, "flagged": 3}
    by_id = oof.set_index("id").loc[issues["id"]]
    if kind == "classes":
        assert issues["target"].tolist() == by_id["target"].tolist()
    else:
        assert issues["target"].tolist() == by_id["target"].tolist()
        np.testing.assert_allclose(
            issues["prediction"], by_id["prediction"], rtol=1e-4, atol=1e-5
        )
    first = issues["reason"][0]
    assert ("deviations off" in first) == (kind != "classes")
    assert ("probability of" in first) == (kind in ("classes", "both"))


def test_the_classes_of_a_number_tell_where_the_residual_does_not(
    tmp_path: Path,
) -> None:
    oof = make_run(tmp_path, kind="both")
    target = oof["target"].to_numpy()
    blurred = target + np.random.default_rng(0).normal(0, 5, N)
    path = tmp_path / "stacking.fit" / "oof.parquet"
    oof.assign(prediction=blurred).to_parquet(path, index=False)
    issues = issues_of(tmp_path, "--share=0.5").set_index("id")
    for id_ in ("005", "006", "007"):
        assert issues["weight"][id_] == 0
        assert "probability of" in issues["reason"][id_]


@pytest.mark.parametrize(("scale", "offset"), [(1e-7, 0), (1, 0), (40, 1.6e9)])
def test_the_file_says_what_was_scored_in_any_unit(
    tmp_path: Path, scale: float, offset: float
) -> None:
    oof = make_run(tmp_path, kind="numeric", has_pictures=True).set_index("id")
    scaled = offset + scale * oof[["target", "prediction"]]
    path = tmp_path / "stacking.fit" / "oof.parquet"
    oof.assign(**scaled).reset_index().to_parquet(path)
    issues = issues_of(tmp_path).set_index("id").loc[oof.index]
    for name in ("target", "prediction"):
        assert_allclose(issues[name], scaled[name], rtol=0, atol=3e-8 * scale)
    page = (tmp_path / "stacking.noise" / "report.html").read_text()
    shown = re.findall(r"<figcaption>\d+\n(\S+) → (\S+)", page)
    assert len({prediction for _, prediction in shown}) > len(shown) / 2


@pytest.mark.parametrize(("share", "n"), [("0.02", 1), ("0.034", 2), ("0.01", 0)])
def test_flags_are_few_and_weigh_what_is_asked(
    tmp_path: Path, share: str, n: int
) -> None:
    make_run(tmp_path)
    issues = issues_of(tmp_path, f"--share={share}", "--weight=0.25")
    assert issues["weight"].tolist() == [0.25] * n + [1.0] * (N - n)
    assert (issues["reason"] != "").sum() == 3


def test_an_experiment_can_read_the_file(tmp_path: Path) -> None:
    oof = make_run(tmp_path)
    stage = main([f"--run={tmp_path}", "--share=0.1", "--weight=0.5"])
    weights = read_weights(stage / "label_issues.csv", "name", oof["id"].tolist())
    softened = {id_ for id_, weight in weights.items() if weight < 1}
    assert softened == {"005", "006", "007"}
    assert set(weights.values()) == {0.5, 1.0}


@pytest.mark.parametrize("has_pictures", [True, False])
def test_the_page_shows_the_pictures_of_the_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_pictures: bool
) -> None:
    shown = {}

    def grid(pixels: Any, captions: list[str]) -> str:
        shown.update(zip(captions, pixels[:, 0, 0, 0].tolist(), strict=True))
        return "grid"

    monkeypatch.setattr("stacking.reporting.noise_page.picture_grid", grid)
    make_run(tmp_path, has_pictures=has_pictures)
    page = (main([f"--run={tmp_path}"]) / "report.html").read_text(encoding="utf-8")
    assert len(shown) == N * has_pictures
    for caption, level in shown.items():
        assert level == N - int(caption.split("\n")[0])
    assert ("The likeliest issues" in page) == has_pictures
    assert "<b>new" not in page
    assert "<b>new" in unescape(page)
    assert "Nothing has been changed" in page
    assert "a little too good" in page
    flagged = [caption for caption in shown if caption.endswith("weight 0")]
    assert len(flagged) == has_pictures  # 2 % of 60
    assert sum("→" in caption for caption in shown) == len(shown)


def test_what_is_found_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    make_run(tmp_path)
    main([f"--run={tmp_path}"])
    line = (
        "label issues: 3 of 60 labels; flagged: 1 (a share of 0.02 at most), weight 0"
    )
    assert line in caplog.text
    issue = "  005: labelled antique, predicted <b>new; probability of <b>new 0.95, of"
    assert f"{issue} the label antique 0.01" in caplog.text
    assert '[data] sample_weights = "label_issues.csv"' in caplog.text
    caplog.clear()
    main([f"--run={tmp_path}"])
    assert "is already done" in caplog.text


def test_issues_are_of_the_fit_that_is_there(tmp_path: Path) -> None:
    oof = make_run(tmp_path)
    before = issues_of(tmp_path)
    with Run(tmp_path).stage("stacking.fit", {}, ["data_prep.prepare"]) as stage:
        oof["target"] = oof["target"].iloc[::-1].tolist()
        oof.to_parquet(stage.folder / "oof.parquet", index=False)
    assert not issues_of(tmp_path).equals(before)
    with Run(tmp_path).stage("data_prep.prepare", {"other": 1}) as stage:
        (stage.folder / "table.parquet").write_text("other")
    with pytest.raises(StaleStageError, match=r"stacking\.fit was made from another"):
        main([f"--run={tmp_path}"])


def test_without_a_fit_it_says_what_to_type(tmp_path: Path) -> None:
    make_run(tmp_path)
    (tmp_path / "stacking.fit" / "record.json").unlink()
    with pytest.raises(UnfinishedStageError, match=r"first: python -m stacking\.fit"):
        main([f"--run={tmp_path}"])


def test_a_table_of_an_older_version_leaves_nothing_behind(tmp_path: Path) -> None:
    make_run(tmp_path)
    path = tmp_path / "data_prep.prepare" / "table.parquet"
    pd.read_parquet(path).rename(columns={"split": "part"}).to_parquet(path)
    with pytest.raises(UserError, match=r"it has no column split; again"):
        main([f"--run={tmp_path}"])
    assert not list(tmp_path.glob("stacking.noise*"))


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--share=0", "share = 0.0: give above 0, at most 0.5"),
        ("--share=0.6", "share = 0.6: give above 0"),
        ("--weight=1", "weight = 1.0: give 0 to below 1"),
        ("--weight=-0.1", "weight = -0.1: give 0"),
    ],
)
def test_settings_are_checked(tmp_path: Path, flag: str, message: str) -> None:
    make_run(tmp_path)
    with pytest.raises(UserError, match=message):
        main([f"--run={tmp_path}", flag])
