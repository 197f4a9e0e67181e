"""Work done as on another machine, without a process: for tests of stages."""

import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from data_prep.executors.node_files import mirror, place_files
from data_prep.executors.parcels import opened, pack, place_of
from data_prep.executors.progress import Progress, Report
from data_prep.executors.work import Outcome, Result, Watcher, Work


class Parcels:
    """Stands in for ``run_side_by_side``: pickles, and shows only what is read.

    Args:
        folder: For the mirrors.
        failing: Names of the pieces that fail.
    """

    def __init__(self, folder: Path, failing: Sequence[str] = ()) -> None:
        self.folder, self.failing = folder, failing
        self.begun: list[str] = []
        self.reported: list[Progress] = []

    def __call__(
        self,
        works: Sequence[Work],
        slots: Sequence[Mapping[str, str]],
        watcher: Watcher,
    ) -> Outcome:
        """Do the work, the last piece first."""
        assert slots
        results = {}
        for work in reversed(works):
            self.begun.append(work.name)
            if work.name not in self.failing:
                watcher.begin(work.name)
                results[work.name] = self._do(work, partial(watcher.report, work.name))
                watcher.end(work.name, results[work.name].scores, "")
        lost = [work.name for work in works if work.name in self.failing]
        return Outcome(results=results, failures=dict.fromkeys(lost, "too bright"))

    def _do(self, work: Work, report: Report) -> Result:
        """Do a piece where there is only what it reads; bring what it wrote."""

        def tell(progress: Progress) -> None:
            self.reported.append(progress)
            report(progress)

        parcel = pack(work)
        with mirror(self.folder) as path:
            place_files(
                parcel.needed,
                path,
                seen=frozenset(file.source for file in parcel.needed),
                folder=self.folder,
                bring=lambda file: [memoryview(Path(file.source).read_bytes())],
            )
            assert work.writes
            far = path.joinpath(*place_of(work.writes))
            if work.writes.exists():
                shutil.copytree(work.writes, far, dirs_exist_ok=True)
            result: Result = opened(parcel.content, path)(tell)
            shutil.rmtree(work.writes, ignore_errors=True)
            shutil.copytree(far, work.writes)
        return result
