"""How a run was extracted, and whether its nets are still the same.

Torch-free.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.errors import UserError
from data_prep.folds import ALL
from data_prep.prepared import PREPARED, Prepared
from data_prep.run_folders.damage import RECORD, DamagedFileError, fault_of
from data_prep.run_folders.runs import Finished, Run
from data_prep.settings import from_table
from features.extract import STAGE as EXTRACTED
from features.header import SELECTED
from features.inference import DISTILLED, FOLDS, Nets
from features.origins import header_of_run, origin_of_stage
from features.settings import FINETUNED, WEIGHTS, ExtractSettings
from features.sources import InnerLayers, TransferSource
from features.store import open_store

if TYPE_CHECKING:
    from data_prep.pictures.decoded import Decoded

# What a header says of how the rows were made, and not of which rows.
OF_ALL = (
    "cv",
    "fold_hash",
    "selected_with_labels",
    "transform",
    "precision",
    "source",
    "versions",
)
DISTILL = "transfer.distill"
OF_NETS = (".safetensors", ".json")  # endings of the files that decide an output
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """How the features of a run were made.

    Attributes:
        settings: Of ``features.extract``.
        prepared: The stage that says how pictures are decoded.
        trained: The stage of the nets; of ready weights, the extraction itself.
        digest: Of what they gave.
        header: Of one of the stores of that, pooled.
    """

    settings: ExtractSettings
    prepared: Finished
    trained: Finished
    digest: str
    header: Mapping[str, Any]

    @property
    def statistics(self) -> tuple[str, ...]:
        """What the views were pooled to."""
        names = [str(column["statistic"]) for column in self.header["columns"]]
        return tuple(dict.fromkeys(names))

    @property
    def role(self) -> str:
        """What the nets know of the label of a picture that came later."""
        if self.settings.source == FINETUNED:
            return "test"
        return SELECTED if self.header["selected_with_labels"] else "label_free"


def find_extraction(run: Run, net: Nets = FOLDS) -> Extraction:
    """Find how the run was extracted, and check that its nets are the same.

    Args:
        run: The run.
        net: Its nets of all folds, or the distilled one, which needs no extraction.

    Raises:
        UserError: The run has no extraction, or one of inner layers, or a file of its
            nets was replaced.
    """
    if net == DISTILLED:
        return _find_distilled(run)
    extracted = run.finished(EXTRACTED)
    recorded = extracted.record["settings"]
    settings = from_table(
        ExtractSettings,
        {name: value for name, value in recorded.items() if name != WEIGHTS},
        str(extracted.folder / RECORD),
        {},
    )
    if settings.layer:
        raise UserError(
            f"{extracted.folder} holds inner layers (--layer), which mean something"
            " else in every net; extract the outputs: python -m features.extract --run"
            f" {run.folder}"
        )
    trained = extracted if settings.is_ready else run.finished(settings.source)
    # where the only net has seen all rows there is none
    whole = extracted.folder / "features.pkl"
    path = whole if whole.exists() else min(extracted.folder.rglob("*.pkl"))
    header = open_store(path).header
    check_nets(trained, header)
    prepared = run.finished(PREPARED)
    return Extraction(
        settings=settings,
        prepared=prepared,
        trained=trained,
        digest=extracted.record["digest"],
        header=header,
    )


def _find_distilled(run: Run) -> Extraction:
    """Find the net of ``transfer.distill`` that serves, as if it had been extracted.

    Raises:
        UserError: The run has none, or a file of it was replaced.
    """
    stage, prepared = run.finished(DISTILL), run.finished(PREPARED)
    nets = [net for net in stage.metadata["nets"] if net["fold"] == ALL]
    metadata = {**stage.metadata, "nets": nets}
    trained = replace(stage, record={**stage.record, "facts": metadata})
    has_turned = stage.record["settings"]["turns"]
    settings = ExtractSettings(views="d4" if has_turned else "flip", precision="fp32")
    source = TransferSource(trained, InnerLayers())
    origin = origin_of_stage(run, trained)
    header = header_of_run(prepared, source, origin, bf16=False) | {
        "nets": source.nets,
        "columns": [
            column.header(statistic)
            for column in source.columns[ALL]
            for statistic in settings.statistics
        ],
    }
    check_nets(trained, header)
    return Extraction(
        settings=settings,
        prepared=prepared,
        trained=trained,
        digest=stage.record["digest"],
        header=header,
    )


def check_nets(trained: Finished, header: Mapping[str, Any]) -> None:
    """Check that the nets are those that a store is from, file by file.

    Args:
        trained: The stage of the nets.
        header: Of the store.

    Raises:
        UserError: A file is missing or another, or the store is from other nets.
    """
    files: dict[str, str] = trained.record["files"]
    for name in files:
        is_of_net = Path(name).suffix in OF_NETS
        if is_of_net and (fault := fault_of(trained.folder, trained.record, name)):
            raise DamagedFileError(fault)
    if not {net["digest"] for net in header["nets"]} <= set(files.values()):
        raise UserError(
            f"{trained.folder}: {EXTRACTED} is from other nets than these; again:"
            f" python -m {EXTRACTED} --overwrite"
        )


def warn_of_training_pictures(prepared: Finished, decoded: Sequence["Decoded"]) -> None:
    """Say so if the nets were trained on some of the pictures, whatever their files."""
    table = Prepared.open(prepared).table
    if "pixels_sha256" not in table:
        return
    trained_on = set(table["pixels_sha256"][table["split"] == "train"])
    if n_trained_on := sum(file.pixels_sha256 in trained_on for file in decoded):
        log.warning(
            "%d of %d pictures are training pictures of the run: the nets have seen"
            " their labels, and their outputs are too good; %s has honest rows",
            n_trained_on,
            len(decoded),
            EXTRACTED,
        )
