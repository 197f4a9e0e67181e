"""Watch: follow a fine-tuning from a process of its own, and score each epoch.

    python -m features.watch          # in a second terminal; ends with the training

``transfer.finetune`` publishes the weights of each epoch. The watcher sends the rows
that a net never saw through it, in the views it learned, and keeps the scores in
``features.watch/scores.csv`` and ``scores.png``. So the training stops for no
evaluation, and no mistake of an evaluation can stop it.

What an epoch scores may be looked at, but not chosen by: its rows would have had a part
in their own prediction.
"""

import logging
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Gt
from numpy.typing import NDArray

from data_prep.arrays import Ints
from data_prep.command import open_command, run_command
from data_prep.dihedral import VIEW_SETS
from data_prep.errors import UserError
from data_prep.experiment import Experiment
from data_prep.folds import fold_masks
from data_prep.prepared import PREPARED, Prepared
from data_prep.ranges import Ranged
from data_prep.reporting.numerals import four_digits
from data_prep.run_folders.runs import Run
from data_prep.up import views_to_ask
from data_prep.waiting import settle_waiting
from features.scoreboard import EpochScore, Scoreboard

if TYPE_CHECKING:
    import pandas as pd

    from data_prep.tasks import Task
    from pretext.data.pictures import Pictures
    from transfer.networks.task_net import TaskNet

STAGE = "features.watch"
WATCHED = "transfer.finetune"
QUIET_S = 30.0  # without news, before it is checked whether the training is alive
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class WatchSettings(Ranged):
    """Follow a running transfer.finetune and score the weights of each epoch.

    python -m features.watch
    """

    views: Annotated[
        Literal["d4", "c4", "flip", "e"] | None,
        "flips and turns that are averaged; left out: those that the nets learned",
    ] = None
    every: Annotated[float, "seconds between two searches for new weights", Gt(0)] = 5.0
    precision: Annotated[Literal["auto", "bf16", "fp32"], "arithmetic"] = "auto"
    threads: Annotated[
        int, "CPU threads; more would slow a training on the same cores; 0: all", Ge(0)
    ] = 1

    @property
    def reads(self) -> list[str]:
        """The stages that it reads."""
        return [PREPARED, WATCHED]


def main(argv: Sequence[str] | None = None) -> Path:
    """Watch until the training has ended, and return the folder of the scores."""
    settings, run, experiment = open_command(WatchSettings, STAGE, argv)
    training = wait_for_training(run, settings.every)
    run.on_use()
    board = Scoreboard(run.folder / STAGE, training, overwrite=run.overwrite)
    scorer = Scorer.of(settings, run, experiment, training["settings"])
    missed: set[tuple[str, str, int]] = set()
    last_news = time.monotonic()
    while True:
        is_over, n_scored = has_ended(run, training), len(board.entries)
        for file, net, fold, epoch in published(run):
            net_epoch = (net, fold, epoch)
            if board.has(net, fold, epoch) or net_epoch in missed:
                continue
            entries = scorer.score(file, net, fold, epoch)
            if not entries:
                missed.add(net_epoch)
                continue
            board.add(entries)
            show(board, entries)
            last_news = time.monotonic()
        if len(board.entries) > n_scored:
            board.draw()  # takes a second, so not for each epoch of many
        if is_over:
            break
        if time.monotonic() - last_news > QUIET_S:
            last_news = time.monotonic()
            if not run.is_being_written(WATCHED) and not has_ended(run, training):
                log.warning("%s was interrupted; begin it and me again", WATCHED)
                break
        time.sleep(settings.every)
    sum_up(board, missed)
    return run.folder / STAGE


def wait_for_training(run: Run, every: float) -> dict[str, Any]:
    """Give what the training is made from, as soon as there is one."""
    if not (training := training_of(run)):
        log.info("waiting for %s to begin in %s", WATCHED, run.folder)
    while not training:
        time.sleep(every)
        training = training_of(run)
    return training


def training_of(run: Run) -> dict[str, Any]:
    """Give what the training there is made from; empty: there is none."""
    if unfinished := run.unfinished(WATCHED):
        record = unfinished[1]  # with its attempts, which change as it goes on
    elif run.has(WATCHED):
        record = run.finished(WATCHED, check_inputs=False).record
    else:
        return {}
    return {key: record[key] for key in ("settings", "reads")}


def has_ended(run: Run, training: dict[str, Any]) -> bool:
    """Tell whether this training, and no other, is finished."""
    return not run.unfinished(WATCHED) and training_of(run) == training


def published(run: Run) -> Iterator[tuple[Path, str, str, int]]:
    """Find the weights of epochs: their file, net, fold and epoch."""
    unfinished = run.unfinished(WATCHED)
    folder = unfinished[0] if unfinished else run.folder / WATCHED
    for file in sorted(folder.glob("*/*/epochs/epoch*.safetensors")):
        net, fold = file.parts[-4], file.parts[-3].removeprefix("fold")
        if fold.isdecimal():  # a net of all rows has none to be scored on
            yield file, net, fold, int(file.stem.removeprefix("epoch"))


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """Scores weights on the rows that they never saw.

    Attributes:
        table: N rows of the prepared table.
        tasks: Labels of all rows, by name.
        pictures: All prepared pictures.
        views: V names.
        bf16: Compute in bfloat16.
    """

    table: "pd.DataFrame"
    tasks: "dict[str, Task]"
    pictures: "Pictures"
    views: tuple[str, ...]
    bf16: bool

    @classmethod
    def of(
        cls,
        settings: WatchSettings,
        run: Run,
        experiment: Experiment,
        trained_with: Mapping[str, Any],
    ) -> "Scorer":
        """Open what is scored with.

        Args:
            settings: Of the watcher.
            run: Whose training is watched.
            experiment: What the labels are.
            trained_with: Settings of the training, as recorded.

        Raises:
            UserError: The nets do not learn the views that they are asked in.
        """
        views = views_to_ask(settings.views, WATCHED, trained_with)
        settle_waiting(settings.threads)
        from pretext.data.pictures import Pictures
        from pretext.device import pick_device, set_threads, use_bf16

        prepared = Prepared.open(run.finished(PREPARED))
        device = pick_device()
        set_threads(settings.threads)
        return cls(
            table=prepared.table,
            tasks={task.name: task for task in prepared.tasks(experiment.tasks)},
            pictures=Pictures.open(prepared.folder, device),
            views=VIEW_SETS[views],
            bf16=use_bf16(settings.precision, device),
        )

    def score(self, file: Path, net: str, fold: str, epoch: int) -> list[EpochScore]:
        """Score the weights of an epoch; nothing if they are gone by now."""
        from transfer.networks.task_net import load_net
        from transfer.training.learner import in_unit, score_outputs

        began = time.perf_counter()
        try:
            network, metadata = load_net(file)
        except (UserError, FileNotFoundError):
            if file.exists():
                raise
            return []  # dropped by the training, which keeps --keep-epochs of them
        rows = np.flatnonzero(fold_masks(self.table, fold)[0])
        tasks = [self.tasks[task["name"]] for task in metadata["tasks"]]
        outputs = {
            name: in_unit(network, name, values)
            for name, values in self._outputs(network, rows).items()
        }
        scores = score_outputs(tasks, outputs, rows)
        seconds = round(time.perf_counter() - began, 1)
        return [
            EpochScore(
                net=net,
                fold=fold,
                epoch=epoch,
                score=name,
                value=value,
                pictures=len(rows),
                seconds=seconds,
            )
            for name, value in scores.items()
        ]

    def _outputs(self, net: "TaskNet", rows: Ints) -> dict[str, NDArray[np.float32]]:
        """Give the (n, F) mean over the views of each task's outputs of (n,) rows.

        They are counted from the origins of the net.
        """
        from contextlib import nullcontext

        import torch

        from features.passes import columns_of_views, views_of
        from features.plan import BLOCK

        device = self.pictures.device
        net.to(device)
        if net.columns:
            self.pictures.columns = net.columns.apply(self.table)
        image_rows = self.table["image_row"].to_numpy(dtype=np.int64)[rows]
        precision = (
            torch.autocast(device.type, torch.bfloat16) if self.bf16 else nullcontext()
        )
        means: dict[str, list[torch.Tensor]] = {}
        with torch.inference_mode():
            for start in range(0, len(image_rows), BLOCK):
                block = image_rows[start : start + BLOCK]
                images = views_of(self.pictures.take(block), self.views)
                columns = columns_of_views(self.pictures, block, len(self.views))
                with precision:
                    outputs = net.predict(images, *columns)
                for name, values in outputs.items():
                    by_view = values.float().view(-1, len(self.views), values.shape[1])
                    means.setdefault(name, []).append(by_view.mean(dim=1).cpu())
        return {name: torch.cat(values).numpy() for name, values in means.items()}


def show(board: Scoreboard, entries: list[EpochScore]) -> None:
    """Show the table anew in a terminal, or a line for the scores of an epoch."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\x1b[H\x1b[2J{board.text()}\n")
        sys.stderr.flush()
        return
    first = entries[0]
    scores = ", ".join(f"{entry.score} {four_digits(entry.value)}" for entry in entries)
    log.info("%s/fold%s epoch %d: %s", first.net, first.fold, first.epoch, scores)


def sum_up(board: Scoreboard, missed: set[tuple[str, str, int]]) -> None:
    """Say what came out, and what was missed."""
    if missed:
        log.warning(
            "%d epochs were gone before they could be scored; transfer.finetune"
            " --keep-epochs 3 keeps more",
            len(missed),
        )
    if not board.entries:
        log.warning("no epoch was published; transfer.finetune --keep-epochs 1 does it")
        return
    log.info("%s", board.text())
    for score in board.scores():
        epoch, value = board.best(score)
        mean = four_digits(value)
        log.info("best mean of %s: %s after epoch %d", score, mean, epoch)
    log.info("to look at, not to choose by: these rows would judge themselves")
    log.info("-> %s", board.folder / "scores.png")


if __name__ == "__main__":
    run_command(main)
