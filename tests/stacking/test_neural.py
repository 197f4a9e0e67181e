"""Tests of neural, neural_training and batched_nets.

Torch takes seconds to load, so one child trains for all tests but one.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from data_prep.errors import UserError
from data_prep.experiment import commands
from stacking.cross_fitting import CrossFit, TrainingRows
from stacking.models import neural
from stacking.models.neural import KINDS, Kind, Nets, Training, cross_fit_neural

ROOT = Path(__file__).parents[2]
N, V, F = 120, 4, 5
FOLDS, CV_GROUPS = np.arange(N) // 2 % 3, np.arange(N) // 2
OF_VIEWS: list[Kind] = ["cnn1d", "cnn2d"]
QUICK = Training(n_seeds=2, max_epochs=12, patience=4)

# Trains what a line names the folder of; before the folder of a model it answers with
# torch's own layers, a net after the other.
WORKER = """
import sys
from pathlib import Path
import numpy as np, torch
from torch.nn import functional as F
from stacking.models import neural
from stacking.models import neural_training
from stacking.models import batched_nets

torch.set_num_threads(1)

def answered(folder):
    with np.load(folder / "model.npz") as file:
        model = {k: torch.tensor(v) for k, v in file.items()}
    x, which = model["x"], int(model["number"])
    if which == 2:
        x = x.sort(1).values
    x = (x - model["center"]) / model["scale"]
    said = []
    for s in range(len(model["first_bias"])):
        w, b = model["first_weight"][s], model["first_bias"][s]
        if which == 0:
            read = F.linear(x, w.T, b).relu()
        elif which == 1:
            found = F.conv1d(x.transpose(1, 2), w.T[:, :, None], b).relu()
            read = torch.cat([found.mean(2), found.amax(2)], 1)
        else:
            kernel = w.permute(2, 0, 1)[:, None]
            found = F.conv2d(x[:, None], kernel, b, padding=(0, 1)).relu()
            read = found[:, :, 0].transpose(1, 2).flatten(1)
        w, b = model["hidden_weight"][s], model["hidden_bias"][s]
        read = F.linear(read, w.T, b).relu()
        said.append(F.linear(read, model["last_weight"][s].T, model["last_bias"][s]))
    layers = {k: v.float() for k, v in model.items() if "_weight" in k or "_bias" in k}
    many = x.float().expand(len(said), *x.shape)
    trained = batched_nets.forward(neural.KINDS[which], layers, many)
    np.savez(folder / "said.npz", plain=torch.stack(said), trained=trained)

print("ready", flush=True)
for line in sys.stdin:
    folder = Path(line.strip())
    if (folder / "model.npz").exists():
        answered(folder)
    else:
        neural_training.train(folder)
    print("done", flush=True)
"""


@pytest.fixture(scope="module")
def ask() -> Iterator[Callable[[Path], None]]:
    """Give a function that has the child do what lies in a folder."""
    own = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    child = subprocess.Popen(
        [sys.executable, "-c", WORKER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
        env=os.environ | own,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    given, heard = child.stdin, child.stdout

    def asked(folder: Path) -> None:
        given.write(f"{folder}\n")
        given.flush()
        assert heard.readline() == "done\n"

    assert heard.readline() == "ready\n"
    yield asked
    given.close()
    child.wait()
    heard.close()


@pytest.fixture
def one_child(ask: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Let that child train."""

    def run_child(folder: Path, _: int) -> int:
        ask(folder)
        return 0

    monkeypatch.setattr(neural, "run_child", run_child)


def data(kind: Kind, *, is_shares: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose target is read from two outputs, and bends with one of them."""
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(N // 2, 2))[CV_GROUPS]
    y = latent[:, 0] + np.abs(latent[:, 1]) + rng.normal(0, 0.1, N)
    views = rng.normal(0, 0.3, (N, V, F))
    views[..., :2] += latent[:, None]
    views = 50 + 20 * views
    target = np.eye(3)[np.digitize(y, [0, 1])] if is_shares else 7 + 3 * y
    return views.mean(axis=1) if kind == "mlp" else views, target


def training_rows(
    X: np.ndarray, y: np.ndarray, weights: np.ndarray | None = None
) -> TrainingRows:
    return TrainingRows(
        X=X,
        y=y,
        folds=FOLDS,
        groups=CV_GROUPS,
        sample_weight=np.ones(len(y)) if weights is None else weights,
    )


def fit(
    kind: Kind,
    X: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray | None = None,
    **how: Any,
) -> CrossFit:
    how = {"training": QUICK} | how
    return cross_fit_neural(kind, training_rows(X, y, weights), **how)


@cache
def usual(kind: Kind, is_shares: bool) -> CrossFit:
    """What the child makes of the data; for tests that let it train."""
    return fit(kind, *data(kind, is_shares=is_shares))


def drawn(kind: Kind, n_seeds: int = 2) -> Nets:
    """Nets with weights that nobody trained."""
    rng = np.random.default_rng(1)
    width, read = {"mlp": (F, 6), "cnn1d": (F, 12), "cnn2d": (6, 6 * F)}[kind]
    first = (V, 3, 6) if kind == "cnn2d" else (width, 6)
    shapes = [first, (6,), (read, 7), (7,), (7, 3), (3,)]
    layers = [rng.normal(size=(n_seeds, *shape)) for shape in shapes]
    center, scale = rng.normal(size=F), rng.uniform(0.5, 2, F)
    return Nets(kind, False, center, scale, np.zeros(3), np.ones(3), *layers)


@pytest.mark.parametrize("kind", KINDS)
def test_numpy_answers_as_torch_does(
    kind: Kind, ask: Callable[[Path], None], tmp_path: Path
) -> None:
    model = drawn(kind)
    x = np.random.default_rng(2).normal(size=(9, F) if kind == "mlp" else (9, V, F))
    np.savez(tmp_path / "model.npz", x=x, **model.arrays())
    ask(tmp_path)
    ours = model.outputs(x)
    with np.load(tmp_path / "said.npz") as said:
        assert_allclose(ours, said["plain"], rtol=1e-9)
        assert_allclose(ours, said["trained"], atol=1e-5 * np.abs(ours).max())


@pytest.mark.parametrize("is_shares", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("one_child")
def test_a_bent_target_is_learned(kind: Kind, is_shares: bool) -> None:
    _, target = data(kind, is_shares=is_shares)
    found = usual(kind, is_shares)
    for said, rows in [(found.oof_pred, FOLDS >= 0), (found.inner_oof[1], FOLDS != 1)]:
        error = ((said - target)[rows] ** 2).mean()
        assert error < 0.8 * target[rows].var(axis=0).mean()
    assert np.isnan(found.inner_oof[1][FOLDS == 1]).all()
    if is_shares:
        assert_allclose(found.oof_pred.sum(axis=1), 1)
        assert_allclose(np.nansum(found.inner_oof[0], axis=1)[FOLDS != 0], 1)


@pytest.mark.parametrize("is_shares", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("one_child")
def test_outer_predictions_are_those_of_the_stored_models(
    kind: Kind, is_shares: bool, tmp_path: Path
) -> None:
    found, (inputs, _) = usual(kind, is_shares), data(kind)
    for fold, model in enumerate(found.models):
        assert isinstance(model, Nets)
        np.savez(tmp_path / "model.npz", **model.arrays())
        with np.load(tmp_path / "model.npz", allow_pickle=False) as stored:
            assert {array.dtype.str for array in stored.values()} == {"<f8", "<i8"}
            again = Nets.of_arrays(stored)
        own = fold == FOLDS
        assert np.array_equal(again.predict(inputs[own]), found.oof_pred[own])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("one_child")
def test_nothing_said_for_a_fold_looks_at_its_labels(kind: Kind) -> None:
    own, (inputs, target) = FOLDS == 1, data(kind)
    other = np.where(own, target[::-1] * -9, target)
    before, after = usual(kind, False), fit(kind, inputs, other)
    assert np.array_equal(before.oof_pred[own], after.oof_pred[own])
    assert np.array_equal(before.inner_oof[1][~own], after.inner_oof[1][~own])
    assert before.metadata[1] == after.metadata[1]
    assert (before.oof_pred[~own] != after.oof_pred[~own]).any()


@pytest.mark.parametrize("is_shares", [False, True])
@pytest.mark.usefixtures("one_child")
def test_random_labels_cannot_be_remembered(is_shares: bool) -> None:
    # Pairs of equal rows: whoever tears a pair knows the other half.
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(N, 20))[CV_GROUPS], rng.normal(size=N)[CV_GROUPS]
    target = np.eye(2)[(y > 0).astype(int)] if is_shares else y
    found = fit("mlp", X, target, training=Training(n_seeds=2, max_epochs=40))
    for said, rows in [(found.oof_pred, FOLDS >= 0), (found.inner_oof[0], FOLDS != 0)]:
        error = ((said - target)[rows] ** 2).mean()
        assert error > 0.93 * target[rows].var(axis=0).mean()


@pytest.mark.usefixtures("one_child")
def test_without_epochs_the_nets_say_the_best_constant() -> None:
    X, target = data("mlp", is_shares=True)
    found = fit("mlp", X, target, training=Training(n_seeds=1, max_epochs=0))
    assert [note["epochs"] for note in found.metadata] == [0, 0, 0]
    for fold in range(3):
        own = fold == FOLDS
        shares = np.tile(target[~own].mean(axis=0), (own.sum(), 1))
        assert_allclose(found.oof_pred[own], shares, rtol=1e-5)


@pytest.mark.usefixtures("one_child")
def test_the_epoch_is_where_the_curve_of_the_inner_parts_is_lowest() -> None:
    X, y = data("mlp")
    y = y + np.random.default_rng(3).normal(0, 9, N)

    def errors(most: int) -> list[float]:
        how = Training(n_seeds=1, max_epochs=most, patience=99)
        found = fit("mlp", X, y, training=how)
        assert all(note["epochs"] <= most for note in found.metadata)
        return [
            float(((found.inner_oof[k] - y)[k != FOLDS] ** 2).mean()) for k in range(3)
        ]

    curves = np.array([errors(most) for most in (0, 4, 16)])
    assert (np.diff(curves, axis=0) <= 0).all()
    assert (np.diff(curves, axis=0) < 0).any()


@pytest.mark.parametrize("kind", OF_VIEWS)
@pytest.mark.usefixtures("one_child")
def test_the_order_of_the_views_does_not_matter(kind: Kind) -> None:
    (inputs, _), (model, *_) = data(kind), usual(kind, False).models
    turned = inputs[:, np.random.default_rng(0).permutation(V)]
    assert_allclose(model.predict(turned), model.predict(inputs), rtol=1e-10)
    # but it does matter which views there are
    assert not np.allclose(model.predict(inputs[:, [0] * V]), model.predict(inputs))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("one_child")
def test_rows_without_weight_are_predicted_and_not_learned_from(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Parts are dealt by the target; here it must not be seen to change them.
    monkeypatch.setattr(
        TrainingRows, "inner_folds", lambda rows, idx, _: rows.groups[idx] % 4
    )
    inputs, target = data(kind)
    is_known = np.arange(N) % 5 > 0
    other = inputs.copy()
    other[~is_known] = 1e5
    how = {"weights": is_known.astype(float), "training": Training(max_epochs=2)}
    before = fit(kind, inputs, target, **how)
    after = fit(kind, other, np.where(is_known, target, -1e5), **how)
    assert np.array_equal(before.oof_pred[is_known], after.oof_pred[is_known])
    assert np.isfinite(before.oof_pred).all()
    assert max(note["epochs"] for note in before.metadata) > 0


@pytest.mark.usefixtures("one_child")
def test_rows_count_by_their_weight() -> None:
    # Where light rows say the opposite of heavy ones, the heavy ones are believed.
    rng = np.random.default_rng(0)
    X, is_heavy = rng.normal(size=(N, 2)), np.arange(N) % 2 == 0
    y, weights = np.where(is_heavy, X[:, 0], -X[:, 0]), np.where(is_heavy, 19.0, 1.0)
    said = fit("mlp", X, y, weights=weights).oof_pred
    assert np.corrcoef(said, X[:, 0])[0, 1] > 0.7
    opposite = fit("mlp", X, y, weights=20 - weights).oof_pred
    assert np.corrcoef(opposite, X[:, 0])[0, 1] < -0.7


@pytest.mark.usefixtures("one_child")
def test_the_seed_decides() -> None:
    again, other = (fit("mlp", *data("mlp"), seed=seed).oof_pred for seed in (0, 1))
    assert np.array_equal(again, usual("mlp", False).oof_pred)
    assert not np.array_equal(again, other)


@pytest.mark.usefixtures("one_child")
def test_a_class_that_the_other_folds_lack_gets_a_small_share() -> None:
    X, target = data("mlp", is_shares=True)
    index = target.argmax(axis=1)
    index[np.flatnonzero(FOLDS == 2)[:5]] = 3
    found = fit("mlp", X, np.eye(4)[index])
    assert_allclose(found.oof_pred.sum(axis=1), 1)
    assert (found.oof_pred[FOLDS == 2, 3] < 0.01).all()


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_answered_in_pieces(
    kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs, model = data(kind)[0], drawn(kind)
    whole = Nets(**{**vars(model), "is_shares": True}).predict(inputs)
    monkeypatch.setattr(neural, "AT_ONCE", 7)
    pieces = Nets(**{**vars(model), "is_shares": True}).predict(inputs)
    assert_allclose(pieces, whole)
    assert_allclose(whole.sum(axis=1), 1)


@pytest.mark.usefixtures("one_child")
def test_a_process_of_its_own_trains_the_same_with_a_bar(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    expected = usual("mlp", False)
    had_torch = "torch" in sys.modules
    monkeypatch.undo()
    told: list[str] = []
    found = fit("mlp", *data("mlp"), log=told.append)
    assert np.array_equal(found.oof_pred, expected.oof_pred)
    assert np.array_equal(found.inner_oof, expected.inner_oof, equal_nan=True)
    assert ("torch" in sys.modules) == had_torch
    assert "stacking: mlp: 100%" in capfd.readouterr().err
    assert told == ["stacking: mlp, 2 small nets a fold, in a process apart"]


def test_without_torch_the_remedy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('no such\\nlibrary')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    reason = r"'mlp' failed \(torch cannot be loaded: no such library\); leave mlp out"
    with pytest.raises(UserError, match=reason):
        fit("mlp", *data("mlp"))
    assert "Traceback" not in capfd.readouterr().err


def test_a_child_that_dies_is_a_mistake_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(neural, "run_child", lambda *_: -9)
    with pytest.raises(UserError, match=r"'cnn1d' failed \(status -9\); leave cnn1d"):
        fit("cnn1d", *data("cnn1d"))


@pytest.mark.parametrize(
    ("kind", "shape"), [("mlp", (N, V, F)), ("cnn1d", (N, F)), ("cnn2d", (N, F))]
)
def test_inputs_of_the_wrong_shape_are_refused(kind: Kind, shape: Any) -> None:
    with pytest.raises(ValueError, match=rf"{kind}: inputs \({N}, "):
        fit(kind, np.zeros(shape), np.zeros(N))


def test_inputs_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        fit("mlp", np.full((N, F), np.nan), np.zeros(N))


def test_the_child_is_no_command() -> None:
    assert "stacking.models.neural_training" not in commands()
