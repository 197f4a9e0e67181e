"""Tests of stacking.kept_metrics: the stack of another metric stays."""

from pathlib import Path

import pytest

from data_prep.run_folders.damage import command_of
from data_prep.run_folders.runs import Run
from data_prep.verify import verify_run
from stacking.kept_metrics import keep_other_metric

FIT = "stacking.fit"


def fit(run: Run, metric: str, text: str) -> None:
    keep_other_metric(run, FIT, metric)
    with run.stage(FIT, {"metric": metric, "text": text}) as stage:
        (stage.folder / "report.html").write_text(text)
        (stage.folder / "oof.csv").write_text(text)
        stage.metadata = {"metric": metric}


def report_of(folder: Path) -> str:
    return (folder / "report.html").read_text()


def test_the_stack_of_another_metric_stays_whole_beside_the_last(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run(tmp_path)
    caplog.set_level("INFO")
    for metric, text in (("rmse", "old"), ("rmse", "new"), ("accuracy", "classes")):
        fit(run, metric, text)
    assert report_of(tmp_path / FIT) == "classes"
    assert report_of(tmp_path / f"{FIT}.rmse") == "new"
    assert f"the stack of rmse is kept: {tmp_path}/{FIT}.rmse" in caplog.text
    assert not (tmp_path / f"{FIT}.accuracy").exists()
    assert command_of(f"{FIT}.rmse", tmp_path) == (
        f"python -m {FIT} --metric rmse --run {tmp_path}"
    )
    verify_run(tmp_path)
    fit(run, "rmse", "newest")
    assert report_of(tmp_path / FIT) == "newest"
    assert report_of(tmp_path / f"{FIT}.accuracy") == "classes"


@pytest.mark.parametrize("metric", ["rmse", "accuracy"])
def test_a_damaged_stack_is_replaced_and_not_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, metric: str
) -> None:
    fit(Run(tmp_path), "rmse", "whole")
    (tmp_path / FIT / "oof.csv").write_text("cut")
    fit(Run(tmp_path, overwrite=True), metric, "made anew")
    assert report_of(tmp_path / FIT) == "made anew"
    assert not (tmp_path / f"{FIT}.rmse").exists()
    assert "replaced and not kept" in caplog.text


def test_the_command_of_a_kept_stack_makes_it() -> None:
    run = Path("r")
    for stage, flags in (
        (FIT, ""),
        (f"{FIT}.mae", " --metric mae"),
        (f"{FIT}.insample", " --protocol insample"),
        (f"{FIT}.insample.mae", " --protocol insample --metric mae"),
    ):
        assert command_of(stage, run) == f"python -m {FIT}{flags} --run r"
