"""The old name of ``stacking.leaderboard``; goes away with the next release."""

from data_prep.command import run_command
from data_prep.errors import UserError


def main() -> None:
    """Refuse the old name.

    Raises:
        UserError: Always; it names the new command.
    """
    raise UserError(
        "stacking.ledger is now called stacking.leaderboard; type: python -m"
        " stacking.leaderboard"
    )


if __name__ == "__main__":
    run_command(main)
