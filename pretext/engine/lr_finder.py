"""Which learning rate? A range test: raise it step by step and watch the loss.

Source: Smith 2017, "Cyclical learning rates for training neural networks", arXiv
1506.01186. The suggestion is the rate at which the smoothed loss falls fastest.
"""

import logging
import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from data_prep.arrays import Floats, Ints
from data_prep.errors import UserError
from data_prep.run_folders.drafts import drafted, write_rows
from pretext.data.pictures import Pictures
from pretext.device import pick_device, set_threads, trains_in_bf16
from pretext.engine.learner import Learner
from pretext.engine.module import Module
from pretext.engine.optimizers import build_optimizer
from pretext.engine.sharpness import uphill
from pretext.settings import TrainingSettings

STEPS = 100
LOWEST, HIGHEST = 1e-6, 10.0
SMOOTHING = 0.9  # share of the running mean that a step keeps
SPAN = 10  # steps that the running mean is of: 1 / (1 - SMOOTHING)
GIVE_UP = 4.0  # times the fall so far, above the lowest loss
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RangeTest:
    """The result of a range test.

    Attributes:
        rates: (n,) learning rates, rising.
        losses: (n,) smoothed losses.
        suggestion: The rate to give as ``--learning-rate``.
    """

    rates: Floats
    losses: Floats
    suggestion: float


def find_lr(
    learner: Learner,
    pictures: Pictures,
    train_idx: Ints,
    ids: Sequence[str],
    settings: TrainingSettings,
    folder: Path,
    label: str,
) -> RangeTest:
    """Try learning rates on a learner, plot the losses, and suggest a rate.

    Args:
        learner: Is trained for some steps; throw it away afterwards.
        pictures: All prepared pictures.
        train_idx: (N,) rows of the pictures to train on.
        ids: N ids of those rows.
        settings: How it would be trained.
        folder: Where ``range_test.csv`` and ``range_test.png`` go.
        label: Name for the bar and the plot.

    Raises:
        UserError: There are too few pictures, or the loss never falls.
    """
    settings.check_enough(len(train_idx), label)
    device = pick_device()
    set_threads(settings.threads)
    # the flag is not always what the optimiser gets: it may be for another batch size
    unit = settings.learning_rate / settings.peak_rate
    module = Module(
        learner=learner.to(device),
        pictures=pictures,
        train_idx=train_idx,
        ids=ids,
        settings=replace(
            settings, steps=STEPS, schedule="constant", warmup=0.0, ema=0.0
        ),
        folder=folder,
    )
    rates = np.geomspace(LOWEST, HIGHEST, STEPS)
    losses = _losses(module, rates / unit, device, label)
    if not len(losses):
        raise UserError(
            f"{label}: the loss of the first step is no finite number at any rate; look"
            " at the first weights (--init) and at the labels"
        )
    test = suggest(rates[: len(losses)], losses, label)
    rows = zip(test.rates, test.losses, strict=True)
    write_rows(folder / "range_test.csv", [("learning_rate", "smoothed_loss"), *rows])
    plot_file = folder / "range_test.png"
    _plot(test, plot_file, label, settings.learning_rate)
    log.info(
        "%s: --learning-rate %.2g (now %.2g) -> %s",
        label,
        test.suggestion,
        settings.learning_rate,
        plot_file,
    )
    return test


def suggest(rates: Floats, losses: Floats, label: str) -> RangeTest:
    """Smooth (n,) losses and find the rate at which they fall fastest.

    A batch has a loss of its own, and the running mean lags behind by as many steps as
    it is of. So falls are measured over that many steps, from their beginning, and the
    first of them, which are the mean of few losses, do not count.

    Raises:
        UserError: They never fall.
    """
    smoothed = np.empty_like(losses)
    mean = 0.0
    for step, loss in enumerate(losses):
        mean = SMOOTHING * mean + (1 - SMOOTHING) * loss
        smoothed[step] = mean / (1 - SMOOTHING ** (step + 1))
    lowest = int(smoothed.argmin()) if len(smoothed) else 0
    if lowest < 2:
        raise UserError(
            f"{label}: the loss falls at no learning rate from {rates[0]:.0e} to"
            f" {rates[-1]:.0e}; look at the pictures and the other settings"
        )
    first = min(SPAN, lowest - 1)
    span = min(SPAN, lowest - first)
    falls = smoothed[first : lowest + 1 - span] - smoothed[first + span : lowest + 1]
    fastest = first + int(falls.argmax())
    return RangeTest(rates=rates, losses=smoothed, suggestion=float(rates[fastest]))


def _losses(module: Module, rates: Floats, device: torch.device, label: str) -> Floats:
    """Train a step at each rate until the loss is beyond hope."""
    learner, settings = module.learner, module.settings
    learner.train()
    module.hold_still(0)  # what does not move in the first epoch has no rate to find
    groups = [
        {
            "params": [p for p in group.parameters if p.requires_grad],
            "weight_decay": 0.0,
            "factor": group.factor,
        }
        for group in module.groups
    ]
    groups = [group for group in groups if group["params"]]
    parameters = [p for p in learner.parameters() if p.requires_grad]
    optimizer = build_optimizer(settings.optimizer, groups, float(rates[0]))
    is_bf16 = trains_in_bf16(settings.precision, device, learner)
    losses: list[float] = []
    for step, rate in enumerate(tqdm(rates, desc=f"{label}: range test", unit="step")):
        for group in optimizer.param_groups:
            group["lr"] = float(rate) * group["factor"]
        optimizer.zero_grad()
        total = _backward(module, step, is_bf16=is_bf16)
        if not math.isfinite(total):
            break
        losses.append(total)
        if total > min(losses) + GIVE_UP * (losses[0] - min(losses) + 0.1):
            break
        if settings.sam_rho:
            with uphill(learner, settings.sam_rho):
                _backward(module, step, is_bf16=is_bf16)
        if settings.clip:
            nn.utils.clip_grad_norm_(parameters, settings.clip)
        optimizer.step()
        learner.after_step(step / len(rates))
    return np.array(losses)


def _backward(module: Module, step: int, *, is_bf16: bool) -> float:
    """Leave the gradients of a step, and give its loss."""
    settings, total = module.settings, 0.0
    torch.manual_seed(settings.seed * 1_000_003 + step)
    for micro_step in range(settings.accumulate):
        batch = module.batch_of(step, micro_step)
        precision = torch.autocast(batch.images.device.type, torch.bfloat16)
        with precision if is_bf16 else nullcontext():
            loss = module.learner.loss(batch)["loss"]
        (loss / settings.accumulate).backward()  # type: ignore[no-untyped-call]
        total += loss.item() / settings.accumulate
    return total


def _plot(test: RangeTest, file: Path, label: str, current_lr: float) -> None:
    """Draw the smoothed loss over the learning rate."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(test.rates, test.losses, color="#2b6777")
    axes.axvline(
        test.suggestion, color="#c8553d", label=f"suggested: {test.suggestion:.2g}"
    )
    axes.axvline(
        current_lr, color="#999999", linestyle=":", label=f"now: {current_lr:.2g}"
    )
    axes.set(xscale="log", xlabel="learning rate", ylabel="smoothed loss", title=label)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    with drafted(file) as draft:
        figure.savefig(draft, format="png", dpi=150)
