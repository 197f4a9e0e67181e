"""Draw a small collection of prints and paintings to try everything on.

    python -m data_prep.demo

Writes ``data_prep.demo/`` of the run ``runs/demo`` where one stands: pictures, tables
of works, materials and techniques. All of it is drawn by code, and the same for the
same seed.
"""

import argparse
import logging
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Ge

from data_prep.command import open_command, run_command
from data_prep.kept_experiment import check_origin
from data_prep.ranges import Ranged
from data_prep.run_folders.origin import KEPT
from data_prep.run_places import RUNS
from data_prep.settings import recorded

STAGE = "data_prep.demo"
EXPERIMENT = Path(__file__).parents[1] / "experiments" / "demo.toml"
RUN = Path(RUNS) / "demo"
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class DemoSettings(Ranged):
    """Draw a small collection of prints and paintings, with tables about them."""

    n_train: Annotated[int, "works with a label", Ge(24)] = 960
    n_test: Annotated[int, "works to predict", Ge(4)] = 120
    side: Annotated[int, "longer side of the pictures, px", Ge(32)] = 160
    seed: Annotated[int, "seed of everything drawn", Ge(0)] = 0


def main(argv: Sequence[str] | None = None) -> Path:
    """Draw the collection, and return the folder of the stage."""
    flags = list(sys.argv[1:] if argv is None else argv)
    experiment, folder = _named(flags)
    if experiment is None and not (folder and (folder / KEPT).exists()):
        flags += ["--experiment", str(EXPERIMENT)]
        if folder is None:  # what comes along may lie where nobody can write
            check_origin(EXPERIMENT, RUN, is_chosen=False)
            flags += ["--run", str(RUN)]
    settings, run, _ = open_command(DemoSettings, STAGE, flags)
    config = recorded(settings)
    if finished := run.current(STAGE, config):
        return finished.folder
    from data_prep.demo_collection.collection import draw_collection

    with run.stage(STAGE, config) as stage:
        shutil.rmtree(stage.folder / "images", ignore_errors=True)  # cut short
        draw_collection(
            stage.folder,
            n_train=settings.n_train,
            n_test=settings.n_test,
            side_px=settings.side,
            seed=settings.seed,
        )
    log.info(
        "%d works with a label and %d to predict -> %s",
        settings.n_train,
        settings.n_test,
        run.folder / STAGE,
    )
    return run.folder / STAGE


def _named(flags: Sequence[str]) -> tuple[Path | None, Path | None]:
    """Give the experiment file and the run folder that the flags name."""
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--experiment", type=Path)
    finder.add_argument("--run", type=Path)
    parsed, _ = finder.parse_known_args(flags)
    return parsed.experiment, parsed.run


if __name__ == "__main__":
    run_command(main)
