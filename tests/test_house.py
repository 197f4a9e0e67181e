"""The packages keep the words and forms of the house, so that a stranger reads on."""

import ast
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ["data_prep", "pretext", "transfer", "features", "stacking"]
MODULES = [
    *(path for name in PACKAGES for path in sorted((ROOT / name).rglob("*.py"))),
    ROOT / "pipeline.py",
    ROOT / "reference.py",
]
SOURCES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in MODULES
}
MOST_LINES = 400
MOST_LINES_OF_FUNCTION = 60  # without its docstring
MOST_POSITIONAL = 4

# They mean nothing without the sentence before them.
PRONOUNS = """
    about again asked both clusters dealt each facts found given goal goals here how
    hows know known made mine now one other others ours own place race rest said shares
    taught theirs told truth untaught wanted what where winner
"""
# Dataclasses that are neither results nor settings, or that have one or two fields
# whose order nobody can mistake.
NOT_BY_KEYWORD = {
    "_Frame": "filled while a file is parsed",
    "Stage": "filled while a stage runs",
    "_Child": "changes while its process runs",
    "_Row": "changes while a training runs",
    "Monitor": "changes between epochs",
    "Pictures": "keeps its pixels on the device once they are there",
    "Section": "a heading and its body",
    "Run": "a folder",
    "Normalisation": "mean and standard deviation",
    "UserColumns": "one field",
    "Example": "one field",
    "Boosters": "one field",
}

Faults = Iterator[tuple[int, str]]
"""Lines, and what to do there."""


@cache
def nodes_by_path() -> dict[str, list[ast.AST]]:
    """Parse all modules, in the one process that asks for it."""
    return {path: list(ast.walk(ast.parse(text))) for path, text in SOURCES.items()}


@cache
def callables() -> set[str]:
    """Name those of the packages whose arguments are a fixed list."""
    return {
        node.name
        for nodes in nodes_by_path().values()
        for node in nodes
        if isinstance(node, ast.ClassDef)
        or (isinstance(node, ast.FunctionDef) and node.args.vararg is None)
    }


def pronouns(nodes: list[ast.AST]) -> Faults:
    """Find names that a module binds and that are pronouns."""
    banned = set(PRONOUNS.split())
    for node in nodes:
        match node:
            case (
                ast.arg(arg=name)
                | ast.Name(id=name, ctx=ast.Store())
                | ast.Attribute(attr=name, ctx=ast.Store())
                | ast.FunctionDef(name=name)
            ) if name.strip("_") in banned:
                yield (
                    getattr(node, "lineno", 0),
                    f"{name!r}: take the noun that it stands for",
                )


def unnamed_arguments(nodes: list[ast.AST]) -> Faults:
    """Find calls that a reader has to count out."""
    for node in nodes:
        if not isinstance(node, ast.Call):
            continue
        for arg in node.args:
            if isinstance(arg, ast.Starred) and isinstance(
                arg.value, (ast.Tuple, ast.List)
            ):
                yield node.lineno, "write the arguments instead of *(...)"
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name in callables() and len(node.args) > MOST_POSITIONAL:
            yield (
                node.lineno,
                f"{name}: give its {len(node.args)} arguments by keyword",
            )


def dataclass_options(nodes: list[ast.AST]) -> Iterator[tuple[ast.ClassDef, set[str]]]:
    """Give each dataclass with the options that are switched on."""
    for node in nodes:
        for decorator in node.decorator_list if isinstance(node, ast.ClassDef) else ():
            call = decorator if isinstance(decorator, ast.Call) else None
            if ast.unparse(call.func if call else decorator) == "dataclass":
                keywords = call.keywords if call else []
                on = (
                    option for option in keywords if ast.unparse(option.value) == "True"
                )
                yield node, {str(option.arg) for option in on}


def loose_dataclasses(nodes: list[ast.AST]) -> Faults:
    """Find results and settings that can be changed, or are built by position."""
    for node, options in dataclass_options(nodes):
        if node.name not in NOT_BY_KEYWORD and not {"frozen", "kw_only"} <= options:
            yield (
                node.lineno,
                f"{node.name}: write @dataclass(frozen=True, kw_only=True), or say in"
                " NOT_BY_KEYWORD of tests/test_house.py why not",
            )


def length(node: ast.stmt) -> int:
    """Count the lines of a statement."""
    return (node.end_lineno or node.lineno) - node.lineno + 1


def long_functions(nodes: list[ast.AST]) -> Faults:
    """Find functions that nobody reads from top to bottom at one go."""
    for node in nodes:
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        has_docstring = ast.get_docstring(node) is not None
        n_lines = length(node) - (length(node.body[0]) if has_docstring else 0)
        if n_lines > MOST_LINES_OF_FUNCTION:
            yield (
                node.lineno,
                f"{node.name}: give names to its parts, it has {n_lines} lines and"
                f" {MOST_LINES_OF_FUNCTION} are the most",
            )


@pytest.mark.parametrize(
    "faults", [pronouns, unnamed_arguments, loose_dataclasses, long_functions]
)
def test_the_packages_keep_the_rule(
    faults: Callable[[list[ast.AST]], Faults],
) -> None:
    listed = [
        f"{path}:{line} {remedy}"
        for path, nodes in nodes_by_path().items()
        for line, remedy in faults(nodes)
    ]
    assert not listed, "\n".join(listed)


def test_no_module_is_long() -> None:
    n_lines = {path: len(text.splitlines()) for path, text in SOURCES.items()}
    long = {path: n for path, n in n_lines.items() if n > MOST_LINES}
    assert not long, f"split them by ideas, {MOST_LINES} lines at most: {long}"


def test_exceptions_are_still_needed() -> None:
    loose = {
        node.name
        for nodes in nodes_by_path().values()
        for node, options in dataclass_options(nodes)
        if not {"frozen", "kw_only"} <= options
    }
    assert set(NOT_BY_KEYWORD) == loose, "take the others out of NOT_BY_KEYWORD"


@pytest.mark.parametrize(
    ("faults", "source"),
    [
        (pronouns, "found = 1"),
        (pronouns, "def read(self, _own): ..."),
        (pronouns, "names = [said for said in texts]"),
        (pronouns, "self.rest: int = 0"),
        (unnamed_arguments, "print(*(first, second))"),
        (unnamed_arguments, "write_store(a, b, c, d, e)"),
        (loose_dataclasses, "@dataclass(frozen=True)\nclass Score: ..."),
        (loose_dataclasses, "@dataclass\nclass Score: ..."),
        (long_functions, "def fit():\n    'Fit.'\n" + "    ...\n" * 60),
    ],
)
def test_what_breaks_a_rule_is_told(
    faults: Callable[[list[ast.AST]], Faults], source: str
) -> None:
    assert len(list(faults(list(ast.walk(ast.parse(source)))))) == 1
