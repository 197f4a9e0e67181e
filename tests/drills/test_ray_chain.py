"""A drill: the whole chain on a cluster whose nodes see nothing of the run.

Run by ``make drills``.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.executors.nodes import ROOT, Nodes
from tests.test_chain import TINY

pytest.importorskip("ray")
pytestmark = pytest.mark.drill

MADE = ("transfer.finetune", "features.extract", "stacking.fit")
PRECISE = TINY.replace("threads = 1", 'threads = 1\nprecision = "fp32"')


def run_pipeline(folder: Path, text: str) -> str:
    """Run the chain in a folder, always by the same command; what it says."""
    folder.mkdir()
    file = folder / "tiny.toml"
    file.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", str(file), "--run", str(folder / "run")],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_the_chain_on_a_cluster_is_that_of_one_process(tmp_path: Path) -> None:
    blind = subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True)
    if blind.returncode:
        pytest.skip("only root may hide a folder from a node")
    run_pipeline(tmp_path / "made", PRECISE)
    (tmp_path / "made").rename(tmp_path / "serial")  # headers hold the command
    nodes = Nodes(hidden=tmp_path)
    try:
        keys = f'executor = "ray"\naddress = "{nodes.cluster.address}"\n'
        text = PRECISE.replace("[pipeline]\n", f"[pipeline]\n{keys}")
        printed = run_pipeline(tmp_path / "made", text)
    finally:
        nodes.end()
    assert printed.count(" on 2 nodes: ") >= 2  # nets, and parts of the extraction
    for stage in MADE:
        files = [
            json.loads((tmp_path / name / "run" / stage / "record.json").read_text())
            for name in ("serial", "made")
        ]
        different = {
            name
            for name in files[0]["files"].keys() | files[1]["files"].keys()
            if files[0]["files"].get(name) != files[1]["files"].get(name)
        }
        assert not different, stage
