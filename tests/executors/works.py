"""What the tests let processes do side by side; nothing here is slow to import."""

import errno
import os
import signal
import sys
import time
from pathlib import Path

from data_prep.errors import UserError
from data_prep.executors.progress import Progress, Report
from data_prep.executors.work import Result


def report_and_end(report: Report | None) -> Result:
    """Report twice, and score; what the environment says is printed."""
    assert report
    print("place", os.environ["PLACE"])  # noqa: T201
    for step in (1, 2):
        report(Progress(step=step, n_steps=2, epoch=step, n_epochs=2))
    return Result(scores={"target_rmse": 0.5}, value=[1, 2])


def refuse(report: Report | None) -> Result:
    """Fail as a user's mistake does."""
    del report
    raise UserError("too bright")


def fill_the_disk(report: Report | None) -> Result:
    """Fail where nothing can be written, not even the log."""
    del report
    sys.stdout.close()
    for stream in (1, 2):
        os.dup2(os.open("/dev/full", os.O_WRONLY), stream)
    raise OSError(errno.ENOSPC, "no space")


def fail(report: Report | None) -> Result:
    """Fail as a mistake of ours does."""
    assert report
    report(Progress(step=1, n_steps=2, epoch=0, n_epochs=2))
    raise ValueError("not foreseen")


def be_killed(report: Report | None) -> Result:
    """End as where there is no memory left."""
    del report
    os.kill(os.getpid(), signal.SIGKILL)
    return Result()


def end_silently(report: Report | None) -> Result:
    """End as where a library calls exit."""
    del report
    sys.exit(0)


def beat(file: Path, report: Report | None) -> Result:
    """Live on, and show it."""
    del report
    while True:
        file.write_text(str(time.time()), encoding="utf-8")
        time.sleep(0.05)


def shout(source: Path, folder: Path, report: Report | None) -> Result:
    """Write what a file holds into a folder, louder; count earlier goes in it."""
    print("shouts", source.name)  # noqa: T201
    if report:
        report(Progress(step=1, n_steps=2))
    go = folder / "go.txt"
    n_before = int(go.read_text()) if go.exists() else 0
    folder.mkdir(parents=True, exist_ok=True)
    go.write_text(str(n_before + 1))
    (folder / "deep").mkdir(exist_ok=True)
    (folder / "deep" / "loud.txt").write_text(source.read_text().upper())
    place = {"folder": folder, "tmp": os.environ.get("TMPDIR"), "before": n_before}
    return Result(scores={"before": float(n_before)}, value=place)


def peep(hidden: Path, report: Report | None) -> Result:
    """Look for a file that was not named among those that are read, and for Ray."""
    del report
    return Result(value=(hidden.exists(), "ray" in sys.modules))


def wait_for(signs: str, name: str, release: str, report: Report | None) -> Result:
    """Leave a sign that this place has begun, and wait for another.

    The folder of the signs is a text: it lies where it does for all nodes.
    """
    del report
    place = Path(os.environ["TMPDIR"]).name
    (Path(signs) / f"{name} {place} {time.monotonic_ns()}").touch()
    while not (Path(signs) / release).exists():
        time.sleep(0.05)
    return Result(value=os.environ["TMPDIR"])
