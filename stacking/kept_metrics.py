"""The stack of another metric, kept when one takes its place.

``stacking.fit`` is always the last that was fitted, which later commands read. That of
another metric lies beside it as ``stacking.fit.METRIC``, whole: scores, report, models.
"""

import logging
import shutil

from data_prep.run_folders.runs import Run

log = logging.getLogger(__name__)


def keep_other_metric(run: Run, stage: str, metric: str) -> None:
    """Copy a finished stack beside itself if the next one is scored by another metric.

    Args:
        run: The run.
        stage: Name of the stage that is about to be replaced.
        metric: Of the next one.
    """
    if not run.has(stage):
        return
    finished = run.finished(stage, check_inputs=False)
    before = str(finished.metadata["metric"])
    if before == metric:
        return
    target = run.folder / f"{stage}.{before}"
    draft = run.folder / f".{target.name}.copy"
    for folder in (draft, target):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(finished.folder, draft)
    draft.replace(target)
    log.info("the stack of %s is kept: %s", before, target)
