"""Nets that stay while those of other folds are trained, anew or for the first time.

``--folds 0`` means the nets of fold 0, not the loss of the others: a finished stage
with the same settings but for its folds gives its nets to the one that replaces it.
"""

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data_prep.errors import UserError
from data_prep.folds import ALL
from data_prep.prepared import PREPARED
from data_prep.run_folders.damage import check_files
from data_prep.run_folders.runs import Finished, Run
from transfer.settings import FinetuneSettings

STAGE = "transfer.finetune"


@dataclass(frozen=True, kw_only=True)
class KeptFolds:
    """The nets of a finished stage that are kept.

    Attributes:
        folds: Value of the setting for all that the stage will hold.
        places: Folders of the nets that are kept, relative to the stage.
        source: The finished stage.
        text: What is kept and what is to be trained, for people; empty: nothing is.
    """

    folds: tuple[str, ...]
    places: tuple[str, ...] = ()
    source: Path = Path()
    text: str = ""

    def copy(self, folder: Path) -> None:
        """Copy them into a stage that is being made, each whole or not at all."""
        for name in self.places:
            target = folder / name
            if target.exists():  # copied by an attempt that was killed
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            draft = target.with_name(f"{target.name}.draft")
            shutil.rmtree(draft, ignore_errors=True)
            shutil.copytree(self.source / name, draft)
            draft.replace(target)


def find_kept(
    settings: FinetuneSettings, run: Run, config: Mapping[str, Any]
) -> KeptFolds:
    """Find the nets of other folds that stay.

    Args:
        settings: Of the training; without ``folds`` it trains all, with ``find_lr``
            none, and nothing is kept.
        run: The run.
        config: What decides the result beside the stages that are read.

    Raises:
        DamagedFileError: A net that would be kept is damaged.
    """
    is_asked = settings.folds and not settings.find_lr
    finished = _finished(run) if is_asked else None
    if finished is None or not _differ_by_folds(finished.record["settings"], config):
        return KeptFolds(folds=settings.folds)
    from transfer.jobs import folds_of  # late: it loads pandas

    stored = [str(k) for k in range(run.recorded(PREPARED).metadata["n_folds"])]
    if not {*settings.folds} <= {*stored, ALL}:  # maybe of folds that are to be made
        return KeptFolds(folds=settings.folds)
    trained = folds_of(settings, len(stored))
    nets = [net for net in finished.metadata["nets"] if net["fold"] not in trained]
    if not nets:
        return KeptFolds(folds=settings.folds)
    places = tuple(str(net["place"]) for net in nets)
    _check_whole(finished, places)
    held = {*trained, *(net["fold"] for net in nets)}
    kept = [fold for fold in (*stored, ALL) if fold in held - {*trained}]
    return KeptFolds(
        folds=_as_setting(held, stored, adds_all=settings.all),
        places=places,
        source=finished.folder,
        text=f"kept: {_named(kept)}; to be trained: {_named(trained)}",
    )


def _finished(run: Run) -> Finished | None:
    """Give the finished stage, damaged or not; None: there is none that is current."""
    if not run.has(STAGE):
        return None
    try:
        finished = run.recorded(STAGE)
        reads = finished.record["reads"].items()
        is_current = all(run.recorded(k).record["digest"] == v for k, v in reads)
    except UserError:  # nobody knows what it is, or what it was made from
        return None
    return finished if is_current else None


def _check_whole(finished: Finished, places: Sequence[str]) -> None:
    """Check the files of some nets: what is to be trained anew may be damaged.

    Raises:
        DamagedFileError: One is missing or cut.
    """
    files = {
        name: digest
        for name, digest in finished.record["files"].items()
        if name.startswith(tuple(f"{folder}/" for folder in places))
    }
    check_files(finished.folder, {**finished.record, "files": files})


def _differ_by_folds(recorded: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Tell whether two configs are the same but for their folds, if at all."""
    plain = json.loads(json.dumps(config, default=str))
    return {**recorded, "folds": None} == {**plain, "folds": None}


def _as_setting(
    held: set[str], stored: Sequence[str], *, adds_all: bool
) -> tuple[str, ...]:
    """Write folds as one would set them: none is named where all are meant."""
    extra = [ALL] if ALL in held and not adds_all else []
    numbered = [fold for fold in stored if fold in held]
    return () if numbered == list(stored) and not extra else (*numbered, *extra)


def _named(folds: Iterable[str]) -> str:
    """Name folds for people."""
    return ", ".join("the net of all rows" if f == ALL else f"fold {f}" for f in folds)
