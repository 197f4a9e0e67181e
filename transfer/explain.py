"""Show where the nets look: Grad-CAM maps of chosen pictures, or of the worst misses.

    python -m transfer.explain --task target
    python -m transfer.explain --task date --ids a17,b03

A labelled picture is explained by the net that never saw its label, any other by that
of the first fold. Writes ``transfer.explain/`` into the run: ``ID.png``, the picture in
grey with the map over it, and ``index.html``, which sets both side by side; the report
of ``stacking.fit`` shows the maps too. It is no stage, and needs the package grad-cam.
"""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge

from data_prep.command import run_command
from data_prep.errors import UserError
from data_prep.prepared import PREPARED, Prepared
from data_prep.ranges import Ranged
from data_prep.run_folders.runs import Run
from data_prep.run_places import chosen_run
from data_prep.settings import from_flags, nearest
from transfer.results.trained_nets import TrainedNets

if TYPE_CHECKING:
    from data_prep.arrays import Ints

EXPLAINED = "transfer.explain"
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ExplainSettings(Ranged):
    """Show where the nets look, by Grad-CAM."""

    task: Annotated[str, "task whose output is explained (default: the first)"] = ""
    ids: Annotated[
        tuple[str, ...], "ids of pictures, such as a,b; left out: the worst misses"
    ] = ()
    n: Annotated[int, "how many of the worst misses", Ge(1)] = 24
    run: Annotated[Path | None, "run (default: that last worked on)"] = None
    threads: Annotated[int, "CPU threads; 0: all cores", Ge(0)] = 0


def main(argv: Sequence[str] | None = None) -> Path:
    """Explain as the command line says, and return the page."""
    settings = from_flags(ExplainSettings, EXPLAINED, argv)
    run = Run(chosen_run(settings.run, EXPLAINED))
    trained = TrainedNets.of(run)
    name = settings.task or str(trained.nets[0]["tasks"][0]["name"])
    trained = trained.of_task(name)
    prepared = Prepared.open(run.finished(PREPARED))
    rows = _rows_of(settings.ids, prepared)
    (task,) = trained.tasks(prepared, name)
    if "" not in task.outputs and not task.classes:
        raise UserError(
            f"task = {name!r}: {task.task_type.name} have no single output to explain;"
            " give another task"
        )

    from pretext.device import set_threads
    from transfer.results.explanations import explain, worst_misses
    from transfer.results.explanations_page import write_pages

    set_threads(settings.threads)
    if not settings.ids:
        rows = worst_misses(trained, prepared, task, settings.n)
        log.info("task %s: the worst misses", name)
    explanations = explain(trained, prepared, task, rows)
    folder = run.folder / EXPLAINED
    shutil.rmtree(folder, ignore_errors=True)
    page = write_pages(folder, explanations, task, trained.finished.record["digest"])
    log.info("%d map%s -> %s", len(rows), "s" * (len(rows) != 1), page)
    return page


def _rows_of(ids: Sequence[str], prepared: Prepared) -> "Ints":
    all_ids = set(prepared.table["id"])
    for id_ in ids:
        if id_ not in all_ids:
            raise UserError(f"ids = {id_!r}: no such picture; {nearest(id_, all_ids)}")
    return prepared.image_rows(ids)


if __name__ == "__main__":
    run_command(main)
