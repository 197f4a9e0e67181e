"""Where the numbers of a training go besides its CSV files: TensorBoard, and one more.

The stores are files of the run, and nothing leaves the machine:

* MLflow: ``mlflow.db``; to look at it: ``mlflow ui --backend-store-uri
  sqlite:///RUN/mlflow.db``
* Weights & Biases: ``wandb/``; to send it: ``wandb sync RUN/wandb/offline-run-*``

The run is the experiment or project there, and each training a run of that name. A
training that is resumed goes on with its run; steps made twice are there twice.
"""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pytorch_lightning.loggers import (
    Logger,
    MLFlowLogger,
    TensorBoardLogger,
    WandbLogger,
)

from data_prep.run_folders.drafts import write_text
from data_prep.settings import recorded
from pretext.settings import TrainingSettings

PARTIAL = ".partial"  # how the folder of an unfinished stage ends
# else they would tell their makers that they are used
SILENT = {"MLFLOW_DISABLE_TELEMETRY": "true", "WANDB_ERROR_REPORTING": "false"}
LOCK_WAIT_S = 60  # that a writer of the store waits for another


@contextmanager
def open_loggers(settings: TrainingSettings, folder: Path) -> Iterator[list[Logger]]:
    """Open what the numbers of a training go into, and write what is left at its end.

    Args:
        settings: How it is trained; MLflow and Weights & Biases keep them.
        folder: Folder of the stage or net.
    """
    loggers: list[Logger] = [TensorBoardLogger(folder / "logs", name="", version="")]
    if settings.logger != "none":
        loggers.append(_open(settings.logger, folder))
        loggers[-1].log_hyperparams(recorded(settings))
    try:
        yield loggers
    finally:
        for logger in loggers:
            if isinstance(logger, WandbLogger):  # it keeps a process for its file
                logger.experiment.finish()


def _open(kind: str, folder: Path) -> Logger:
    """Open the store that a user asked for, and the training's run in it."""
    os.environ.update({k: v for k, v in SILENT.items() if k not in os.environ})
    run, name = run_and_name(folder)
    run.mkdir(parents=True, exist_ok=True)
    id_file = folder / "logs" / f"{kind}_id.txt"
    run_id = id_file.read_text(encoding="utf-8") if id_file.exists() else ""
    logger = {"mlflow": _mlflow, "wandb": _wandb}[kind](run, name, run_id)
    write_text(id_file, str(logger.version))
    return logger


def run_and_name(folder: Path) -> tuple[Path, str]:
    """Give the folder of the run, and what the training is called in it.

    Outside of a stage that is being made, the folder itself is taken for the run.

    >>> run_and_name(Path("runs/leaves/transfer.finetune.partial/joint/fold0"))
    (PosixPath('runs/leaves'), 'transfer.finetune/joint/fold0')
    """
    for stage in (folder, *folder.parents):
        if stage.name.endswith(PARTIAL):
            path = folder.relative_to(stage.parent).as_posix()
            return stage.parent, path.replace(PARTIAL, "", 1)
    return folder, folder.name


def _mlflow(run: Path, name: str, run_id: str) -> Logger:
    """Open the MLflow store of the run, and a training's run in it; "" is a new one."""
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    folder = run.resolve()
    store = f"sqlite:///{folder / 'mlflow.db'}?timeout={LOCK_WAIT_S}"
    with _alone(run):  # two processes must not both make the tables
        client = MlflowClient(store)
        if client.get_experiment_by_name(folder.name) is None:
            artifacts = (folder / "mlruns").as_uri()
            client.create_experiment(folder.name, artifact_location=artifacts)
        try:
            if run_id:
                client.get_run(run_id)
        except MlflowException:  # of a store that was removed since
            run_id = ""
    return MLFlowLogger(
        experiment_name=folder.name,
        run_name=name,
        tracking_uri=store,
        run_id=run_id or None,
    )


def _wandb(run: Path, name: str, run_id: str) -> Logger:
    """Open an offline run of Weights & Biases in the folder of the run."""
    import wandb

    wandb_run = wandb.init(
        project=run.resolve().name,
        name=name,
        id=run_id or None,
        dir=run,
        mode="offline",
        resume="allow",
        reinit="create_new",
        settings=wandb.Settings(
            silent=True, console="off", save_code=False, disable_git=True
        ),
    )
    wandb_run.define_metric("*", step_metric="trainer/global_step", step_sync=True)
    return WandbLogger(experiment=wandb_run)


@contextmanager
def _alone(run: Path) -> Iterator[None]:
    """Wait until no other process of the run is in here."""
    with (run / ".mlflow.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
