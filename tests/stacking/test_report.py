"""Tests of stacking.reporting.report and the parts it is made of."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from markupsafe import escape
from sklearn.metrics import cohen_kappa_score, f1_score

from data_prep.prepared import PREPARED, Prepared
from data_prep.run_folders.runs import Run
from data_prep.scoring.scores import Interval
from pretext.evaluation.verdicts import HELPS
from stacking.analysis.findings import Findings
from stacking.ensemble.final_step import labels_of
from stacking.ensemble.score_table import distinct
from stacking.fit import main
from stacking.inputs.data import columns_of
from stacking.reporting.run_files import RunPictures
from stacking.reporting.sections import pictures
from stacking.reporting.sections.glance import glance
from stacking.reporting.sections.pictures import view_spread
from stacking.reporting.sections.verdicts import verdicts
from tests.stacking.reported import MAPPED, Reported, add_training, all_there_is, rename

pytestmark = pytest.mark.usefixtures("tampering_goes_unseen")

MINUS = "\u2212"
PLAIN = "the plain net"
MakeRun = Callable[..., Path]
Make = Callable[..., Reported]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Give a function that makes up a run to report, as ``Reported.of`` does."""
    return lambda *flags, **fields: Reported.of(tmp_path / "run", *flags, **fields)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> tuple[Reported, str]:
    """Make a report of a run with all there is."""
    reported = Reported.of(tmp_path_factory.mktemp("full") / "run")
    reported.findings = all_there_is(reported.run)
    return reported, reported.page()


def headings(page: str) -> list[str]:
    return re.findall("<h2>([^<]+)</h2>", page)


def part(page: str, heading: str) -> str:
    """Give the section of that heading."""
    start = page.index(f"<h2>{heading}</h2>")
    return page[start : page.index("</section>", start)]


def captions(section: str) -> list[str]:
    return re.findall("<figcaption>([^<]*)</figcaption>", section)


def test_fit_writes_a_report_of_what_it_found(make_run: MakeRun) -> None:
    folder = make_run(n_train=90, n_test=40, n_unlabelled=20)
    stage = main(["--run", str(folder), "--seeds", "1", "--max-rounds", "10"])
    page = (stage / "report.html").read_text(encoding="utf-8")
    for words in (
        f"{folder.name}: predicting period",
        "without any net",
        "What the blend of all consists of",
        "What the trees look at",
        "The alignments that were tried",
        "lightgbm",
        "sgkfold3",
    ):
        assert words in page, words
    columns = part(page, "What the trees look at")
    classes = Prepared.open(Run(folder).recorded(PREPARED)).classes
    shown = re.findall(r"onehot_(\d+)__[a-z]+ \(([^)]+)\)", columns)
    assert shown
    assert all(name == classes[int(k)] for k, name in shown)
    assert not re.search(r"onehot_\d+__[a-z]+<", columns)
    oof = pd.read_csv(stage / "oof.csv")
    error = (oof["prediction"] - oof["target"]).abs().to_numpy()
    first = captions(part(page, "Worst misses"))[0]
    assert first.split("\n")[0] == oof["name"][error.argmax()]


def test_what_to_do_is_said_of_each_stage(full: tuple[Reported, str]) -> None:
    section = part(full[1], "What to do about it")
    assert "<h3>stacking.fit</h3>" in section
    sentence = escape("Column 'price' alone tells the target.")
    assert f"<p>{sentence}</p>" in section
    assert "transfer.finetune" not in section  # which has nothing to say


def test_what_a_reader_wants_first_comes_first(full: tuple[Reported, str]) -> None:
    _, page = full
    assert headings(page) == [
        "At a glance",
        "What to do about it",
        "Step by step",
        "Picture by picture",
        "Calibration",
        "What is taken for what",
        "Where it fails",
        "By your columns and attributes",
        "Which sub-task earns its keep",
        "Worst misses",
        "Most disputed",
        "Copies",
        "The predictions",
        "Do the pictures to predict differ?",
        "What these figures mean",
        "How the nets learned",
        "Settings, time and versions",
    ]


def test_the_headline_is_the_final_score(full: tuple[Reported, str]) -> None:
    reported, page = full
    final = reported.result.final
    tiles = re.findall(r'class="tile[^>]*><span>([^<]+)</span><b>([^<]+)</b>', page)
    assert tiles[0] == ("RMSE, out of fold", f"{final.scores.pooled:.3f}")
    constant = reported.result.line("constant").scores.pooled
    assert float(dict(tiles)["a constant"]) == pytest.approx(constant, abs=1e-3)
    low, high = final.interval.low, final.interval.high
    assert f"95 %: {low:.3f} to {high:.3f}" in page


def test_of_classes_the_share_that_is_right_comes_first(make: Make) -> None:
    reported = make(is_text=True)
    page = reported.page()
    stacked = reported.result
    true = stacked.data.info.class_index
    tiles = re.findall(r'class="tile[^>]*><span>([^<]+)</span><b>([^<]+)</b>', page)
    frequent = np.bincount(true).max() / len(true)
    of_line = {
        title: f"{(stacked.line(name).prediction.argmax(axis=1) == true).mean():.1%}"
        for name, title in (("prediction", "accuracy, out of fold"), ("plain", PLAIN))
    }
    assert tiles == [
        ("accuracy, out of fold", of_line["accuracy, out of fold"]),
        ("the most frequent class", f"{frequent:.1%}"),
        (PLAIN, of_line[PLAIN]),
    ]
    assert "Of the accuracy higher is better, of the log-loss lower." in page
    first = re.findall("<p>([^<]+)", part(page, "At a glance"))[0]
    score = rf"log-loss, which .* is: {stacked.final.scores.pooled:.2f}\d* \(95 %: "
    assert re.search(score, first)
    command = f"python -m stacking.fit --run {reported.run} --metric accuracy."
    assert first.endswith(command)


def test_a_metric_that_was_named_comes_first(make: Make) -> None:
    page = make("--metric", "log_loss", is_text=True).page()
    tiles = re.findall(r'class="tile[^>]*><span>([^<]+)</span>', page)
    assert tiles[0] == "log-loss, out of fold"
    assert "which also judges" not in page


def test_what_counts_and_what_does_not_is_said_without_a_contradiction(
    make: Make,
) -> None:
    stacked = make().stacked()
    for ends, words in (
        ((0.1, 0.3), "is better than the plain net: its gain in RMSE"),
        ((-0.3, -0.1), "is worse than the plain net: its gain in RMSE"),
        ((-0.1, 0.3), "is neither surely better nor surely worse than the plain net"),
    ):
        gain = Interval(value=sum(ends) / 2, low=ends[0], high=ends[1])
        lines = (*stacked.lines[:-1], replace(stacked.final, gain=gain))
        body = str(glance(replace(stacked, lines=lines), Findings(), "fit").body)
        (sentence,) = re.findall("<p>(The final prediction [^<]+)", body)
        assert words in sentence
        verb = "includes" if ends[0] * ends[1] < 0 else "excludes"
        assert sentence.endswith(f", which {verb} zero.")


def test_what_is_well_comes_after_what_is_to_be_done() -> None:
    by_stage = {"pretext.jigsaw": [f"{HELPS}, so keep it"], "x.y": ["do it"]}
    records = [{"stage": k, "facts": {"verdicts": v}} for k, v in by_stage.items()]
    for of_stack, expected in (
        (["look"], ["stacking.fit", "x.y", "pretext.jigsaw"]),
        ([], ["x.y", "pretext.jigsaw"]),
    ):
        body = str(verdicts(records, of_stack).body)
        assert re.findall("<h3>([^<]+)", body) == expected


def test_every_line_and_step_is_shown(full: tuple[Reported, str]) -> None:
    reported, page = full
    steps = part(page, "Step by step")
    for line in distinct(reported.result.lines):
        assert f"<td>{escape(line.label)}</td>" in steps
    for step in reported.result.steps:
        assert escape(step.title) in steps
        assert ("on; " if step.is_on else "off; ") in steps
    assert "clipped to the target&#39;s range" in steps
    forest = steps[: steps.index("forest-row axis")]
    named = re.findall('class="name">([^<]+)<', forest)
    n_steps = len(reported.result.steps)
    candidates = distinct(
        [*reported.result.lines[: -1 - n_steps], reported.result.final]
    )
    assert named == [escape(line.title) for line in candidates]
    assert "onehot alone, expected value" in named
    # a ring is apparent, or of a step tried alone
    n_apparent = sum(line.apparent is not None for line in candidates)
    assert steps.count('<circle class="ring"') == n_apparent + n_steps


def test_other_scores_are_those_of_scikit_learn(full: tuple[Reported, str]) -> None:
    reported, page = full
    data, said = reported.result.data, reported.result.final.prediction
    shown = dict(re.findall(r"<dt>([^<]+)</dt><dd>(-?[0-9.]+)</dd>", page))
    error = np.abs(said - data.info.target).mean()
    assert float(shown["mean absolute error"]) == pytest.approx(error, abs=6e-4)
    nearest = said.round().clip(0, 3).astype(int)
    kappa = cohen_kappa_score(data.info.class_index, nearest, weights="quadratic")
    found = float(shown["quadratic kappa of the nearest class"])
    assert found == pytest.approx(kappa, abs=6e-3)


def test_the_confusion_counts_every_row_once(full: tuple[Reported, str]) -> None:
    reported, page = full
    data, said = reported.result.data, reported.result.final.prediction
    section = part(page, "What is taken for what")
    cells = re.findall(r'--share:[0-9.]+">(\d+)<small>', section)
    found, probable = np.array(cells, dtype=int).reshape(2, 4, 4)
    counts = pd.crosstab(data.info.target, said.round().clip(0, 3))
    counts = counts.reindex(index=range(4), columns=range(4), fill_value=0)
    assert found.sum() == 90
    assert np.abs(found - counts.to_numpy()).sum() <= 2  # of halves
    proba = reported.result.features.target_columns.proba(data.rows.X)
    assert proba is not None
    told = pd.Series(proba.argmax(axis=1), name="told")
    counts = pd.crosstab(data.info.target, told)
    assert (probable == counts.reindex(range(4), columns=range(4), fill_value=0)).all(
        axis=None
    )
    for title in ("The final prediction", "The nets&#39; most probable class"):
        assert f"<h3>{title}</h3>" in section
    for number, where in ((found, "At a glance"), (probable, "What is taken for what")):
        share = f"{np.trace(number) / 90:.1%} of the rows are right (95 %: "
        assert share in part(page, where)
        assert page.count(share) == 1
    frequent = pd.Series(data.info.class_index).value_counts(normalize=True)
    words = f"the most frequent class, would be in {frequent.iloc[0]:.1%}."
    assert page.count(words) == 2
    assert page.count("Rounding the number is right in") == 1


def test_a_dot_shows_its_picture(full: tuple[Reported, str]) -> None:
    section = part(full[1], "Picture by picture")
    dots = re.findall(r'class="point"[^>]*data-caption="([^"]+)" data-pict', section)
    assert len(dots) == 90
    assert all("target" in caption for caption in dots)


def test_the_disputed_are_those_whose_views_or_nets_differ_most(
    full: tuple[Reported, str],
) -> None:
    reported, page = full
    stacked = reported.result
    spread = view_spread(stacked)
    assert spread is not None
    (column,) = columns_of(stacked.data.columns, "target", "var")
    assert spread == pytest.approx(np.sqrt(stacked.data.rows.X[:, column]))
    shown = captions(part(page, "Most disputed"))
    assert shown[0].split("\n")[0] == stacked.data.info.ids[spread.argmax()]
    nets = np.std(
        stacked.predictor.predict_by_net(stacked.data.common.nets)["prediction"], 0
    )
    assert shown[12].split("\n")[0] == stacked.data.common.ids[nets.argmax()]


def test_maps_are_set_beside_their_pictures(full: tuple[Reported, str]) -> None:
    reported, page = full
    figures = re.findall(
        r"<figure( class=\"pair\")?>.*?<figcaption>(\w+)\n", page, re.DOTALL
    )
    assert figures
    assert all((id_ in MAPPED) == bool(mark) for mark, id_ in figures)
    assert "Beside them, the maps of transfer.explain, of its task date." in page
    pictures = RunPictures.of(reported.prepared)
    assert pictures.map_of("p0000") is not None
    assert pictures.map_of("p0009") is None


def test_maps_of_earlier_nets_are_not_shown(full: tuple[Reported, str]) -> None:
    reported, _ = full
    file = reported.run / "transfer.explain" / "task.json"
    made = file.read_text()
    file.write_text(made.replace('"nets": "', '"nets": "x'))
    pictures = RunPictures.of(reported.prepared)
    file.write_text(made)
    assert pictures.explained is None
    assert pictures.map_of("p0000") is None


def test_no_id_leads_out_of_the_folder_of_maps(full: tuple[Reported, str]) -> None:
    reported, _ = full
    pictures = RunPictures.of(reported.prepared)
    outside = reported.run / "outside.png"
    outside.write_bytes((pictures.maps / "p0001.png").read_bytes())
    assert pictures.map_of("p0001") is not None
    assert pictures.map_of("../outside") is None
    (pictures.maps / "oak").mkdir()
    outside.rename(pictures.maps / "oak" / "7.png")
    assert pictures.map_of("oak/7") is not None


def test_copies_are_shown_once_with_all_their_ids(full: tuple[Reported, str]) -> None:
    (caption,) = captions(part(full[1], "Copies"))
    assert caption.startswith("3 times: p0000, p0001, p0002\n")


def test_what_was_found_is_told(full: tuple[Reported, str]) -> None:
    _, page = full
    for words in (
        "target earns its keep: the interval excludes zero.",
        "RMSE of about 0.4500 may be expected",
        "One net per picture scored RMSE 0.5000 here",
        f"its gain is {MINUS}0.0010 ({MINUS}0.0040\u00a0to\u00a0+0.0020)",
        "Trust the fold nets",
        "by quantiles, without a label, on the 54 pictures",
        "pretext stage saw all pictures",
        "Every figure but those called apparent is of pictures whose label",
        "only whether a step is on was decided on all rows",
    ):
        assert words in page, words
    shift = part(page, "Do the pictures to predict differ?")
    assert re.findall(r'"number">([0-9.]+)<', shift) == [
        *("0.97", "0.52", "1.21", "0.77"),
        *("0.91", "0.55", "1.30", "0.80"),
    ]


def test_a_loss_stands_beside_the_score_of_the_fold_held_out(
    full: tuple[Reported, str],
) -> None:
    learning = part(full[1], "How the nets learned")
    parts = re.findall("<h[34]>([^<]+)</h[34]>", learning)
    assert parts == [
        *("all tasks together", "loss, rows learned from"),
        *("target", "loss, rows learned from", "rmse, fold held out"),
        *("onehot", "loss, rows learned from"),
    ]
    assert learning.count("<polyline") == 4 * 3
    assert learning.count(">epoch<") == 4  # all on one scale
    assert "fold 2" in learning
    assert "target_rmse, over the folds: best at the end, 0.3333 after" in learning


def test_without_scores_by_epoch_it_is_told_what_makes_them(make: Make) -> None:
    reported = make()
    add_training(reported.run)
    (reported.run / "features.watch" / "scores.csv").unlink()
    learning = part(reported.page(), "How the nets learned")
    assert "It comes with score_every = 1 in [transfer.finetune]" in learning
    for fold in range(3):
        epochs = reported.run / f"transfer.finetune/joint/fold{fold}/epochs"
        epochs.mkdir()
        for epoch in (2, 3):
            (epochs / f"epoch{epoch}.safetensors").touch()
    learning = part(reported.page(), "How the nets learned")
    assert "2 epochs of each net are kept: python -m features.watch" in learning


def test_curves_of_another_training_are_not_shown(make: Make) -> None:
    reported = make()
    add_training(reported.run, is_used=False)
    assert "How the nets learned" not in headings(reported.page())


def test_times_and_machines_are_told(full: tuple[Reported, str]) -> None:
    about = part(full[1], "Settings, time and versions")
    for words in (
        "data_prep.prepare",
        "features.extract",
        "a &lt;b&gt;GPU&lt;/b&gt;",
        "<summary>Settings of transfer.finetune</summary><dl>\n<dt>epochs</dt><dd>3<",
        "stackers",
        "fold hash",
        "cores, in 83\u202fs.",
        "<dt>lightgbm</dt><dd>4.0</dd>",
    ):
        assert words in about, words


def test_the_report_is_one_small_file(full: tuple[Reported, str]) -> None:
    _, page = full
    assert len(page) < 400_000
    assert not re.search(r"https?:|url\(|@import", page)


NASTY = "<script>alert('x')</script>"


@pytest.mark.parametrize("is_text", [True, False])
def test_names_are_shown_and_never_run(is_text: bool, make: Make) -> None:
    reported = make(is_text=is_text)
    if is_text:
        rename(reported.run, "modern", NASTY)
    reported.findings = {"task_gains": {NASTY: Interval(value=1, low=0, high=2)}}
    reported.unreadable = [NASTY]
    page = reported.page(prefix=NASTY)
    assert page.count("<script>") == 1  # the page's own
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;p00" in page
    if is_text:
        assert f"<td>{escape(NASTY)}</td>" in page


FOLD_NETS = (
    "one net per picture",
    "trained on 2 of 3 folds",
    "all 3 nets",
    "nets whose training labels include",
)


def test_the_fold_nets_are_told_of_where_there_are_some(
    full: tuple[Reported, str],
) -> None:
    for words in FOLD_NETS:
        assert words in full[1], words
    assert "one net that saw no label" not in full[1]


def test_one_net_that_saw_no_label_is_not_said_to_be_one_of_each_fold(
    make: Make,
) -> None:
    page = make("--cv", "gkfold3", is_label_free=True).page()
    for words in (*FOLD_NETS, "1 nets", "plain net", "Most disputed"):
        assert words not in page, words
    assert "one net that saw no label" in page
    assert "24 pictures, each through the one net." in page


def test_text_classes_have_probabilities(make: Make) -> None:
    reported = make(is_text=True, tasks=("onehot",))
    page = reported.page()
    assert "Picture by picture" not in headings(page)
    data, said = reported.result.data, reported.result.final.prediction
    shown = dict(re.findall(r"<dt>([^<]+)</dt><dd>(-?[0-9.]+)</dd>", page))
    score = f1_score(data.info.class_index, said.argmax(axis=1), average="macro")
    found = float(shown["macro F1 of the most probable class"])
    assert found == pytest.approx(score, abs=6e-4)
    calibration = part(page, "Calibration")
    assert f"a probability of {said.max(axis=1).mean():.3f} on average" in calibration
    assert "confident by" in calibration
    assert set(data.classes) <= set(re.findall("<td>([^<]+)</td>", calibration))
    worst = captions(part(page, "Worst misses"))[0]
    row = data.info.ids.index(worst.split("\n")[0])
    own = said[np.arange(len(said)), data.info.class_index]
    assert row == own.argmin()
    assert (
        worst.split("\n")[1]
        == f"{data.info.target[row]} → {labels_of(said, data.classes)[row]}"
    )


@pytest.mark.parametrize(
    ("pixels", "low", "beginning"),
    [
        (0.0, 0.1, "The final prediction is no better than a model without nets: "),
        (0.7, 0.1, "The nets alone are worse than a model without nets: "),
        (0.7, -0.1, "The nets alone are not surely better than a model without nets: "),
        (9.0, 0.1, "The final prediction"),
    ],
)
def test_nets_that_lose_to_no_net_are_told_of_first(
    make: Make, pixels: float, low: float, beginning: str
) -> None:
    stacked = make().stacked()
    gain = Interval(value=0.2, low=low, high=0.3)
    pooled = {"pixels": pixels, "plain": 0.8, "prediction": 0.5}
    lines = [
        replace(line, scores=replace(line.scores, pooled=pooled[line.name]))
        if line.name in pooled
        else line
        for line in (
            replace(stacked.line("constant"), name="pixels", gain=gain),
            *stacked.lines,
        )
    ]
    section = glance(replace(stacked, lines=tuple(lines)), Findings(), "fit")
    first = re.findall("<p>([^<]+)", str(section.body))[0]
    assert first.startswith(beginning)
    assert ("without nets" in first) == (pixels < 9.0)


def test_a_target_without_classes_is_told_of_in_bands(make: Make) -> None:
    page = make(is_continuous=True).page()
    assert "What is taken for what" not in headings(page)
    assert "By size of the target" in page
    assert "nearest class" not in page


def test_nothing_is_said_of_pictures_to_predict_where_there_are_none(
    make: Make,
) -> None:
    page = make(n_train=26, n_test=0, n_unlabelled=0).page()
    for heading in ("The predictions", "Do the pictures to predict differ?"):
        assert heading not in headings(page)
    assert "Without a label: the nets disagree" not in page
    assert "The nets were not aligned" in page
    assert "(here there are 0), or 10 in each fold." in page


def test_a_single_member_needs_no_selection(make: Make) -> None:
    page = make("--stackers", "ridge", tasks=("date",), n_test=2).page()
    assert "selected: " not in page
    assert "It begins from ridge on all columns." in page


def test_the_net_of_all_rows_is_told_of_where_it_predicts(make: Make) -> None:
    reported = make()
    reported.findings = all_there_is(reported.run) | {"is_by_all": True}
    page = reported.page()
    assert "24 pictures, each through the net of all rows." in page
    assert "by the net that was trained on every labelled row." in page
    for words in ("all 3 nets", "all nets, averaged", "of the mean about"):
        assert words not in page, words


def test_a_control_is_told_of(make: Make) -> None:
    reported = make()  # one that fails ends the run
    reported.findings = {"control": Interval(value=0.2, low=-0.1, high=0.3)}
    assert "So nothing leaks" in part(reported.page(), "What these figures mean")


def test_the_leak_is_named_where_it_is_made(make: Make) -> None:
    page = make("--protocol", "insample", has_insample=True).page()
    assert "run: predicting period (in-sample)" in page
    assert page.count("comparison only") == 1
    assert "RMSE, in-sample" in page
    told = "/run --protocol insample --metric accuracy"
    of_classes = make("--protocol", "insample", has_insample=True, is_text=True).page()
    assert told in of_classes
    assert "Neither figure nor prediction should be relied on." in page
    assert "Every figure but those called apparent" not in page


@pytest.mark.parametrize(
    ("metric", "is_text", "way"),
    [
        ("mae", False, "lower"),
        ("r2", False, "higher"),
        ("accuracy", True, "higher"),
        ("log_loss", True, "lower"),
        ("quadratic_kappa", False, "higher"),
    ],
)
def test_the_better_way_is_that_of_the_metric(
    metric: str, is_text: bool, way: str, make: Make
) -> None:
    page = make("--metric", metric, is_text=is_text, tasks=("onehot",)).page()
    other = {"lower": "higher", "higher": "lower"}[way]
    assert ("always the most frequent class" in page) == (metric == "accuracy")
    assert f"{way} is better" in page.lower()
    assert f"{other} is better" not in page.lower()


def test_of_many_classes_the_commonest_mistakes_are_shown(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stacking.reporting.sections.calibration.MOST_HEAT", 3)
    monkeypatch.setattr("stacking.reporting.sections.failures.MOST_SUBGROUPS", 3)
    reported = make()
    page = reported.page()
    section = part(page, "What is taken for what")
    counts = [int(n) for n in re.findall(r'"number">(\d+)<', section)]
    # the second table is of the nets' most probable class
    second = next(k for k in range(1, len(counts)) if counts[k] > counts[k - 1])
    counts = counts[:second]
    said = reported.result.final.prediction
    is_wrong = said.round().clip(0, 3) != reported.result.data.info.target
    assert counts == sorted(counts, reverse=True)
    assert abs(sum(counts) - is_wrong.sum()) <= 2  # of halves
    assert "The 3 largest of 4." in part(page, "Where it fails")


def test_a_small_spread_of_views_is_no_zero(make: Make) -> None:
    stacked = make().stacked()
    spreads = (0.0, 0.25, 1.234e-5)
    texts = [pictures._spread(spread, stacked) for spread in spreads]
    assert texts == ["0.00", "0.25", "1.234e-05"]
