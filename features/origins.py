"""Whose features a run has: what stands of it in each header, and what may replace it.

Torch-free.
"""

import logging
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from data_prep.errors import UserError
from data_prep.run_folders.runs import Finished, Run, plain
from data_prep.stage_plan import describe_replaced
from data_prep.standing import differences
from data_prep.within_pipeline import is_pipeline_at_work
from pretext.init_weights import chosen_with_labels

if TYPE_CHECKING:
    from features.sources import NetSource

STALE = "all that was made from those would be stale; if that is meant: --overwrite"
log = logging.getLogger(__name__)


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


def header_of_run(
    prepared: Finished, source: "NetSource", origin: dict[str, Any], *, bf16: bool
) -> dict[str, Any]:
    """Say how all stores of a run were made, for their headers."""
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


def current_of(
    run: Run, stage: str, config: Mapping[str, Any], reads: Sequence[str]
) -> Finished | None:
    """Return the finished extraction if it is current.

    Of another source, or inner layers in place of outputs, are another thing under the
    same name, and not put in its place where nobody said so; within a pipeline its plan
    has told it. Of what else is another, such as the views, it is told what that was.

    Args:
        run: The run.
        stage: The extraction, or a shard of it.
        config: What decides it now.
        reads: Stages it is made from.

    Raises:
        UserError: A finished one is such another thing, and may not be overwritten.
    """
    done = run.current(stage, config, reads=reads)
    if done or run.overwrite or is_pipeline_at_work() or not run.has(stage):
        return done
    finished = run.recorded(stage)
    before, after = finished.record["settings"], plain(config)
    if before.get("source") not in (None, after["source"]):
        raise UserError(
            f"source = {after['source']!r} would replace {finished.folder}, the"
            f" features of {before['source']!r} ({describe_replaced(finished)}), and"
            f" {STALE}"
        )
    if bool(before.get("layer")) != bool(after["layer"]):
        kinds = [
            "inner layers" if c.get("layer") else "outputs" for c in (after, before)
        ]
        raise UserError(
            f"{kinds[0]} would replace {finished.folder}, which are {kinds[1]}"
            f" ({describe_replaced(finished)}), and {STALE}"
        )
    if changes := list(differences(before, after)):
        log.info("%s is made anew: %s", finished.folder, "; ".join(changes))
    return None
