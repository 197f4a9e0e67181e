"""The eight views of a square picture: its mirrorings and quarter turns.

Exact operations on pixels, for numpy arrays and torch tensors alike; torch is never
imported here. Names and order of ``VIEWS`` are fixed: stored features refer to them.

Shapes: N pictures, V = 8 views, H W pixels.
"""

from typing import Any, TypeVar

import numpy as np

VIEWS = ("e", "h", "v", "hv", "r", "hr", "vr", "hvr")
# Each of these is closed: a view of a view is one of the set. "e" is always first.
VIEW_SETS = {
    "e": ("e",),
    "flip": ("e", "h"),
    "c4": ("e", "hv", "r", "hvr"),
    "d4": VIEWS,
}

# Is it transposed first, and which of the two axes (row, column) are then flipped?
# A clockwise quarter turn is the transpose, mirrored left to right; a flip of columns
# before the transpose is one of rows after it.
STEPS: dict[str, tuple[bool, tuple[int, ...]]] = {
    "e": (False, ()),
    "h": (False, (1,)),
    "v": (False, (0,)),
    "hv": (False, (0, 1)),
    "r": (True, (1,)),
    "hr": (True, (0, 1)),
    "vr": (True, ()),
    "hvr": (True, (0,)),
}

Array = TypeVar("Array", bound=Any)  # numpy.ndarray or torch.Tensor


def apply_view(name: str, array: Array, axes: tuple[int, int] = (-2, -1)) -> Array:
    """Show an array as one of the eight views; it may share memory with the argument.

    Args:
        name: One of ``VIEWS``: ``h`` mirrors left-right, ``v`` up-down, and ``r`` turns
            by 90 degrees clockwise after that.
        array: (..., H, W), or rows and columns wherever ``axes`` says.
        axes: The axis of the rows and that of the columns.

    Raises:
        ValueError: There is no such view.

    Example:
        >>> apply_view("r", np.array([[1, 2], [3, 4]]))
        array([[3, 1],
               [4, 2]])
    """
    if name not in STEPS:
        raise ValueError(f"{name!r} is no view; expected one of {', '.join(VIEWS)}")
    is_transposed, flipped = STEPS[name]
    view: Any = array.swapaxes(*axes) if is_transposed else array
    dims = tuple(axes[index] for index in flipped)
    if not dims:
        return view  # type: ignore[no-any-return]
    return view.flip(dims) if hasattr(view, "flip") else np.flip(view, dims)  # type: ignore[no-any-return]


def stack_views(
    images: Array, axes: tuple[int, int] = (-2, -1), views: tuple[str, ...] = VIEWS
) -> Array:
    """Stack views of square pictures along a new second axis.

    Args:
        images: (N, ..., S, S), or rows and columns wherever ``axes`` says.
        axes: The axis of the rows and that of the columns, counted from the end.
        views: Names out of ``VIEWS``.

    Returns:
        (N, V, ...) of the same kind, type and device.

    Raises:
        ValueError: The pictures are not square, or the axes not counted from the end.
    """
    height, width = (images.shape[axis] for axis in axes)
    if height != width or max(axes) >= 0:
        raise ValueError(
            f"{height}x{width} px at {axes=}: views stack for square pictures only,"
            " with axes counted from the end"
        )
    shape = (len(images), len(views), *images.shape[1:])
    is_numpy = isinstance(images, np.ndarray)
    stacked: Any = (
        np.empty(shape, images.dtype) if is_numpy else images.new_empty(shape)
    )
    for index, name in enumerate(views):
        stacked[:, index] = apply_view(name, images, axes)
    return stacked  # type: ignore[no-any-return]
