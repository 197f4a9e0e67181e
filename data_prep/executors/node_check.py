"""What a node says of itself, compared with the driver before anything starts.

``look`` is sent to nodes as source, since a node may lack our packages or have others;
so this module needs nothing but Python.
"""

import hashlib
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

LIBRARIES = ("torch", "pytorch-lightning", "numpy", "timm")  # whose sums may differ
CODE = ("data_prep", "pretext", "transfer", "features", "stacking")
NONE = "none"


def look() -> dict[str, str]:
    """Give the versions of what decides a result, by name."""
    versions = {"python": platform.python_version()}
    for library in LIBRARIES:
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            versions[library] = NONE
    return {**versions, "code": digest_of_code()}


def digest_of_code() -> str:
    """Hash the modules of our packages, as they would be imported."""
    digest = hashlib.sha256()
    for package in CODE:
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            return NONE
        root = Path(spec.submodule_search_locations[0])
        for file in sorted(root.rglob("*.py")):
            digest.update(f"{package}/{file.relative_to(root).as_posix()}".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


def difference(
    node: str, versions: Mapping[str, str], needed: Mapping[str, str]
) -> str:
    """Say what a node has otherwise; empty: nothing.

    Args:
        node: Its name.
        versions: What it says of itself.
        needed: What the driver says of itself.
    """
    names = [name for name in needed if versions.get(name) != needed[name]]
    if not names:
        return ""
    if versions["code"] == NONE:
        lack = "no Tessera in its Python"
    elif names == ["code"]:
        lack = "other code of Tessera"
    else:
        libraries = [name for name in names if name != "code"]
        texts = [f"{name} {versions[name]}, not {needed[name]}" for name in libraries]
        lack = "; ".join(texts)
    return (
        f"node {node} has {lack}: its results could differ; install there what is here"
        " (the same revision and requirements.lock), or take it out of the cluster"
    )
