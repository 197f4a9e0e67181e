"""What all nets of a transfer are made from: pictures, first weights and columns."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from data_prep.arrays import Floats
from data_prep.rows import weights_of
from data_prep.run_folders.runs import Finished, Run
from pretext.data.pictures import Normalisation, Pictures
from pretext.data.training_data import fill_frac_of
from pretext.device import pick_device, set_threads
from pretext.networks.backbones import own_normalisation
from pretext.ready_weights import files_of
from transfer.networks.columns import NetColumns
from transfer.settings import FinetuneSettings
from transfer.training.kept_pretext import KeptPretext

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True)
class FinetuneData:
    """What all nets of a stage are made from.

    Attributes:
        settings: How to train.
        first_weights: File of the first weights; None: random ones.
        pictures: All N prepared pictures.
        ids: N ids.
        normalise: Statistics of the collection.
        folder: Folder of the stage.
        sample_weight: (N,) factors of the rows' losses; None: all are 1.
        kept_pretext: The puzzles that the nets go on solving; None: none.
        columns: What ``pictures.columns`` are made by; None: there are none.
        fill_frac: (N, 2) share of width and height that each picture fills; None: all.
    """

    settings: FinetuneSettings
    first_weights: Path | None
    pictures: Pictures
    ids: Sequence[str]
    normalise: Normalisation
    folder: Path
    sample_weight: Floats | None = None
    kept_pretext: KeptPretext | None = None
    columns: NetColumns | None = None
    fill_frac: NDArray[np.float32] | None = None

    @property
    def files(self) -> list[Path]:
        """The files that a training reads."""
        files = [self.pictures.file] if self.pictures.file else []
        if self.first_weights:
            weights = files_of(self.first_weights)
            files += filter(None, [weights.weights, weights.config])
        return files

    @property
    def side_px(self) -> int:
        """Side of the training views."""
        return self.settings.net_side_px(self.pictures.side_px, 1.0)

    @property
    def final_side_px(self) -> int:
        """Side of the views of the last part, at which the net predicts."""
        return self.settings.net_side_px(
            self.pictures.side_px, self.settings.final_scale
        )

    @classmethod
    def open(
        cls,
        settings: FinetuneSettings,
        first_weights: Path | None,
        *,
        prepared: Finished,
        table: "pd.DataFrame",
        run: Run,
        folder: Path,
    ) -> "FinetuneData":
        """Open the pictures of a run, and what else its nets are made from.

        Args:
            settings: How to train.
            first_weights: File of the first weights; None: random ones.
            prepared: ``data_prep.prepare`` of the run.
            table: (N) rows as prepared.
            run: Where a pretext that is kept lies.
            folder: Where the nets go.
        """
        columns = None
        if settings.columns:
            columns = NetColumns.learn(table, settings.columns)
            columns.tell_gaps(table)
        set_threads(settings.threads)
        pictures = Pictures.open(
            prepared.folder, pick_device(), columns.apply(table) if columns else None
        )
        metadata = prepared.metadata
        normalise = own_normalisation(
            first_weights,
            settings.backbone,
            Normalisation(tuple(metadata["mean"]), tuple(metadata["std"])),
        )
        kept_pretext = None
        if settings.keep_pretext:
            kept_pretext = KeptPretext.open(
                run,
                table,
                weight=settings.keep_pretext,
                fit=metadata["fit"],
                normalise=normalise,
            )
        return cls(
            settings=settings,
            first_weights=first_weights,
            pictures=pictures,
            ids=table["id"].tolist(),
            normalise=normalise,
            folder=folder,
            sample_weight=_sample_weight(table, settings.pseudo_weight),
            kept_pretext=kept_pretext,
            columns=columns,
            fill_frac=fill_frac_of(table, metadata["fit"]),
        )


def _sample_weight(table: "pd.DataFrame", pseudo_weight: float) -> Floats:
    """Give the (N,) weights of the table, and one for rows that it does not label."""
    is_train = (table["split"] == "train").to_numpy()
    return np.where(is_train, weights_of(table), pseudo_weight)
