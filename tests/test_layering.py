"""The packages form one chain, and the parts that promise it never load torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

CHAIN = ["data_prep", "pretext", "transfer", "features", "stacking"]
TORCH_FREE = [
    "data_prep/**/*.py",
    "features/store.py",
    "features/pooling.py",
    "features/inference.py",
    "stacking/**/*.py",
]
# What only the child process of stacking.models.neural imports.
OF_THE_CHILD = {"stacking/models/networks.py", "stacking/models/net_training.py"}
ROOT = Path(__file__).parents[1]

IMPORT_EACH = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
    if "torch" in sys.modules:
        sys.exit(f"{name} loads torch")
"""


def imported_names(module: Path) -> set[str]:
    """Return the top-level names that a module imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("package", CHAIN)
def test_a_package_imports_only_what_comes_before_it(package: str) -> None:
    later = {*CHAIN[CHAIN.index(package) + 1 :], "pipeline"}
    for module in (ROOT / package).rglob("*.py"):
        assert not imported_names(module) & later, f"{module} reaches forward"


@pytest.mark.parametrize("package", CHAIN)
def test_init_holds_a_docstring_only(package: str) -> None:
    inits = sorted((ROOT / package).rglob("__init__.py"))
    assert ROOT / package / "__init__.py" in inits
    for init in inits:
        tree = ast.parse(init.read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), f"{init} does not say what it is"
        assert len(tree.body) == 1, f"{init} holds more than its docstring"


def test_modules_that_promise_it_do_not_load_torch() -> None:
    torch_free = {path for pattern in TORCH_FREE for path in ROOT.glob(pattern)}
    of_the_child = {ROOT / path for path in OF_THE_CHILD}
    assert of_the_child < torch_free
    paths = sorted(torch_free - of_the_child)
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths]
    modules = [name.removesuffix(".__init__") for name in names]
    assert {"data_prep", "stacking"} <= set(modules)
    child = subprocess.run(
        [sys.executable, "-c", IMPORT_EACH, *modules],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stderr
