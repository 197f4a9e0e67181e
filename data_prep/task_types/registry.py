"""All kinds of sub-tasks: those of the modules beside this one."""

import importlib
import pkgutil

from data_prep import task_types
from data_prep.task_types.base import TaskType

NO_KINDS = {"base", "number_column", "registry"}


def _discovered() -> dict[str, type[TaskType]]:
    names = {module.name for module in pkgutil.iter_modules(task_types.__path__)}
    modules = [
        importlib.import_module(f"{task_types.__name__}.{name}")
        for name in sorted(names - NO_KINDS)
    ]
    return {module.TASK_TYPE.name: module.TASK_TYPE for module in modules}


TASK_TYPES = _discovered()
