"""The files that works read, for the nodes of a Ray cluster that do not see them."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data_prep.errors import UserError
from data_prep.executors import node_files, on_node
from data_prep.executors.cluster import Node, on_each
from data_prep.executors.parcels import Needed, needed_by
from data_prep.executors.work import Work

PIECE_BYTES = 1 << 26  # of a file in the object store
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Supply:
    """The files that works read, for nodes that do not see them.

    Attributes:
        seen_by: By the id of a node, the sources that it reads where the driver does.
        pieces: References to the pieces of files that some node lacks, by digest.
    """

    seen_by: Mapping[str, frozenset[str]]
    pieces: Mapping[str, Sequence[Any]]

    @classmethod
    def of(cls, works: Sequence[Work], nodes: Sequence[Node]) -> "Supply":
        """Ask the nodes what they see, and offer what some lack.

        Raises:
            UserError: A node has no room for what it lacks.
        """
        needed = {file.source: file for work in works for file in needed_by(work)}
        disks = on_each(on_node.look_at_disk, nodes, list(needed.values()))
        by_digest = {file.digest: file for file in needed.values()}
        for node, disk in disks.items():
            n_bytes = sum(by_digest[digest].n_bytes for digest in disk.lacking)
            if n_bytes + node_files.MARGIN_BYTES > disk.free_bytes:
                raise UserError(
                    f"node {node.name} has {_size(disk.free_bytes)} free in"
                    f" {disk.folder}, and needs {_size(n_bytes)} for what is read"
                    f" and {_size(node_files.MARGIN_BYTES)} for what is written;"
                    " free some, or start the node with TMPDIR on a larger disk"
                )
            if n_bytes:
                log.info("%s is sent to node %s", _size(n_bytes), node.name)
        lacking = {digest for disk in disks.values() for digest in disk.lacking}
        return cls(
            seen_by={node.id: disk.seen for node, disk in disks.items()},
            pieces={digest: _put(by_digest[digest]) for digest in lacking},
        )


def _put(file: Needed) -> list[Any]:
    """Put a file into the object store, from which each node takes it once."""
    import numpy as np
    import ray

    if not file.n_bytes:
        return []
    data = np.memmap(file.source, np.uint8, mode="r").view(np.ndarray)
    starts = range(0, len(data), PIECE_BYTES)
    return [ray.put(data[start : start + PIECE_BYTES]) for start in starts]


def _size(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e6:.1f} MB"
