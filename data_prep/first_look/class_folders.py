"""Pictures sorted into folders by class, as ``FOLDER/oak/7.jpg``, perhaps by split too.

``FOLDER/train/oak/7.jpg`` beside ``FOLDER/test/elm/8.jpg`` is understood as well; what
the folders of the test part are called is not read.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from data_prep.first_look.listing import Listing
from data_prep.folds import MAX_CLASSES

TRAIN_FOLDERS = frozenset(["train", "training", "val", "valid", "validation"])
TEST_FOLDERS = frozenset(["test", "testing"])
LEAST_PICTURES = 2.0  # of a class, on average


@dataclass(frozen=True, kw_only=True)
class ClassFolders:
    """Labels by folder.

    Attributes:
        labels: The class of each labelled picture, by its file.
        test: The pictures to predict.
    """

    labels: Mapping[Path, str]
    test: tuple[Path, ...]

    @property
    def counts(self) -> Counter[str]:
        """Pictures of each class."""
        return Counter(self.labels.values())

    @property
    def reason(self) -> str:
        """Say what was seen."""
        counts = self.counts
        listed = ", ".join(f"{name} ({n:,})" for name, n in counts.most_common(4))
        more = ", ..." * (len(counts) > 4)
        return f"the subfolders are taken for {len(counts)} classes: {listed}{more}"


def class_folders(listing: Listing) -> ClassFolders | None:
    """Read classes off the folders; None: they are no classes."""
    tops = {
        folder.relative_to(listing.top).parts[0].lower()
        for folder in listing.names
        if folder != listing.top
    }
    has_splits = bool(tops & TRAIN_FOLDERS)
    labels: dict[Path, str] = {}
    test: list[Path] = []
    for path in listing.pictures:
        *folders, _ = path.relative_to(listing.top).parts
        if has_splits and folders and folders[0].lower() in TEST_FOLDERS:
            test.append(path)
            continue
        if has_splits and folders and folders[0].lower() in TRAIN_FOLDERS:
            folders = folders[1:]
        if folders:
            labels[path] = folders[0]
    n_classes = len(set(labels.values()))
    is_sorted = n_classes >= 2 and len(labels) >= LEAST_PICTURES * n_classes
    if not is_sorted or n_classes > max(MAX_CLASSES, len(labels) / 2):
        return None
    return ClassFolders(labels=labels, test=tuple(test))


def rows_of(
    folders: ClassFolders, listing: Listing
) -> tuple[list[list[str]], list[list[str]]]:
    """Give the rows of a training table, id and target, and of one to predict, id."""
    train = [[listing.id_of(path), label] for path, label in folders.labels.items()]
    return sorted(train), sorted([listing.id_of(path)] for path in folders.test)
