"""What stages tell, or leave to the pipeline, while it runs them."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from data_prep.errors import UserError
from data_prep.settings import as_keys

WITHIN = "TESSERA_PIPELINE"  # in the environment, for stages that are processes


@contextmanager
def pipeline_at_work() -> Iterator[None]:
    """Let stages say nothing of stale ones: the pipeline makes those anew."""
    before = os.environ.get(WITHIN)
    os.environ[WITHIN] = "at work"
    try:
        yield
    finally:
        if before is None:
            del os.environ[WITHIN]
        else:
            os.environ[WITHIN] = before


def is_pipeline_at_work() -> bool:
    """Tell whether a pipeline runs what is asking."""
    return WITHIN in os.environ


@contextmanager
def told_in_keys(stage_settings: type[Any]) -> Iterator[None]:
    """Let a stage name its keys where it would name flags, which the pipeline lacks.

    Args:
        stage_settings: The class of its settings.

    Raises:
        UserError: That of the stage.
    """

    def in_keys(record: logging.LogRecord) -> bool:
        record.msg, record.args = as_keys(record.getMessage(), stage_settings), ()
        return True

    handlers = list(logging.getLogger().handlers)
    for handler in handlers:
        handler.addFilter(in_keys)
    try:
        yield
    except UserError as error:
        error.args = (as_keys(str(error), stage_settings),)
        raise
    finally:
        for handler in handlers:
            handler.removeFilter(in_keys)
