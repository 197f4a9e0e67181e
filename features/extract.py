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
"""

import json
import logging
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from data_prep.command import open_command, run_command
from data_prep.errors import UserError
from data_prep.runs import Finished, Run
from data_prep.settings import NEUTRAL, nearest, recorded
from features.header import SELECTED, UNTRAINED
from pretext.first_weights import pretexts

if TYPE_CHECKING:
    import pandas as pd

    from features.assembly import Extracted
    from features.parts import Part
    from features.sources import Source
    from pretext.pictures import Pictures

STAGE = "features.extract"
PREPARED = "data_prep.prepare"
FINETUNED = "transfer.finetune"
WORK = "checkpoints"  # folder of unfinished passes
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ExtractSettings:
    """Extract the outputs of the nets in eight views, pooled and kept by id.

    python -m features.extract --experiment experiments/demo.toml
    """

    source: Annotated[
        str, "whose outputs: transfer.finetune, or the features of a pretext stage"
    ] = FINETUNED
    insample: Annotated[bool, "add the rows each net was trained on"] = False
    precision: Annotated[
        Literal["auto", "bf16", "fp32"],
        "arithmetic: bf16 (mixed), fp32, or auto: bf16 where the hardware has it",
    ] = "auto"
    threads: Annotated[int, "CPU threads; 0: all cores", NEUTRAL] = 0

    def __post_init__(self) -> None:
        """Check the source and the ranges."""
        known = [FINETUNED, *pretexts()]
        if self.source not in known:
            raise UserError(f"source = {self.source!r}: {nearest(self.source, known)}")
        if self.insample and self.source != FINETUNED:
            raise UserError(f"insample: the nets of {self.source} saw no label at all")
        if self.threads < 0:
            raise UserError(f"threads = {self.threads}: give 0 or more")


def main(argv: Sequence[str] | None = None) -> Path:
    """Extract as the command line says, and return the folder of the stage."""
    settings, run, _ = open_command(ExtractSettings, STAGE, argv)
    key, reads = recorded(settings), [PREPARED, settings.source]
    if done := run.current(STAGE, key, reads=reads):
        return done.folder
    prepared, made = run.finished(PREPARED), run.finished(settings.source)
    import pandas as pd

    from features.assembly import Assembly
    from features.parts import NO_FOLD, Part, plan_parts
    from features.sources import BackboneSource, TransferSource
    from pretext.device import pick_device, set_threads, use_bf16
    from pretext.pictures import Normalisation, Pictures

    facts = prepared.facts
    table = pd.read_parquet(prepared.folder / "table.parquet")
    device = pick_device()
    set_threads(settings.threads)
    bf16 = use_bf16(settings.precision, device)
    pictures = Pictures.open(prepared.folder, device)
    source: Source
    if settings.source == FINETUNED:
        source = TransferSource(made)
        parts = plan_parts(table, source.folds, insample=settings.insample)
    else:
        normalise = Normalisation(tuple(facts["mean"]), tuple(facts["std"]))
        source = BackboneSource(made, pictures.side_px, normalise)
        role = SELECTED if chosen_with_labels(run, made) else "label_free"
        parts = [Part(NO_FOLD, role, np.arange(len(table)))]
    with run.stage(STAGE, key, reads=reads) as stage:
        began = time.perf_counter()
        work = stage.folder / WORK
        extracted = pass_over(parts, source, pictures, work, bf16=bf16)
        seconds = time.perf_counter() - began
        Assembly(
            stage.folder,
            table["id"].to_numpy(dtype=object),
            table["fold"].to_numpy(),
            source.columns,
            source.nets,
            _header(run, prepared, made, bf16=bf16),
            {} if settings.source != FINETUNED else _failures(table, parts),
        ).write(extracted)
        stage.device = str(device)
        stage.facts = {
            "columns": len(source.columns),
            "rows": {
                role: sum(len(part.rows) for part in parts if part.role == role)
                for role in dict.fromkeys(part.role for part in parts)
            },
            "folds": source.folds,
            "seconds": round(seconds, 1),
        }
    # only now: until the stage has its place, a rerun need not pass over them again
    shutil.rmtree(run.folder / STAGE / WORK, ignore_errors=True)
    n_passed = sum(len(part.rows) for part in parts)
    log.info(
        "%s: %d pictures of 8 views through %d nets, %d outputs each, %.0f pictures/s",
        *(STAGE, n_passed, len(source.nets), len(source.columns), n_passed / seconds),
    )
    log.info("-> %s", run.folder / STAGE / "features.pkl")
    return run.folder / STAGE


def pass_over(
    parts: "Sequence[Part]",
    source: "Source",
    pictures: "Pictures",
    work: Path,
    *,
    bf16: bool,
) -> "list[Extracted]":
    """Send each part through the nets of its fold, which are loaded once.

    Args:
        parts: Those of a fold together.
        source: The nets.
        pictures: All prepared pictures.
        work: Folder for the values.
        bf16: Compute in bfloat16.
    """
    from tqdm import tqdm

    from features.assembly import Extracted
    from features.passes import run_pass

    total = sum(len(part.rows) for part in parts)
    extracted: list[Extracted] = []
    bar: tqdm[Any]
    with tqdm(total=total, desc=STAGE, unit="img", mininterval=1.0) as bar:
        for fold in dict.fromkeys(part.fold for part in parts):
            forward = source.load(fold, pictures.device)
            extracted += [
                Extracted(
                    part,
                    run_pass(
                        forward,
                        len(source.columns),
                        pictures,
                        part.rows,
                        work / f"{part.role}.{fold}.npy",
                        weights=" ".join(source.digests(fold)),
                        bf16=bf16,
                        bar=bar,
                    ),
                )
                for part in parts
                if part.fold == fold
            ]
    return extracted


def chosen_with_labels(run: Run, made: Finished) -> bool:
    """Tell whether labels chose the epoch of a backbone that a stage is or began from.

    Then nothing learned the labels, and yet every score by them is a little too good.
    """
    note = made.folder / "backbone.json"
    if note.is_file():
        about = json.loads(note.read_text(encoding="utf-8"))
        if about.get("selected_with_labels"):
            return True
    earlier = [name for name in made.record["reads"] if name.startswith("pretext.")]
    return any(chosen_with_labels(run, run.finished(name)) for name in earlier)


def _header(
    run: Run, prepared: Finished, made: Finished, *, bf16: bool
) -> dict[str, Any]:
    """Say how the stores were made."""
    facts = prepared.facts
    return {
        "cv": facts["cv"],
        "fold_hash": facts["fold_hash"],
        "selected_with_labels": chosen_with_labels(run, made),
        "transform": {k: facts[k] for k in ("side", "fit", "mean", "std")},
        "precision": "bf16" if bf16 else "fp32",
        "source": {"stage": made.record["stage"], "digest": made.record["digest"]},
        "command": " ".join(sys.orig_argv[1:]),
        "versions": made.record["versions"],
    }


def _failures(table: "pd.DataFrame", parts: "Sequence[Part]") -> dict[str, str]:
    """Say of each row that should have been held out by a net why it was not."""
    is_missing = (table["fold"] >= 0).to_numpy(copy=True)
    for part in parts:
        if part.role == "oof":
            is_missing[part.rows] = False
    missing = table[is_missing]
    return {
        id_: f"{UNTRAINED} {fold} was trained"
        for id_, fold in zip(missing["id"], missing["fold"], strict=True)
    }


if __name__ == "__main__":
    run_command(main)
