"""Tests of data_prep.dihedral."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from data_prep.dihedral import VIEWS, apply_view, stack_views


def by_numpy(name: str, image: np.ndarray) -> np.ndarray:
    """Go another way: flip first, then turn, on the first two axes."""
    if "h" in name:
        image = np.fliplr(image)
    if "v" in name:
        image = np.flipud(image)
    return np.rot90(image, k=-1) if "r" in name else image


def test_the_order_of_the_views_is_fixed() -> None:
    assert VIEWS == ("e", "h", "v", "hv", "r", "hr", "vr", "hvr")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("e", [[1, 2], [3, 4]]),
        ("h", [[2, 1], [4, 3]]),
        ("v", [[3, 4], [1, 2]]),
        ("hv", [[4, 3], [2, 1]]),
        ("r", [[3, 1], [4, 2]]),
        ("hr", [[4, 2], [3, 1]]),
        ("vr", [[1, 3], [2, 4]]),
        ("hvr", [[2, 4], [1, 3]]),
    ],
)
def test_views_by_hand(name: str, expected: list[list[int]]) -> None:
    assert_array_equal(apply_view(name, np.array([[1, 2], [3, 4]])), expected)


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("shape", [(4, 4), (5, 5), (3, 6), (6, 3), (1, 4)])
def test_same_as_numpy_on_odd_even_and_oblong_sides(
    name: str, shape: tuple[int, int]
) -> None:
    image = np.arange(np.prod(shape)).reshape(shape)
    assert_array_equal(apply_view(name, image), by_numpy(name, image))


@pytest.mark.parametrize("name", VIEWS)
def test_the_axes_may_lie_anywhere(name: str) -> None:
    images = np.random.default_rng(0).integers(0, 9, (2, 5, 4, 3))  # N, H, W, C
    shown_view = apply_view(name, images, axes=(1, 2))
    for image, view in zip(images, shown_view, strict=True):
        assert_array_equal(view, by_numpy(name, image))


def test_the_views_are_eight_different_ones() -> None:
    image = np.arange(9).reshape(3, 3)
    assert len({apply_view(name, image).tobytes() for name in VIEWS}) == 8


@pytest.mark.parametrize("side", [3, 4])
def test_torch_gives_the_same_and_needs_no_copy_of_the_rules(side: int) -> None:
    torch = pytest.importorskip("torch")
    images = np.random.default_rng(1).normal(size=(2, 3, side, side)).astype("f4")
    tensor = torch.from_numpy(images)
    stacked = stack_views(tensor)
    assert stacked.dtype == torch.float32
    assert_array_equal(stacked.numpy(), stack_views(images))
    for name in VIEWS:
        assert_array_equal(apply_view(name, tensor).numpy(), apply_view(name, images))


def test_a_stack_holds_the_views_in_order() -> None:
    images = np.random.default_rng(2).integers(0, 255, (2, 5, 5, 3)).astype(np.uint8)
    stacked = stack_views(images, axes=(-3, -2))
    assert stacked.shape == (2, 8, 5, 5, 3)
    assert stacked.dtype == np.uint8
    for image, views in zip(images, stacked, strict=True):
        for name, view in zip(VIEWS, views, strict=True):
            assert_array_equal(view, by_numpy(name, image))


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="'rv' is no view; expected one of e, h, v"):
        apply_view("rv", np.zeros((2, 2)))
    with pytest.raises(ValueError, match="4x6 px at"):
        stack_views(np.zeros((1, 4, 6)))
    with pytest.raises(ValueError, match="counted from the end"):
        stack_views(np.zeros((1, 4, 4)), axes=(1, 2))
