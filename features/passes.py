"""One pass of nets over pictures: all views from one decode and one stacked forward.

The rows go through in fixed blocks, so that a pass that was killed and resumed gives
the same numbers, to the bit, as one that was not. Finished blocks lie in a
memory-mapped work file, and a journal counts them.

Shapes: N rows, V views, F outputs of all nets side by side.
"""

import logging
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_prep.arrays import Ints
from data_prep.dihedral import VIEWS, stack_views
from data_prep.run_folders.damage import digest_of
from data_prep.run_folders.runs import read_state, write_json
from features.plan import BLOCK
from pretext.data.pictures import Pictures

CPU_PICTURES = 8  # of a forward: more views than 64 leave the caches of a CPU
log = logging.getLogger(__name__)
JOURNAL_EVERY_S = 0.5  # what a killed pass may have to repeat, or one block


@torch.inference_mode()
def run_pass(
    forward: Callable[..., Tensor],
    *,
    width: int,
    pictures: Pictures,
    rows: Ints,
    work: Path,
    weights: str,
    bf16: bool,
    count: Callable[[int], object],
    views: tuple[str, ...] = VIEWS,
) -> NDArray[np.float32]:
    """Send all views of some pictures through nets, going on where a pass stopped.

    Args:
        forward: Gives (B, F) outputs of (B, 3, S, S) grey levels, and of the columns
            of the pictures if they have any.
        width: F.
        pictures: All prepared pictures.
        rows: (N,) rows of the pictures.
        work: File for the finished blocks, ``*.npy``; a journal lies beside it.
        weights: Digest of the nets; a work file of others is begun anew.
        bf16: Compute in bfloat16.
        count: Told how many more pictures are done.
        views: V names.

    Returns:
        (N, V, F), mapped from the work file.
    """
    shape = (len(rows), len(views), width)
    n_blocks = -(-len(rows) // BLOCK)
    columns = None if pictures.columns is None else pictures.columns[rows]
    identity = {
        "weights": weights,
        "rows": digest_of(rows.tolist()),
        "shape": list(shape),
        "block": BLOCK,
        "views": list(views),
        "bf16": bf16,
        "device": pictures.device.type,
    }
    if columns is not None:
        identity["columns"] = digest_of(columns.tobytes().hex())
    journal = work.with_suffix(".json")
    state = read_state(journal)
    done = _done_in(state, identity, n_blocks) if work.exists() else 0
    values = _taken_up(work, shape) if done else None
    if values is None:
        done = 0
        work.parent.mkdir(parents=True, exist_ok=True)
        state = {}
        journal.unlink(missing_ok=True)  # it tells of what is overwritten now
        values = np.lib.format.open_memmap(work, "w+", np.float32, shape)
    count(min(len(rows), done * BLOCK))
    device = pictures.device.type
    precision = torch.autocast(device, torch.bfloat16) if bf16 else nullcontext()
    began = time.monotonic() - float(state.get("seconds", 0.0))
    counted_at = time.monotonic()
    for block in range(done, n_blocks):
        inside = slice(block * BLOCK, (block + 1) * BLOCK)
        stacked = views_of(pictures.take(rows[inside]), views)
        # whole pictures at a time; the pieces of a block are the same in every run
        at_once = CPU_PICTURES * len(views) if device == "cpu" else len(stacked)
        with precision:
            inputs = [stacked, *columns_of_views(pictures, rows[inside], len(views))]
            pieces = zip(*(torch.split(of, at_once) for of in inputs), strict=True)
            outputs = torch.cat([forward(*piece) for piece in pieces])
        values[inside] = outputs.float().view(-1, len(views), width).cpu().numpy()
        count(len(values[inside]))
        is_due = time.monotonic() - counted_at >= JOURNAL_EVERY_S
        if is_due or block + 1 == n_blocks:
            values.flush()  # the blocks before the journal that counts them
            counted_at = time.monotonic()
            counted = {"done": block + 1, "seconds": counted_at - began}
            write_json(journal, {"key": identity, **counted})
    return values


def seconds_of_pass(work: Path) -> float:
    """Say how long a pass took, with all attempts, by its journal."""
    return float(read_state(work.with_suffix(".json")).get("seconds", 0.0))


def views_of(images: Tensor, names: tuple[str, ...] = VIEWS) -> Tensor:
    """Give the (B * V, 3, S, S) views of (B, 3, S, S) pictures, one picture's together.

    Both are channels last in memory, so that nothing is copied twice.
    """
    views = stack_views(images.permute(0, 2, 3, 1), axes=(-3, -2), views=names)
    return views.flatten(0, 1).permute(0, 3, 1, 2)


def columns_of_views(pictures: Pictures, rows: Ints, n_views: int) -> list[Tensor]:
    """Give the (B * V, C) columns of the views of (B,) rows, or nothing."""
    columns = pictures.take_columns(rows)
    return [] if columns is None else [columns.repeat_interleave(n_views, dim=0)]


def _done_in(state: dict[str, Any], identity: dict[str, Any], n_blocks: int) -> int:
    """Say how many blocks a journal counts; what is done may be of another device."""
    key, done = state.get("key"), int(state.get("done", 0))
    if done == n_blocks and isinstance(key, dict):
        key = {**key, "device": identity["device"]}
    return done if key == identity else 0


def _taken_up(work: Path, shape: tuple[int, ...]) -> "np.memmap[Any, Any] | None":
    """Map the work file of a killed pass; None: it is cut, and the pass begins anew."""
    try:
        values = np.lib.format.open_memmap(work, "r+")
    except (ValueError, EOFError):
        log.warning("%s is cut or changed; this pass begins anew", work)
        return None
    return values if values.shape == shape else None
