"""Drill: a store is read by ``pickle.load`` on numpy 1.26 and 2, and nothing else.

It makes throw-away environments, and so needs a network. Run by ``make drills``.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from features.store import write_store
from tests.features.test_store import header_of

FIRST, GOLDEN = (
    Path(__file__).parents[1] / "features" / f"golden_v{n}.pkl" for n in (1, 2)
)
READ = """
import pickle, sys
rows = pickle.load(open(sys.argv[1], "rb"))
first, golden = (pickle.load(open(path, "rb")) for path in sys.argv[2:])
import numpy
assert list(rows) == ["a", "b"] and type(rows) is dict
assert type(rows["a"]) is numpy.ndarray and rows["a"].dtype == "float32"
assert rows["b"].tolist() == [[3.0, 4.0, 5.0]] and rows["b"].flags.writeable
assert list(golden) == list(first) == ["kaki", "k\\u00e5ki"]
assert golden["kaki"][0, 1] == first["kaki"][0, 1] == 0.25
assert {m.split(".")[0] for m in sys.modules} & {"features", "pandas", "torch"} == set()
print(numpy.__version__)
"""


@pytest.mark.drill
@pytest.mark.parametrize("version", ["1.26.4", "2.0.2", ">=2.3"])
def test_plain_pickle_reads_a_store_on_any_numpy(tmp_path: Path, version: str) -> None:
    path = tmp_path / "store.pkl"
    values = np.arange(6, dtype=np.float32).reshape(2, 1, 3)
    write_store(path, "ab", values, header_of((2, 1, 3)))
    wanted = f"numpy{version}" if version[0] == ">" else f"numpy=={version}"
    place = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
    python = str(place / "bin" / "python")
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--only-binary=:all:", wanted],
        check=True,
    )
    child = subprocess.run(
        [python, "-I", "-c", READ, str(path), str(FIRST), str(GOLDEN)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    print(f"numpy {child.stdout.strip()} reads it")  # noqa: T201
