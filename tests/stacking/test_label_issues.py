"""Tests of label_issues: by hand, by the definition in a loop, and beside a peer."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from stacking.analysis.label_issues import (
    Flags,
    Floats,
    Ints,
    LabelIssues,
    class_issues,
    combine,
    flag_worst,
    numeric_issues,
    ranking,
)

SEEDS = range(6)


def made_up(seed: int, n: int = 600, K: int = 4) -> tuple[Ints, Floats, Flags]:
    """Give labels, some of them wrong, probabilities by the true ones, and which are.

    The nets are sure of some classes and never of others; one class is rare.
    """
    rng = np.random.default_rng(seed)
    shares = np.linspace(0.2, 1, K) / np.linspace(0.2, 1, K).sum()
    true = rng.choice(K, n, p=shares)
    logits = rng.normal(size=(n, K))
    logits[np.arange(n), true] += np.linspace(1.5, 4, K)[true]
    probabilities = np.exp(logits)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    is_wrong = rng.random(n) < 0.05
    labels = np.where(is_wrong, (true + rng.integers(1, K, n)) % K, true)
    return labels, probabilities, is_wrong


def names(K: int) -> list[str]:
    return [f"class{k}" for k in range(K)]


def test_classes_by_hand() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1])
    probabilities = np.array(
        [
            [0.9, 0.1, 0.0],
            [0.5, 0.3, 0.2],
            [0.1, 0.8, 0.1],  # as sure as class 1 ever is, and labelled 0
            [0.2, 0.8, 0.0],
            [0.45, 0.4, 0.15],  # 0.45 is not what pictures of class 0 look like
            [0.55, 0.0, 0.45],
        ]
    )
    # Thresholds: (0.9 + 0.5 + 0.1) / 3 = 0.5, (0.8 + 0.4 + 0) / 3 = 0.4, none.
    issues = class_issues(labels, probabilities, ["a", "b", "c"])
    assert issues.is_issue.tolist() == [False, False, True, False, False, True]
    assert_allclose(issues.score, [0.1, 0.4, 0.85, 0.2, 0.525, 0.775])
    assert issues.reasons[2] == "probability of b 0.80, of the label a 0.10"
    assert [bool(text) for text in issues.reasons] == issues.is_issue.tolist()


def test_a_label_that_is_likelier_than_the_guess_is_no_issue() -> None:
    # Thresholds 0.8 and 0.35: the first row is sure of class 1, not of its own class.
    probabilities = np.array([[0.6, 0.4], [1.0, 0.0], [0.65, 0.35]])
    issues = class_issues(np.array([0, 0, 1]), probabilities, names(2))
    assert not issues.is_issue.any()
    assert_allclose(issues.score, [0.4, 0.0, 0.65])


def test_a_class_that_no_row_has_is_never_guessed() -> None:
    probabilities = np.array([[0.1, 0.0, 0.9], [0.6, 0.4, 0.0], [0.3, 0.7, 0.0]])
    issues = class_issues(np.array([0, 0, 1]), probabilities, names(3))
    assert not issues.is_issue.any()
    assert issues.score[0] == pytest.approx(0.9)


@pytest.mark.parametrize("seed", SEEDS)
def test_classes_by_the_definition(seed: int) -> None:
    labels, probabilities, _ = made_up(seed)
    K = probabilities.shape[1]
    issues = class_issues(labels, probabilities, names(K))
    mean = [
        np.mean(
            [p[k] for p, label in zip(probabilities, labels, strict=True) if label == k]
        )
        for k in range(K)
    ]
    for row, (label, p) in enumerate(zip(labels, probabilities, strict=True)):
        sure = [k for k in range(K) if p[k] >= mean[k]]
        guess = max(sure, key=lambda k: p[k]) if sure else label
        assert issues.is_issue[row] == (guess != label and p[guess] > p[label])
        other = max(p[k] for k in range(K) if k != label)
        assert issues.score[row] == pytest.approx((other - p[label] + 1) / 2)
        assert not issues.is_issue[row] or issues.score[row] > 0.5


@pytest.mark.parametrize("seed", SEEDS)
def test_wrong_labels_are_found_and_few_others(seed: int) -> None:
    labels, probabilities, is_wrong = made_up(seed)
    issues = class_issues(labels, probabilities, names(4))
    assert is_wrong[issues.is_issue].mean() > 0.6
    assert issues.is_issue[is_wrong].mean() > 0.4
    assert 0 <= issues.score.min() <= issues.score.max() <= 1
    swapped = class_issues(labels[::-1], probabilities[::-1], names(4))
    assert_allclose(swapped.score[::-1], issues.score)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_labels_as_cleanlab(seed: int) -> None:
    pytest.importorskip("cleanlab", reason="a peer; not needed to run")
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    labels, probabilities, _ = made_up(seed)
    issues = class_issues(labels, probabilities, names(4))
    theirs = find_label_issues(
        labels, probabilities, filter_by="confident_learning", n_jobs=1
    )
    # Of several sure classes they take the most probable of all, sure or not.
    mean = np.array([probabilities[labels == k, k].mean() for k in range(4)])
    is_sure = probabilities >= mean
    best_is_sure = is_sure[np.arange(len(labels)), probabilities.argmax(axis=1)]
    same = best_is_sure | (is_sure.sum(axis=1) < 2)
    assert same.mean() > 0.9
    assert (issues.is_issue == theirs)[same].all()
    quality = get_label_quality_scores(
        labels, probabilities, method="normalized_margin"
    )
    assert_allclose(1 - issues.score, quality)


def test_numbers_by_hand() -> None:
    residual = np.array([-2.0, -1.0, 0.0, 1.0, 12.0])
    prediction = np.array([1.0, 5.0, 2.0, 0.0, 3.0])
    issues = numeric_issues(prediction + residual, prediction)
    far = np.array([2, 1, 0, 1, 12]) / 1.4826  # median 0, median distance 1
    assert_allclose(issues.score, far / (far + 3))
    assert issues.is_issue.tolist() == [False] * 4 + [True]
    assert issues.reasons == ("", "", "", "", "8.1 deviations off")
    assert (issues.score > 0.5).tolist() == issues.is_issue.tolist()


@pytest.mark.parametrize("seed", SEEDS)
def test_an_offset_and_a_unit_change_no_score(seed: int) -> None:
    rng = np.random.default_rng(seed)
    target, prediction = rng.normal(size=(2, 200))
    issues = numeric_issues(target, prediction)
    moved = numeric_issues(1900 + 40 * target, 1907 + 40 * prediction)
    assert_allclose(moved.score, issues.score, atol=1e-9)
    wild = np.where(np.arange(200) < 60, 1e6, target)  # what others say moves little
    wild_score = numeric_issues(wild, prediction).score
    assert (wild_score[:60] > 0.99).all()
    assert np.abs(wild_score - issues.score)[60:].max() < 0.4


def test_rows_that_are_mostly_hit_exactly_have_a_scale() -> None:
    target = np.zeros(20)
    assert not numeric_issues(target, target).score.any()
    target[0], target[1] = 9.0, 1.0
    issues = numeric_issues(target, np.zeros(20))
    assert issues.score[0] > issues.score[1] > 0
    assert not issues.score[2:].any()
    assert issues.is_issue.tolist() == [True] + [False] * 19


def test_either_judgement_may_find_an_issue() -> None:
    by_residual = LabelIssues(
        score=np.array([0.9, 0.2, 0.6]),
        is_issue=np.array([True, False, True]),
        reasons=("a", "", "c"),
    )
    by_class = LabelIssues(
        score=np.array([0.1, 0.7, 0.8]),
        is_issue=np.array([False, True, True]),
        reasons=("", "b", "d"),
    )
    both = combine([by_residual, by_class])
    assert both.score.tolist() == [0.9, 0.7, 0.8]
    assert both.is_issue.all()
    assert both.reasons == ("a", "b", "c; d")


def test_equal_scores_are_in_the_order_of_ids() -> None:
    score = np.array([0.5, 0.9, 0.5, 0.5])
    assert ranking(score, ["c", "d", "a", "b"]).tolist() == [1, 2, 3, 0]


@pytest.mark.parametrize(
    ("share", "n"), [(0.01, 1), (0.29, 29), (0.009, 0), (0.35, 35), (0.5, 40)]
)
def test_no_more_than_the_share_is_flagged_and_only_issues(
    share: float, n: int
) -> None:
    rng = np.random.default_rng(0)
    is_issue = rng.permutation(100) < 40
    issues = LabelIssues(score=rng.random(100), is_issue=is_issue, reasons=("",) * 100)
    order = ranking(issues.score, list("x" * 100))
    is_flagged = flag_worst(issues, order, share)
    assert is_flagged.sum() == n
    assert is_issue[is_flagged].all()
    left = is_issue & ~is_flagged
    if n and left.any():
        assert issues.score[is_flagged].min() >= issues.score[left].max()
