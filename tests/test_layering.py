"""The packages form one chain, and the parts that promise it never load torch."""

import ast
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
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


@cache
def nodes_of(module: Path) -> list[ast.AST]:
    """Give all nodes of a module's tree."""
    return list(ast.walk(ast.parse(module.read_text(encoding="utf-8"))))


def imported_names(module: Path) -> set[str]:
    """Return the top-level names that a module imports, wherever in it."""
    names = set()
    for node in nodes_of(module):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("package", CHAIN)
def test_a_package_imports_only_what_comes_before_it(package: str) -> None:
    later = {*CHAIN[CHAIN.index(package) + 1 :], "pipeline", "reference"}
    for module in (ROOT / package).rglob("*.py"):
        assert not imported_names(module) & later, f"{module} reaches forward"


@pytest.mark.parametrize("package", CHAIN)
def test_init_holds_a_docstring_only(package: str) -> None:
    """That of a package lets a command be one line where libraries are missing."""
    inits = sorted((ROOT / package).rglob("__init__.py"))
    assert ROOT / package / "__init__.py" in inits
    look = "if sys.argv[:1] == ['-m']:\n    import data_prep.environment"
    for init in inits:
        tree = ast.parse(init.read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), f"{init} does not say what it is"
        further = [ast.unparse(statement) for statement in tree.body[1:]]
        is_package = init.parent.parent == ROOT
        expected = ["import sys", look] if is_package else []
        assert further == expected, f"{init} holds more than its docstring"


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


# The rooms of a package, lowest first; modules beside the rooms stand by their names.
# What is not named stands above all: the commands, and what only they share.
ROOMS: dict[str, list[set[str]]] = {
    "data_prep": [
        {
            "arrays",
            "dihedral",
            "errors",
            "file_paths",
            "renamed",
            "synonyms",
            "words_of_nets",
        },
        {"settings", "processes", "ranges", "executor_settings"},
        {"effort", "run_folders"},
        {"pictures"},
        {
            *{"tables", "head_losses", "task_types", "folds", "schemes", "up"},
            *{"experiment", "experiment_files"},
        },
        {"first_look"},
        {"scoring"},
        {"reporting"},
    ],
    "pretext": [
        {"device", "names", "init_weights", "preflight", "ready_weights", "settings"},
        {"data"},
        {"networks"},
        {"engine"},
        {"pretext_settings", "view_settings"},
        {"methods"},
        {"evaluation"},
        {"pretraining"},
    ],
    "transfer": [
        {"networks"},
        {"teacher"},
        {"inner_split", "jobs", "kept_folds", "mix_settings", "settings"},
        {"pseudo_labels"},
        {"search"},
        {"training"},
        {"results"},
    ],
    "stacking": [
        {"cross_fitting", "oof"},
        {"inputs"},
        {"models"},
        {"ensemble"},
        {"settings", "preflight"},
        {"analysis"},
        {"reporting"},
    ],
}
# A settings class hands itself to what its package decides by it, such as checks: the
# one circle there is.
CHECKS = {
    ("stacking.settings", "stacking.preflight"),
    ("transfer.settings", "transfer.jobs"),
    ("transfer.settings", "transfer.kept_folds"),
}


@cache
def import_graph() -> Mapping[str, frozenset[str]]:
    """Give the modules that each module imports, also in functions and for types."""
    files = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for package in CHAIN
        for path in (ROOT / package).rglob("*.py")
        if path.stem != "__init__"
    }
    graph: dict[str, frozenset[str]] = {}
    for module, path in files.items():
        imports: set[str] = set()
        for node in nodes_of(path):
            if isinstance(node, ast.Import):
                imports |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imports.add(node.module)
                imports |= {f"{node.module}.{alias.name}" for alias in node.names}
        graph[module] = frozenset(name for name in imports if name in files)
    return graph


def level_of(module: str) -> int:
    """Give the place of a module among the rooms of its package, from 0."""
    package, room = module.split(".")[:2]
    levels = [k for k, rooms in enumerate(ROOMS[package]) if room in rooms]
    return levels[0] if levels else len(ROOMS[package])


@pytest.mark.parametrize("package", ROOMS)
def test_a_room_imports_only_what_lies_below_it(package: str) -> None:
    names = {name for rooms in ROOMS[package] for name in rooms}
    there = {path.stem for path in (ROOT / package).iterdir()}
    assert names <= there, f"{names - there} are not in {package}"
    upward = [
        f"{module} imports {imported}"
        for module, imports in import_graph().items()
        for imported in imports
        if module.startswith(f"{package}.") and imported.startswith(f"{package}.")
        if level_of(imported) > level_of(module) and (module, imported) not in CHECKS
    ]
    assert not upward


def test_no_modules_import_each_other() -> None:
    graph = dict(import_graph())
    for module, check in CHECKS:
        assert check in graph[module], f"{module} no longer imports {check}"
        graph[module] -= {check}
    while leaves := {module for module, imports in graph.items() if not imports}:
        graph = {
            module: imports - leaves
            for module, imports in graph.items()
            if module not in leaves
        }
    assert not graph, "in a circle, or above one"


def test_the_drawing_of_the_demo_is_used_by_the_demo_alone() -> None:
    users = {
        module
        for module, imports in import_graph().items()
        if any(name.startswith("data_prep.demo_collection.") for name in imports)
        and not module.startswith("data_prep.demo_collection.")
    }
    assert users == {"data_prep.demo"}
