"""The report of the stack: how good it is, why, and where it fails.

Opens with the figures a reader wants first; ends with what they mean and the settings.
Each part is in a module of its own, ``stacking.reporting.sections``.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data_prep.prepared import Prepared
from data_prep.reporting.copies import copies_section
from data_prep.reporting.report import write_report
from data_prep.run_folders.runs import Finished
from stacking.analysis.findings import Findings
from stacking.ensemble.stack import Stacked
from stacking.reporting.named_rows import named_rows
from stacking.reporting.run_files import RunPictures, records
from stacking.reporting.sections.calibration import calibration, confusion
from stacking.reporting.sections.failures import failures
from stacking.reporting.sections.glance import glance
from stacking.reporting.sections.learning import learning
from stacking.reporting.sections.meaning import meaning
from stacking.reporting.sections.names import by_name
from stacking.reporting.sections.pictures import by_prediction, disputed, worst
from stacking.reporting.sections.predictions import predicted, shift
from stacking.reporting.sections.run import settings_and_versions
from stacking.reporting.sections.steps import steps
from stacking.reporting.sections.tasks import importance, worth
from stacking.reporting.sections.verdicts import verdicts
from stacking.reporting.wording import counted_rows, refit_command


def write(
    path: Path,
    *,
    stacked: Stacked,
    findings: Findings,
    unreadable: Sequence[str],
    prepared: Finished,
    settings: Mapping[str, Any],
    versions: Mapping[str, str],
    seconds: float | None = None,
) -> None:
    """Write the report.

    Args:
        path: The HTML file.
        stacked: The result of the stack.
        findings: All that is told beside the scores.
        unreadable: Ids to predict whose picture cannot be read.
        prepared: The finished ``data_prep.prepare``, for the pictures; the folders of
            the other stages lie beside it.
        settings: Of the stage.
        versions: Of the packages.
        seconds: How long the stage has taken so far; None: not told.
    """
    data, run = stacked.data, prepared.folder.parent
    pictures, opened = RunPictures.of(prepared), Prepared.open(prepared)
    sections = [
        glance(stacked, findings, refit_command(run, stacked)),
        verdicts(records(run), findings.verdicts),
        steps(stacked),
        by_prediction(stacked, pictures),
        calibration(stacked),
        confusion(stacked),
        failures(stacked, pictures.dates(data.info.ids)),
        by_name(stacked, named_rows(opened, data.info.ids)),
        worth(stacked, findings),
        importance(stacked, findings),
        worst(stacked, pictures),
        disputed(stacked, findings, pictures),
        copies_section(opened.table, pictures.pixels),
        predicted(stacked, findings, unreadable),
        shift(findings.shift, findings.shift_of_all),
        meaning(stacked, findings),
        learning(run),
        settings_and_versions(
            stacked, run, settings=settings, versions=versions, seconds=seconds
        ),
    ]
    target = prepared.metadata["target_column"]
    write_report(
        path,
        f"{run.name}: predicting {target}" + " (in-sample)" * data.is_leaky,
        f"{counted_rows(data.info)}, {data.rows.n_folds} folds ({data.info.cv}),"
        f" {len(data.columns)} feature columns",
        sections,
    )
