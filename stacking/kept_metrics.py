"""The stack of another metric, kept when one takes its place.

``stacking.fit`` is always the last that was fitted, which later commands read. That of
another metric lies beside it as ``stacking.fit.METRIC``, whole: scores, report, models.
"""

import logging
import shutil

from data_prep.run_folders.damage import DamagedFileError
from data_prep.run_folders.runs import Run

log = logging.getLogger(__name__)


def keep_other_metric(run: Run, stage: str, metric: str) -> None:
    """Copy a finished stack beside itself if the next one is scored by another metric.

    One that is damaged is not worth keeping, and is what the next one mends.

    Args:
        run: The run.
        stage: Name of the stage that is about to be replaced.
        metric: Of the next one.
    """
    if not run.has(stage):
        return
    try:
        finished = run.finished(stage, check_inputs=False)
        before = str(finished.metadata["metric"])
    except DamagedFileError as error:
        log.warning("the stack before is replaced and not kept: %s", error)
        return
    if before == metric:
        return
    target = run.folder / f"{stage}.{before}"
    draft = run.folder / f".{target.name}.copy"
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(finished.folder, draft)
    shutil.rmtree(target, ignore_errors=True)
    draft.replace(target)
    log.info("the stack of %s is kept: %s", before, target)
