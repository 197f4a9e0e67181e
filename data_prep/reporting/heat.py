"""Tables whose cells are coloured by their values."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray


def heat_table(
    values: NDArray[Any],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    corner: str = "",
    is_count: bool = True,
) -> Markup:
    """Set a table whose cells are coloured by their values.

    Args:
        values: (R, C) counts, such as true classes by predicted classes, which are
            coloured by their share of the row; or shares of a whole.
        rows: R names.
        columns: C names.
        corner: What rows and columns are.
        is_count: Whether the values are counts.
    """
    if is_count:
        shares = values / np.maximum(values.sum(axis=1, keepdims=True), 1)
    else:
        shares = values / max(float(values.max()), 1e-300)
    head = Markup().join(Markup("<th>{}</th>").format(name) for name in columns)
    body = Markup("\n").join(
        Markup("<tr><th>{}</th>{}</tr>").format(
            name,
            Markup().join(
                _cell(value, float(share), is_count)
                for value, share in zip(values[row], shares[row], strict=True)
            ),
        )
        for row, name in enumerate(rows)
    )
    return Markup(
        '<div class="scroll"><table class="heat"><thead><tr><th>{}</th>{}</tr></thead>'
        "<tbody>{}</tbody></table></div>"
    ).format(corner, head, body)


def _cell(value: Any, share: float, is_count: bool) -> Markup:
    text = Markup("{}<small>{}</small>").format(f"{value:,}", f"{share:.0%}")
    return Markup('<td class="{}" style="--share:{}">{}</td>').format(
        "dark" if share > 0.72 else "",
        round(share, 3),
        text if is_count else f"{value:.1%}",
    )
