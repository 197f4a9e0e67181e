"""Drill: pictures that do not fit into memory are trained on and extracted as fast.

A control group of the kernel limits a command to less memory than the file of pixels
has; its page cache counts too. Needs root on Linux. Run by ``make drills``; the figures
stand in docs/results.md.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.prepared_runs import STAGE, make_run

ROOT = Path(__file__).parents[2]
GROUPS = Path("/sys/fs/cgroup")
LIMIT = 1_200_000_000  # bytes; torch and a small training hold most of it themselves
N_PICTURES, SIDE_PX = 32_000, 128
TRAIN = ("pretext.jigsaw", "--backbone=test_resnet", "--batch-size=32", "--steps=60")


@pytest.fixture
def limited() -> Iterator[list[str]]:
    """Give a command that starts others within the limit."""
    is_first = (GROUPS / "memory").is_dir()  # the first version of control groups
    name = f"tessera_drill_{os.getpid()}"
    group = (GROUPS / "memory" if is_first else GROUPS) / name
    limit = "memory.limit_in_bytes" if is_first else "memory.max"
    try:
        group.mkdir()
        (group / limit).write_text(str(LIMIT))
    except OSError as error:
        pytest.skip(f"no control group can be made: {error}")
    script = f'echo $$ > {group / "cgroup.procs"} && exec "$@"'
    yield ["bash", "-c", script, "limited"]
    group.rmdir()


def measured(
    folder: Path, *command: str, within: list[str], is_cached: bool = False
) -> dict[str, float]:
    """Run a command whose pictures are on the disk or in memory; give its metadata."""
    with (folder / STAGE / "images.npy").open("rb") as pixels:
        os.fdatasync(pixels.fileno())
        os.posix_fadvise(pixels.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        while is_cached and pixels.read(2**24):
            pass
    stage, *flags = command
    subprocess.run(
        [*within, sys.executable, "-m", stage, f"--run={folder}", *flags],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=True,
    )
    record = json.loads((folder / stage / "record.json").read_text(encoding="utf-8"))
    facts: dict[str, float] = record["facts"]
    return facts


@pytest.mark.drill
def test_a_collection_larger_than_memory_is_trained_on_and_extracted_as_fast(
    tmp_path: Path, limited: list[str]
) -> None:
    folder = make_run(tmp_path / "run", n_train=N_PICTURES, side=SIDE_PX).folder
    assert (folder / STAGE / "images.npy").stat().st_size > 1.2 * LIMIT
    trained = measured(folder, *TRAIN, within=limited)
    assert trained["data_wait"] < 0.1  # of the time of a training
    extract = ("features.extract", "--source=pretext.jigsaw", "--views=e")
    extracted = measured(folder, *extract, within=limited)
    in_memory = measured(folder, *extract, "--overwrite", within=[], is_cached=True)
    ratio = in_memory["seconds"] / extracted["seconds"]
    print(f"waits {trained['data_wait']:.1%} of a training; extracts at {ratio:.2f}")  # noqa: T201
    assert ratio > 0.9
