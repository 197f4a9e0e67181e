"""Clusters of several nodes on this machine, each with a folder of its own."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from data_prep.executors.pool import Pool

ROOT = Path(__file__).parents[2]


class Nodes:
    """A head and further nodes, with one CPU each.

    Their folders have short names, since those of sockets must be short.
    """

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self.folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))
        self.added: list[Any] = []
        with self._environment("n0"):
            self.cluster = Cluster(
                initialize_head=True,
                head_node_args={"num_cpus": 1, "include_dashboard": False},
            )
        self.add()

    @contextmanager
    def _environment(self, name: str) -> Iterator[None]:
        """Let what is started now have a folder, and import what this process does."""
        (self.folder / name).mkdir()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TMPDIR", str(self.folder / name))
            patch.setenv("PYTHONPATH", str(ROOT))
            patch.setenv("OMP_NUM_THREADS", "1")
            patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
            yield

    def add(self) -> None:
        """Add a node."""
        with self._environment(f"n{len(self.added) + 1}"):
            self.added.append(self.cluster.add_node(num_cpus=1))

    def remove(self) -> None:
        """Kill the node added last, as a power cut would."""
        self.cluster.remove_node(self.added[-1], allow_graceful=False)

    def pool(self, **options: Any) -> Pool:
        """Give the pool of the cluster, for work on one thread."""
        defaults = {"executor": "ray", "n_at_once": 0, "threads": 1}
        return Pool(**defaults | {"address": self.cluster.address} | options)

    def end(self) -> None:
        """Stop all nodes."""
        self.cluster.shutdown()
        os.environ.pop("RAY_ADDRESS", None)
        shutil.rmtree(self.folder, ignore_errors=True)
