"""The old name of a command names the new one."""

import pytest

from data_prep.errors import UserError
from stacking.ledger import main


def test_the_old_name_names_the_new_one() -> None:
    with pytest.raises(
        UserError,
        match=r"^stacking\.ledger is now called .*: python -m stacking\.leaderboard$",
    ):
        main()
