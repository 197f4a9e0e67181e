"""Tests of what padded pictures fill, on its way to the learners of the pretexts."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose

from data_prep.run_folders.runs import Finished
from pretext.data.keyed_rng import keys_of
from pretext.data.pictures import Normalisation, Pictures
from pretext.data.training_data import TrainingData, fill_frac_of
from pretext.diet import DietSettings
from pretext.dino import DinoSettings
from pretext.networks.backbones import build_backbone
from pretext.simsiam import SimSiamSettings
from pretext.swav import SwavSettings
from pretext.view_settings import ViewSettings
from pretext.visreg import VisRegSettings


def test_padded_pictures_fill_a_part_and_others_all() -> None:
    table = pd.DataFrame({"width": [400, 300, 7], "height": [100, 300, 14]})
    for fit in ("pad", "reflect", "white", "black"):
        assert_allclose(fill_frac_of(table, fit), [[1, 0.25], [1, 1], [0.5, 1]])
    for fit in ("squash", "crop"):
        assert_allclose(fill_frac_of(table, fit), np.ones((3, 2)))


@pytest.mark.parametrize(
    "settings",
    [
        *(SimSiamSettings(), DinoSettings(), VisRegSettings(), SwavSettings()),
        DietSettings(batch_size=2),
    ],
)
def test_pretexts_of_views_are_told(settings: ViewSettings) -> None:
    data = TrainingData(
        prepared=Finished(folder=None, record={}),  # type: ignore[arg-type]
        pictures=Pictures(np.zeros((4, 32, 32, 3), np.uint8)),
        keys=keys_of(list("abcd")),
        train_idx=np.arange(4),
        val_idx=np.arange(0),
        normalise=Normalisation((0.0,) * 3, (1.0,) * 3),
        fill_frac=np.full((4, 2), 0.5, np.float32),
    )
    torch.manual_seed(0)
    learner = settings.build_learner(build_backbone("test_resnet", 32), data)
    assert learner.fill_frac is data.fill_frac
