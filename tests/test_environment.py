"""The files that describe the environment say the same as pyproject.toml."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads(
    (ROOT / "pyproject.toml").read_text(encoding="utf-8")
)["project"]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
REQUIREMENTS = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]


def locked_versions(lock: str) -> dict[str, list[str]]:
    """Return the versions of every pinned package: several if they differ by Python."""
    versions: dict[str, list[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)(?:\[[^\]]*\])?==(\S+)", lock, re.M):
        versions.setdefault(canonicalize_name(name), []).append(version)
    return versions


def environment() -> dict[str, Any]:
    """Return environment.yml, with the packages for pip beside those for conda."""
    content = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    (for_pip,) = (entry for entry in content["dependencies"] if isinstance(entry, dict))
    content["dependencies"].remove(for_pip)
    return content | for_pip


def test_conda_makes_the_environment_of_this_project() -> None:
    assert environment()["name"] == PROJECT["name"]
    assert environment()["pip"] == ["-e .[dev]"]
    for_conda = {"python" + PROJECT["requires-python"], "imagemagick", "pip"}
    assert set(environment()["dependencies"]) == for_conda


@pytest.mark.parametrize("line", REQUIREMENTS)
def test_the_lock_pins_a_version_that_is_allowed(line: str) -> None:
    requirement = Requirement(line)
    versions = locked_versions(LOCK).get(canonicalize_name(requirement.name))
    assert versions, f"{requirement.name} is not locked: make lock"
    for version in versions:
        assert requirement.specifier.contains(version), f"{line}, locked {version}"


def test_everything_in_the_lock_has_an_exact_version_and_a_hash() -> None:
    for block in re.split(r"\n(?=[^\s#])", LOCK)[1:]:
        assert re.match(r"\S+==\S+ .*\\\n    --hash=sha256:[0-9a-f]{64}\b", block), (
            block.splitlines()[0]
        )


@pytest.mark.parametrize("word", ["://", "-url", "find-links", " @ ", "/home", "/tmp"])
def test_the_lock_names_no_place(word: str) -> None:
    assert word not in LOCK


def test_a_package_pinned_twice_keeps_both_versions() -> None:
    lock = "numpy==2.4.6 ; python_version < '3.12' \\\nnumpy==2.5.5\nFoo_bar[a]==1 \\\n"
    assert locked_versions(lock) == {"numpy": ["2.4.6", "2.5.5"], "foo-bar": ["1"]}
