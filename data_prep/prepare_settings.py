"""The settings of the preparation, and what they say of it before it runs."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Le

from data_prep.effort import Workload
from data_prep.errors import UserError
from data_prep.experiment import Experiment
from data_prep.file_paths import MayBePath
from data_prep.pictures.fit import Fit
from data_prep.pictures.pages import Pages
from data_prep.processes import n_cores
from data_prep.ranges import Ranged
from data_prep.run_folders.runs import Run
from data_prep.schemes import USUAL_CV, check_cv, is_in_time, is_table
from data_prep.settings import NOT_HASHED, SWITCH, Example, recorded

if TYPE_CHECKING:
    from data_prep.inputs import Inputs
    from data_prep.outlook import Outlook

START_S = 3.0  # folders, tables, report
PIXEL_S = 1.6e-8  # to measure a stored pixel for the report


@dataclass(frozen=True, kw_only=True)
class PrepareSettings(Ranged):
    """Check the pictures and tables, store the pixels, and assign the folds.

    python -m data_prep.prepare --experiment experiments/demo.toml
    """

    side: Annotated[int, "side of the stored pictures, px", Ge(16), Le(2048)] = 128
    fit: Annotated[
        Fit,
        "how it becomes square: padded (edges, mirrored, a colour), stretched, or cut",
    ] = "pad"
    page: Annotated[
        Pages,
        "of a file of several pages or frames: the first is the picture, or all are,"
        " each with an id of its own (scan@2), and the file is what is predicted",
        SWITCH,
    ] = "first"
    cv: Annotated[
        str,
        "[s][g]kfoldN: s equal shares of the target, g groups kept together, N folds;"
        " timeN: each of N folds is later than all that its net learns from; x2 after a"
        " drawn one: dealt twice, so 2 N nets, averaged",
    ] = USUAL_CV
    gap: Annotated[
        float,
        "of cv = timeN: years before a fold that are not learned from",
        Ge(0),
        SWITCH,
    ] = 0.0
    folds: Annotated[
        str,
        "your own folds in place of cv: a table of id and fold, or a column of the"
        " training table; where the cell is empty, a row is never held out",
        MayBePath(is_path=is_table),
        Example("folds.csv"),
        SWITCH,
    ] = ""
    seed: Annotated[int, "seed of the folds and the word vectors", Ge(0)] = 0
    word_dimensions: Annotated[int, "length of the word vectors", Ge(1)] = 20
    min_count: Annotated[
        int, "pictures that a name must have to get a word vector", Ge(1)
    ] = 1
    placeholders: Annotated[
        Literal["keep", "leave_out"],
        "one picture under many ids, such as 'no photograph yet': keep it in one fold,"
        " or leave all its ids out",
    ] = "keep"
    copies: Annotated[
        Literal["near", "equal", "none"],
        "which copies of a picture are kept in one fold: those that are recompressed,"
        " resized, turned or cropped a little too, those with equal pixels, or none",
    ] = "near"
    likeness: Annotated[
        float, "likeness from which two are near copies; see the report", Ge(0.6), Le(1)
    ] = 0.85
    workers: Annotated[
        int, "processes that decode; 0: all cores", NOT_HASHED, Ge(0)
    ] = 0

    def __post_init__(self) -> None:
        """Check the ranges and the scheme of the folds."""
        super().__post_init__()
        check_cv(self.cv, self.folds)
        if self.gap and not is_in_time(self.cv):
            raise UserError(
                f"gap = {self.gap:g} leaves years out before a fold in time, and cv ="
                f" {self.cv!r} is none; take it out, or set cv = 'time3' or the like"
            )

    def made_from(self, inputs: "Inputs") -> dict[str, Any]:
        """Say what decides the result but for the bytes of the pictures."""
        from data_prep.sources import named_data, source_digests

        folds = inputs.user_folds
        return recorded(self) | {
            "data": named_data(inputs.data),
            "source": source_digests(
                inputs.data,
                inputs.folders,
                folds.path if folds else None,
                inputs.paged,
            ),
            "has_folds": inputs.cv is not None,
        }

    def workload(self, outlook: "Outlook") -> Workload:
        """Say what there is to decode; a few files are, to see how long it takes."""
        from data_prep.decoding import earlier_pictures
        from data_prep.pictures.copies import LEAST_SIDE_PX, search_seconds
        from data_prep.pictures.decoded import time_decoding
        from data_prep.pictures.folders import search_folders
        from data_prep.pictures.pages import PagedPictures, ids_of_files

        ids = set(outlook.table["id"])
        if self.page == "all":
            ids = ids_of_files(ids)
        folders = search_folders(outlook.experiment.data.images, ids=ids)
        pictures = PagedPictures.find(folders.pictures, self.page).pictures
        decoding_s = time_decoding(list(pictures.values()), self.side)
        earlier = earlier_pictures(outlook.run, pictures, self.side, self.fit)
        n, n_workers = len(outlook.table), self.workers or n_cores()
        n_to_decode = n - len(earlier.squares) if earlier else n
        seconds = START_S + n_to_decode * decoding_s / n_workers
        seconds += n * self.side**2 * PIXEL_S
        if self.copies == "near" and self.side >= LEAST_SIDE_PX:
            seconds += search_seconds(n, n_workers)
        return Workload(seconds=seconds, n_bytes=n * 3 * self.side**2)

    def config(self, experiment: Experiment, run: Run) -> dict[str, Any]:
        """Read tables and names of pictures, and say what decides the result.

        Raises:
            UserError: A folder or table is missing, or has problems.
        """
        return self.made_from(self.read(experiment, run))

    def read(self, experiment: Experiment, run: Run) -> "Inputs":
        """Read the tables and the names of pictures.

        Raises:
            UserError: A folder or table is missing, or has problems.
        """
        from data_prep.inputs import Inputs

        return Inputs.read(
            experiment, run, cv=self.cv, folds=self.folds, page=self.page
        )
