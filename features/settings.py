"""The settings of the extraction."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge

from data_prep.dihedral import VIEW_SETS
from data_prep.effort import Workload
from data_prep.errors import UserError
from data_prep.executor_settings import ExecutorSettings
from data_prep.experiment import Experiment
from data_prep.file_paths import MayBePath
from data_prep.folds import ALL
from data_prep.outlook import Outlook
from data_prep.run_folders.runs import Run
from data_prep.schemes import count_deals
from data_prep.settings import NOT_HASHED, Example, nearest, recorded
from data_prep.up import check_learned
from features.pooling import USUAL, check_statistics, telling
from pretext.init_weights import fingerprint_of, pretexts
from pretext.preflight import (
    check_ready,
    check_unseen,
    network_of,
    network_of_ready,
)
from pretext.ready_weights import find_ready, is_path, is_ready

if TYPE_CHECKING:
    import pandas as pd

FINETUNED = "transfer.finetune"
START_S = 4.0  # opening the nets, writing the stores
UNKNOWN_WIDTH = 512  # features of most small networks
WEIGHTS = "weights"  # in a record beside the settings: which ready weights they were


@dataclass(frozen=True, kw_only=True)
class ExtractSettings(ExecutorSettings):
    """Extract the outputs of the nets in all views, pooled and kept by id.

    python -m features.extract --experiment experiments/demo.toml
    """

    source: Annotated[
        str,
        "whose outputs: transfer.finetune, or the features of a pretext stage or of"
        " ready weights: timm:NAME, package:NAME, a file or folder",
        MayBePath(is_path=is_path),
    ] = FINETUNED
    backbone: Annotated[
        str,
        "name of the timm network of ready weights that do not name it",
        Example("resnet18"),
    ] = ""
    insample: Annotated[bool, "add the rows each net was trained on"] = False
    views: Annotated[
        Literal["d4", "c4", "flip", "e"],
        "flips and turns: d4 all eight, c4 four turns, flip the mirror image, e none,"
        " where only the mean is stored (but of objects of several pictures)",
    ] = "d4"
    statistics: Annotated[
        tuple[str, ...], "over the views: some of mean,var,max,min,median,std,identity"
    ] = USUAL
    layer: Annotated[
        tuple[str, ...],
        "inner layers instead of the outputs, such as layer3,layer4",
        Example(["layer3", "layer4"]),
    ] = ()
    layer_pool: Annotated[
        Literal["avg", "gem"], "how a layer is pooled over the picture"
    ] = "avg"
    layers: Annotated[bool, "list the layers of the network, and stop", NOT_HASHED] = (
        False
    )
    shard: Annotated[
        str, "one of n parts, such as 0/4; features.merge joins them", Example("0/4")
    ] = ""
    precision: Annotated[
        Literal["auto", "bf16", "fp32"],
        "arithmetic: bf16 (mixed), fp32, or auto: bf16 where the hardware has it",
    ] = "auto"
    threads: Annotated[int, "CPU threads; 0: all cores", NOT_HASHED, Ge(0)] = 0

    def __post_init__(self) -> None:
        """Check the source and the ranges."""
        super().__post_init__()
        sources = [FINETUNED, *pretexts()]
        if self.source not in sources and not self.is_ready:
            raise UserError(
                f"source = {self.source!r}: {nearest(self.source, sources)}"
            )
        if self.backbone and not self.is_ready:
            raise UserError(
                f"backbone = {self.backbone!r}: {self.source} has a network of its own;"
                " leave backbone out"
            )
        if self.insample and self.source != FINETUNED:
            raise UserError(f"insample: the nets of {self.source} saw no label at all")
        check_statistics(self.statistics)
        if not telling(self.statistics, len(VIEW_SETS[self.views])):
            raise UserError(
                f"statistics = {', '.join(self.statistics)}: with views ="
                f" {self.views!r} there is one view, which has no spread; name mean"
            )
        if self.shard:
            self.shard_of()

    @property
    def reads(self) -> list[str]:
        """The stages that it reads."""
        return ["data_prep.prepare", *([] if self.is_ready else [self.source])]

    @property
    def is_ready(self) -> bool:
        """Whether the source are weights of others, and no stage."""
        return is_ready(self.source)

    @property
    def idle_by(self) -> str:
        """The setting by which the stage leaves nothing to read; empty: it does."""
        if self.layers:
            return "layers"
        return "shard" if self.shard_of()[1] > 1 else ""

    def shard_of(self) -> tuple[int, int]:
        """Give the number of the shard, and of how many.

        Raises:
            UserError: It is not of the form ``i/n`` with i from 0 to n - 1.
        """
        match = re.fullmatch(r"(\d+)/(\d+)", self.shard or "0/1")
        if not match or not int(match[1]) < int(match[2]):
            raise UserError(
                f"shard = {self.shard!r}: give i/n with i from 0 to n - 1, such as 0/4"
            )
        return int(match[1]), int(match[2])

    def statistics_of(self, table: "pd.DataFrame") -> tuple[str, ...]:
        """Give the statistics that are stored of the views.

        Where the table has objects, those of a single view are kept: over the pictures
        of an object they differ.

        Args:
            table: N rows as prepared.
        """
        if "object" in table:
            return self.statistics
        return telling(self.statistics, len(VIEW_SETS[self.views]))

    def config(self, experiment: Experiment, run: Run) -> dict[str, Any]:
        """Say what decides the stores besides the stages that are read.

        Raises:
            UserError: Ready weights are not there, or do not fit.
        """
        del experiment, run
        config = recorded(self)
        if self.shard_of()[1] == 1:
            config["shard"] = ""  # 0/1 is all
        if self.is_ready:
            check_ready(self.source, self.backbone, "source")
            config[WEIGHTS] = fingerprint_of(self.source, "source")["init"]
        return config

    def check_data(self, outlook: Outlook) -> None:
        """Check what the tables and the other stages decide.

        Raises:
            UserError: No net would have a row to infer, or ready weights are not there.
        """
        if self.is_ready:
            check_ready(self.source, self.backbone, "source")
            check_unseen(self.source, outlook.metadata, "source")
            return
        turns = outlook.setting(self.source, "turns")
        if self.source == FINETUNED:
            check_learned(self.views, self.source, turns)
        folds = outlook.setting(self.source, "folds") or ()
        has_others = bool((outlook.table["split"] != "train").any())
        if list(folds) == [ALL] and not (has_others or self.insample):
            raise UserError(
                f"[{self.source}] folds = {ALL}: its net holds out no row, and there is"
                " no test picture; train the folds, or set insample = true"
            )

    def workload(self, outlook: Outlook) -> Workload:
        """Say how many views go through how many nets, and what that leaves."""
        table, n_views = outlook.table, len(VIEW_SETS[self.views])
        passes = float(len(table))
        values = passes * UNKNOWN_WIDTH
        if self.source == FINETUNED:
            n_common = int((table["split"] != "train").sum())
            tasks = outlook.tasks(outlook.setting(self.source, "tasks") or ())
            is_joint = bool(outlook.setting(self.source, "joint"))
            n_folds = int(outlook.metadata["n_folds"])
            n_more = (len(table) - n_common) * (count_deals(outlook.metadata["cv"]) - 1)
            passes = len(table) + n_more + n_common * max(0, n_folds - 1)
            passes *= 1 if is_joint else len(tasks)
            values = len(table) + n_more + n_common * n_folds
            values *= sum(len(task.columns) for task in tasks)
        source = outlook.settings.get(self.source)
        side_px = outlook.metadata["side"]
        return Workload(
            network=self._network(outlook) or "",
            side_px=source.net_side_px(side_px, source.final_scale)
            if source
            else side_px,
            inferred=passes * n_views,
            seconds=START_S,
            pieces=max(1, len(table)),
            n_bytes=4.0 * values * (n_views + len(self.statistics_of(table))),
        )

    def _network(self, outlook: Outlook) -> str | None:
        """Name the network; None: not known yet, or not told."""
        if self.is_ready:
            return self.backbone or network_of_ready(self.source, "source")
        init = str(outlook.setting(self.source, "init") or self.source)
        return network_of(init, outlook.setting(self.source, "backbone") or "", outlook)

    def check_libraries(self, outlook: Outlook) -> None:
        """Look for the layers in the network to come; it loads torch.

        Raises:
            UserError: It has none of a name, ready weights do not fit it, or there is
                no cluster.
        """
        self.check_cluster()
        if self.is_ready:
            from features.layers import Layers
            from pretext.evaluation.embed import load_for

            weights = find_ready(self.source, "source")
            backbone, side_px = load_for(
                weights, outlook.metadata["side"], self.backbone
            )
            if self.layer:
                Layers(backbone.eval(), self.layer, "avg", side_px)
            return
        source = outlook.settings.get(self.source)
        if not self.layer or source is None:
            return
        name = network_of(source.init, source.backbone, outlook)
        if name is None:
            return
        from features.layers import Layers
        from pretext.networks.backbones import build_backbone

        side_px = source.net_side_px(outlook.metadata["side"], source.final_scale)
        Layers(build_backbone(name, side_px).eval(), self.layer, "avg", side_px)
