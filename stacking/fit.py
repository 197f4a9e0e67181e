"""Stack the nets' outputs into a prediction, and say honestly how good it is.

    python -m stacking.fit --cv sgkfold3

Reads ``data_prep.prepare`` and ``features.extract``; writes ``stacking.fit/``:
predictor.json with its models (model_fold0.txt ..., nothing pickled), stacking.json
(all that was chosen and scored), oof.csv (``target``, and ``prediction`` beside each
step before it; and oof.parquet, exact, where ids are always called ``id``),
predictions.csv (if there are pictures to predict; the target predicted, under its own
name, as a sample has it; of classes also probabilities.csv, which log-loss and AUC
judge), importance.csv, report.html. What the sample, or else the test table, asks for
without a picture that can be read gets the mean of the training targets, ended as the
predictions are (see ``stacking.ensemble.final_step``), or the most frequent class.

Rows are learned from through the net that never saw them, by the run's own folds. Where
these are dealt several times (``cv = "sgkfold3x2"``), each deal is stacked alone and
the predictions are averaged; the models of a deal lie in ``dealD/``, and oof.csv has
the deviation between the deals.
A stack of another metric that is replaced is kept whole, as ``stacking.fit.METRIC``.
``--protocol insample`` reproduces the leak of the original instead, for comparison, and
writes ``stacking.fit.insample/``. Trees of several folds grow side by side in threads;
``--jobs 2`` trains the folds of small networks in processes, two at a time.
"""

import logging
import os
from collections.abc import Sequence
from importlib.metadata import version
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_prep.command import open_command, run_command
from data_prep.errors import UserError
from data_prep.outlook import Outlook
from data_prep.prepared import PREPARED
from data_prep.reporting.numerals import four_digits, style_for
from stacking.inputs.other_runs import other_runs
from stacking.inputs.sources import EXTRACTED
from stacking.kept_metrics import keep_other_metric
from stacking.models.pixel_trees import PIXELS
from stacking.settings import FitSettings

if TYPE_CHECKING:
    from data_prep.run_folders.runs import Finished, Run
    from stacking.analysis.findings import Findings
    from stacking.ensemble.stack import Stacked
    from stacking.reporting.outputs import RequestedIds

STAGE = "stacking.fit"
PACKAGES = ("lightgbm", "scikit-learn", "numpy", "pandas")  # told in the report
LEAKY = "in-sample protocol: it leaks, and is for comparison only"
log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> Path:
    """Fit as the command line says, and return the folder of the stage."""
    settings, run, experiment = open_command(FitSettings, STAGE, argv)
    prepared, extracted = run.finished(PREPARED), run.finished(EXTRACTED)
    also = other_runs(settings.also, run)
    name = f"{STAGE}.insample" if settings.protocol == "insample" else STAGE
    config = settings.config(experiment, run)
    reads = [PREPARED, EXTRACTED]
    if done := run.current(name, config, reads):
        return done.folder
    settings.check_cluster()
    settings.check_data(Outlook.of_prepared(prepared, run, experiment))
    log.info("reading %s", extracted.folder)
    # Before LightGBM loads: threads that wait must not keep the others' cores busy.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from threadpoolctl import threadpool_limits

    from stacking.ensemble.deals import over_deals
    from stacking.inputs.assemble import assemble_deals
    from stacking.models.neural_folds import drop_folds
    from stacking.reporting.outputs import read_order, write_all
    from stacking.reporting.report import write
    from stacking.workflow import StackingJob

    cv, protocol, columns = settings.cv, settings.protocol, settings.columns
    deals = assemble_deals(
        prepared, extracted, cv, protocol, also=also, columns=columns
    )
    common = deals[0].common
    requested = read_order(prepared, list(compress(common.ids, common.is_predicted)))
    job, *further = (
        StackingJob.of(data, settings, experiment, prepared, extracted=extracted)
        for data in deals
    )
    # The matrices are small: a second thread gains nothing, and on a busy machine it
    # waits for a core that it does not get (a ridge of 0.5 s took 9 s).
    with threadpool_limits(1, user_api="blas"), run.stage(name, config, reads) as stage:
        _check_same(run, prepared, extracted)
        keep_other_metric(run, name, job.objective.name)  # no other fit is at it now
        stacked = over_deals([of_deal.fit(stage.folder) for of_deal in (job, *further)])
        findings = job.evaluate(stacked, further)
        options = {"metadata": prepared.metadata, "settings": config}
        write_all(stage.folder, stacked, findings, requested, **options)
        write(
            stage.folder / "report.html",
            stacked=stacked,
            findings=findings,
            unreadable=requested.unreadable,
            prepared=prepared,
            settings=config,
            versions={name: version(name) for name in PACKAGES},
            seconds=stage.seconds(),
        )
        stage.metadata = _metadata(stacked, settings, len(requested.ids))
    for of_deal in (job, *further):
        drop_folds(of_deal.checkpoints(run.folder / name))
    _tell(stacked, findings, requested, run.folder)
    log.info("-> %s", run.folder / name / "report.html")
    return run.folder / name


def _check_same(run: "Run", *read: "Finished") -> None:
    """Check that what was read is what the record will say.

    Raises:
        UserError: Another command has replaced it since.
    """
    for finished in read:
        digest = finished.record["digest"]
        if run.recorded(finished.record["stage"]).record["digest"] != digest:
            raise UserError(
                f"{finished.folder} was replaced by another command while it was read;"
                " again: the same command"
            )


def _metadata(stacked: "Stacked", settings: FitSettings, n: int) -> dict[str, Any]:
    from stacking.analysis.class_answers import class_answers, most_frequent

    final, of_classes, of_deals = stacked.final, {}, {}
    if stacked.deals:
        of_deals = {"deals": [deal.final.scores.pooled for deal in stacked.deals]}
    if stacked.objective.leads_with_share:
        share = class_answers(stacked)[0].share
        of_classes = {
            "accuracy": [share.value, share.low, share.high],
            "most_frequent": list(most_frequent(stacked)),
        }

    def score(name: str) -> float | None:
        return stacked.line(name).scores.pooled if stacked.has_line(name) else None

    return {
        "protocol": settings.protocol,
        "metric": stacked.objective.name,
        "score": final.scores.pooled,
        "interval": [final.interval.low, final.interval.high],
        "apparent": final.apparent,
        "plain": score("plain") if stacked.baseline == "plain" else None,
        PIXELS: score(PIXELS),
        "constant": score("constant"),
        "selected": stacked.selected,
        "steps": [step.name for step in stacked.steps if step.is_on],
        "predictions": n,
        **of_classes,
        **of_deals,
    }


def table_of(stacked: "Stacked") -> str:
    """Write the steps as a table that is read in a terminal.

    Those that do not pay are named in a line under it; the report has their figures.
    """
    from stacking.ensemble.score_table import distinct

    lines = distinct([line for line in stacked.lines if not line.is_off])
    wide = max(len(line.title) for line in lines)
    is_error = not stacked.objective.higher_is_better  # in the target's unit, or so
    style = style_for(stacked.final.scores.pooled) if is_error else ".4f"
    written = [f"{line.scores.pooled:{style}}" for line in lines]
    n = max(6, *map(len, written))
    head = f"{stacked.objective.title:<{wide}} {'apparent':>{n}}  {'nested':>{n}}"
    head += f"  {'95 % interval':<{2 * n + 4}}"
    head += "".join(f" {part:>{n}} " for part in stacked.parts)
    texts = [f"{head} gain over {stacked.baseline}"]
    for line in lines:
        apparent = "-" if line.apparent is None else f"{line.apparent:{style}}"
        text = f"{line.title:<{wide}} {apparent:>{max(8, n)}}"
        text += f"  {line.scores.pooled:{n}{style}}"
        text += f"  {line.interval.low:{n}{style}}..{line.interval.high:<{n}{style}} "
        for score in line.scores.by_fold.values():
            text += f" {score:{n}{style}} "
        if line.gain is not None:
            gain = line.gain
            ends = f"{gain.low:+{style}}..{gain.high:+{style}}"
            text += f" {gain.value:+{style}} ({ends})"
        texts.append(text)
    if off := [line.title.removeprefix("+ ") for line in stacked.lines if line.is_off]:
        texts.append(f"not used, since they do not pay: {', '.join(off)}")
    return "\n".join(texts)


def _tell(
    stacked: "Stacked", findings: "Findings", requested: "RequestedIds", folder: Path
) -> None:
    """Say how good the prediction is, and what else was seen.

    Args:
        stacked: The result of the stack.
        findings: All that is told beside the scores.
        requested: What is to be predicted.
        folder: Of the run.
    """
    from stacking.analysis.class_answers import class_answers, compare_ways, share_right
    from stacking.analysis.shift import verdict
    from stacking.reporting.outputs import describe_unreadable
    from stacking.reporting.wording import before_rounding, refit_command

    command = refit_command(folder, stacked)
    lines = [table_of(stacked)]
    if stacked.data.classes:
        text = share_right(class_answers(stacked)[0], stacked)
        if stacked.objective.leads_with_share:
            lines.insert(0, f"accuracy: {text}")
        else:
            lines.append(text)
    lines += [text] if (text := compare_ways(stacked, command)) else []
    log.info("%s", "\n".join(lines))
    if averaging := findings.averaging:
        log.info(
            "%s of one net per row%s: %s; of all nets averaged, to expect: %s",
            stacked.objective.title,
            before_rounding(stacked),
            four_digits(averaging.single_net),
            format(averaging.averaged, style_for(averaging.single_net)),
        )
    if findings.shift:
        log.info("%s", verdict(findings.shift, findings.shift_of_all))
    if findings.control:
        gain = findings.control
        style = f"+{style_for(gain.low, gain.high)}"
        text = f"{gain.value:{style}} ({gain.low:{style}}..{gain.high:{style}})"
        log.info("control: permuted labels gain %s over a constant", text)
    if stacked.data.is_leaky:
        log.info("%s", LEAKY)
    for text in (*stacked.data.info.messages, *findings.verdicts):
        log.info("%s", text)
    if requested.unreadable:
        log.warning("%s", describe_unreadable(stacked, requested.unreadable))
    if not requested.ids:
        log.info("there is no picture to predict, so there is no predictions.csv")


if __name__ == "__main__":
    run_command(main)
