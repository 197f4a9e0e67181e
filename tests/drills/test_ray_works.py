"""Drills: data_prep.executors on a cluster of two nodes, with work of no time.

Run by ``make drills``.
"""

import functools
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from data_prep.errors import UserError
from data_prep.executors import on_ray, supply
from data_prep.executors.run import run, with_room
from data_prep.executors.work import Work
from tests.executors.nodes import Nodes
from tests.executors.works import be_killed, peep, refuse, shout, wait_for

pytest.importorskip("ray")
pytestmark = pytest.mark.drill


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    nodes = Nodes()
    yield nodes
    nodes.end()


def shout_work(folder: Path, name: str) -> Work:
    source = folder / "sources" / name
    source.parent.mkdir(exist_ok=True)
    source.write_text(f"from {name}")
    written = folder / "stage" / name
    return Work(
        name=name,
        function=functools.partial(shout, source, written),
        log_file=written / "logs" / "job.log",
        reads=(source,),
        writes=written,
    )


def waiting_work(folder: Path, name: str) -> Work:
    (folder / "signs").mkdir(exist_ok=True)
    return Work(
        name=name,
        function=functools.partial(wait_for, str(folder / "signs"), name, "go"),
        log_file=folder / "logs" / name,
    )


def begun(folder: Path) -> dict[str, list[str]]:
    """Give the nodes on which each piece of work has begun, in order."""
    signs = [path.name.split() for path in (folder / "signs").iterdir()]
    places: dict[str, list[str]] = {}
    for name, place, _ in sorted((s for s in signs if len(s) == 3), key=lambda s: s[2]):
        places.setdefault(name, []).append(place)
    return places


def wait_until(folder: Path, n_begun: int) -> None:
    for _ in range(1200):
        if sum(map(len, begun(folder).values())) >= n_begun:
            return
        time.sleep(0.1)
    pytest.fail(f"only {begun(folder)} has begun")


def test_what_works_write_comes_back_and_what_fails_is_told(
    tmp_path: Path, nodes: Nodes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    (tmp_path / "stage" / "a").mkdir(parents=True)
    (tmp_path / "stage" / "a" / "go.txt").write_text("3")  # of an earlier attempt
    (tmp_path / "secret").touch()
    peeping = Work(
        name="peep",
        function=functools.partial(peep, tmp_path / "secret"),
        log_file=tmp_path / "logs" / "peep.log",
    )
    refused = Work(name="bad", function=refuse, log_file=tmp_path / "logs" / "bad.log")
    killed = Work(name="shot", function=be_killed, log_file=tmp_path / "logs" / "shot")
    works = [shout_work(tmp_path, name) for name in "abc"]
    everything = [*works[:1], refused, killed, *works[1:], peeping]
    outcome = run(everything, nodes.pool(), noun="work", logs="")
    assert outcome.failures == {
        "bad": "too bright",
        "shot": "it was ended by SIGKILL, perhaps for want of memory",
    }
    assert set(outcome.results) == {"a", "b", "c", "peep"}
    sees_unnamed, has_ray = outcome.results["peep"].value
    assert not sees_unnamed, "nodes have only what is named"
    assert not has_ray, "processes that do work need not load it"
    assert "error: too bright" in (tmp_path / "logs" / "bad.log").read_text()
    for name in "abc":
        value = outcome.results[name].value
        assert not value["folder"].is_relative_to(tmp_path)
        assert Path(value["tmp"]).parent == nodes.folder
        written = tmp_path / "stage" / name
        assert (written / "deep" / "loud.txt").read_text() == f"FROM {name.upper()}"
        assert (written / "logs" / "job.log").read_text() == f"shouts {name}\n"
        assert (written / "go.txt").read_text() == ("4" if name == "a" else "1")
    assert not list(tmp_path.rglob("*.draft"))
    for node in nodes.folder.iterdir():
        assert not list(node.glob("tessera-*/works/*")), "a node keeps no work"
    assert "6 works on 2 nodes" in caplog.text
    with pytest.raises(UserError, match="2 of 6 works failed"):
        outcome.check(everything, "work", "")


def test_nodes_that_do_not_see_a_file_are_brought_it_once(
    tmp_path: Path, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here they would see it; so the driver is told that they do not."""
    see = supply.on_each

    def see_nothing(function: object, *args: object) -> object:
        answers = see(function, *args)  # type: ignore[arg-type]
        if function is not supply.on_node.look_at_disk:
            return answers
        files = args[1]
        digests = frozenset(file.digest for file in files)  # type: ignore[attr-defined]
        return {
            node: disk.__class__(
                seen=frozenset(),
                lacking=digests,
                folder=disk.folder,
                free_bytes=disk.free_bytes,
            )
            for node, disk in answers.items()
        }

    monkeypatch.setattr(supply, "on_each", see_nothing)
    monkeypatch.setattr(supply, "PIECE_BYTES", 4)
    works = [shout_work(tmp_path, name) for name in "abcd"]
    outcome = run(works, nodes.pool(), noun="work", logs="")
    assert not outcome.failures
    for name in "abcd":
        loud = (tmp_path / "stage" / name / "deep" / "loud.txt").read_text()
        assert loud == f"FROM {name.upper()}"
    kept = [file.read_text() for file in nodes.folder.glob("*/tessera-*/files/*[!k]")]
    assert sorted(kept) == [f"from {name}" for name in "abcd"]


def test_a_node_without_room_is_told_before_anything_begins(
    tmp_path: Path, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supply.node_files, "MARGIN_BYTES", 1 << 60)
    with pytest.raises(UserError, match=r"^node .* GB free in .*tessera-.*TMPDIR"):
        run([shout_work(tmp_path, "a")], nodes.pool(), noun="work", logs="")
    assert not (tmp_path / "stage").exists()


def test_a_node_with_other_code_is_refused(
    tmp_path: Path, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_ray.node_check, "difference", lambda *_: "node a has others")
    with pytest.raises(UserError, match="node a has others"):
        run([shout_work(tmp_path, "a")], nodes.pool(), noun="work", logs="")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": 2}, r"threads = 2, but no node of the cluster has as many CPUs:"),
        ({"gpu_share": 0.5}, "gpu_share = 0.5, but no node of the cluster has a GPU"),
    ],
)
def test_more_than_any_node_has_is_refused(
    tmp_path: Path, nodes: Nodes, options: dict[str, float], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        run([shout_work(tmp_path, "a")], nodes.pool(**options), noun="work", logs="")


def test_the_cluster_says_how_much_it_does_at_once(nodes: Nodes) -> None:
    assert with_room(nodes.pool()).n_at_once == 2
    assert with_room(nodes.pool(n_at_once=9)).n_at_once == 9


def test_a_node_that_dies_costs_its_work_only(tmp_path: Path, nodes: Nodes) -> None:
    works = [waiting_work(tmp_path, name) for name in "abc"]
    outcomes = []
    thread = threading.Thread(
        target=lambda: outcomes.append(run(works, nodes.pool(), noun="work", logs=""))
    )
    thread.start()
    wait_until(tmp_path, n_begun=2)
    nodes.remove()
    (tmp_path / "signs" / "go").touch()
    thread.join(timeout=120)
    assert not outcomes[0].failures
    assert {result.value for result in outcomes[0].results.values()}
    places = begun(tmp_path)
    assert sorted(places) == ["a", "b", "c"]
    again = [name for name, nodes_of_work in places.items() if len(nodes_of_work) > 1]
    assert len(again) == 1
    assert places[again[0]] == ["n1", "n0"]
