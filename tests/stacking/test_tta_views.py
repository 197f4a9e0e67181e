"""Tests of stacking.inputs.tta_views."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from data_prep.errors import UserError
from features.store import write_store
from stacking.inputs.alignment import METHODS, MIN_COMMON, learn_alignment
from stacking.inputs.tta_views import Views, apply_to_views, read_views

N, M, K = 12, MIN_COMMON + 2, 3
NAMES = ["e", "h", "r"]
OUTPUTS = {"target": ["target"], "onehot": ["onehot_0", "onehot_1"]}
ALL = [output for outputs in OUTPUTS.values() for output in outputs]
IDS = [f"p{row:02d}" for row in range(N)]
COMMON = [f"t{row:02d}" for row in range(M)]
FOLDS = np.arange(N) % K
FOLD_OF = dict(zip(IDS, FOLDS.tolist(), strict=True))


def said(id_: str, net: int, output: str) -> list[float]:
    """What a net says of the views of a picture; each speaks on a scale of its own."""
    place = ALL.index(output)
    seen = np.random.default_rng([int(id_[1:]), place, id_[0] == "t"]).normal(size=3)
    return ((1 + net) * seen + net).tolist()


def write(
    folder: Path, name: str, ids: list[str], through: list[int], **header: Any
) -> None:
    """Write a file of views, whose rows come from a net each."""
    task = name.partition(".")[0]
    values = [
        np.transpose([said(id_, net, output) for output in OUTPUTS[task]])
        for id_, net in zip(ids, through, strict=True)
    ]
    role = "label_free" if name.count(".") == 1 else name.split(".")[1]
    usual = {
        "columns": [{"name": output, "space": "outputs"} for output in OUTPUTS[task]],
        "views": NAMES,
        "roles": [role] * len(ids),
        "folds": [FOLD_OF.get(id_, -1) for id_ in ids],
        "nets": [{"task": task, "fold": str(net)} for net in sorted(set(through))],
    }
    folder.mkdir(exist_ok=True)
    shape = np.array(values, dtype=np.float32)
    shape = shape[:, 0] if header.pop("is_pooled", False) else shape
    write_store(folder / name, ids, shape, usual | header)


@pytest.fixture
def extraction(tmp_path: Path) -> Path:
    """A folder of an extraction, the rows of its files in an order of their own."""
    for task in OUTPUTS:
        views = tmp_path / "views"
        write(views, f"{task}.oof.pkl", IDS[::-1], [FOLD_OF[id_] for id_ in IDS[::-1]])
        for net in range(K):
            write(views, f"{task}.test.fold{net}.pkl", COMMON, [net] * M)
    return tmp_path


def read(folder: Path, ids: list[str] = IDS, **how: Any) -> Views:
    given: dict[str, Any] = {"tasks": [*OUTPUTS], "common_ids": COMMON, "n_folds": K}
    return read_views(folder, ids=ids, **given | how)


def expected(ids: list[str], nets: list[int], tasks: list[str]) -> np.ndarray:
    outputs = [output for task in tasks for output in OUTPUTS[task]]
    pairs = list(zip(ids, nets, strict=True))
    values = [[said(id_, net, output) for output in outputs] for id_, net in pairs]
    return np.array(values).transpose(0, 2, 1)


@pytest.mark.parametrize("tasks", [["target", "onehot"], ["onehot", "target"]])
def test_each_row_comes_by_its_id_through_its_net_tasks_side_by_side(
    extraction: Path, tasks: list[str]
) -> None:
    ids = [IDS[row] for row in (5, 0, 7)]  # others have no target
    views = read(extraction, ids, tasks=tasks, common_ids=COMMON[::-1])
    own = expected(ids, [FOLD_OF[id_] for id_ in ids], tasks)
    assert_allclose(views.values, own, rtol=1e-6)
    for net, values in enumerate(views.nets):
        assert_allclose(values, expected(COMMON[::-1], [net] * M, tasks), rtol=1e-6)
    assert views.values.dtype == np.float64


def test_without_common_pictures_there_are_no_nets(extraction: Path) -> None:
    views = read(extraction, common_ids=[])
    assert views.nets == ()
    assert views.aligned("rank", FOLDS).values is views.values


def test_one_net_without_labels_gives_all_rows(tmp_path: Path) -> None:
    write(tmp_path / "views", "target.pkl", [*COMMON, *IDS], [0] * (M + N))
    how: dict[str, Any] = {"tasks": ["target"], "is_label_free": True}
    views = read(tmp_path, **how)
    assert_allclose(views.values, expected(IDS, [0] * N, ["target"]), rtol=1e-6)
    (net,) = views.nets
    assert_allclose(net, expected(COMMON, [0] * M, ["target"]), rtol=1e-6)
    dealt_anew = np.roll(FOLDS, 1)
    assert views.aligned("rank", dealt_anew).values is views.values
    assert read(tmp_path, **how, common_ids=[]).nets == ()


@pytest.mark.parametrize("method", METHODS)
def test_alignment_is_learned_from_the_views_of_the_common_pictures(
    extraction: Path, method: str
) -> None:
    views = read(extraction)
    aligned = views.aligned(method, FOLDS)
    alignment = learn_alignment([net.reshape(-1, 3) for net in views.nets], method)
    for row, fold in enumerate(FOLDS):
        by_view = [
            alignment.apply(int(fold), view[None])[0] for view in views.values[row]
        ]
        assert_allclose(aligned.values[row], by_view)
    for net, values in enumerate(views.nets):
        assert_allclose(aligned.nets[net], apply_to_views(alignment, net, values))
    assert aligned.alignment.method == method


@pytest.mark.parametrize("method", ["moments", "rank"])
def test_nets_that_differ_in_scale_alone_become_equal(
    extraction: Path, method: str
) -> None:
    aligned = read(extraction).aligned(method, FOLDS)
    for net in aligned.nets[1:]:
        inside = np.abs(net - 1) < 3  # beyond, a rank map knows too few pictures
        assert_allclose(net[inside], aligned.nets[0][inside], atol=1e-5)
    # on average the nets stretch by 2 and move by 1
    middle = 2 * expected(IDS, [0] * N, [*OUTPUTS]) + 1
    inside = np.abs(middle - 1) < 3
    assert_allclose(aligned.values[inside], middle[inside], atol=0.02)


def test_views_of_few_pictures_do_not_count_as_many(extraction: Path) -> None:
    few = COMMON[: MIN_COMMON - 1]
    for net in range(K):
        for task in OUTPUTS:
            name = f"{task}.test.fold{net}.pkl"
            write(extraction / "views", name, few, [net] * len(few))
    aligned = read(extraction, common_ids=few).aligned("rank", FOLDS)
    assert aligned.alignment.method == "none"


def test_rows_of_another_net_are_refused(extraction: Path) -> None:
    views = read(extraction)
    with pytest.raises(UserError, match="10 rows come from the net of another fold"):
        views.aligned("none", np.where(np.arange(N) < 2, FOLDS, FOLDS[::-1] * 0 + 9))


@pytest.mark.parametrize(
    ("name", "header", "message"),
    [
        ("target.oof.pkl", {"roles": ["insample"] * N}, "role 'insample' where oof"),
        ("target.oof.pkl", {"is_pooled": True, "views": None}, "its views are pooled"),
        (
            "onehot.oof.pkl",
            {"folds": [(FOLD_OF[id_] + 1) % K for id_ in IDS]},
            "onehot.oof.pkl: its rows were held out with other folds than those of",
        ),
        ("target.oof.pkl", {"views": ["e", "v", "r"]}, "of target.oof.pkl e v r; "),
        ("onehot.test.fold1.pkl", {"views": ["e", "v", "r"]}, "its views are e v r"),
        ("target.test.fold1.pkl", {"roles": ["oof"] * M}, "'oof' where test"),
        (
            "target.test.fold1.pkl",
            {"nets": [{"task": "target", "fold": "2"}]},
            "of the nets of folds 2 and not of fold 1",
        ),
        (
            "onehot.test.fold2.pkl",
            {
                "columns": [
                    {"name": name, "space": "outputs"}
                    for name in ("onehot_0", "onehot_9")
                ]
            },
            "its column 'onehot_9' stands where onehot.oof.pkl has 'onehot_1'",
        ),
    ],
)
def test_files_that_would_mislead_are_refused(
    extraction: Path, name: str, header: dict[str, Any], message: str
) -> None:
    is_own = ".oof." in name
    ids = IDS if is_own else COMMON
    through = FOLDS.tolist() if is_own else [int(name[-5])] * M
    write(extraction / "views", name, ids, through, **{"folds": through, **header})
    with pytest.raises(UserError, match=message):
        read(extraction)


def test_tasks_in_different_views_are_refused(extraction: Path) -> None:
    other = {"views": ["e", "v", "r"]}
    write(extraction / "views", "target.oof.pkl", IDS, FOLDS.tolist(), **other)
    message = "onehot.oof.pkl: its views are e h r, and those of target.oof.pkl e v r"
    with pytest.raises(UserError, match=message):
        read(extraction, common_ids=[])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("target.oof.pkl", r"lacks 1 id \('p00'\) of the labelled rows"),
        ("onehot.test.fold0.pkl", r"lacks 1 id \('t00'\) of the test and unlabelled"),
    ],
)
def test_a_row_that_is_missing_is_named(
    extraction: Path, name: str, message: str
) -> None:
    ids = IDS[1:] if ".oof." in name else COMMON[1:]
    write(extraction / "views", name, ids, [0] * len(ids))
    with pytest.raises(UserError, match=message):
        read(extraction)


def test_a_row_too_many_among_the_common_pictures_is_named(extraction: Path) -> None:
    message = r"fold0.pkl: 1 id \('t51'\) are not among the test and unlabelled rows"
    with pytest.raises(UserError, match=message):
        read(extraction, common_ids=COMMON[:-1])


@pytest.mark.parametrize(
    "name", ["target.oof.pkl", "onehot.test.fold2.pkl", "target.pkl"]
)
def test_without_single_views_the_remedy_is_named(extraction: Path, name: str) -> None:
    (extraction / "views" / name).unlink(missing_ok=True)
    message = rf"{name} is missing; .*read single views; extract them again: python -m"
    with pytest.raises(UserError, match=message):
        read(extraction, is_label_free=name == "target.pkl")
