"""Export the fine-tuned nets for use elsewhere: as one graph in ONNX, or as a folder.

    python -m transfer.export --to onnx --out leaves.onnx
    python -m transfer.export --to folder --fold 0 --out leaves
    python -m transfer.export --net distilled

The graph takes grey levels and gives each task's outputs, averaged over the views and,
by default, over the nets of all folds: what the feature store holds of a new picture as
``TASK__mean``. The folder holds one net in the form that timm loads (``config.json``,
``model.safetensors``), its heads and a model card. What was written is read back and
compared with the nets before it takes its place. This is no stage of a run.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

from data_prep.command import run_command
from data_prep.dihedral import VIEW_SETS
from data_prep.errors import UserError
from data_prep.folds import ALL
from data_prep.prepared import PREPARED
from data_prep.run_folders.damage import RECORD
from data_prep.run_folders.runs import Run
from data_prep.run_places import chosen_run
from data_prep.settings import from_flags
from data_prep.up import views_to_ask
from pretext.onnx_lines import onnx_lines
from transfer.networks.columns import columns_of
from transfer.results.trained_nets import MEAN, STAGE, TrainedNets

DISTILL = "transfer.distill"
log = logging.getLogger(__name__)

USE_ONNX = """\
names = [output.name for output in session.get_outputs()]
outputs = dict(zip(names, session.run(None, {"images": images})))"""


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """Write the fine-tuned nets as files that other programs load."""

    to: Annotated[
        Literal["onnx", "folder"],
        "onnx: one graph from grey levels to the tasks' outputs, or folder: a net for"
        " timm with its heads and a model card",
    ] = "onnx"
    fold: Annotated[
        str,
        "whose nets: a fold's (0), all, or mean: of all folds averaged (default: mean,"
        " of a folder all)",
    ] = ""
    net: Annotated[
        Literal["folds", "distilled"],
        "the nets of transfer.finetune, or the one of transfer.distill, as a graph",
    ] = "folds"
    views: Annotated[
        Literal["d4", "c4", "flip", "e"] | None,
        "flips and turns that the graph averages over: d4 all eight, e none; left out:"
        " those that the nets learned",
    ] = None
    out: Annotated[
        Path | None, "file or folder to write (default: in the run, by its fold)"
    ] = None
    run: Annotated[Path | None, "run (default: that last worked on)"] = None
    overwrite: Annotated[bool, "replace what is there already"] = False


def main(argv: Sequence[str] | None = None) -> Path:
    """Export as the command line says, and return the path of the file or folder."""
    settings = from_flags(ExportSettings, "transfer.export", argv)
    run = Run(chosen_run(settings.run, "transfer.export"))
    if settings.net == "distilled":
        return _write_distilled(settings, run)
    trained = TrainedNets.of(run)
    ending, usual = (".onnx", MEAN) if settings.to == "onnx" else ("", ALL)
    fold = settings.fold or usual
    if settings.to == "folder" and fold == MEAN:
        raise UserError(
            f"fold = {MEAN!r} is several nets, and a folder holds one; give"
            f" {', '.join(trained.folds)}"
        )
    out = settings.out or run.folder / f"nets-{fold}{ending}"
    check_free(out, settings.to, overwrite=settings.overwrite)
    chosen = trained.of_fold(fold)
    if settings.to == "folder":
        return _write_folders(chosen, run, out)
    fit = run.finished(PREPARED).metadata["fit"]
    return _write_graph(chosen, out, settings, fit=fit)


def _write_distilled(settings: ExportSettings, run: Run) -> Path:
    """Write the net of ``transfer.distill`` that is served, not those that score it."""
    if settings.to == "folder" or settings.fold:
        wrong = "--to folder" if settings.to == "folder" else f"fold = {settings.fold}"
        raise UserError(
            f"{wrong} is of the nets of {STAGE}; the distilled net is written as one"
            " graph: leave it out"
        )
    trained = TrainedNets.of(run, DISTILL).of_fold(ALL)
    out = settings.out or run.folder / "net-distilled.onnx"
    check_free(out, settings.to, overwrite=settings.overwrite)
    return _write_graph(
        trained, out, settings, fit=run.finished(PREPARED).metadata["fit"]
    )


def check_free(out: Path, to: str, *, overwrite: bool) -> None:
    """Check that something may be written there.

    Raises:
        UserError: The name has another ending, or something is there already.
    """
    if to == "onnx" and out.suffix != ".onnx":
        raise UserError(f"out = '{out}': --to onnx writes a file NAME.onnx")
    if (out / RECORD).exists() or (out.parent / RECORD).exists():
        raise UserError(f"out = '{out}' is the place of a stage; give another")
    if to == "folder" and out.is_file():
        raise UserError(f"out = '{out}' is a file; --to folder writes a folder")
    if out.exists() and not overwrite:
        raise UserError(f"{out} is there already; --overwrite replaces it")


def _write_graph(
    trained: TrainedNets, out: Path, settings: ExportSettings, *, fit: str
) -> Path:
    from pretext.networks.formats import write_onnx
    from transfer.results.graph import AveragedNets, metadata_of

    nets, configs = zip(*(trained.load(net) for net in trained.nets), strict=True)
    if columns := columns_of(trained.finished):
        raise UserError(
            "to = 'onnx': the nets learned from columns of your table too"
            f" ({', '.join(columns.names)}), for which the graph has no input; --to"
            " folder writes them"
        )
    trained_with = trained.finished.record["settings"]
    views = VIEW_SETS[views_to_ask(settings.views, STAGE, trained_with)]
    model = AveragedNets(nets, views)
    metadata = metadata_of(configs) | {
        "folds": trained.folds,
        "views": views,
        "fit": fit,
    }
    for noisy in ("onnx_ir", "onnxscript"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(".draft", f".{out.name}.", out.parent) as draft:
        file = Path(draft) / out.name
        report = write_onnx(model, metadata, file, outputs=model.tasks)
        file.replace(out)
    log.info("%d net%s -> %s: %s", len(nets), "s" * (len(nets) != 1), out, report)
    use = onnx_lines(out, metadata, "the views that the nets were trained on")
    log.info("\nto use it:\n\n%s\n", use + USE_ONNX)
    return out


def _write_folders(trained: TrainedNets, run: Run, out: Path) -> Path:
    from transfer.results.model_card import write_folder

    if len(trained.nets) > 1:
        names = ", ".join(str(net["net"]) for net in trained.nets)
        log.info("a folder for each of the nets %s", names)
    for net in trained.nets:
        folder = out if len(trained.nets) == 1 else out / str(net["net"])
        report = write_folder(trained, net, run, folder)
        log.info("%s -> %s: %s", net["place"], folder, report)
    return out


if __name__ == "__main__":
    run_command(main)
