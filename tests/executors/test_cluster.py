"""Tests of what is told of clusters before work begins; none is started."""

import re
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from data_prep import executor_settings
from data_prep.errors import UserError
from data_prep.executor_settings import ADDRESS, ExecutorSettings, check_answer
from data_prep.executors.cluster import Node, check_fit, fitting
from data_prep.executors.node_check import CODE, NONE, difference, digest_of_code, look
from data_prep.executors.pool import Pool

NODES = [
    Node(id="1", name="small", cpus=1.0, gpus=0.0),
    Node(id="2", name="large", cpus=8.0, gpus=2.0),
]


def test_ray_is_asked_for_only_where_it_is_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(executor_settings, "find_spec", lambda _: None)
    ExecutorSettings(jobs=2)
    with pytest.raises(UserError, match=r"not installed: pip install 'tessera-pic"):
        ExecutorSettings(executor="ray")


@pytest.mark.parametrize("scheme", ["", "ray://"])
@pytest.mark.parametrize("by_environment", [False, True])
def test_a_cluster_that_is_not_there_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch, scheme: str, by_environment: bool
) -> None:
    pytest.importorskip("ray")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))  # nobody listens
        address = f"{scheme}127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv(ADDRESS, address if by_environment else "")
        given = "" if by_environment else address
        settings = ExecutorSettings(executor="ray", address=given)
        with pytest.raises(UserError, match=f"{address}.*no Ray cluster answers"):
            settings.check_cluster()
        ExecutorSettings(address=given).check_cluster()  # nobody asked for it
        server.listen()
        settings.check_cluster()


def test_whichever_cluster_there_is_is_looked_for_before_ray_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setattr(executor_settings, "GCS", re.compile(b"no such process"))
    for by_environment in ("", "auto"):
        monkeypatch.setenv(ADDRESS, by_environment)
        with pytest.raises(UserError, match=r"'auto': no Ray cluster .*none was star"):
            check_answer("auto")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))  # nobody listens
        address = f"127.0.0.1:{server.getsockname()[1]}"
        (tmp_path / "ray").mkdir()
        (tmp_path / "ray" / "ray_current_cluster").write_text(f"{address}\n")
        for by_environment in ("", address):
            monkeypatch.setenv(ADDRESS, by_environment)
            with pytest.raises(UserError, match=r"'auto': no Ray cluster .* refused"):
                check_answer("auto")
        server.listen()
        check_answer("auto")


def test_a_process_of_a_cluster_tells_its_address() -> None:
    words = [b"/x/raylet/raylet", b"--node_id=3", b"--gcs-address=10.0.0.1:6379", b""]
    match = executor_settings.GCS.search(b"\0".join(words))
    assert match
    assert match[1] == b"10.0.0.1:6379"
    assert not executor_settings.GCS.search(b"\0".join([b"python", *words[1:]]))


def test_nodes_fit_by_cpus_and_gpus() -> None:
    assert fitting(NODES, 1, 0.0) == NODES
    assert fitting(NODES, 2, 0.0) == NODES[1:]
    assert fitting(NODES, 1, 0.25) == NODES[1:]
    check_fit(NODES, 8, 1.0)
    message = r"threads = 9, .* and a GPU: small \(1 CPUs\); large \(8 CPUs, 2 GPUs\);"
    with pytest.raises(UserError, match=message):
        check_fit(NODES, 9, 1.0)
    with pytest.raises(UserError, match="no node of the cluster has a GPU: small"):
        check_fit(NODES[:1], 1, 0.25)


@pytest.mark.parametrize(
    ("cpus", "gpu_share", "n"), [(1, 0.0, 8), (3, 0.0, 2), (1, 1.0, 2), (1, 0.1, 8)]
)
def test_a_node_has_room_for_whole_pieces(cpus: int, gpu_share: float, n: int) -> None:
    assert NODES[1].room(cpus, gpu_share) == n
    assert NODES[1].room(9, gpu_share) == 0
    assert replace(NODES[1], gpus=1.0).room(0, 0.1) == 10


def test_the_pool_of_a_cluster() -> None:
    pytest.importorskip("ray")
    settings = ExecutorSettings(executor="ray", jobs=3, gpu_share=0.5, address="auto")
    pool = Pool.of(settings, 9, threads=0, usual_threads=8, gpus=[])
    assert (pool.n_at_once, pool.threads, pool.gpu_share) == (3, 1, 0.5)
    assert pool.address == "auto"
    without = Pool.of(settings, 9, threads=2, usual_threads=8)
    assert (without.threads, without.gpu_share) == (2, 0.0)


def test_a_node_says_what_decides_a_result() -> None:
    here = look()
    assert here["code"] == digest_of_code() != NONE
    assert {"python", "torch", "numpy", "timm", "code"} <= {*here}
    assert not difference("a", look(), here)


@pytest.mark.parametrize(
    ("changed", "lack"),
    [
        ({"torch": "1.0"}, "torch 1.0, not 2"),
        ({"torch": "1.0", "code": "x"}, "torch 1.0, not 2"),
        ({"code": "x"}, "other code of Tessera: its results could differ"),
        ({"code": NONE, "torch": NONE}, "no Tessera in its Python:"),
    ],
)
def test_a_node_that_differs_is_named(changed: dict[str, str], lack: str) -> None:
    text = difference("large", look() | changed, look())
    assert text.startswith(f"node large has {lack}")
    assert "\n" not in text


def test_the_code_is_that_of_all_packages() -> None:
    assert {"data_prep", "stacking"} <= {*CODE}
