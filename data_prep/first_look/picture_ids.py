"""The ids of pictures, and which of them a cell of a table means.

An id is the name of a file without extension, or where several files have that name
its path without extension within the folder of pictures: as stages read it.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from data_prep.pictures.decode import FORMATS


@dataclass(frozen=True, kw_only=True)
class PictureIds:
    """Which pictures there are, by the names of their files.

    Attributes:
        by_stem: Of each name without extension, the paths of the pictures that have it,
            without extension and within the folder of pictures.
        words: Of several pictures that could be meant that is which has one of these
            in the names of its folders, as train or test.
    """

    by_stem: Mapping[str, Sequence[str]]
    words: frozenset[str] = frozenset()

    @classmethod
    def of(cls, files: Iterable[Path], top: Path) -> "PictureIds":
        """Give the ids of files below a folder."""
        by_stem: dict[str, list[str]] = {}
        depth = len(top.parts)
        for path in files:
            text = without_extension("/".join(path.parts[depth:]))
            by_stem.setdefault(text.rpartition("/")[2], []).append(text)
        return cls(by_stem=by_stem)

    @cached_property
    def ids(self) -> frozenset[str]:
        """All ids."""
        return frozenset(
            stem if len(paths) == 1 else path
            for stem, paths in self.by_stem.items()
            for path in paths
        )

    @cached_property
    def folders(self) -> frozenset[str]:
        """All folders of pictures, within that of all."""
        paths = (path for of_stem in self.by_stem.values() for path in of_stem)
        return frozenset(path.rpartition("/")[0] for path in paths) - {""}

    def meant_by(self, text: str) -> str:
        """Give the id that a text means, with or without folders and extension.

        Returns:
            The id; where no picture is meant, or it is not clear which, the text
            without extension, and without folders if no picture has its name.

        Example:
            >>> ids = PictureIds.of([Path("oak/7.jpg"), Path("oak/8.jpg")], Path())
            >>> ids.meant_by("pictures/oak/7.jpg"), ids.meant_by("9.png")
            ('7', '9')
        """
        plain = without_extension(text)
        stem = plain.rpartition("/")[2]
        paths = self.by_stem.get(stem, ())
        if len(paths) < 2:
            folder = plain.rpartition("/")[0]
            of_file = f"/{''.join(paths).rpartition('/')[0]}"
            # folders that are not there may be of another root; others are meant
            is_other = folder in self.folders and not of_file.endswith(f"/{folder}")
            return plain if paths and is_other else stem
        hits = [path for path in paths if f"/{plain}".endswith(f"/{path}")]
        hits = hits or [path for path in paths if path.endswith(f"/{plain}")]
        if len(hits) > 1 and self.words:
            hits = [path for path in hits if self.words & _words_of_folders(path)]
        return hits[0] if len(hits) == 1 else plain


def _words_of_folders(path: str) -> set[str]:
    return set(re.findall(r"[a-z]+", path.lower().rpartition("/")[0]))


def without_extension(name: str) -> str:
    """Write a path as ids are: with slashes, without the extension of a picture.

    Example:
        >>> without_extension("./oak/7.JPG"), without_extension("v1.2")
        ('oak/7', 'v1.2')
    """
    if name.isascii() and not set("\\.") & set(name):
        return name
    plain = name.replace("\\", "/").removeprefix("./")
    stem, dot, ending = plain.rpartition(".")
    is_picture = bool(dot and stem) and ending.lower() in FORMATS
    return unicodedata.normalize("NFC", stem if is_picture else plain)
