"""Files of our own that are missing, cut or changed: how that is seen and told.

A record names every file of its stage with digest and size. Whoever opens a stage has
looked whether the files are there and as long as they were; whoever opens a file by
``intact`` has compared its digest too, unless it is too large for that. So a broken
file is named before a library stumbles over it. ``python -m pipeline --verify`` looks
at every byte.
"""

import hashlib
import json
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from data_prep.errors import UserError

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

RECORD = "record.json"
SEAL = "record_sha256"  # in a record: the digest of all else in it
TYPES = {"stage": str, "settings": dict, "reads": dict, "facts": dict, "files": dict}
PIXELS = "images.npy"
HASHED_BYTES = 64 * 2**20  # of a file that is compared when opened: 0.04 s
DEPTH = 4  # folders between a file and its record, at most


class DamagedFileError(UserError):
    """A file that a stage wrote is missing, cut or changed."""


class Entries(dict[str, Any]):
    """Settings or metadata of a record; a lack of one is told in a line.

    Records of other versions may lack some that this one needs.
    """

    def __init__(self, values: Mapping[str, Any], record: Path, section: str) -> None:
        super().__init__(values)
        self._record, self._section = record, section

    def __missing__(self, name: str) -> NoReturn:
        raise DamagedFileError(
            f"{self._record} has no {name!r} among its {self._section}, so another"
            f" version wrote it; {remedy_for(self._record)}"
        )


def command_of(stage: str, run: Path, settings: Mapping[str, Any] | None = None) -> str:
    """Say what to type to make a stage.

    Args:
        stage: Its name, that of its folder.
        run: Folder of the run.
        settings: Those of its record; None: not known.
    """
    made_by = (settings or {}).get("made_by")
    if made_by:  # features of pictures that came later: the folder has a free name
        return f"python -m {made_by} --images FOLDER --out {run / stage}"
    if shard := re.fullmatch(r"(.+)\.shard(\d+)of(\d+)", stage):
        name, number, n_shards = shard.groups()
        return f"python -m {name} --shard {number}/{n_shards} --run {run}"
    metric = ""
    if kept := re.fullmatch(
        r"(stacking\.fit(?:\.insample)?)\.(?!insample)(\w+)", stage
    ):
        stage, metric = kept[1], f" --metric {kept[2]}"
    name = stage.removesuffix(".insample")
    protocol = "" if name == stage else " --protocol insample"
    return f"python -m {name}{protocol}{metric} --run {run}"


def read_record(path: Path) -> dict[str, Any]:
    """Read the record of a finished stage.

    Raises:
        DamagedFileError: It is missing, cut, or not as it was written.
    """
    try:
        record = json.loads(path.read_bytes())
        lacking = [
            key for key, type_ in TYPES.items() if not isinstance(record[key], type_)
        ]
        if lacking:
            raise ValueError(f"no {lacking[0]}")
        if record["digest"] != digest_of(record["files"]):
            raise ValueError("the digest of its files does not fit them")
        if not is_sealed(record):
            raise ValueError("its digest is another")
    except FileNotFoundError:
        raise _damaged(path, "is missing") from None
    except KeyError as error:
        raise _changed(path, f"no {error.args[0]}") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise _changed(path, error) from None
    entries = {key: Entries(record[key], path, key) for key in ("settings", "facts")}
    return {**record, **entries}


def check_files(folder: Path, record: Mapping[str, Any]) -> None:
    """Check that the files of a stage are there, and as long as they were.

    Older records do not say how long. The pixels may be gone: they are the bulk of a
    run, and whoever only predicts does not need them.

    Raises:
        DamagedFileError: A file is missing or of another length; the first is named.
    """
    sizes = record.get("sizes", {})
    for name in record["files"]:
        path = folder / name
        if name == PIXELS and not path.exists():
            continue
        if fault := _fault_of(path, sizes.get(name)):
            raise _damaged(path, fault)


def fault_of(folder: Path, record: Mapping[str, Any], name: str) -> str:
    """Compare every byte of a file with its record, and say what is wrong with it."""
    path = folder / name
    fault = _fault_of(path, record.get("sizes", {}).get(name))
    if not fault and digest_file(path) != record["files"][name]:
        fault = "is changed since it was written (its digest is another)"
    return fault and str(_damaged(path, fault))


@contextmanager
def intact(path: Path) -> Iterator[Path]:
    """Read a file of ours: what is wrong with it becomes one line with what to type.

    If the file belongs to a finished stage and is not large, it is compared with the
    digest in the record first. Whatever is raised within about its content is taken for
    damage, so only what parses the file belongs there.

    Raises:
        DamagedFileError: It is missing, cut or changed.
        OSError: The system cannot read it; the error names it.
    """
    stage = _stage_of(path)
    try:
        if stage is not None and path.stat().st_size <= HASHED_BYTES:
            folder, record = stage
            name = path.relative_to(folder).as_posix()
            if digest_file(path) != record["files"][name]:
                raise _changed(path, "its digest is another")
        yield path
    except (UserError, MemoryError):
        raise
    except FileNotFoundError:
        raise _damaged(path, "is missing") from None
    except OSError as error:
        if error.errno is None:  # not the system, but a library about the content
            raise _changed(path, error) from None
        error.filename = error.filename or str(path)
        raise
    except Exception as error:  # noqa: BLE001 - parsers raise anything
        raise _changed(path, error) from None


def read_frame(path: Path) -> "pd.DataFrame":
    """Read a Parquet file of ours; see ``intact``."""
    import pandas as pd  # late: a second that most commands need not spend

    with intact(path):
        return pd.read_parquet(path)


def map_array(path: Path) -> "NDArray[Any]":
    """Map an npy file of ours, read-only; see ``intact``."""
    import numpy as np

    with intact(path):
        array: NDArray[Any] = np.load(path, mmap_mode="r")
        return array


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON table of ours; see ``intact``."""
    with intact(path):
        table = json.loads(path.read_bytes())
        if not isinstance(table, dict):
            raise TypeError("it holds no table")
        return table


def is_whole_zip(path: Path) -> bool:
    """Tell whether all parts of a zip file, as of numpy and torch, fit their sums."""
    try:
        with zipfile.ZipFile(path) as parts:
            return parts.testzip() is None
    except FileNotFoundError:
        return False
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, NotImplementedError):
        return False


def digest_file(path: Path) -> str:
    """Hash the bytes of a file."""
    with path.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()


def digest_of(value: Any) -> str:
    """Hash a JSON value, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def sealed(record: dict[str, Any]) -> dict[str, Any]:
    """Add to a record, of JSON values, the digest of itself."""
    return {**record, SEAL: digest_of(record)}


def is_sealed(record: Mapping[str, Any]) -> bool:
    """Tell whether a record is as it was written; older ones cannot say."""
    content = {key: value for key, value in record.items() if key != SEAL}
    return SEAL not in record or record[SEAL] == digest_of(content)


def remedy_for(path: Path) -> str:
    """Say what to do about a broken file, as the end of a sentence."""
    command = maker_of(path)
    if command is None:
        return "put it back as it was, or give another"
    return f"put it back as it was, or make it anew: {command} --overwrite"


def maker_of(path: Path) -> str | None:
    """Say what to type to make a file, if it belongs to a stage, finished or not."""
    if path.name == RECORD:
        return command_of(path.parent.name, path.parent.parent)
    with suppress(DamagedFileError):
        if (stage := _stage_of(path)) is not None:
            folder, record = stage
            return command_of(folder.name, folder.parent, record["settings"])
    for folder in islice(path.parents, DEPTH):
        name = folder.name.removesuffix(".partial")
        if re.fullmatch(r"[a-z_]+\.[a-z_]+", name):
            return command_of(name, folder.parent)
    return None


def _stage_of(path: Path) -> tuple[Path, dict[str, Any]] | None:
    """Find the finished stage that wrote a file: its folder and its record."""
    for folder in islice(path.parents, DEPTH):
        if (folder / RECORD).is_file():
            record = read_record(folder / RECORD)
            is_listed = path.relative_to(folder).as_posix() in record["files"]
            return (folder, record) if is_listed else None
    return None


def _fault_of(path: Path, size: int | None) -> str:
    """Say what is wrong with a file that should have ``size`` bytes; None: unknown."""
    try:
        n_bytes = path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return "is missing"
    if size is not None and n_bytes != size:
        return (
            f"is cut or changed since it was written ({n_bytes:,} bytes, not {size:,})"
        )
    return ""


def _changed(path: Path, reason: object) -> DamagedFileError:
    first = (str(reason).strip() or type(reason).__name__).split("\n")[0]
    return _damaged(path, f"is cut or changed since it was written ({first})")


def _damaged(path: Path, fault: str) -> DamagedFileError:
    return DamagedFileError(f"{path} {fault}; {remedy_for(path)}")
