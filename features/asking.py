"""Ask the nets of a run about pictures, out of a process that must not load torch.

LightGBM and torch bring an OpenMP runtime each, and deadlock in one process. So what
predicts with the one has the nets asked by a child.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from data_prep.errors import UserError

COMMAND = "features.fresh"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Give a command that asks the nets the flags that say of what, and where."""
    parser.add_argument(
        "--images",
        nargs="+",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="where the pictures lie; id = file name without its extension",
    )
    parser.add_argument(
        "--run", type=Path, metavar="FOLDER", help="run (default: that last worked on)"
    )
    parser.add_argument(
        "--threads", type=int, default=0, help="CPU threads; 0: all cores (default: 0)"
    )


def name_of(images: Sequence[Path]) -> str:
    """Name what is made of folders of pictures after them."""
    return "+".join(folder.resolve().name for folder in images)


def ask_nets(
    run_folder: Path,
    images: Sequence[Path],
    out: Path,
    threads: int = 0,
    *,
    again: bool = False,
) -> Path:
    """Run ``features.fresh`` as a child; what it says goes to the standard error.

    Args:
        run_folder: A run with a finished ``features.extract``.
        images: Folders of the pictures.
        out: Folder for the features.
        threads: Of torch; 0: as many as it takes unasked.
        again: Replace what is in ``out``.

    Returns:
        ``out``; see ``features.fresh`` for what is in it.

    Raises:
        UserError: The child failed; it has said why.
    """
    command = [sys.executable, "-m", COMMAND]
    command += ["--run", str(run_folder), "--out", str(out), "--threads", str(threads)]
    command += ["--again"] if again else []
    command += ["--images", *map(str, images)]
    status = subprocess.run(command, check=False).returncode
    if status < 0:
        raise UserError(
            f"{COMMAND} was killed by signal {-status}, probably for want of memory;"
            " what it has done is kept: run again with --threads 1"
        )
    if status:
        raise UserError(f"{COMMAND} did not finish, for the reason above")
    return out
