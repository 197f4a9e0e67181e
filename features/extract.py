"""Extract: each picture's outputs in eight views, kept by id in pickled stores.

    python -m features.extract --experiment experiments/demo.toml

Reads ``data_prep.prepare`` and ``transfer.finetune`` (or one pretext stage, with
``--source``); writes ``features.extract/``:

- ``features.pkl``: pooled over the views; a row of a fold through the nets that never
  saw its label, a row without label through each fold's nets, averaged over those,
- ``nets/foldK.pkl``: pooled, the rows without label through the nets of fold K alone,
- ``views/TASK.oof.pkl`` and ``views/TASK.test.foldK.pkl``: each view apart,
- with ``--insample`` the rows the nets of a fold may have learned from:
  ``insample/foldK.pkl`` and their views.

Inner layers (``--layer layer3``) mean something else in every net. So each fold has a
store of its own for them, ``nets/foldK.pkl``, and nothing is averaged over nets.

Many machines: ``--shard 0/4`` to ``3/4`` write ``features.extract.shard0of4/`` and so
on, and ``features.merge`` joins them to what one machine would have written.
"""

import logging
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data_prep.command import open_command, run_command
from data_prep.dihedral import VIEW_SETS
from data_prep.prepared import PREPARED, Prepared
from data_prep.run_folders.damage import intact, read_json
from data_prep.run_folders.runs import Finished, Run
from data_prep.settings import recorded
from data_prep.waiting import settle_waiting
from features.header import SELECTED, UNTRAINED
from features.parts import NO_FOLD, Group, Part, group_rows, in_shard, plan_parts
from features.rows import Rows
from features.settings import FINETUNED, ExtractSettings

if TYPE_CHECKING:
    import pandas as pd

    from features.assembly import Extracted
    from features.sources import Source
    from pretext.data.pictures import Pictures

STAGE = "features.extract"
WORK = "checkpoints"  # folder of unfinished passes
CHUNK = 4096  # rows looked at at a time: the values lie on the disk
log = logging.getLogger(__name__)


def stage_of(number: int, n_shards: int) -> str:
    """Name the stage of a shard; without shards, that of all."""
    return STAGE if n_shards == 1 else f"{STAGE}.shard{number}of{n_shards}"


def main(argv: Sequence[str] | None = None) -> Path:
    """Extract as the command line says, and return the folder of the stage."""
    settings, run, _ = open_command(ExtractSettings, STAGE, argv)
    number, n_shards = settings.shard_of()
    stage_name = stage_of(number, n_shards)
    key, reads = recorded(settings), settings.reads
    key["shard"] = settings.shard if n_shards > 1 else ""  # 0/1 is all
    if not settings.layers and (done := run.current(stage_name, key, reads=reads)):
        return done.folder
    prepared = Prepared.open(run.finished(PREPARED))
    table, made = prepared.table, run.finished(settings.source)
    settle_waiting(settings.threads)

    from features.assembly import Assembly
    from pretext.data.pictures import Pictures
    from pretext.device import pick_device, set_threads, use_bf16

    device = pick_device()
    set_threads(settings.threads)
    bf16 = use_bf16(settings.precision, device)
    pictures = Pictures.open(prepared.folder, device)
    source = open_source(settings, prepared, made, pictures)
    if settings.layers:
        show_layers(source)
        return run.folder
    if settings.source == FINETUNED:
        parts = plan_parts(table, source.folds, insample=settings.insample)
    else:
        role = SELECTED if chosen_with_labels(run, made) else "label_free"
        parts = [Part(NO_FOLD, role, np.arange(len(table)))]
    groups = [group.shard(number, n_shards) for group in group_rows(parts)]
    failures = failures_of(table, parts, prepared, settings) if number == 0 else {}
    parts = [in_shard(part, groups) for part in parts]
    header = _header(run, prepared, made, bf16=bf16)
    with run.stage(stage_name, key, reads=reads) as stage:
        began = time.perf_counter()
        passes = Passes(
            groups,
            source,
            pictures,
            VIEW_SETS[settings.views],
            bf16=bf16,
            image_rows=table["image_row"].to_numpy(dtype=np.int64),
        )
        passes.run(stage.folder / WORK)
        seconds = time.perf_counter() - began
        ids = table["id"].to_numpy(dtype=object)
        assembly = Assembly(
            stage.folder,
            ids,
            table["fold"].to_numpy(),
            source.columns,
            source.nets,
            passes.views,
            settings.statistics,
            header | ({"shard": [number, n_shards]} if n_shards > 1 else {}),
            failures,
        )
        extracted = passes.extracted(parts, ids)
        if settings.layer:
            assembly.write_inner(extracted)
        else:
            assembly.write(extracted)
        stage.device = str(device)
        stage.metadata = {
            "columns": source.width,
            "views": len(passes.views),
            "rows": {
                role: sum(len(part.rows) for part in parts if part.role == role)
                for role in dict.fromkeys(part.role for part in parts)
            },
            "folds": source.folds,
            "seconds": round(seconds, 1),
        }
    # only now: until the stage has its place, a rerun need not pass over them again
    shutil.rmtree(run.folder / stage_name / WORK, ignore_errors=True)
    n_failed = len({id_ for one in extracted for id_ in one.failures})
    if n_failed:
        log.warning("%d pictures failed: features.inspect says why", n_failed)
    n_pictures = sum(len(group.rows) for group in groups)
    log.info(
        "%s: %d pictures in %d views through %d nets, %d outputs each, %.0f pictures/s",
        *(stage_name, n_pictures, len(passes.views)),
        *(len(source.nets), source.width, n_pictures / seconds),
    )
    log.info("-> %s", run.folder / stage_name)
    return run.folder / stage_name


@dataclass
class Passes:
    """The passes over the pictures: one for the rows of each set of nets.

    Attributes:
        groups: Which rows go through the nets of which folds.
        source: The nets.
        pictures: All prepared pictures.
        views: V names.
        bf16: Compute in bfloat16.
        image_rows: (N,) where in ``pictures`` each row of the table has its own.
        title: Of the progress bar.
    """

    groups: Sequence[Group]
    source: "Source"
    pictures: "Pictures"
    views: tuple[str, ...]
    bf16: bool
    image_rows: NDArray[np.int64]
    title: str = STAGE

    def run(self, work: Path) -> None:
        """Send all groups through their nets, or go on where that stopped.

        Args:
            work: Folder for the values.
        """
        import torch
        from tqdm import tqdm

        from features.passes import run_pass

        source, device = self.source, self.pictures.device
        folds = dict.fromkeys(fold for group in self.groups for fold in group.folds)
        nets = {fold: source.load(fold, device) for fold in folds}
        self._values: list[NDArray[np.float32]] = []
        bar: tqdm[Any]
        total = sum(len(group.rows) for group in self.groups)
        with tqdm(total=total, desc=self.title, unit="img", mininterval=1.0) as bar:
            for group in self.groups:
                own = [nets[fold] for fold in group.folds]
                digests = [d for fold in group.folds for d in source.digests(fold)]
                self._values.append(
                    run_pass(
                        lambda images, own=own: torch.cat([f(images) for f in own], 1),  # type: ignore[misc]
                        source.width * len(own),
                        self.pictures,
                        self.image_rows[group.rows],
                        work / f"{'-'.join(group.folds)}.npy",
                        views=self.views,
                        weights=" ".join(digests),
                        bf16=self.bf16,
                        bar=bar,
                    )
                )

    def of_fold(self, fold: str) -> Rows:
        """Give what the nets of a fold said, by rows of the prepared table."""
        n_rows, width = len(self.image_rows), self.source.width
        group_of = np.full(n_rows, -1, np.int32)
        place_of = np.full(n_rows, -1, np.int32)
        for number, group in enumerate(self.groups):
            if fold in group.folds:
                group_of[group.rows] = number
                place_of[group.rows] = np.arange(len(group.rows))

        origins = self.source.origins.get(fold)
        dtype = np.dtype(np.float32 if origins is None else np.float64)

        def read(rows: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
            found = np.empty((len(rows), len(self.views), width), dtype)
            for number in np.unique(group_of[rows]):
                inside = group_of[rows] == number
                first = self.groups[number].folds.index(fold) * width
                values = self._values[number][place_of[rows[inside]]]
                found[inside] = values[:, :, first : first + width]
            return found if origins is None else found + origins

        return Rows((n_rows, len(self.views), width), read, dtype)

    def extracted(self, parts: Sequence[Part], ids: NDArray[Any]) -> "list[Extracted]":
        """Give what was found of each part; what is no number is a failure.

        A row without label must have come through all nets, or it is in no mean.

        Args:
            parts: Which rows, in which role.
            ids: (N,) of the prepared table.
        """
        from features.assembly import Extracted

        views = {fold: self.of_fold(fold) for fold in {part.fold for part in parts}}
        failed: dict[tuple[str, str], dict[int, str]] = {}
        for part in parts:
            fold = "" if part.role == "test" else part.fold
            known = failed.setdefault((part.role, fold), {})
            for row in _not_finite(views[part.fold], part.rows):
                known[row] = f"outputs of the nets of fold {part.fold} are not finite"
        found = []
        for part in parts:
            fold = "" if part.role == "test" else part.fold
            bad = failed[part.role, fold]
            kept = replace(part, rows=part.rows[~np.isin(part.rows, list(bad))])
            reasons = {str(ids[row]): why for row, why in bad.items()}
            found.append(Extracted(kept, views[part.fold].chosen(kept.rows), reasons))
        return found


def _not_finite(values: Rows, rows: NDArray[np.int64]) -> Iterator[int]:
    """Find the rows that have a value which is no number."""
    for start in range(0, len(rows), CHUNK):
        part = rows[start : start + CHUNK]
        is_bad = ~np.isfinite(values.read(part)).all(axis=(1, 2))
        yield from part[is_bad].tolist()


def open_source(
    settings: ExtractSettings, prepared: Finished, made: Finished, pictures: "Pictures"
) -> "Source":
    """Open the nets whose outputs or layers are asked for."""
    from features.sources import BackboneSource, Inner, TransferSource
    from pretext.data.pictures import Normalisation

    inner = Inner(settings.layer, settings.layer_pool)
    if settings.source == FINETUNED:
        return TransferSource(made, inner)
    metadata = prepared.metadata
    normalise = Normalisation(tuple(metadata["mean"]), tuple(metadata["std"]))
    return BackboneSource(made, pictures.side_px, normalise, inner)


def show_layers(source: "Source") -> None:
    """List the layers that can be asked for."""
    from features.layers import list_layers

    found = list_layers(*source.backbone())
    width = max(len(name) for name, _ in found)
    for name, shape in found:
        log.info("%-*s  %s", width, name, shape)


def chosen_with_labels(run: Run, made: Finished) -> bool:
    """Tell whether labels chose the epoch of a backbone that a stage is or began from.

    Then nothing learned the labels, and yet every score by them is a little too good.
    """
    note = made.folder / "backbone.json"
    if note.is_file():
        about = read_json(note)
        if about.get("selected_with_labels"):
            return True
    earlier = [name for name in made.record["reads"] if name.startswith("pretext.")]
    return any(chosen_with_labels(run, run.finished(name)) for name in earlier)


def _header(
    run: Run, prepared: Finished, made: Finished, *, bf16: bool
) -> dict[str, Any]:
    """Say how the stores were made."""
    metadata = prepared.metadata
    return {
        "cv": metadata["cv"],
        "fold_hash": metadata["fold_hash"],
        "selected_with_labels": chosen_with_labels(run, made),
        "transform": {k: metadata[k] for k in ("side", "fit", "mean", "std")},
        "precision": "bf16" if bf16 else "fp32",
        "source": {"stage": made.record["stage"], "digest": made.record["digest"]},
        "command": " ".join(sys.orig_argv[1:]),
        "versions": made.record["versions"],
    }


def failures_of(
    table: "pd.DataFrame",
    parts: Sequence[Part],
    prepared: Finished,
    settings: ExtractSettings,
) -> dict[str, str]:
    """Say of each picture that one may expect why it is not there.

    Either it could not be read, or no net was trained that holds it out.
    """
    import pandas as pd

    failures: dict[str, str] = {}
    left_out = prepared.folder / "left_out.csv"
    if left_out.exists():
        with intact(left_out):
            lost = pd.read_csv(left_out, dtype=str, keep_default_na=False)
        failures |= dict(zip(lost["id"], lost["reason"], strict=True))
    if settings.source != FINETUNED:
        return failures
    is_missing = (table["fold"] >= 0).to_numpy(copy=True)
    for part in parts:
        if part.role == "oof":
            is_missing[part.rows] = False
    missing = table[is_missing]
    return failures | {
        id_: f"{UNTRAINED} {fold} was trained"
        for id_, fold in zip(missing["id"], missing["fold"], strict=True)
    }


if __name__ == "__main__":
    run_command(main)
