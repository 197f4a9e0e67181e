"""Pages: a file of several, such as a scan of TIFF, as a picture for each.

Where ``page = "all"`` each page is a picture with an id of its own, ``scan7@2`` of
``scan7.tif``, and the file is the object that they show, called by its id. A file of
one page keeps that as the id of its picture. Elsewhere the first page stands for the
file, and nothing of this is asked for.

Frames of an animation count as pages. Smaller versions of a page and masks within a
TIFF do not, nor the previews that a phone keeps behind a JPEG, nor layers.
"""

import struct
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, TypeVar

from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from data_prep.errors import UserError
from data_prep.pictures import plugins
from data_prep.pictures.printable import shown

if TYPE_CHECKING:
    import pandas as pd

Pages = Literal["first", "all"]
Table = TypeVar("Table", "pd.DataFrame", "pd.Series[Any]")

MARK = "@"  # between the id of a file and the number of a page
SEVERAL = ("TIFF", "GIF", "WEBP", "PNG", "HEIF", "AVIF")  # what has pages, for Pillow
SUBFILE, NO_PAGE = 254, 1 | 4  # TIFF tag; its bits: a smaller version, a mask
TIFF_STARTS = (b"II*\0", b"MM\0*")
BIG_STARTS = (b"II+\0", b"MM\0+")  # with offsets of 64 bits
HEAD_BYTES = 16  # of which a TIFF takes 8, a big one all


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page of a file of several.

    Attributes:
        path: The file.
        number: Of the page, from 1.
    """

    path: Path
    number: int

    @property
    def name(self) -> str:
        """Name of the file."""
        return self.path.name


PictureFile = Path | Page
"""Where a picture is: a file, or a page of one."""


def file_of(picture: PictureFile) -> Path:
    """Give the file of a picture."""
    return picture.path if isinstance(picture, Page) else picture


def page_of(picture: PictureFile) -> int | None:
    """Give the number of the page, from 1; None: the file is not looked at by page."""
    return picture.number if isinstance(picture, Page) else None


def files_of(pictures: Mapping[str, PictureFile]) -> dict[str, Path]:
    """Give the file of each id."""
    return {id_: file_of(picture) for id_, picture in pictures.items()}


@dataclass(frozen=True, kw_only=True)
class PagedPictures:
    """Pictures by id, and which of them are pages of one file.

    Attributes:
        pictures: Of each id, in id order.
        pages: Ids of the pages by the id of the file, of files of several.
    """

    pictures: Mapping[str, PictureFile]
    pages: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def find(
        cls, pictures: Mapping[str, PictureFile], page: Pages, ids: Collection[str] = ()
    ) -> "PagedPictures":
        """Look into files for their pages.

        Args:
            pictures: The file of each id.
            page: Which pages are pictures; of ``"first"`` no file is opened.
            ids: Those of all tables.

        Raises:
            UserError: A file, or a row of a table, has the id of a page.
        """
        if page == "first":
            return cls(pictures=pictures)
        all_pages: dict[str, PictureFile] = {}
        pages: dict[str, tuple[str, ...]] = {}
        for id_, picture in pictures.items():
            path = file_of(picture)
            numbers = page_numbers(path)
            if len(numbers) == 1:
                all_pages[id_] = path
                continue
            of_pages = {f"{id_}{MARK}{n}": Page(path=path, number=n) for n in numbers}
            for page_id, one_page in of_pages.items():
                _check_free(page_id, one_page, pictures, ids)
            pages[id_] = tuple(of_pages)
            all_pages |= of_pages
        by_id = {id_: all_pages[id_] for id_ in sorted(all_pages)}
        return cls(pictures=by_id, pages=pages)

    @cached_property
    def file_ids(self) -> Mapping[str, str]:
        """The id of the file by that of each of its pages."""
        return {page: id_ for id_, pages in self.pages.items() for page in pages}

    def spread(self, ids: Iterable[str]) -> tuple[list[str], list[int]]:
        """Give each id of a file the ids of its pages instead.

        Args:
            ids: (N,) ids of files; others stay.

        Returns:
            (M,) ids of pictures, and (M,) which of the N each was.
        """
        spread_ids: list[str] = []
        idx: list[int] = []
        for number, id_ in enumerate(ids):
            of_file = self.pages.get(id_, (id_,))
            spread_ids += of_file
            idx += [number] * len(of_file)
        return spread_ids, idx

    def repeated(self, table: "Table") -> "Table":
        """Give each page the row of its file.

        Args:
            table: (N,) rows, with the ids of files as the index.

        Returns:
            (M,) rows, with the ids of pictures as the index.
        """
        if not self.pages:
            return table
        import pandas as pd

        ids, idx = self.spread(table.index)
        return table.iloc[idx].set_axis(pd.Index(ids, name=table.index.name))

    @property
    def notes(self) -> list[str]:
        """Count the files of several pages; nothing where there are none."""
        if not self.pages:
            return []
        n_pages = [len(of_file) for of_file in self.pages.values()]
        are = "file has" if len(n_pages) == 1 else "files have"
        ids = next(iter(self.pages.values()))
        return [
            f"{len(n_pages):,} {are} several pages, {sum(n_pages):,} in all and up to"
            f" {max(n_pages):,}: each is a picture ({ids[0]!r}), and the file is what"
            " is predicted"
        ]


def page_numbers(path: Path) -> tuple[int, ...]:
    """Number the pages of a file from 1, without decoding any.

    A number is that of the page among all that the file has, so those of smaller
    versions are passed over. A page that is damaged counts.

    Returns:
        The numbers; 1 alone where the file has no pages, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            if head.startswith(TIFF_STARTS + BIG_STARTS):
                return tuple(_tiff_pages(file, head)) or (1,)
    except (OSError, struct.error):  # decoding will say what is wrong with it
        return (1,)
    if head.startswith(b"\xff\xd8"):  # JPEG, with or without previews behind it
        return (1,)
    plugin = plugins.plugin_for(head)
    if plugin is plugins.JPEG_XL or (plugin and not plugins.is_known(plugin)):
        return (1,)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                has_pages = image.format in SEVERAL
                n_pages = int(getattr(image, "n_frames", 1)) if has_pages else 1
                return tuple(range(1, 1 + n_pages))
    except Exception:  # noqa: BLE001  damaged files raise anything
        return (1,)


def ids_of_files(ids: Iterable[str]) -> set[str]:
    """Add to ids of pictures those that their files may have."""
    names = set(ids)
    parted = (id_.rpartition(MARK) for id_ in names)
    return names | {file for file, _, number in parted if file and number.isdecimal()}


def _tiff_pages(file: IO[bytes], head: bytes) -> Iterator[int]:
    """Follow the directories of a TIFF; one that is cut off ends them, and counts.

    Pillow's own count stops at the first page of a kind that it cannot show.
    """
    is_big = head.startswith(BIG_STARTS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        directory = ImageFileDirectory_v2(head if is_big else head[:8])
        seen: set[int] = set()
        offset = directory.next
        while offset and offset not in seen:
            seen.add(offset)
            file.seek(offset)
            directory.load(file)
            kind = directory.get(SUBFILE, 0)
            if len(seen) == 1 or not (isinstance(kind, int) and kind & NO_PAGE):
                yield len(seen)
            offset = directory.next


def _check_free(
    page_id: str, page: Page, pictures: Mapping[str, PictureFile], ids: Collection[str]
) -> None:
    """Refuse the id of a page that is also that of a file, or of a row.

    Raises:
        UserError: It is.
    """
    meaning = f"{page_id!r} is page {page.number} of {shown(page.name)}"
    if page_id in pictures:
        name = shown(pictures[page_id].name)
        raise UserError(
            f"{meaning}, and the id of {name}; rename one of the files, or set page ="
            ' "first" in [data_prep.prepare]'
        )
    if page_id in ids:
        file_id = page_id.rpartition(MARK)[0]
        raise UserError(
            f"{meaning}, and a table names it: a row is of a file, whose pages share"
            f" its label; write {file_id!r} once, or store the pages as files of their"
            " own"
        )
