"""Extract: each picture's outputs in eight views, kept by id in pickled stores.

    python -m features.extract --experiment experiments/demo.toml

Reads ``data_prep.prepare`` and ``transfer.finetune`` (or, with ``--source``, one
pretext stage or ready weights); writes ``features.extract/``:

- ``features.pkl``: pooled over the views; a row of a fold through the nets that never
  saw its label, a row without label through each fold's nets, averaged over those,
- where folds are dealt several times, ``deals/dealD.pkl``: the rows of folds through
  the nets of deal D alone, which a stack needs; ``features.pkl`` has their mean,
- ``nets/foldK.pkl``: pooled, the rows without label through the nets of fold K alone,
- ``views/TASK.oof.pkl`` (of several deals ``TASK.oof.dealD.pkl``) and
  ``views/TASK.test.foldK.pkl``: each view apart,
- with ``--source timm:NAME`` or a path: ``backbone.safetensors``, the weights used,
- with ``--insample`` the rows the nets of a fold may have learned from:
  ``insample/foldK.pkl`` and their views.

Inner layers (``--layer layer3``) mean something else in every fine-tuned net. So each
fold has a store of its own for them, ``nets/foldK.pkl``, and nothing is averaged over
nets. One pretext or ready net has ``features.pkl`` and ``views/TASK.pkl``.

Many processes, or GPUs: ``--jobs 2``. Many machines: ``--shard 0/4`` to ``3/4`` write
``features.extract.shard0of4/`` and so on, and ``features.merge`` joins them to what one
machine would have written.
"""

import logging
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.command import open_command, run_command
from data_prep.dihedral import VIEW_SETS
from data_prep.errors import UserError
from data_prep.folds import fold_columns
from data_prep.prepared import PREPARED, Prepared
from data_prep.run_folders.damage import intact
from data_prep.run_folders.runs import Finished, Run
from data_prep.up import check_learned
from data_prep.waiting import settle_waiting
from features.header import HELD_OUT, SELECTED, UNTRAINED
from features.origins import (
    current_of,
    header_of_run,
    origin_of_ready,
    origin_of_stage,
)
from features.plan import NO_FOLD, RoleRows, in_shard, plan_passes, plan_rows
from features.settings import FINETUNED, WEIGHTS, ExtractSettings
from pretext.preflight import check_unseen
from pretext.ready_weights import find_ready

if TYPE_CHECKING:
    import pandas as pd

    from features.assembly import Extracted
    from features.net_passes import NetOutputs, NetPasses
    from features.sources import NetSource
    from pretext.data.pictures import Pictures

STAGE = "features.extract"
WORK = "checkpoints"  # folder of unfinished passes
BACKBONE = "backbone.safetensors"  # of a pretext stage, and of ready weights here
log = logging.getLogger(__name__)


def stage_of(number: int, n_shards: int) -> str:
    """Name the stage of a shard; without shards, that of all."""
    return STAGE if n_shards == 1 else f"{STAGE}.shard{number}of{n_shards}"


def main(argv: Sequence[str] | None = None) -> Path:
    """Extract as the command line says, and return the folder of the stage."""
    settings, run, experiment = open_command(ExtractSettings, STAGE, argv)
    shard, n_shards = settings.shard_of()
    stage_name = stage_of(shard, n_shards)
    config, reads = settings.config(experiment, run), settings.reads
    if not settings.layers and (done := current_of(run, stage_name, config, reads)):
        return done.folder
    settings.check_cluster()
    prepared = Prepared.open(run.finished(PREPARED))
    trained = find_nets(settings, run)
    settle_waiting(settings.threads * (settings.jobs or 1))

    from features.net_passes import NetPasses
    from features.parts import run_parts
    from pretext.device import use_bf16

    pictures, source = open_nets(settings, prepared, trained)
    if settings.layers:
        show_layers(source)
        return run.folder
    table, bf16 = prepared.table, use_bf16(settings.precision, pictures.device)
    if trained:
        origin = origin_of_stage(run, trained)
    else:
        origin = origin_of_ready(source, config[WEIGHTS], prepared)
    header = header_of_run(prepared, source, origin, bf16=bf16)
    header |= {"shard": [shard, n_shards]} if n_shards > 1 else {}
    planned = rows_by_role(
        settings, table, source.folds, trained=trained, header=header
    )
    failures = failures_of(prepared, planned, settings) if shard == 0 else {}
    passes = [whole.shard(shard, n_shards) for whole in plan_passes(planned)]
    planned = [in_shard(role_rows, passes) for role_rows in planned]
    net_passes = NetPasses(
        passes=passes,
        source=source,
        pictures=pictures,
        views=VIEW_SETS[settings.views],
        bf16=bf16,
        image_rows=table["image_row"].to_numpy(dtype=np.int64),
        title=STAGE,
    )
    with run.stage(stage_name, config, reads=reads) as stage:
        outputs = run_parts(net_passes, stage.folder / WORK, settings)
        extracted = outputs.by_role(planned, table["id"].to_numpy(dtype=object))
        write_stores(
            extracted,
            stage.folder,
            settings,
            net_passes,
            table=table,
            header=header,
            failures=failures,
        )
        stage.device = str(pictures.device)
        stage.metadata = _metadata(outputs, planned)
    # only now: until the stage has its place, a rerun need not pass over them again
    shutil.rmtree(run.folder / stage_name / WORK, ignore_errors=True)
    log_result(run.folder / stage_name, extracted, outputs)
    return run.folder / stage_name


def find_nets(settings: ExtractSettings, run: Run) -> Finished | None:
    """Find the stage of the nets, which must have learned the views; None: ready ones.

    Args:
        settings: Of the extraction.
        run: The run.

    Raises:
        UserError: The stage is not finished, or nets of the transfer did not.
    """
    if settings.is_ready:
        return None
    trained = run.finished(settings.source)
    turns = trained.record["settings"].get("turns")
    try:
        check_learned(settings.views, settings.source, turns)
    except UserError as error:
        # a pretext usually turns nothing, and the extraction does
        if settings.source == FINETUNED:
            raise
        log.warning("%s, or [data] up = true where pictures have an up", error)
    return trained


def open_nets(
    settings: ExtractSettings, prepared: Prepared, trained: Finished | None
) -> "tuple[Pictures, NetSource]":
    """Open the pictures of the run, and the nets that they go through.

    Args:
        settings: Of the extraction.
        prepared: The stage of the pictures.
        trained: The stage of the nets; None: they are ready weights.

    Raises:
        UserError: Ready weights saw labels that they are to be judged by.
    """
    if settings.is_ready:
        check_unseen(settings.source, prepared.metadata, "source")
    from pretext.data.pictures import Pictures
    from pretext.device import pick_device, set_threads

    device = pick_device()
    set_threads(settings.threads)
    pictures = Pictures.open(prepared.folder, device)
    source = open_source(settings, prepared, trained, pictures)
    if source.user_columns:
        pictures.columns = source.user_columns.apply(prepared.table)
    return pictures, source


def open_source(
    settings: ExtractSettings,
    prepared: Finished,
    trained: Finished | None,
    pictures: "Pictures",
) -> "NetSource":
    """Open the nets whose outputs or inner layers are extracted.

    Args:
        settings: Of the extraction.
        prepared: The stage of the pictures.
        trained: The stage of the nets, or of ready weights the extraction that keeps
            them; None: there is none yet.
        pictures: Those that are to go through.
    """
    from features.sources import BackboneSource, InnerLayers, TransferSource
    from pretext.data.pictures import Normalisation

    inner_layers = InnerLayers(names=settings.layer, pooling=settings.layer_pool)
    if settings.source == FINETUNED:
        assert trained
        return TransferSource(trained, inner_layers)
    metadata = prepared.metadata
    if trained:
        weights = trained.folder / BACKBONE
        digest = trained.record["files"][BACKBONE]
    else:
        weights, digest = find_ready(settings.source, "source"), ""
    return BackboneSource(
        weights,
        name=settings.backbone,
        side_px=pictures.side_px,
        collection=Normalisation(tuple(metadata["mean"]), tuple(metadata["std"])),
        inner_layers=inner_layers,
        digest=digest,
    )


def show_layers(source: "NetSource") -> None:
    """List the layers that can be extracted."""
    from features.layers import list_layers

    layers = list_layers(*source.backbone())
    width = max(len(name) for name, _ in layers)
    for name, shape in layers:
        log.info("%-*s  %s", width, name, shape)


def rows_by_role(
    settings: ExtractSettings,
    table: "pd.DataFrame",
    folds: Sequence[str],
    *,
    trained: Finished | None,
    header: Mapping[str, Any],
) -> list[RoleRows]:
    """Plan which rows of the table go through which nets, in which role.

    Args:
        settings: Of the extraction.
        table: N rows as prepared.
        folds: Of the nets.
        trained: The stage of the nets; None: they are ready weights.
        header: Of the stores.
    """
    if trained and settings.source == FINETUNED:
        return plan_rows(
            table,
            folds,
            insample=settings.insample,
            role_of_fold=trained.metadata.get("role_of_fold", "oof"),
        )
    role = SELECTED if header["selected_with_labels"] else "label_free"
    return [RoleRows(fold=NO_FOLD, role=role, rows=np.arange(len(table)))]


def failures_of(
    prepared: Prepared, planned: Sequence[RoleRows], settings: ExtractSettings
) -> dict[str, str]:
    """Say by id why pictures that a user may expect are not there.

    Either they could not be read, or no net was trained that holds them out.
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
    held_out = [role_rows for role_rows in planned if role_rows.role in HELD_OUT]
    for deal, column in reversed([*enumerate(fold_columns(prepared.table))]):
        is_missing = (prepared.table[column] >= 0).to_numpy(copy=True)
        for role_rows in held_out:
            if role_rows.deal == deal:
                is_missing[role_rows.rows] = False
        missing = prepared.table[is_missing]
        failures |= {
            id_: f"{UNTRAINED} {fold} was trained"
            for id_, fold in zip(missing["id"], missing[column], strict=True)
        }
    return failures


def write_stores(
    extracted: "Sequence[Extracted]",
    folder: Path,
    settings: ExtractSettings,
    net_passes: "NetPasses",
    *,
    table: "pd.DataFrame",
    header: Mapping[str, Any],
    failures: Mapping[str, str],
) -> None:
    """Write what the nets gave, and ready weights beside it.

    Args:
        extracted: Of each fold and role.
        folder: Where to.
        settings: Of the extraction.
        net_passes: How it was made.
        table: N rows as prepared.
        header: Of the stores.
        failures: Why rows that one may expect are not there, by id.
    """
    from features.assembly import Assembly
    from pretext.networks.backbones import save_weights

    source = net_passes.source
    assembly = Assembly(
        folder=folder,
        ids=table["id"].to_numpy(dtype=object),
        folds_of=[table[column].to_numpy() for column in fold_columns(table)],
        columns=source.columns,
        nets=source.nets,
        views=net_passes.views,
        statistics=settings.statistics_of(table),
        header=header,
        failures=failures,
    )
    if settings.is_ready:  # so that later pictures need no other file
        tensors = source.backbone()[0].state_dict()
        save_weights(folder / BACKBONE, tensors, source.metadata)
    if settings.layer:
        assembly.write_inner(extracted)
    else:
        assembly.write(extracted)


def _metadata(outputs: "NetOutputs", planned: Sequence[RoleRows]) -> dict[str, Any]:
    """Say for the record what was extracted."""
    source, n_rows = outputs.net_passes.source, Counter[str]()
    for role_rows in planned:
        n_rows[role_rows.role] += len(role_rows.rows)
    return {
        "columns": source.width,
        "views": len(outputs.net_passes.views),
        "rows": dict(n_rows),
        "folds": source.folds,
        "seconds": round(outputs.seconds, 1),
    }


def log_result(
    folder: Path, extracted: "Sequence[Extracted]", outputs: "NetOutputs"
) -> None:
    """Say what was extracted, and how fast.

    Args:
        folder: Of the finished stage.
        extracted: Of each fold and role.
        outputs: Of the nets.
    """
    if n_failed := len({id_ for of_role in extracted for id_ in of_role.failures}):
        log.warning("%d pictures failed: features.inspect says why", n_failed)
    net_passes = outputs.net_passes
    n_pictures = sum(len(of_pass.rows) for of_pass in net_passes.passes)
    log.info(
        "%s: %d pictures in %d views through %d nets, %d outputs each, %.0f pictures/s",
        folder.name,
        n_pictures,
        len(net_passes.views),
        net_passes.source.n_nets,
        net_passes.source.width,
        n_pictures / max(outputs.seconds, 1e-9),
    )
    log.info("-> %s", folder)


if __name__ == "__main__":
    run_command(main)
