"""Where the work of a stage is done: which way, how much at once, and on what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from data_prep.executor_settings import VISIBLE, Executor, ExecutorSettings
from data_prep.processes import n_cores


@dataclass(frozen=True, kw_only=True)
class Pool:
    """Where work is done.

    Attributes:
        executor: Which way.
        n_at_once: Pieces at once; 0: as many as a cluster has room for.
        threads: Of each piece; its function sets them.
        gpus: Names of the GPUs here, dealt to processes in turn.
        gpu_share: Of a GPU for each piece on a cluster; None: all of one, if there are.
        address: Of the cluster.
    """

    executor: Executor
    n_at_once: int
    threads: int
    gpus: Sequence[str] = ()
    gpu_share: float | None = 0.0
    address: str = ""

    @classmethod
    def of(
        cls,
        settings: ExecutorSettings,
        n_works: int,
        *,
        threads: int,
        usual_threads: int,
        gpus: Sequence[str] | None = None,
    ) -> "Pool":
        """Choose it by the settings of a stage.

        Args:
            settings: Of the stage.
            n_works: Pieces of the whole stage, so that a kill changes no piece's
                threads, and with them the last bits of what it gives.
            threads: Of each piece; 0: its share.
            usual_threads: That one piece alone has.
            gpus: Names of the GPUs here; None: the work needs none anywhere.
        """
        names = gpus or ()
        if settings.kind == "ray":
            return cls(
                executor="ray",
                n_at_once=settings.jobs or 0,
                threads=max(1, threads),
                gpu_share=0.0 if gpus is None else settings.gpu_share,
                address=settings.address,
            )
        if settings.kind == "here" or n_works == 0:
            return cls(executor="here", n_at_once=1, threads=threads, gpus=names)
        n_places = settings.jobs or len(names) or max(1, n_cores() // max(1, threads))
        n_at_once = min(n_places, n_works)
        if n_at_once == 1 and settings.executor is None:
            return cls(executor="here", n_at_once=1, threads=threads, gpus=names)
        return cls(
            executor="processes",
            n_at_once=n_at_once,
            threads=threads or max(1, usual_threads // n_at_once),
            gpus=names,
        )

    def for_missing(self, n_missing: int) -> "Pool":
        """Choose where to do the pieces that are left: one alone needs no process."""
        is_alone = n_missing <= 1 and self.executor == "processes"
        return replace(self, executor="here") if is_alone else self

    def slots(self, n_works: int) -> list[Mapping[str, str]]:
        """Give what the environment of each process at once says: its GPU, if any."""
        return [
            {VISIBLE: self.gpus[k % len(self.gpus)]} if self.gpus else {}
            for k in range(min(self.n_at_once, n_works))
        ]
