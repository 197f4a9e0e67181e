"""The curves of a pretraining, as one picture."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.run_folders.drafts import drafted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LINE_COLOURS = ("#0b6e99", "#c4501b", "#5b8c3e", "#8a4f9e", "#9a7b1c", "#4d5966")
INK, GRID = "#333333", "#dddddd"
ByEpoch = Mapping[Any, float]
MAX_POINTS = 200  # of the loss that are drawn


def draw_curves(
    by_epoch: Mapping[int, Mapping[str, float]],
    logged: Mapping[str, Mapping[int, float]],
    *,
    steps_per_epoch: int,
    path: Path,
    title: str,
) -> None:
    """Draw the loss, what was held out, the outputs and the probes over the epochs.

    Args:
        by_epoch: Metrics of the monitor, by epoch; 0: the first weights.
        logged: Metrics that the engine logged, by name and optimiser step.
        steps_per_epoch: Optimiser steps in an epoch.
        path: The PNG, written whole or not at all.
        title: Name of the stage.
    """
    from matplotlib.figure import Figure

    panels = panels_of(by_epoch, logged, steps_per_epoch)
    columns = 3 if len(panels) > 4 else 2
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.1 * rows), dpi=110, layout="constrained")
    figure.suptitle(title, color=INK, fontsize=12)
    last = max(
        [
            1.0,
            *map(float, by_epoch),
            *(step / steps_per_epoch for step in logged.get("loss", {})),
        ]
    )
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis, (label, curves, from_zero) in zip(axes, panels, strict=False):
        _draw_panel(axis, label, curves, last, from_zero=from_zero)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    with drafted(path) as file:
        figure.savefig(file, format="png")


def panels_of(
    by_epoch: Mapping[int, Mapping[str, float]],
    logged: Mapping[str, Mapping[int, float]],
    steps_per_epoch: int,
) -> list[tuple[str, dict[str, ByEpoch], bool]]:
    """Sort the metrics, given as to ``draw_curves``, into panels.

    Returns:
        The title of each, its curves by name, and whether its axis begins at zero.
    """

    def of_engine(name: str) -> dict[float, float]:
        by_step = logged.get(name, {})
        return {step / steps_per_epoch: value for step, value in by_step.items()}

    def of_monitor(name: str) -> dict[int, float]:
        return {e: metrics[name] for e, metrics in by_epoch.items() if name in metrics}

    names = list(dict.fromkeys(n for metrics in by_epoch.values() for n in metrics))
    probes = [n.removeprefix("probe/") for n in names if n.startswith("probe/")]
    linear = [n for n in probes if not n.endswith("_knn")]
    held_out = of_engine("held_out")
    panels: list[tuple[str, dict[str, ByEpoch], bool]] = [
        ("loss", {"": _thinned(of_engine("loss"))}, False)
    ]
    if held_out:
        panels.append(("right on held-out pictures", {"": held_out}, True))
    panels.append(
        ("spread of the outputs (0: collapse)", {"": of_monitor("health/spread")}, True)
    )
    ranks = {
        "outputs": of_monitor("health/rank"),
        "features": of_monitor("health/feature_rank"),
    }
    panels.append(
        ("effective rank", {k: curve for k, curve in ranks.items() if curve}, True)
    )
    if linear:
        panels += [
            (
                "ridge on features: R2 or accuracy",
                {n: of_monitor(f"probe/{n}") for n in linear},
                False,
            ),
            (
                "nearest neighbours: R2 or accuracy",
                {
                    n: of_monitor(f"probe/{n}_knn")
                    for n in linear
                    if f"{n}_knn" in probes
                },
                False,
            ),
        ]
    return panels


def style_panel(axis: "Axes", title: str) -> None:
    """Give a panel over the epochs its title, its colours and a quiet grid."""
    from matplotlib.ticker import MaxNLocator

    axis.set_title(title, loc="left", fontsize=9, color=INK)
    axis.set_xlabel("epoch", fontsize=8, color=INK)
    axis.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axis.tick_params(labelsize=8, colors=INK, length=0)
    axis.grid(color=GRID, linewidth=0.6)
    for side in ("top", "right", "left", "bottom"):
        axis.spines[side].set_visible(False)


def _draw_panel(
    axis: "Axes",
    label: str,
    curves: Mapping[str, ByEpoch],
    last: float,
    *,
    from_zero: bool,
) -> None:
    style_panel(axis, label)
    axis.set_xlim(-0.01 * last, last * 1.01)
    ends = []
    for number, (name, curve) in enumerate(curves.items()):
        colour = LINE_COLOURS[number % len(LINE_COLOURS)]
        x, y = list(curve), list(curve.values())
        mark = "o" if len(x) <= 40 else ""
        axis.plot(x, y, color=colour, linewidth=1.5, marker=mark, markersize=3)
        if x and np.isfinite(y[-1]):
            ends.append((float(y[-1]), name, colour))
    if from_zero:
        top = max((value for c in curves.values() for value in c.values()), default=1)
        axis.set_ylim(0, 1.08 * top if top > 0 else 1)
    low, high = axis.get_ylim()
    heights = _apart([end[0] for end in ends], (high - low) * 0.075)
    for (_, name, colour), height in zip(ends, heights, strict=True):
        axis.annotate(
            name,
            (1.02, height),
            xycoords=("axes fraction", "data"),
            color=colour,
            fontsize=8,
            va="center",
        )


def _apart(heights: list[float], gap: float) -> list[float]:
    """Move labels apart that would cover each other, keeping their order."""
    order = np.argsort(heights, kind="stable")
    moved = np.array(heights, dtype=np.float64)
    for lower, upper in pairwise(order):
        moved[upper] = max(moved[upper], moved[lower] + gap)
    return [float(height) for height in moved]


def _thinned(curve: Mapping[float, float]) -> dict[float, float]:
    """Average a long curve in pieces, so that it can be read."""
    if len(curve) <= MAX_POINTS:
        return dict(curve)
    pieces = np.array_split(np.array(list(curve.items())), MAX_POINTS)
    return {float(piece[-1, 0]): float(piece[:, 1].mean()) for piece in pieces}
