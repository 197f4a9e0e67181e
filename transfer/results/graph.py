"""Nets, views and normalisation as one module that a graph is traced from.

Shapes: B pictures, S side of the input, F outputs of a task that are stored.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from data_prep.dihedral import apply_view
from transfer.networks.task_net import TaskNet


class AveragedNets(nn.Module):
    """Averages each task's outputs over the views, and over the nets that have it.

    Args:
        nets: All with the same side of their input.
        views: Names of the views.

    Attributes:
        tasks: Names of the outputs, in their order.
    """

    def __init__(self, nets: Sequence[TaskNet], views: Sequence[str]) -> None:
        super().__init__()
        self.nets, self.views = nn.ModuleList(nets), tuple(views)
        self.tasks = list(dict.fromkeys(task for net in nets for task in net.tasks))
        self.eval().to(memory_format=torch.contiguous_format)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Turn (B, 3, S, S) grey levels 0..255 into (B, F) outputs of each task.

        They are in the unit of the labels. Where float32 would lose labels that lie far
        from zero, they are float64.
        """
        n_views = len(self.views)
        stacked = torch.cat([apply_view(name, images) for name in self.views])
        by_task: dict[str, list[Tensor]] = {name: [] for name in self.tasks}
        for net in self.nets:
            assert isinstance(net, TaskNet)
            for name, values in net.predict(stacked).items():
                mean = values.view(n_views, -1, values.shape[1]).mean(dim=0)
                if any(net.origins[name]):
                    mean = mean + torch.tensor(net.origins[name], dtype=torch.float64)
                by_task[name].append(mean)
        return tuple(torch.stack(means).mean(dim=0) for means in by_task.values())


def metadata_of(configs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Say what the graph is, as JSON values; nets of one stage share nearly all."""
    tasks = {task["name"]: task for config in configs for task in config["tasks"]}
    return {
        "backbone": configs[0]["backbone"],
        "side_px": configs[0]["side_px"],
        "tasks": list(tasks.values()),
        "begun_from": configs[0]["begun_from"],
    }
