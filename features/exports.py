"""Feature stores for other tools: Parquet and npz, with roles and folds in them.

Both are written whole or not at all, and hold the header as text.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.errors import UserError
from data_prep.run_folders.drafts import drafted
from features.store import Store

HEADER = "tessera"  # key of the header in the metadata of a Parquet file
ROW_COLUMNS = ("role", "fold")


def to_parquet(store: Store, path: Path) -> None:
    """Write a row for each id: ``id``, ``role``, ``fold`` and a column each output.

    Views that are apart become columns ``NAME__VIEW``. Which rows a model may learn
    from is in ``role``: leave the two out of what it learns from.

    Raises:
        UserError: A feature has the name of one of the two.
    """
    import pyarrow as pa
    from pyarrow import parquet

    frame = store.frame()
    if taken := [name for name in ROW_COLUMNS if name in frame.columns]:
        raise UserError(f"{store.path}: a feature is named {taken[0]!r}; give --to npz")
    frame.insert(0, "role", store.roles.astype(object))
    frame.insert(1, "fold", store.folds)
    table = pa.Table.from_pandas(frame)
    metadata = {**(table.schema.metadata or {}), HEADER: _header_text(store.header)}
    with drafted(path) as file:
        parquet.write_table(table.replace_schema_metadata(metadata), file)


def to_npz(store: Store, path: Path) -> None:
    """Write arrays ``ids``, ``values``, ``columns``, ``views``, ``roles``, ``folds``.

    ``numpy.load`` reads them without pickle; ``header`` is JSON text.
    """
    with drafted(path) as file:
        np.savez(
            file,
            ids=np.array(store.ids, dtype=str),
            values=store.values,
            columns=np.array(store.columns, dtype=str),
            views=np.array(store.header.get("views") or [], dtype=str),
            roles=store.roles,
            folds=store.folds,
            header=np.array(_header_text(store.header)),
        )


def _header_text(header: Mapping[str, Any]) -> str:
    """Give the header without what the rows say themselves."""
    return json.dumps({k: v for k, v in header.items() if k != "index"})
