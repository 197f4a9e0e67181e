"""Tests of pretext.networks.trial: what a network costs on this machine."""

import torch
from torch import nn

from pretext.networks.trial import _kept_bytes, time_network


def test_what_is_kept_for_the_backward_pass_by_hand() -> None:
    network = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    images = torch.ones(16, 4)
    kept = 16 * 4 + 16 * 3  # the first input and what the ReLU gave, and no weights
    assert _kept_bytes(lambda: network(images).sum(), network) == 4 * kept


def test_a_network_is_timed_and_counted() -> None:
    speed = time_network("test_resnet", 32, threads=1, precision="fp32")
    assert min(speed.picture_s, speed.step_s, speed.view_s) > 0
    assert 300_000 < speed.n_weights < 500_000
    assert 1e5 < speed.kept_bytes < 1e7
    assert speed.free_bytes > 1e6
