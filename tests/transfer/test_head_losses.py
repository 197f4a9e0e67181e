"""Tests of data_prep.head_losses: each loss by hand, and as a net begins with it."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import Tensor
from torch.nn import functional
from torch.testing import assert_close

from data_prep.head_losses.base import HeadLoss, Labels
from data_prep.head_losses.companion import FIFTHS, WithFifths
from data_prep.head_losses.corn import Corn
from data_prep.head_losses.cross_entropy import CrossEntropy
from data_prep.head_losses.distances import Distance, Unscaled
from data_prep.head_losses.histogram import Histogram
from data_prep.head_losses.scaled import ScaledCrossEntropy
from data_prep.head_losses.tags import TagEntropy
from data_prep.tables.units import origin_of

SEEDS = range(3)
HISTOGRAM = Histogram(bins=30, sigma=0.75)


def labels_of(values: Any, outputs: Sequence[str] = ("",), **more: Any) -> Labels:
    """Make labels that all rows have."""
    y = np.array(values, dtype=np.float64)
    y = y[:, None] if y.ndim == 1 else y
    has_label = np.ones(len(y), dtype=np.bool_)
    more = {"grades": tuple(np.unique(y).tolist()), **more}  # for those that have any
    return Labels(values=y, has_label=has_label, outputs=tuple(outputs), **more)


def begun(loss: HeadLoss, labels: Labels) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """Give the state, the targets of all rows, and the outputs of a first step."""
    y = torch.from_numpy(labels.from_origin())
    state, n_outputs = loss.fit_state(y, labels), len(labels.outputs)
    before = loss.initial_state(n_outputs)
    assert {k: v.shape for k, v in before.items()} == {
        k: v.shape for k, v in state.items()
    }
    bias = loss.initial_bias(y, labels)
    width = loss.width(n_outputs)
    bias = torch.zeros(width) if bias is None else bias
    assert bias.shape == (width,)
    return state, loss.target(y, state), bias.float().expand(len(y), -1)


def predicted(loss: HeadLoss, outputs: Tensor, state: dict[str, Tensor]) -> Tensor:
    """Predict as a net does: its state is float32."""
    return loss.predict(outputs, {k: v.float() for k, v in state.items()})


@pytest.mark.parametrize("seed", SEEDS)
def test_the_expected_value_of_a_label_s_histogram_is_the_label(seed: int) -> None:
    y = np.random.default_rng(seed).gamma(2, 30, 200) + 1700
    state, target, _ = begun(HISTOGRAM, labels_of(y))
    assert_close(target.sum(dim=1), torch.ones(200))
    y_pred = predicted(HISTOGRAM, target.clamp(min=1e-30).log(), state)
    bin_width = np.ptp(y) / 24  # the bell reaches three bins beyond, on both sides
    assert np.abs(y_pred[:, 0].numpy() - y).max() < 0.005 * bin_width


def test_the_histogram_of_a_label_by_hand() -> None:
    state, target, _ = begun(HISTOGRAM, labels_of([0.0, 24.0, 7.3]))
    edges = state["edges"] * state["scale"] + state["centre"]
    assert_close(edges, torch.arange(-3, 28).double())  # bins of 1
    below = norm.cdf((np.arange(-3, 28) - 7.3) / 0.75)
    expected = np.diff(below) / (below[-1] - below[0])
    np.testing.assert_allclose(target[2], expected, atol=1e-7)
    logits = torch.randn(3, 30, generator=torch.Generator().manual_seed(0))
    losses = HISTOGRAM.row_losses(logits, target, state)
    assert losses[2].item() == pytest.approx(
        -(expected * logits[2].log_softmax(0).numpy()).sum(), rel=1e-5
    )


def test_a_label_outside_the_bins_or_without_range_has_a_histogram() -> None:
    state, _, _ = begun(HISTOGRAM, labels_of([1.0, 2.0, 3.0]))
    target = HISTOGRAM.target(torch.tensor([[-1e9], [1e9]]).double(), state)
    assert torch.isfinite(target).all()
    assert target.argmax(dim=1).tolist() == [0, 29]
    constant = labels_of(np.full(9, 1890.37))
    for loss in (HISTOGRAM, ScaledCrossEntropy()):
        state, target, outputs = begun(loss, constant)
        assert torch.isfinite(loss.row_losses(outputs, target, state)).all()
        assert_close(predicted(loss, outputs, state)[0, 0].item(), 1890.37, atol=1.0,
                     rtol=0)  # fmt: skip


def test_places_in_the_range_by_hand() -> None:
    loss = ScaledCrossEntropy()
    state, target, outputs = begun(loss, labels_of([10.0, 20.0, 30.0, 30.0]))
    assert_close(target, torch.tensor([[0], [0.5], [1], [1]]))
    assert_close(outputs.sigmoid(), torch.full((4, 1), 0.625))
    assert_close(predicted(loss, outputs, state), torch.full((4, 1), 22.5))
    losses = loss.row_losses(torch.zeros(4, 1), target, state)
    assert_close(losses, torch.full((4,), math.log(2)))
    logit = torch.full((4, 1), 0.3)
    q = 1 / (1 + math.exp(-0.3))
    expected = -(0.5 * math.log(q) + 0.5 * math.log(1 - q))
    assert loss.row_losses(logit, target, state)[1].item() == pytest.approx(expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_loss_of_a_grade_is_minus_the_logarithm_of_its_probability(
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    n_grades = int(rng.integers(2, 7))
    grades = np.sort(rng.normal(0, 9, n_grades))
    ranks = np.concatenate([np.arange(n_grades), rng.integers(n_grades, size=20)])
    labels = labels_of(grades[ranks], ["", *map(str, range(n_grades))])
    state, target, _ = begun(Corn(), labels)
    assert target.tolist() == ranks.tolist()
    logits = torch.tensor(rng.normal(0, 2, (len(ranks), n_grades - 1))).float()
    y_pred = predicted(Corn(), logits, state)
    expected, proba = y_pred[:, 0], y_pred[:, 1:]
    assert_close(proba.sum(dim=1), torch.ones(len(ranks)))
    assert (proba >= 0).all()
    assert_close(expected, proba @ torch.tensor(grades).float(), rtol=1e-4, atol=1e-5)
    losses = Corn().row_losses(logits, target, state)
    of_grade = proba[torch.arange(len(ranks)), target]
    assert_close(losses, -of_grade.log(), rtol=1e-3, atol=1e-3)
    passed = torch.sigmoid(logits)
    above = 1 - proba.cumsum(dim=1)[:, :-1]
    assert (above.diff(dim=1) <= 1e-6).all()
    assert_close(above[:, 0], passed[:, 0])


def test_a_grade_by_hand_and_the_frequencies_at_the_start() -> None:
    labels = labels_of([1.0, 1, 1, 2, 2, 5], ["", "0", "1", "2"])
    state, target, outputs = begun(Corn(), labels)
    assert state["grades"].tolist() == [1, 2, 5]
    logits = torch.tensor([[0.0, 2.0]]).expand(6, 2)
    yes = 1 / (1 + math.exp(-2))
    losses = Corn().row_losses(logits, target, state)
    assert losses[0].item() == pytest.approx(math.log(2))
    assert losses[3].item() == pytest.approx(math.log(2) - math.log(1 - yes))
    assert losses[5].item() == pytest.approx(math.log(2) - math.log(yes))
    y_pred = predicted(Corn(), logits, state)[0].tolist()
    assert y_pred[1:] == pytest.approx([0.5, 0.5 * (1 - yes), 0.5 * yes])
    assert y_pred[0] == pytest.approx(0.5 + 2 * 0.5 * (1 - yes) + 5 * 0.5 * yes)
    assert_close(outputs[0].sigmoid(), torch.tensor([3.5 / 7, 1.5 / 4]))


def test_a_fold_without_a_grade_keeps_its_place() -> None:
    labels = labels_of([1.0, 2.0, 3.0] * 2, ["", "0", "1", "2"])
    y = torch.tensor([[1.0], [3.0]]).double()
    state = Corn().fit_state(y, labels)
    assert Corn().target(y, state).tolist() == [0, 2]
    none = replace(labels, values=0 * labels.values, has_label=labels.values[:, 0] < 0)
    assert Corn().fit_state(y, none)["grades"].tolist() == [1, 2, 3]  # nor hidden ones
    far = labels_of(1.6e9 + labels.values, labels.outputs, origin=1.6e9)
    assert Corn().fit_state(y, far)["grades"].tolist() == [1, 2, 3]


@pytest.mark.parametrize("seed", SEEDS)
def test_smoothing_and_weights_of_classes_by_hand(seed: int) -> None:
    rng = np.random.default_rng(seed)
    logits, class_idx = rng.normal(0, 2, (6, 3)), np.array([0, 0, 0, 1, 1, 2])
    log_proba = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    of_class = log_proba[np.arange(6), class_idx]
    labels = labels_of(class_idx, "012", classes=("a", "b", "c"))
    smooth = CrossEntropy(label_smoothing=0.1)
    state, target, _ = begun(smooth, labels)
    np.testing.assert_allclose(
        smooth.row_losses(torch.tensor(logits), target, state),
        -(0.9 * of_class + 0.1 * log_proba.mean(axis=1)),
    )
    balanced = CrossEntropy(is_balanced=True, class_weights={"b": 4.0})
    state, target, outputs = begun(balanced, labels)
    weights = np.array([6 / 9, 4 * 6 / 6, 6 / 3])
    assert state["class_weights"].tolist() == pytest.approx(weights.tolist())
    np.testing.assert_allclose(
        balanced.row_losses(torch.tensor(logits), target, state),
        -weights[class_idx] * of_class,
    )
    both = CrossEntropy(label_smoothing=0.1, is_balanced=True, class_weights={"b": 4.0})
    np.testing.assert_allclose(
        both.row_losses(torch.tensor(logits), target, state),
        -weights[class_idx] * (0.9 * of_class + 0.1 * log_proba.mean(axis=1)),
    )
    start = np.array([3.5, 2.5, 1.5]) * weights
    np.testing.assert_allclose(
        predicted(balanced, outputs, state)[0], start / start.sum(), rtol=1e-5
    )


def test_a_class_that_a_fold_lacks_keeps_its_weight() -> None:
    labels = labels_of([0, 0, 0, 1, 1, 2], "012", classes=("a", "b", "c"))
    loss = CrossEntropy(is_balanced=True, class_weights={"c": 2.0})
    state = loss.fit_state(torch.tensor([[0.0], [0.0], [0.0], [1.0]]), labels)
    assert state["class_weights"].tolist() == pytest.approx([4 / 9, 4 / 3, 2])


def test_tags_by_hand() -> None:
    y = [[1, 0], [1, 0], [0, 0]]
    labels = labels_of(y, "01", classes=("oak", "elm"))
    state, target, outputs = begun(TagEntropy(), labels)
    assert_close(
        predicted(TagEntropy(), outputs, state)[0], torch.tensor([5 / 8, 1 / 8])
    )
    logits = torch.tensor([[0.0, 1.5]]).expand(3, 2)
    losses = TagEntropy().row_losses(logits, target, state)
    expected = (math.log(2) - math.log(1 - 1 / (1 + math.exp(-1.5)))) / 2
    assert_close(losses, torch.full((3,), expected))


@pytest.mark.parametrize("number", [Distance("mse"), HISTOGRAM, ScaledCrossEntropy()])
def test_a_companion_adds_the_fifth_of_the_label(number: HeadLoss) -> None:
    y = np.random.default_rng(0).permutation(np.arange(100.0))
    loss = WithFifths(number=number)
    outputs_of_store = ["", *(f"q{k + 1}" for k in range(FIFTHS))]
    state, target, outputs = begun(loss, labels_of(y, outputs_of_store))
    fifths = y // 20
    assert target[:, -1].tolist() == fifths.tolist()
    y_pred = predicted(loss, outputs, state)
    assert y_pred.shape == (100, 6)
    assert_close(y_pred[:, 0], torch.full((100,), 49.5), rtol=0, atol=0.5)
    assert_close(y_pred[:, 1:], torch.full((100, 5), 0.2))
    noise = torch.randn(outputs.shape, generator=torch.Generator().manual_seed(0))
    alone = number.row_losses(noise[:, :-FIFTHS], target[:, :-1], state)
    cross_entropy = functional.cross_entropy(
        noise[:, -FIFTHS:], torch.tensor(fifths).long(), reduction="none"
    )
    ours = loss.row_losses(noise, target, state)
    assert_close(ours, alone + cross_entropy / math.log(5))


def test_labels_as_they_are_by_hand() -> None:
    loss = Unscaled()
    state, target, first = begun(loss, labels_of([1900.0, 1910.0]))
    assert target.tolist() == [[1900], [1910]]
    assert loss.row_losses(first, target, state).tolist() == [1900**2, 1910**2]
    assert predicted(loss, target, state).tolist() == target.tolist()


LOSSES = [
    *(Distance(name) for name in ("mse", "mae", "huber")),
    *(HISTOGRAM, ScaledCrossEntropy(), WithFifths(number=HISTOGRAM), Corn()),
]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("unit", [(1000.0, 7.0), (0.001, -3.0), (40.0, 1.6e9)])
def test_a_loss_does_not_depend_on_the_unit(
    loss: HeadLoss, unit: tuple[float, float]
) -> None:
    y = np.random.default_rng(1).integers(0, 4, 60).astype(float)
    outputs = ["", *"0123"] if isinstance(loss, Corn) else [""]
    if isinstance(loss, WithFifths):
        outputs += [f"q{k + 1}" for k in range(FIFTHS)]
    usual, other = (
        labels_of(values, outputs, origin=origin_of(values))
        for values in (y, y * unit[0] + unit[1])
    )
    state, target, first = begun(loss, usual)
    state_there, target_there, first_there = begun(loss, other)
    assert_close(target_there, target, rtol=0, atol=2e-7)
    assert_close(first_there, first, rtol=0, atol=1e-6)
    y_pred = predicted(loss, first, state)[:, 0].double()
    y_there = predicted(loss, first_there, state_there)[:, 0].double() + other.origin
    tolerance = 1e-5 * unit[0]
    assert_close((y_there - unit[1]), y_pred * unit[0], rtol=1e-5, atol=tolerance)
