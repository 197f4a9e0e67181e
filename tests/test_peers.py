"""Tests of benchmarks.peers: what is held out, how it is scored, what is told."""

import importlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from benchmarks.peers import __main__ as command
from benchmarks.peers import contest, faults, scoring
from benchmarks.peers.collections import Collection, held_out_mask, write_split
from benchmarks.peers.environments import OURS, PACKAGES, PYTHONS
from benchmarks.peers.scoring import Way
from data_prep.errors import UserError

N = 48
GROUPS = np.array([f"g{number // 3}" for number in range(N)])
TARGET = np.random.default_rng(0).integers(4, size=N // 3).repeat(3).astype(float)


def collection() -> Collection:
    """Rows whose groups have three pictures of one target each."""
    ids = [f"p{number:03d}" for number in range(N)]
    table = pd.DataFrame(
        {
            "path": [f"/pictures/{id_}.jpg" for id_ in ids],
            "id": ids,
            "target": TARGET,
            "group": GROUPS,
        }
    )
    return Collection(table=table, experiment=Path("a.toml"))


def way(name: str, y_pred: np.ndarray, peer: str = "Tessera") -> Way:
    return Way(
        peer=peer,
        name=name,
        y_pred=y_pred,
        promised=0.5,
        cpu_minutes=4.04,
        minutes=9.0,
        n_lines=12,
        notes={"epochs": 3},
    )


@pytest.mark.parametrize("shuffle", range(2))
def test_four_repeats_hold_each_row_out_once_and_tear_no_group(shuffle: int) -> None:
    masks = [held_out_mask(TARGET, GROUPS, 4 * shuffle + k) for k in range(4)]
    assert_array_equal(np.sum(masks, axis=0), np.ones(N))
    for mask in masks:
        assert not set(GROUPS[mask]) & set(GROUPS[~mask])
        for value in range(4):  # a quarter of each value, up to two groups
            is_value = np.equal(TARGET, value)
            share = mask[is_value].sum()
            assert abs(share - is_value.sum() / 4) <= 6


def test_the_fifth_repeat_shuffles_anew_and_a_repeat_is_always_the_same() -> None:
    first, fifth = (held_out_mask(TARGET, GROUPS, repeat) for repeat in (0, 4))
    assert (first != fifth).any()
    assert_array_equal(first, held_out_mask(TARGET, GROUPS, 0))
    with pytest.raises(UserError, match="--repeat -1: give 0 or more"):
        held_out_mask(TARGET, GROUPS, -1)


def test_runners_read_no_target_that_is_held_out(tmp_path: Path) -> None:
    whole = write_split(collection(), 1, tmp_path / "new" / "pictures.csv")
    table = pd.read_csv(tmp_path / "new" / "pictures.csv")
    is_held_out = (table["split"] == "held_out").to_numpy()
    assert is_held_out.sum() == held_out_mask(TARGET, GROUPS, 1).sum()
    assert table["target"].isna().equals(pd.Series(is_held_out))
    assert_array_equal(whole["target"], TARGET)


def test_predictions_are_brought_to_the_order_of_the_ids() -> None:
    table = pd.DataFrame({"id": ["b", "c", "a"], "ridge": [2.0, 3.0, 1.0]})
    assert scoring.in_order(["a", "b"], table)["ridge"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("ids", "values", "message"),
    [
        (["a"], [1.0], "1 of 2 ids have no prediction"),
        (["a", "b"], [1.0, np.nan], "1 of 2 ids have no prediction"),
        (["a", "b"], [1.0, np.inf], "1 of 2 ids have no prediction"),
        (["a", "a"], [1.0, 2.0], "an id twice"),
    ],
)
def test_predictions_that_cannot_be_scored_are_refused(
    ids: list[str], values: list[float], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        scoring.in_order(["a", "b"], pd.DataFrame({"id": ids, "ridge": values}))


def test_the_best_comes_first_and_all_are_clipped_alike() -> None:
    ways = [
        way("off by 1", TARGET + np.where(TARGET > 1, -1, 1)),
        way("beyond the range", np.where(TARGET > 1, TARGET + 9, TARGET)),
    ]
    rows = scoring.score_all(ways, TARGET, GROUPS, "Tessera: off by 1", (0, 3))
    assert [row.way.name for row in rows] == ["beyond the range", "off by 1"]
    beyond = np.sqrt((TARGET == 2).mean())  # clipped to 3, a 2 is off by 1
    assert_allclose([row.score.value for row in rows], [beyond, 1])
    assert_allclose(rows[0].broken_promise, beyond - 0.5)
    assert rows[1].against is None
    assert rows[0].against is not None
    assert_allclose(rows[0].against.value, beyond - 1)
    assert rows[0].against.high < 0


def test_a_row_of_the_table_by_hand() -> None:
    ways = [way("plain net", TARGET.clip(1, 2)), way("ridge", TARGET, "frozen")]
    rows = scoring.score_all(ways, TARGET, GROUPS, "Tessera: plain net", (0, 3))
    titles, _, first, second, last = scoring.markdown(
        rows, "Tessera: plain net", 1.25
    ).splitlines()
    cells = [cell.strip() for cell in first.split("|")[1:-1]]
    assert cells[:3] == ["frozen: ridge", "0.0000", "0.0000 to 0.0000"]
    assert cells[3].startswith(f"-{rows[1].score.value:.4f} (-")
    assert cells[4:] == ["0.5000", "-0.5000", "4.0", "9.0", "12", "epochs 3"]
    assert second.split("|")[4].strip() == ""
    assert last.startswith("| a constant | 1.2500 |")
    assert len({line.count("|") for line in (titles, first, second, last)}) == 1


def test_the_page_says_first_where_a_peer_is_better() -> None:
    noise = np.random.default_rng(1).normal(size=N)
    ways = [
        way("stack", TARGET + 0.2 * noise),
        way("plain net", TARGET + 0.3 * noise),
        way("fine-tuned", TARGET + 0.1 * noise, "fastai"),
        way("ridge", TARGET - 0.2 * noise, "frozen"),
    ]

    def verdict(names: list[str]) -> str:
        chosen = [way_ for way_ in ways if way_.name in names]
        rows = scoring.score_all(chosen, TARGET, GROUPS, "Tessera: stack", (-9, 9))
        return scoring.verdict(rows, "Tessera: stack")

    assert verdict(["stack", "plain net", "fine-tuned", "ridge"]) == (
        "Better than Tessera: stack: fastai: fine-tuned. Not told apart from it:"
        " frozen: ridge."
    )
    better_than = "Better than Tessera: stack: "
    assert verdict(["stack", "plain net"]) == f"{better_than}nothing."
    assert verdict(["ridge"]) == "Tessera: stack has not run."


def test_repeats_are_joined_where_they_have_the_same_ways() -> None:
    first = [way("stack", TARGET[:8]), way("ridge", TARGET[:8], "frozen")]
    second = [replace(way("stack", TARGET[8:20]), promised=0.7, cpu_minutes=6.0)]
    (joined,) = scoring.pooled([first, second])
    assert joined.title == "Tessera: stack"
    assert_array_equal(joined.y_pred, TARGET[:20])
    assert_allclose(
        [joined.promised, joined.cpu_minutes, joined.minutes], [0.6, 5.02, 9]
    )


def test_lines_of_a_user_are_those_between_the_marks() -> None:
    source = "import a\n# user\nb = 1\n\n# why\nd = 2\n    # end\ne = 3\n# user\nf = 4"
    assert scoring.user_lines(source) == 3


@pytest.mark.parametrize("name", contest.PEERS)
def test_a_peer_has_its_runner_its_packages_and_what_it_needs(name: str) -> None:
    peer = contest.PEERS[name]
    source = (contest.RUNNERS / f"{peer.runner}.py").read_text(encoding="utf-8")
    assert scoring.user_lines(source) >= 7
    assert peer.needs in ("", *contest.PEERS)
    if peer.environment != OURS:
        assert peer.environment in PYTHONS
        pins = (PACKAGES / f"{peer.environment}.txt").read_text().splitlines()
        pinned = [line for line in pins if line and line[0] not in "# "]
        assert pinned
        assert all("==" in line for line in pinned)


def test_terms_that_differ_have_folders_of_their_own() -> None:
    terms = contest.Terms(minutes=2.5, side=64, cores=1, repeat=0)
    changed = [
        replace(terms, **{key: value})
        for key, value in {"minutes": 3.0, "side": 96, "cores": 2, "repeat": 1}.items()
    ]
    assert len({of.name for of in (terms, *changed)}) == 5


@pytest.mark.parametrize("has_failed", [False, True])
def test_a_peer_that_failed_is_told_below_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_failed: bool
) -> None:
    failed = {"code": 1, "cpu_minutes": 1.0, "minutes": 1.0, "last_line": "no disk"}
    done = failed | {"code": 0}

    def run(name: str, *_: object, **__: bool) -> object:
        return failed if has_failed and name == "fastai" else done

    def ways(name: str, _: Path, ids: list[str]) -> list[Way]:
        if has_failed and name == "ludwig_ready":
            raise UserError("predictions.csv: 2 of 12 ids have no prediction")
        peer = contest.PEERS[name].title
        return [way("stack", np.ones(len(ids)), peer)]

    for place in (command, faults):
        monkeypatch.setattr(place, "run_peer", run)
    monkeypatch.setattr(command, "ways_of", ways)
    monkeypatch.setattr(command, "cache", lambda: tmp_path)
    names = ["tessera_ready", "fastai", "ludwig_ready"]
    terms = [contest.Terms(minutes=1, side=64, cores=1, repeat=k) for k in (0, 1)]
    measured = [command.measure(names, collection(), each, "x") for each in terms]
    page = command.page_of(measured[:1], terms[0], "x")
    assert ("\nfastai, ready weights failed: no disk" in page) == has_failed
    assert ("ready weights failed: predictions.csv: 2 of 12" in page) == has_failed
    assert page.count("| stack") == 0
    assert page.count(": stack |") == 2 + 2 * (not has_failed)
    assert (
        page == (tmp_path / "runs/x" / terms[0].name / "table.md").read_text().strip()
    )
    both = command.page_of(measured, terms[1], "x")
    n = sum(len(each.held_out) for each in measured)
    assert both.startswith(f"x, 2 repeats: {n} pictures of {n // 3} groups held out")
    (file,) = tmp_path.glob("runs/x/*2_repeats.md")
    assert both == file.read_text().strip()
    if has_failed:
        (tmp_path / "a_missing_label").mkdir()
        (tmp_path / "a_missing_label" / "pictures.csv").touch()
        table = collection().table
        answer = faults.answer_of("fastai", faults.UNLABELLED, table, tmp_path)
        assert answer == "stops: no disk"


def test_a_run_of_other_code_is_made_again_and_what_it_needs_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digests = {name: contest.digest_of(peer) for name, peer in contest.PEERS.items()}
    assert len({*digests.values()}) > 4
    before = digests["autogluon_frozen"]
    runners = tmp_path / "runners"
    shutil.copytree(contest.RUNNERS, runners)
    monkeypatch.setattr(contest, "RUNNERS", runners)
    assert contest.digest_of(contest.PEERS["autogluon_frozen"]) == before
    with (runners / "frozen_features.py").open("a") as source:
        source.write("# another\n")
    assert contest.digest_of(contest.PEERS["autogluon_frozen"]) != before
    assert contest.digest_of(contest.PEERS["fastai"]) == digests["fastai"]

    terms = contest.Terms(minutes=1, side=64, cores=1, repeat=0)
    (tmp_path / "frozen").mkdir()
    needed = contest.digest_of(contest.PEERS["frozen"])
    (tmp_path / "frozen" / "measured.json").write_text(
        json.dumps({"code": 3, "last_line": "no disk", "made_by": needed})
    )
    measured = contest.run_peer("autogluon_frozen", tmp_path, terms, retry=False)
    assert measured["code"] == 3
    assert measured["last_line"] == "frozen failed, whose features it reads"


def test_the_epochs_that_fit_are_paid_for_once_each_and_by_row() -> None:
    rows = pd.DataFrame({"id": range(512)})
    seconds, taken = [0.0], list[tuple[int, int]]()

    def train(sample: pd.DataFrame, epochs: int) -> None:
        taken.append((len(sample), epochs))
        seconds[0] += 3 + epochs * (0.5 + len(sample) / 256)

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(contest.RUNNERS)
        exchange = importlib.import_module("exchange")
        patch.setattr(exchange, "cpu_seconds", lambda: seconds[0])
        assignment = exchange.Assignment(
            folder=Path(), variant="", train=rows, held_out=rows, seconds=200.0,
            side=64, weights=Path(), repeat=0,
        )  # fmt: skip
        epochs = assignment.epochs_that_fit(train)
        assert taken == [(64, 1), (64, 1), (64, 5), (256, 1)]
        left = 200 - exchange.RESERVE_S - (2 * 3.75 + 6.75 + 4.5)
        assert epochs == int((left - 3) / 2.5)
        seconds[0] = 0.0
        few = replace(assignment, seconds=1.0)
        assert few.epochs_that_fit(train) == 1


def test_the_last_line_of_a_log_is_what_is_left_of_its_bars() -> None:
    assert contest.last_line("a\n10%\r20%\rValueError: no\n\n  \n") == "ValueError: no"
    assert contest.last_line("") == ""


@pytest.mark.parametrize("fault", [faults.BROKEN, faults.UNLABELLED])
def test_one_picture_or_one_label_is_damaged(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "from").mkdir()
    monkeypatch.setattr(faults, "N_TRAIN", 20)
    monkeypatch.setattr(faults, "N_HELD_OUT", 5)
    whole = collection().table.assign(split=["train"] * 36 + ["held_out"] * 12)
    whole["path"] = [str(tmp_path / "from" / f"{id_}.jpg") for id_ in whole["id"]]
    for path in whole["path"]:
        Path(path).write_bytes(b"0123456789")
    table = faults.damage(whole, fault, tmp_path / "to")
    sizes = np.array([Path(path).stat().st_size for path in table["path"]])
    is_train = table["split"] == "train"
    assert (is_train.sum(), len(table)) == (20, 25)
    assert table["target"][~is_train].isna().all()
    assert is_train[0]
    assert (sizes[1:] == 10).all()
    assert sizes[0] == (5 if fault == faults.BROKEN else 10)
    n_missing = table["target"][is_train].isna().sum()
    assert n_missing == (0 if fault == faults.BROKEN else 1)
    assert all(Path(path).read_bytes() == b"0123456789" for path in whole["path"])


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["fastay"], "no peer 'fastay'; did you mean 'fastai'"),
        (["--data", "coin"], "--data coin: did you mean 'coins'"),
        (["--repeat", "0,-1"], "--repeat 0,-1: give numbers from 0"),
        (["--minutes", "0"], "give --minutes and --cores above 0"),
        (["--side", "8"], "--side of 32 or more"),
        (["--cores", "999"], "--cores 999: there are"),
    ],
)
def test_mistakes_are_told_before_anything_is_prepared(
    flags: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["peers", *flags])
    monkeypatch.delattr(Collection, "prepare")
    with pytest.raises(UserError, match=message):
        command.main()
