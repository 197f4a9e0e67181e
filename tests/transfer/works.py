"""What the tests let processes do side by side; nothing here is slow to import."""

import os
import signal
import time
from pathlib import Path

from data_prep.errors import UserError
from pretext.engine.progress import Progress, Report


def report_and_end(report: Report) -> dict[str, float]:
    """Report twice, and score; what the environment says is printed."""
    print("place", os.environ["PLACE"])  # noqa: T201
    for step in (1, 2):
        report(Progress(step=step, n_steps=2, epoch=step, n_epochs=2))
    return {"target_rmse": 0.5}


def refuse(report: Report) -> dict[str, float]:
    """Fail as a user's mistake does."""
    del report
    raise UserError("too bright")


def fail(report: Report) -> dict[str, float]:
    """Fail as a mistake of ours does."""
    report(Progress(step=1, n_steps=2, epoch=0, n_epochs=2))
    raise ValueError("not foreseen")


def be_killed(report: Report) -> dict[str, float]:
    """End as where there is no memory left."""
    del report
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def beat(file: Path, report: Report) -> dict[str, float]:
    """Live on, and show it."""
    del report
    while True:
        file.write_text(str(time.time()), encoding="utf-8")
        time.sleep(0.05)
