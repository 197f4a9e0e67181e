"""Peers run on the same pictures, in the same minutes of the same cores.

A runner is a process of its own, on the cores that it may use, and what it takes is
measured from outside: CPU time of all its processes, so that a busy machine does not
count, and the clock. What has finished is not run again.

Shapes: M pictures that are held out.
"""

import hashlib
import json
import os
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.peers.environments import OURS, PACKAGES, python_of, ready_weights
from benchmarks.peers.scoring import Way, in_order, user_lines
from data_prep.run_folders.runs import write_json

ROOT, RUNNERS = Path(__file__).parents[2], Path(__file__).with_name("runners")
ROOMS = ("data_prep", "pretext", "transfer", "features", "stacking")  # our packages
LONGEST_LINE = 300  # of a message that is kept


@dataclass(frozen=True, kw_only=True)
class Peer:
    """A way to go from pictures to predictions.

    Attributes:
        title: In tables.
        environment: Whose Python runs it.
        runner: Name of the script.
        variant: What the script is told.
        needs: The peer whose features it reads.
    """

    title: str
    environment: str
    runner: str
    variant: str = ""
    needs: str = ""


FROZEN, TUNED, LUDWIG = "frozen_features", "fastai_finetuned", "ludwig_picture"
GLUON, TESSERA = "autogluon_tabular", "tessera_run"
PEERS = {
    "frozen": Peer(title="frozen ready features", environment="vision", runner=FROZEN),
    "fastai": Peer(title="fastai, ready weights", environment="vision", runner=TUNED),
    "fastai_lr_find": Peer(
        title="fastai, ready weights, rate by lr_find",
        environment="vision",
        runner=TUNED,
        variant="lr_find",
    ),
    "tessera_ready": Peer(
        title="Tessera, ready weights",
        environment=OURS,
        runner=TESSERA,
        variant="ready",
    ),
    "tessera_jigsaw": Peer(
        title="Tessera, its own jigsaw",
        environment=OURS,
        runner=TESSERA,
        variant="jigsaw",
    ),
    "tessera_scratch": Peer(
        title="Tessera, from scratch",
        environment=OURS,
        runner=TESSERA,
        variant="scratch",
    ),
    "original": Peer(
        title="the original's way",
        environment=OURS,
        runner=TESSERA,
        variant="original",
    ),
    "ludwig_ready": Peer(
        title="Ludwig, ready weights",
        environment="ludwig",
        runner=LUDWIG,
        variant="ready",
    ),
    "ludwig_scratch": Peer(
        title="Ludwig, from scratch",
        environment="ludwig",
        runner=LUDWIG,
        variant="scratch",
    ),
    "autogluon_frozen": Peer(
        title="AutoGluon on frozen features",
        environment="autogluon",
        runner=GLUON,
        variant="frozen",
        needs="frozen",
    ),
    "autogluon_ours": Peer(
        title="AutoGluon on Tessera's features",
        environment="autogluon",
        runner=GLUON,
        variant="ours",
        needs="tessera_ready",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What all peers are given alike.

    Attributes:
        minutes: CPU minutes of each, start to end, features that it reads included.
        side: Of the pictures, px.
        cores: How many it may use.
        repeat: Which quarter is held out.
    """

    minutes: float
    side: int
    cores: int
    repeat: int

    @property
    def name(self) -> str:
        """Part of the name of a folder."""
        return f"{self.minutes:g}min_{self.side}px_{self.cores}cores_{self.repeat}"


def run_peer(
    name: str, folder: Path, terms: Terms, *, retry: bool = True
) -> dict[str, Any]:
    """Run a peer, unless it has finished.

    Args:
        name: One of ``PEERS``.
        folder: With ``pictures.csv``; the peer writes into a folder of its name.
        terms: Of all peers.
        retry: Run it again where it failed.

    Returns:
        What was measured: ``code`` of its exit, ``cpu_minutes``, ``minutes``,
        ``last_line`` that it wrote.
    """
    peer, peer_folder = PEERS[name], folder / name
    note, made_by = peer_folder / "measured.json", digest_of(peer)
    measured = read(note) if note.exists() else {}
    if measured.get("made_by") == made_by and not (measured["code"] and retry):
        return measured
    earlier_minutes = 0.0
    if peer.needs:
        earlier = run_peer(peer.needs, folder, terms, retry=retry)
        if earlier["code"]:
            line = f"{peer.needs} failed, whose features it reads"
            return earlier | {"last_line": line}
        outcome = read(folder / peer.needs / "outcome.json")
        earlier_minutes = outcome["notes"]["features_minutes"]
    peer_folder.mkdir(parents=True, exist_ok=True)
    python, weights = python_of(peer.environment), ready_weights()
    cores = sorted(os.sched_getaffinity(0))[-terms.cores :]
    command = [str(python), str(RUNNERS / f"{peer.runner}.py"), str(peer_folder)]
    command += ["--variant", peer.variant, "--side", str(terms.side)]
    # what an earlier peer's features took is taken off, but a fifth stays at least
    left = max(terms.minutes - earlier_minutes, terms.minutes / 5)
    command += ["--seconds", str(60 * left), "--weights", str(weights)]
    command += ["--repeat", str(terms.repeat)]
    environment = os.environ | {
        "OMP_NUM_THREADS": str(terms.cores),
        "OMP_WAIT_POLICY": "PASSIVE",
        "PYTHONPATH": str(ROOT) if peer.environment == OURS else "",
        "HF_HUB_OFFLINE": "1",  # nothing is fetched while the clock runs
    }
    began = time.monotonic()
    with (peer_folder / "log.txt").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(
            command,
            cwd=peer_folder,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        os.sched_setaffinity(process.pid, cores)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    measured = {
        "code": process.returncode,
        "cpu_minutes": earlier_minutes + (usage.ru_utime + usage.ru_stime) / 60,
        "minutes": (time.monotonic() - began) / 60,
        "last_line": last_line(
            (peer_folder / "log.txt").read_text("utf-8", errors="replace")
        ),
        "date": time.strftime("%Y-%m-%d"),
        "load": os.getloadavg()[1],
        "made_by": made_by,
    }
    write_json(note, measured)
    return measured


def digest_of(peer: Peer) -> str:
    """Tell runs of other code apart: of the runner, of its packages, and ours.

    Args:
        peer: Whose runs are compared.
    """
    files = [RUNNERS / f"{peer.runner}.py", RUNNERS / "exchange.py"]
    if peer.environment == OURS:
        files += [
            file for room in ROOMS for file in sorted((ROOT / room).rglob("*.py"))
        ]
    else:
        files.append(PACKAGES / f"{peer.environment}.txt")
    content = [file.read_bytes() for file in files]
    if peer.needs:
        content.append(digest_of(PEERS[peer.needs]).encode())
    return hashlib.sha256(b"".join(content)).hexdigest()[:12]


def ways_of(name: str, folder: Path, ids: list[str]) -> list[Way]:
    """Read what a peer that has finished predicts of the M ids."""
    peer_folder, peer = folder / name, PEERS[name]
    measured, outcome = (
        read(peer_folder / "measured.json"),
        read(peer_folder / "outcome.json"),
    )
    predictions = pd.read_csv(peer_folder / "predictions.csv", dtype={"id": str})
    table = in_order(ids, predictions)
    source = (RUNNERS / f"{peer.runner}.py").read_text(encoding="utf-8")
    n_lines = user_lines(source)
    if peer.environment == OURS:
        n_lines = _lines_of_ours(peer_folder)
    elif peer.needs and PEERS[peer.needs].environment == OURS:
        n_lines += _lines_of_ours(folder / peer.needs)
    elif peer.needs:
        of_features = RUNNERS / f"{PEERS[peer.needs].runner}.py"
        n_lines += user_lines(of_features.read_text(encoding="utf-8"))
    return [
        Way(
            peer=peer.title,
            name=column,
            y_pred=np.asarray(table[column], dtype=np.float64),
            promised=outcome["promised"][column],
            cpu_minutes=measured["cpu_minutes"],
            minutes=measured["minutes"],
            n_lines=n_lines,
            notes=outcome["notes"],
        )
        for column in table
    ]


def _lines_of_ours(peer_folder: Path) -> int:
    """Count the lines of the experiment file as it came out, and two commands."""
    return user_lines((peer_folder / "peer.toml").read_text(encoding="utf-8")) + 2


def last_line(log: str) -> str:
    """Give the last line of a log that says something, bars left out."""
    lines = [line.split("\r")[-1].strip() for line in log.splitlines()]
    return next((line for line in reversed(lines) if line), "")[:LONGEST_LINE]


def read(path: Path) -> dict[str, Any]:
    """Read a JSON file of a run."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content
