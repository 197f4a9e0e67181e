"""All that a first look at a folder saw, before anything is proposed."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from data_prep.first_look.class_folders import ClassFolders
from data_prep.first_look.column_roles import ColumnRoles
from data_prep.first_look.headers import Headers
from data_prep.first_look.listing import Listing
from data_prep.first_look.table_roles import Roles


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Pictures, tables and columns by their roles.

    Attributes:
        listing: The pictures by their folders.
        headers: Of a few of them; None: none could be read.
        roles: The tables.
        columns: Those of the training table.
        folders: Classes by folder, where there is no table.
        has_words: Names of the attribute tables go together.
        notes: What was left out, and why.
        is_up: The user says that pictures have an up.
    """

    listing: Listing
    headers: Headers | None
    roles: Roles
    columns: ColumnRoles = field(default_factory=ColumnRoles)
    folders: ClassFolders | None = None
    has_words: bool = False
    notes: Sequence[str] = ()
    is_up: bool = False

    @property
    def n_in_no_table(self) -> int:
        """Pictures in neither the training table nor that of the rows to predict."""
        if self.folders:
            n_in_tables = len(self.folders.labels) + len(self.folders.test)
            return self.listing.n_pictures - n_in_tables
        if not self.n_labelled:
            return 0
        roles = self.roles
        tables = [t for t in (roles.train, roles.test or roles.sample) if t]
        return self.listing.n_pictures - sum(table.n_pictures for table in tables)

    @property
    def n_labelled(self) -> int:
        """Pictures with a label; 0: there is nothing to fine-tune for."""
        if self.folders:
            return len(self.folders.labels)
        train = self.roles.train
        return train.n_pictures if train and self.columns.target else 0
