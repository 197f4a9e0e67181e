"""Clusters of several nodes on this machine, each with a folder of its own."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from data_prep.executors.pool import Pool

ROOT = Path(__file__).parents[2]


class Nodes:
    """A head and another node, with one CPU each.

    Their folders have short names, since those of sockets must be short.

    Args:
        hidden: A folder that no node sees; then the head does no work, and two others
            do.
    """

    def __init__(self, hidden: Path | None = None) -> None:
        from ray.cluster_utils import Cluster

        self.folder = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))
        self.added: list[Any] = []
        with self._environment("n0"):
            self.cluster = Cluster(
                initialize_head=True,
                head_node_args={
                    "num_cpus": 0 if hidden else 1,
                    "include_dashboard": False,
                },
            )
        self.processes: list[subprocess.Popen[bytes]] = []
        if hidden:
            self._add_blind("n1", hidden)
            self._add_blind("n2", hidden)
        else:
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

    def _add_blind(self, name: str, hidden: Path) -> None:
        """Add a node in a mount namespace that has nothing in a folder; needs root."""
        start = f"--address={self.cluster.address} --num-cpus=1 --block"
        command = f'mount -t tmpfs none "{hidden}" && exec ray start {start}'
        bin_ = Path(sys.executable).parent
        with self._environment(name), pytest.MonkeyPatch.context() as patch:
            patch.setenv("PATH", f"{bin_}:{os.environ['PATH']}")
            with (self.folder / name / "start.log").open("wb") as log:
                process = subprocess.Popen(
                    ["unshare", "-m", "sh", "-c", command],
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
        self.processes.append(process)
        n_nodes = 1 + len(self.processes)
        for _ in range(600):  # one by one: at once they would race for ports
            if len(self.cluster.global_state._live_node_ids()) == n_nodes:
                return
            time.sleep(0.2)
        log_text = (self.folder / name / "start.log").read_text()
        self.end()
        pytest.fail(f"the node does not come: {log_text}")

    def remove(self) -> None:
        """Kill the node added last, as a power cut would."""
        self.cluster.remove_node(self.added[-1], allow_graceful=False)

    def pool(self, **options: Any) -> Pool:
        """Give the pool of the cluster, for work on one thread."""
        defaults = {"executor": "ray", "n_at_once": 0, "threads": 1}
        return Pool(**defaults | {"address": self.cluster.address} | options)

    def end(self) -> None:
        """Stop all nodes."""
        for process in self.processes:
            process.terminate()
            process.wait()
        self.cluster.shutdown()
        os.environ.pop("RAY_ADDRESS", None)
        shutil.rmtree(self.folder, ignore_errors=True)
