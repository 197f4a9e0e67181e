"""Extract: each picture's outputs in eight views, kept by id in pickled stores.

    python -m features.extract --experiment experiments/demo.toml

Reads ``data_prep.prepare`` and ``transfer.finetune`` (or, with ``--source``, one
pretext stage or ready weights); writes ``features.extract/``:

- ``features.pkl``: pooled over the views; a row of a fold through the nets that never
  saw its label, a row without label through each fold's nets, averaged over those,
- ``nets/foldK.pkl``: pooled, the rows without label through the nets of fold K alone,
- ``views/TASK.oof.pkl`` and ``views/TASK.test.foldK.pkl``: each view apart,
- with ``--source timm:NAME`` or a path: ``backbone.safetensors``, the weights used,
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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_prep.command import open_command, run_command
from data_prep.dihedral import VIEW_SETS
from data_prep.prepared import PREPARED, Prepared
from data_prep.run_folders.damage import intact, read_json
from data_prep.run_folders.runs import Finished, Run
from data_prep.settings import recorded
from data_prep.waiting import settle_waiting
from features.header import HELD_OUT, SELECTED, UNTRAINED
from features.plan import NO_FOLD, RoleRows, in_shard, plan_passes, plan_rows
from features.settings import FINETUNED, WEIGHTS, ExtractSettings
from pretext.init_weights import fingerprint_of
from pretext.preflight import check_ready, check_unseen
from pretext.ready_weights import find_ready

if TYPE_CHECKING:
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
    settings, run, _ = open_command(ExtractSettings, STAGE, argv)
    shard, n_shards = settings.shard_of()
    stage_name = stage_of(shard, n_shards)
    config, reads = recorded(settings), settings.reads
    config["shard"] = settings.shard if n_shards > 1 else ""  # 0/1 is all
    ready = find_ready(settings.source, "source") if settings.is_ready else None
    if ready:
        check_ready(settings.source, settings.backbone, "source")
        config[WEIGHTS] = fingerprint_of(settings.source, ready)["init"]
    if not settings.layers and (done := run.current(stage_name, config, reads=reads)):
        return done.folder
    prepared = Prepared.open(run.finished(PREPARED))
    trained = None if ready else run.finished(settings.source)
    if ready:
        check_unseen(settings.source, prepared.metadata["fold_hash"], "source")
    settle_waiting(settings.threads)

    from features.assembly import Assembly
    from features.net_passes import NetPasses
    from pretext.data.pictures import Pictures
    from pretext.device import pick_device, set_threads, use_bf16
    from pretext.networks.backbones import save_weights

    device = pick_device()
    set_threads(settings.threads)
    bf16 = use_bf16(settings.precision, device)
    pictures = Pictures.open(prepared.folder, device)
    source = open_source(settings, prepared, trained, pictures)
    if settings.layers:
        show_layers(source)
        return run.folder
    table = prepared.table
    if source.user_columns:
        pictures.columns = source.user_columns.apply(table)
    if trained:
        origin = origin_of_stage(run, trained)
    else:
        origin = origin_of_ready(source, config[WEIGHTS], prepared)
    header = _header(prepared, source, origin, bf16=bf16)
    if trained and settings.source == FINETUNED:
        planned = plan_rows(
            table,
            source.folds,
            insample=settings.insample,
            role_of_fold=trained.metadata.get("role_of_fold", "oof"),
        )
    else:
        role = SELECTED if header["selected_with_labels"] else "label_free"
        rows = np.arange(len(table))
        planned = [RoleRows(fold=NO_FOLD, role=role, rows=rows)]
    passes = [whole.shard(shard, n_shards) for whole in plan_passes(planned)]
    failures = failures_of(prepared, planned, settings) if shard == 0 else {}
    planned = [in_shard(role_rows, passes) for role_rows in planned]
    if n_shards > 1:
        header["shard"] = [shard, n_shards]
    views = VIEW_SETS[settings.views]
    with run.stage(stage_name, config, reads=reads) as stage:
        began = time.perf_counter()
        outputs = NetPasses(
            passes=passes,
            source=source,
            pictures=pictures,
            views=views,
            bf16=bf16,
            image_rows=table["image_row"].to_numpy(dtype=np.int64),
            title=STAGE,
        ).run(stage.folder / WORK)
        seconds = time.perf_counter() - began
        ids = table["id"].to_numpy(dtype=object)
        extracted = outputs.by_role(planned, ids)
        assembly = Assembly(
            folder=stage.folder,
            ids=ids,
            fold_of=table["fold"].to_numpy(),
            columns=source.columns,
            nets=source.nets,
            views=views,
            statistics=settings.statistics,
            header=header,
            failures=failures,
        )
        if not trained:  # so that later pictures need no other file
            tensors = source.backbone()[0].state_dict()
            save_weights(stage.folder / BACKBONE, tensors, source.metadata)
        if settings.layer:
            assembly.write_inner(extracted)
        else:
            assembly.write(extracted)
        stage.device = str(device)
        n_rows: dict[str, int] = {}
        for role_rows in planned:
            n_rows[role_rows.role] = n_rows.get(role_rows.role, 0) + len(role_rows.rows)
        stage.metadata = {
            "columns": source.width,
            "views": len(views),
            "rows": n_rows,
            "folds": source.folds,
            "seconds": round(seconds, 1),
        }
    # only now: until the stage has its place, a rerun need not pass over them again
    shutil.rmtree(run.folder / stage_name / WORK, ignore_errors=True)
    n_failed = len({id_ for of_role in extracted for id_ in of_role.failures})
    if n_failed:
        log.warning("%d pictures failed: features.inspect says why", n_failed)
    n_pictures = sum(len(of_pass.rows) for of_pass in passes)
    log.info(
        "%s: %d pictures in %d views through %d nets, %d outputs each, %.0f pictures/s",
        stage_name,
        n_pictures,
        len(views),
        source.n_nets,
        source.width,
        n_pictures / seconds,
    )
    log.info("-> %s", run.folder / stage_name)
    return run.folder / stage_name


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


def chosen_with_labels(run: Run, trained: Finished) -> bool:
    """Tell whether labels chose the epoch of a backbone that a stage is or began from.

    Then nothing learned the labels, and yet every score by them is a little too good.
    """
    sidecar = trained.folder / "backbone.json"
    if sidecar.is_file() and read_json(sidecar).get("selected_with_labels"):
        return True
    earlier = [name for name in trained.record["reads"] if name.startswith("pretext.")]
    return any(chosen_with_labels(run, run.finished(name)) for name in earlier)


def origin_of_stage(run: Run, trained: Finished) -> dict[str, Any]:
    """Say what nets of a stage are: its name, digest, versions, and whose choice."""
    record = trained.record
    return {
        "selected_with_labels": chosen_with_labels(run, trained),
        "source": {"stage": record["stage"], "digest": record["digest"]},
        "versions": record["versions"],
    }


def origin_of_ready(
    source: "NetSource", identity: Mapping[str, str], prepared: Finished
) -> dict[str, Any]:
    """Say the same of ready weights; of versions, those of this run."""
    return {
        "selected_with_labels": bool(source.metadata.get("selected_with_labels")),
        "source": {"stage": identity["file"], "digest": identity["sha256"]},
        "versions": prepared.record["versions"],
    }


def _header(
    prepared: Finished, source: "NetSource", origin: dict[str, Any], *, bf16: bool
) -> dict[str, Any]:
    """Say how the stores were made."""
    metadata = prepared.metadata
    return {
        "cv": metadata["cv"],
        "fold_hash": metadata["fold_hash"],
        "selected_with_labels": origin["selected_with_labels"],
        "transform": {
            **{k: metadata[k] for k in ("side", "fit")},
            **{k: source.metadata.get(k) for k in ("mean", "std")},
        },
        "precision": "bf16" if bf16 else "fp32",
        "source": origin["source"],
        "command": " ".join(sys.orig_argv[1:]),
        "versions": origin["versions"],
    }


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
    is_missing = (prepared.table["fold"] >= 0).to_numpy(copy=True)
    for role_rows in planned:
        if role_rows.role in HELD_OUT:
            is_missing[role_rows.rows] = False
    missing = prepared.table[is_missing]
    return failures | {
        id_: f"{UNTRAINED} {fold} was trained"
        for id_, fold in zip(missing["id"], missing["fold"], strict=True)
    }


if __name__ == "__main__":
    run_command(main)
