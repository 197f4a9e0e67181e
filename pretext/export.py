"""Export a trained backbone for use elsewhere: as a graph in ONNX, or for timm.

    python -m pretext.export --to onnx --out leaves.onnx

Reads the weights of a pretext stage, or any such file. What was written is loaded the
way its reader will load it, and compared with the backbone, before it takes its place.
This is no stage of a run: it leaves no record.
"""

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Literal

from data_prep.command import run_command
from data_prep.errors import UserError
from data_prep.run_folders.damage import RECORD
from data_prep.run_folders.runs import Run
from data_prep.run_places import chosen_run
from data_prep.settings import from_flags, nearest
from pretext.init_weights import pretexts
from pretext.onnx_lines import input_of, onnx_lines

ENDINGS = {"onnx": ".onnx", "timm": ".timm.safetensors"}
log = logging.getLogger(__name__)

USE_ONNX = (
    'features = session.run(["features"], {{"images": images}})[0]  # (1, {width})'
)

USE_TIMM = """\
import json
from pathlib import Path

import timm
from PIL import Image

cfg = json.loads(Path({sidecar}).read_text()) | {{"file": {file}}}
backbone = timm.create_model(
    {name}, pretrained=True, num_classes=0, pretrained_cfg_overlay=cfg
).eval()
prepare = timm.data.create_transform(**timm.data.resolve_model_data_config(backbone))
picture = Image.open("picture.jpg").convert("RGB")
features = backbone(prepare(picture)[None])  # (1, {width})"""


@dataclass(frozen=True, kw_only=True)
class ExportSettings:
    """Write a trained backbone as a file that other programs load."""

    weights: Annotated[
        str,
        "pretext stage of the run, or .safetensors file (default: the one pretext"
        " stage that is finished)",
    ] = ""
    to: Annotated[
        Literal["onnx", "timm"],
        "onnx: a graph from grey levels to features, or timm: weights and a JSON for"
        " timm.create_model",
    ] = "onnx"
    out: Annotated[
        Path | None, "file to write (default: beside stage or weights, by their name)"
    ] = None
    run: Annotated[Path | None, "run (default: that last worked on)"] = None
    overwrite: Annotated[bool, "replace a file that is there already"] = False


def main(argv: Sequence[str] | None = None) -> Path:
    """Export as the command line says, and return the path of the file."""
    settings = from_flags(ExportSettings, "pretext.export", argv)
    weights, stem = find(settings.weights, settings.run)
    out = settings.out or stem.with_name(stem.name + ENDINGS[settings.to])
    files = check_free(out, settings.to, weights, settings.overwrite)

    from pretext.data.pictures import Normalisation
    from pretext.networks.backbones import begin_backbone, feature_width, load_weights
    from pretext.networks.formats import FromGreyLevels, write_onnx, write_timm

    _, metadata = load_weights(weights)
    if lacks := {"side_px", "mean", "std"} - metadata.keys():
        raise UserError(
            f"{weights.with_suffix('.json')}: does not say {', '.join(sorted(lacks))};"
            " give backbone.safetensors of a pretext stage"
        )
    name, backbone, loaded = begin_backbone("", weights, metadata["side_px"])
    normalise = Normalisation(tuple(metadata["mean"]), tuple(metadata["std"]))
    model = FromGreyLevels(backbone, normalise)
    for noisy in ("onnx_ir", "onnxscript"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    with drafts_of(files) as draft:
        write = write_onnx if settings.to == "onnx" else write_timm
        report = write(model, metadata, draft / out.name)
    log.info("%s -> %s: %s", loaded, " and ".join(map(str, files[::-1])), report)
    use = (USE_ONNX if settings.to == "onnx" else USE_TIMM).format(
        file=json.dumps(str(out)),
        sidecar=json.dumps(str(files[0])),
        name=json.dumps(name),
        width=feature_width(backbone),
    )
    if settings.to == "onnx":
        use = onnx_lines(out, metadata, input_of(metadata)) + use
    log.info("\nto use it:\n\n%s\n", use)
    return out


def find(weights: str, folder: Path | None) -> tuple[Path, Path]:
    """Find the weights, and the path that the export is named after.

    Args:
        weights: Pretext stage, path that ends with ``.safetensors``, or empty.
        folder: Folder of the run; None: the run last worked on.

    Raises:
        UserError: There is no run, no such stage in it, or not one stage but several.
    """
    if weights.endswith(".safetensors"):
        return Path(weights), Path(weights).with_suffix("")
    folder = chosen_run(folder, "pretext.export")
    run, stages = Run(folder), pretexts()
    if weights and weights not in stages:
        raise UserError(
            f"weights = {weights!r} is no pretext stage or .safetensors file;"
            f" {nearest(weights, stages)}"
        )
    finished = [weights] if weights else [stage for stage in stages if run.has(stage)]
    if len(finished) > 1:
        raise UserError(
            f"{folder} has {' and '.join(finished)}; choose one with --weights"
        )
    if not finished:
        raise UserError(
            f"{folder} has no finished pretext stage;"
            f" first: python -m {stages[0]} --run {folder}"
        )
    # the weights are whole in themselves, even if the pictures were prepared anew
    stage = run.finished(finished[0], check_inputs=False).folder
    return stage / "backbone.safetensors", stage


def check_free(out: Path, to: str, weights: Path, overwrite: bool) -> list[Path]:
    """Give the files that will be written, the main one last, if they may be.

    Raises:
        UserError: The name has another ending, something is there, or the place belongs
            to a stage.
    """
    ending = f".{ENDINGS[to].rpartition('.')[2]}"
    if out.suffix != ending:
        raise UserError(f"out = '{out}': --to {to} writes a file NAME{ending}")
    if (out.parent / RECORD).exists() or out.resolve() == weights.resolve():
        raise UserError(f"out = '{out}' is the place of trained weights; give another")
    files = [out] if to == "onnx" else [out.with_suffix(".json"), out]
    for file in files:
        if file.exists() and not overwrite:
            raise UserError(f"{file} is there already; --overwrite replaces it")
    return files


@contextmanager
def drafts_of(files: Sequence[Path]) -> Iterator[Path]:
    """Give a folder whose files take their places, in order, after a clean exit."""
    folder, name = files[-1].parent, files[-1].name
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(".draft", f".{name}.", folder) as draft:
        yield Path(draft)
        for file in files:
            (Path(draft) / file.name).replace(file)


if __name__ == "__main__":
    run_command(main)
