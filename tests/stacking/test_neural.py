"""Tests of neural, net_training and networks.

Torch takes seconds to load, so one child serves all tests but some.
"""

import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from functools import cache, partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from numpy.testing import assert_allclose

from data_prep.errors import UserError
from data_prep.executors.pool import Pool
from data_prep.executors.work import Outcome, Work
from data_prep.experiment import commands
from data_prep.run_folders.damage import DamagedFileError
from stacking.cross_fitting import CrossFit
from stacking.models import neural, neural_folds
from stacking.models.neural import (
    KINDS,
    Kind,
    Nets,
    Training,
    load_nets,
)
from stacking.models.neural_folds import cross_fit_neural
from tests.drilled import in_drills
from tests.stacking.conftest import rows_in_folds

N, V, F = 120, 4, 5
FOLDS, CV_GROUPS = np.arange(N) // 2 % 3, np.arange(N) // 2
training_rows = partial(rows_in_folds, folds=FOLDS, groups=CV_GROUPS)
OF_VIEWS: list[Kind] = ["cnn1d", "cnn2d"]
QUICK = Training(n_seeds=2, max_epochs=8, patience=4)
ROOT = Path(__file__).parents[2]
SCRIPT = """
from stacking.models import neural
print("largest:", neural._child().submit(max, 1, 2).result())
"""
ORPHAN = """
import time
from stacking.models import neural
pool = neural._child()
pool.submit(time.sleep, 0).result()
pool.submit(time.sleep, 60)
print(*pool._processes, flush=True)
time.sleep(60)
"""
NEEDS_TABM = pytest.mark.skipif(find_spec("tabm") is None, reason="an extra")
WITHOUT_TABM = [kind for kind in KINDS if kind != "tabm"]
ALL = [pytest.param("tabm", marks=NEEDS_TABM), *WITHOUT_TABM]
# TabM takes longest: its probabilities, and weights of rows, are for the drills.
SLOW_TABM = pytest.param("tabm", marks=[NEEDS_TABM, pytest.mark.drill])
BOTH = [
    pytest.param("tabm", False, marks=NEEDS_TABM),
    pytest.param("tabm", True, marks=[NEEDS_TABM, pytest.mark.drill]),
    *((kind, is_proba) for kind in WITHOUT_TABM for is_proba in (False, True)),
]


@pytest.fixture
def fresh_child() -> Iterator[None]:
    """Let the test start a child of its own, and the next one too."""
    neural._child.cache_clear()
    yield
    neural._child.cache_clear()


def data(kind: Kind, *, is_proba: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose target is read from two outputs, and bends with one of them."""
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(N // 2, 2))[CV_GROUPS]
    y = latent[:, 0] + np.abs(latent[:, 1]) + rng.normal(0, 0.1, N)
    views = rng.normal(0, 0.3, (N, V, F))
    views[..., :2] += latent[:, None]
    views = 50 + 20 * views
    target = np.eye(3)[np.digitize(y, [0, 1])] if is_proba else 7 + 3 * y
    return views if kind in OF_VIEWS else views.mean(axis=1), target


def fit(
    kind: Kind,
    X: np.ndarray,
    y: np.ndarray,
    weights: np.ndarray | None = None,
    **how: Any,
) -> CrossFit:
    # TabM is an ensemble itself, and takes longer
    quick = Training(n_seeds=1, max_epochs=6) if kind == "tabm" else QUICK
    how = {"training": quick} | how
    return cross_fit_neural(kind, training_rows(X, y, weights), **how)


@cache
def usual(kind: Kind, is_proba: bool) -> CrossFit:
    """What the child makes of the data; for tests that let it train."""
    return fit(kind, *data(kind, is_proba=is_proba))


def relu(values: np.ndarray) -> np.ndarray:
    return np.maximum(values, 0)


def predicted_by_numpy(model: Nets, X: np.ndarray, net: int) -> np.ndarray:
    """The (N, D) outputs of one net, by the formulas of its layers."""
    t = {name: values[net].astype(np.float64) for name, values in model.tensors.items()}
    x = np.sort(X, axis=1) if model.kind == "cnn2d" else X
    x = (x - t["center"]) / t["scale"]

    def dense(layer: str, values: np.ndarray) -> np.ndarray:
        return values @ t[f"{layer}.weight"].T + t[f"{layer}.bias"]

    if model.kind == "tabm":
        x = x[:, None]  # (N, members, columns)
        for block in ("body.1.blocks.0.0", "body.1.blocks.1.0"):
            r, s, bias = (t[f"{block}.{name}"] for name in ("r", "s", "bias"))
            x = relu((x * r) @ t[f"{block}.weight"].T * s + bias)
        members = np.einsum("nkh,khd->nkd", x, t["output.weight"]) + t["output.bias"]
        return members.mean(axis=1)
    if model.kind == "mlp":
        read, hidden = relu(dense("body.0", x)), "body.2"
    elif model.kind == "cnn1d":
        views = relu(dense("body.0", x))
        read, hidden = np.concatenate([views.mean(1), views.max(1)], axis=-1), "body.3"
    else:
        picture = np.pad(x, ((0, 0), (0, 0), (1, 1)))
        kernel = t["body.1.weight"].reshape(-1, V, 3)
        patches = sliding_window_view(picture, 3, axis=2)
        read = relu(np.einsum("nvfw,hvw->nfh", patches, kernel) + t["body.1.bias"])
        read, hidden = read.reshape(len(x), -1), "body.4"
    return dense("output", relu(dense(hidden, read)))


@pytest.mark.parametrize(("kind", "is_proba"), BOTH)
def test_torch_predicts_as_the_formulas_say(kind: Kind, is_proba: bool) -> None:
    (X, _), model = data(kind), usual(kind, is_proba).models[0]
    assert isinstance(model, Nets)
    if kind == "tabm" and is_proba:
        pytest.skip("its members are averaged as probabilities")
    expected = 0
    n_nets = len(model.tensors["offset"])
    for net in range(n_nets):
        outputs = predicted_by_numpy(model, X, net)
        if is_proba:
            outputs = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)
        spread, offset = model.tensors["spread"][net], model.tensors["offset"][net]
        expected = expected + (outputs * spread + offset) / n_nets
    assert_allclose(
        model.predict(X), expected if is_proba else expected[:, 0], rtol=1e-9
    )


@pytest.mark.parametrize(("kind", "is_proba"), BOTH)
def test_a_bent_target_is_learned(kind: Kind, is_proba: bool) -> None:
    _, target = data(kind, is_proba=is_proba)
    found = usual(kind, is_proba)
    for said, rows in [(found.oof_pred, FOLDS >= 0), (found.inner_oof[1], FOLDS != 1)]:
        error = ((said - target)[rows] ** 2).mean()
        assert error < 0.8 * target[rows].var(axis=0).mean()
    assert np.isnan(found.inner_oof[1][FOLDS == 1]).all()
    if is_proba:
        assert_allclose(found.oof_pred.sum(axis=1), 1)
        assert_allclose(np.nansum(found.inner_oof[0], axis=1)[FOLDS != 0], 1)


@pytest.mark.parametrize(("kind", "is_proba"), BOTH)
def test_outer_predictions_are_those_of_the_stored_models(
    kind: Kind, is_proba: bool, tmp_path: Path
) -> None:
    found, (inputs, _) = usual(kind, is_proba), data(kind)
    for fold, model in enumerate(found.models):
        assert isinstance(model, Nets)
        again = load_nets(tmp_path, model.save(tmp_path, f"{kind}_fold{fold}"))
        assert (again.kind, again.is_proba) == (kind, is_proba)
        own = fold == FOLDS
        assert np.array_equal(again.predict(inputs[own]), found.oof_pred[own])


@pytest.mark.parametrize("kind", ALL)
def test_nothing_said_for_a_fold_looks_at_its_labels(kind: Kind) -> None:
    own, (inputs, target) = FOLDS == 1, data(kind)
    other = np.where(own, target[::-1] * -9, target)
    before, after = usual(kind, False), fit(kind, inputs, other)
    assert np.array_equal(before.oof_pred[own], after.oof_pred[own])
    assert np.array_equal(before.inner_oof[1][~own], after.inner_oof[1][~own])
    assert before.metadata[1] == after.metadata[1]
    assert (before.oof_pred[~own] != after.oof_pred[~own]).any()


@pytest.mark.parametrize("is_proba", [False, True])
def test_random_labels_cannot_be_remembered(is_proba: bool) -> None:
    # Pairs of equal rows: whoever tears a pair knows the other half.
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(N, 20))[CV_GROUPS], rng.normal(size=N)[CV_GROUPS]
    target = np.eye(2)[(y > 0).astype(int)] if is_proba else y
    found = fit("mlp", X, target, training=Training(n_seeds=2, max_epochs=40))
    for said, rows in [(found.oof_pred, FOLDS >= 0), (found.inner_oof[0], FOLDS != 0)]:
        error = ((said - target)[rows] ** 2).mean()
        assert error > 0.93 * target[rows].var(axis=0).mean()


def test_without_epochs_the_nets_say_the_best_constant() -> None:
    X, target = data("mlp", is_proba=True)
    found = fit("mlp", X, target, training=Training(n_seeds=1, max_epochs=0))
    assert [note["epochs"] for note in found.metadata] == [0, 0, 0]
    for fold in range(3):
        own = fold == FOLDS
        shares = np.tile(target[~own].mean(axis=0), (own.sum(), 1))
        assert_allclose(found.oof_pred[own], shares, rtol=1e-5)


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
def test_the_order_of_the_views_does_not_matter(kind: Kind) -> None:
    (inputs, _), (model, *_) = data(kind), usual(kind, False).models
    turned = inputs[:, np.random.default_rng(0).permutation(V)]
    assert_allclose(model.predict(turned), model.predict(inputs), rtol=1e-10)
    # but it does matter which views there are
    assert not np.allclose(model.predict(inputs[:, [0] * V]), model.predict(inputs))


@pytest.mark.parametrize("kind", [SLOW_TABM, *WITHOUT_TABM])
def test_rows_without_weight_are_predicted_and_not_learned_from(kind: Kind) -> None:
    X, y = data(kind)
    # Inner folds go by the rank of the mean of a group, which must stay as it is.
    means = y.reshape(-1, 2).mean(axis=1)
    higher = np.append(np.sort(means), means.max() + 1)
    gap = higher[means.argsort().argsort() + 1] - means
    is_known = CV_GROUPS % 5 > 0
    other_X = np.where(is_known.reshape(-1, *[1] * (X.ndim - 1)), X, 1e5)
    other_y = np.where(is_known, y, y + 0.4 * gap[CV_GROUPS])
    short = Training(n_seeds=1, max_epochs=2)
    how = {"weights": is_known.astype(float), "training": short}
    before, after = fit(kind, X, y, **how), fit(kind, other_X, other_y, **how)
    assert np.array_equal(before.oof_pred[is_known], after.oof_pred[is_known])
    assert np.isfinite(before.oof_pred).all()
    assert max(chosen["epochs"] for chosen in before.metadata) > 0
    all_alike = fit(kind, other_X, other_y, training=short)
    assert not np.array_equal(before.oof_pred[is_known], all_alike.oof_pred[is_known])


def test_rows_count_by_their_weight() -> None:
    # Where light rows say the opposite of heavy ones, the heavy ones are believed.
    rng = np.random.default_rng(0)
    X, is_heavy = rng.normal(size=(N, 2)), np.arange(N) % 2 == 0
    y, weights = np.where(is_heavy, X[:, 0], -X[:, 0]), np.where(is_heavy, 19.0, 1.0)
    said = fit("mlp", X, y, weights=weights).oof_pred
    assert np.corrcoef(said, X[:, 0])[0, 1] > 0.7
    opposite = fit("mlp", X, y, weights=20 - weights).oof_pred
    assert np.corrcoef(opposite, X[:, 0])[0, 1] < -0.7


def test_the_seed_decides() -> None:
    short = Training(n_seeds=1, max_epochs=2)
    first, again, other = (
        fit("mlp", *data("mlp"), seed=seed, training=short).oof_pred
        for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_weights_move_as_by_the_optimizer_of_torch() -> None:
    torch = pytest.importorskip("torch")
    from stacking.models.net_training import AdamW

    moved = []
    for make in (AdamW, torch.optim.AdamW):
        rng = torch.Generator().manual_seed(0)
        weights = [torch.randn(shape, generator=rng) for shape in ((4, 3), (3,))]
        optimizer = make(weights, lr=0.01, weight_decay=0.3)
        for _ in range(5):
            for values in weights:
                values.grad = torch.randn(values.shape, generator=rng)
            optimizer.step()
        moved.append(weights)
    assert all(torch.equal(*pair) for pair in zip(*moved, strict=True))


def test_a_class_that_the_other_folds_lack_gets_a_small_share() -> None:
    X, target = data("mlp", is_proba=True)
    index = target.argmax(axis=1)
    index[np.flatnonzero(FOLDS == 2)[:5]] = 3
    found = fit("mlp", X, np.eye(4)[index])
    assert_allclose(found.oof_pred.sum(axis=1), 1)
    assert (found.oof_pred[FOLDS == 2, 3] < 0.01).all()


@pytest.mark.parametrize(("kind", "is_proba"), BOTH)
def test_rows_are_predicted_in_pieces(kind: Kind, is_proba: bool) -> None:
    (X, _), model = data(kind), usual(kind, is_proba).models[0]
    few = model.predict(X)
    many = model.predict(np.concatenate([X] * 9))  # two pieces and a rest
    assert_allclose(many, np.concatenate([few] * 9), rtol=1e-12)


@pytest.mark.usefixtures("fresh_child")
def test_a_process_of_its_own_trains_the_same_with_a_bar(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    expected = usual("mlp", False)
    neural._child.cache_clear()
    had_torch = "torch" in sys.modules
    with caplog.at_level(logging.INFO):
        again = fit("mlp", *data("mlp"))
    assert np.array_equal(again.oof_pred, expected.oof_pred)
    assert np.array_equal(again.inner_oof, expected.inner_oof, equal_nan=True)
    assert ("torch" in sys.modules) == had_torch
    assert "stacking: mlp: 100%" in capfd.readouterr().err
    assert caplog.messages == ["stacking: mlp, 2 small nets a fold, in a process apart"]


@pytest.mark.usefixtures("fresh_child")
def test_without_torch_the_remedy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('no such\\nlibrary')")
    monkeypatch.syspath_prepend(tmp_path)
    reason = r"'mlp' failed \(torch cannot be loaded: no such library\); leave mlp out"
    with pytest.raises(UserError, match=reason):
        fit("mlp", *data("mlp"))
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.usefixtures("fresh_child")
def test_a_child_that_dies_is_a_mistake_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(neural, "_call", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        with pytest.raises(
            UserError, match=r"'cnn1d' failed \(it died.*-9.*\); leave cnn1d"
        ):
            fit("cnn1d", *data("cnn1d"))
    assert neural._child().submit(max, 1, 2).result() == 2  # a new one serves


def test_a_script_needs_no_main_guard_and_leaves_no_process(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path, env=env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout == "largest: 2\n"
    assert "Warning" not in done.stderr


def test_the_child_of_a_killed_process_ends(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(ORPHAN)
    with subprocess.Popen(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as script:
        assert script.stdout is not None
        child = Path("/proc") / script.stdout.readline().strip() / "cmdline"
        assert b"loky" in child.read_bytes()
        script.kill()
    deadline = time.monotonic() + 20
    while child.exists() and b"loky" in child.read_bytes():
        assert time.monotonic() < deadline, "it lives on"
        time.sleep(0.1)


@pytest.mark.usefixtures("fresh_child")
def test_an_interrupt_does_not_wait_for_the_child(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parent, began = os.getpid(), time.monotonic()

    def interrupt(*_: object) -> None:
        os.kill(parent, signal.SIGINT)
        time.sleep(100)

    monkeypatch.setattr(neural, "_call", interrupt)
    # workers of pytest-xdist ignore the signal
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            fit("mlp", *data("mlp"))
    finally:
        signal.signal(signal.SIGINT, before)
    assert time.monotonic() - began < 90


def test_a_file_that_is_cut_is_named(tmp_path: Path) -> None:
    model = usual("mlp", False).models[0]
    files = model.save(tmp_path, "mlp_fold0")
    path = tmp_path / files[0]
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DamagedFileError, match=re.escape(f"{path} is cut or changed")):
        load_nets(tmp_path, files)


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
    assert "stacking.models.net_training" not in commands()


def work_here(works: Sequence[Work], *_: object, **__: object) -> Outcome:
    """Do what processes would, without starting them."""
    for work in works:
        assert work.writes
        work.writes.mkdir()
    results = {work.name: work.function(lambda _: None) for work in works}
    return Outcome(results=results, failures={})


@pytest.mark.parametrize("is_apart", [False, in_drills(True)])
def test_folds_in_processes_are_those_of_the_child(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    is_apart: bool,
) -> None:
    """One that is there is not trained again, as after a kill."""
    how = {"pool": Pool(executor="processes", n_at_once=2, threads=1)}
    if not is_apart:
        monkeypatch.setattr(neural_folds, "run", work_here)
    with caplog.at_level(logging.INFO):
        fits = fit("mlp", *data("mlp"), folder=tmp_path, **how)
    assert ("3 folds, 2 at once on 1 threads each" in caplog.text) == is_apart
    expected = usual("mlp", False)
    assert np.array_equal(fits.oof_pred, expected.oof_pred)
    assert np.array_equal(fits.inner_oof, expected.inner_oof, equal_nan=True)
    assert fits.metadata == expected.metadata
    for model, same in zip(fits.models, expected.models, strict=True):
        assert model.save(tmp_path, "one") == ["one.safetensors"]
        same.save(tmp_path, "two")
        first, second = (tmp_path / f"{n}.safetensors" for n in ("one", "two"))
        assert first.read_bytes() == second.read_bytes()
    file = tmp_path / "mlp_fold1" / "fold.npz"
    file.write_bytes(file.read_bytes()[:-100])  # a disk has lost some
    names: list[str] = []

    def fail(works: Sequence[Work], *_: object, **__: object) -> Outcome:
        names.extend(work.name for work in works)
        return Outcome(results={}, failures=dict.fromkeys(names, "too bright"))

    monkeypatch.setattr(neural_folds, "run", fail)
    message = r"1 of 1 folds failed \(mlp of fold 1: too bright\); see .*job.log; the"
    with pytest.raises(UserError, match=message):
        fit("mlp", *data("mlp"), folder=tmp_path, **how)
    assert names == ["mlp of fold 1"]
    neural_folds.drop_folds(tmp_path)
    assert not list(tmp_path.rglob("fold.npz"))
