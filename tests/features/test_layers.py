"""Tests of the views, statistics and inner layers that may be extracted."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

from data_prep.dihedral import VIEW_SETS, VIEWS, apply_view
from data_prep.errors import UserError
from data_prep.run_folders.runs import Run
from features.layers import Layers, list_layers, pool_places
from features.store import open_store
from pretext.networks.backbones import build_backbone
from tests.prepared_runs import (
    elsewhere,
    extract,
    finetune,
    make_pretext,
    make_run,
    pixels_of,
    table_of,
)
from transfer.networks.task_net import load_net


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    run = make_run(tmp_path_factory.mktemp("run"), n_train=30, n_excluded=3)
    finetune(run, "--joint")
    return run


@pytest.mark.parametrize("name", VIEW_SETS)
def test_the_sets_of_views_are_groups(name: str) -> None:
    image = np.arange(9).reshape(3, 3)
    views = {apply_view(view, image).tobytes() for view in VIEW_SETS[name]}
    assert len(views) == len(VIEW_SETS[name])
    for first in VIEW_SETS[name]:
        for second in VIEW_SETS[name]:
            both = apply_view(second, apply_view(first, image))
            assert both.tobytes() in views
    assert VIEW_SETS[name][0] == "e"


@pytest.mark.parametrize("name", ["e", "flip", "c4"])
def test_fewer_views_are_those_of_all_eight(trained: Run, name: str) -> None:
    extract(trained)
    folder = trained.folder / "features.extract"
    whole = open_store(folder / "views/onehot.oof.pkl")
    values, ids = whole.matrix(), whole.ids
    extract(trained, f"--views={name}")
    some, pooled = (
        open_store(folder / file) for file in ("views/onehot.oof.pkl", "features.pkl")
    )
    assert some.header["views"] == pooled.header["pooled_over"] == [*VIEW_SETS[name]]
    assert some.ids == ids
    inside = [VIEWS.index(view) for view in VIEW_SETS[name]]
    assert_allclose(some.values, values[:, inside], rtol=1e-4, atol=1e-5)
    frame = pooled.frame()
    assert ("onehot_0__var" in frame) == (name != "e")  # of one view: the mean alone
    if name != "e":
        assert (frame["onehot_0__var"] > 0).all()


def test_statistics_by_name(trained: Run) -> None:
    extract(trained, "--statistics=identity,median,std")
    folder = trained.folder / "features.extract"
    frame = open_store(folder / "features.pkl").frame()
    assert [*frame.columns[:4]] == [
        *("target__identity", "target__median", "target__std", "onehot_0__identity"),
    ]
    views = open_store(folder / "views/target.oof.pkl")
    ids = [*views.ids]
    target = views.matrix()[:, :, 0].astype(np.float64)
    assert_array_equal(frame.loc[ids, "target__identity"], views.matrix()[:, 0, 0])
    assert_allclose(frame.loc[ids, "target__median"], np.median(target, 1), rtol=1e-5)
    assert_allclose(frame.loc[ids, "target__std"], target.std(1), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("pooling", ["avg", "gem"])
def test_layers_of_fold_nets_have_a_store_and_a_space_each(
    trained: Run, pooling: str
) -> None:
    flags = ("--layer=layer2,layer3.0", f"--layer-pool={pooling}", "--statistics=mean")
    extract(trained, *flags, "--overwrite")
    folder = trained.folder / "features.extract"
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.pkl")) == [
        f"nets/fold{k}.pkl" for k in range(3)
    ]
    table, pixels = table_of(trained), pixels_of(trained)
    spaces = set()
    for fold in range(3):
        store = open_store(folder / f"nets/fold{fold}.pkl")
        is_own = (table["fold"] == fold) | (table["split"] != "train")
        assert store.ids == tuple(sorted(table["id"][is_own]))
        assert set(store.roles) == {"oof", "test"}
        (space,) = {column["space"] for column in store.header["columns"]}
        assert space == store.header["nets"][0]["digest"]
        spaces.add(space)
        place = trained.folder / f"transfer.finetune/joint/fold{fold}"
        net, _ = load_net(place / "weights.safetensors")
        theirs = by_hand(net, pixels[is_own], pooling)
        assert store.values.shape == theirs.shape
        order = np.argsort(table["id"][is_own].to_numpy())
        assert_allclose(store.values, theirs[order], rtol=2e-3, atol=2e-4)
    assert len(spaces) == 3
    assert store.columns[0] == "layer2_0__mean"
    assert store.columns[-1].startswith("layer3_0_")


def by_hand(net: nn.Module, pixels: np.ndarray, pooling: str) -> np.ndarray:
    """Go through the backbone's children one by one, view by view."""
    backbone = net.get_submodule("backbone")
    rows = []
    with torch.no_grad():
        for picture in pixels:
            views = [apply_view(view, picture, axes=(0, 1)) for view in VIEWS]
            images = np.stack([view.transpose(2, 0, 1) for view in views])
            inputs = net.normalise(torch.from_numpy(images))  # type: ignore[operator]
            maps = []
            for name, child in backbone.named_children():
                if name == "layer3":
                    maps.append(child[0](inputs))  # type: ignore[index]
                    break
                inputs = child(inputs)
                if name == "layer2":
                    maps.append(inputs)
            if pooling == "avg":
                parts = [m.mean(dim=(2, 3)) for m in maps]
            else:
                cubes = [(m.clamp(min=1e-6) ** 3).mean(dim=(2, 3)) for m in maps]
                parts = [cube ** (1 / 3) for cube in cubes]
            rows.append(torch.cat(parts, dim=1).mean(dim=0).numpy())
    return np.array(rows)


def test_stacking_refuses_inner_layers(trained: Run) -> None:
    from stacking import fit

    extract(trained, "--layer=layer4", "--statistics=mean", "--overwrite")
    with (
        elsewhere(trained),
        pytest.raises(UserError, match=r"are inner layers .--layer"),
    ):
        fit.main([f"--run={trained.folder}"])


def test_layers_of_separate_nets_carry_the_name_of_their_net(tmp_path: Path) -> None:
    run = make_run(tmp_path, words=0, dates=False)
    finetune(run)
    extract(run, "--layer=layer4", "--statistics=mean")
    store = open_store(run.folder / "features.extract/nets/fold0.pkl")
    assert store.columns[0] == "target_layer4_0__mean"
    assert store.columns[-1].startswith("onehot_layer4_")
    assert len({column["space"] for column in store.header["columns"]}) == 2


@pytest.mark.parametrize("backbone", ["test_resnet", "test_vit"])
def test_layers_of_a_pretext_are_label_free(tmp_path: Path, backbone: str) -> None:
    run = make_run(tmp_path, n_folds=0, target=None, dates=False, words=0, n_train=4)
    make_pretext(run, backbone)
    layer = "layer3" if backbone == "test_resnet" else "blocks.1"
    folder = extract(run, "--source=pretext.jigsaw", f"--layer={layer}")
    store = open_store(folder / "features.pkl")
    assert [p.name for p in folder.rglob("*.pkl")] == ["features.pkl"]
    assert set(store.roles) == {"label_free"}
    assert store.columns[0] == f"{layer.replace('.', '_')}_0__mean"


def test_pooling_over_places_by_hand() -> None:
    map_ = torch.tensor([[[[1.0, 3.0], [5.0, -7.0]], [[0.0, 0.0], [0.0, 4.0]]]])
    assert pool_places(map_, "avg").tolist() == [[0.5, 1.0]]
    gem = pool_places(map_, "gem")[0].tolist()
    assert gem == pytest.approx([(153 / 4) ** (1 / 3), (64 / 4) ** (1 / 3)], rel=1e-5)
    tokens = map_.flatten(2).transpose(1, 2)
    for pooling in ("avg", "gem"):
        expected = pool_places(map_, pooling)
        assert torch.equal(pool_places(tokens, pooling), expected)
        assert torch.equal(
            pool_places(map_.permute(0, 2, 3, 1), pooling, True), expected
        )
        assert torch.equal(pool_places(expected, pooling), expected)


def test_the_layers_are_listed(trained: Run, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert extract(trained, "--layers") == trained.folder
    rows = dict(record.message.split(None, 1) for record in caplog.records)
    assert {"conv1", "layer1", "layer4", "layer4.0"} <= rows.keys()
    backbone = build_backbone("test_resnet", 32)
    names = [name for name, _ in list_layers(backbone, 32)]
    asked = Layers(backbone.eval(), ["layer4"], "avg", 32)
    assert rows["layer4"].split(" x ")[0] == str(asked.widths[0])
    assert "" not in names
    for name, module in backbone.named_modules():
        assert len(module._forward_hooks) == (name == "layer4")


def test_layers_that_are_none(trained: Run) -> None:
    with pytest.raises(UserError, match=r"layer = 'layr3': did you mean 'layer3'"):
        extract(trained, "--layer=layr3")
    with pytest.raises(UserError, match=r"statistic 'avg': .*mean"):
        extract(trained, "--statistics=mean,avg")

    class HalfUsed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.used(images)
            return found

    with pytest.raises(UserError, match=r"layer = 'idle' is not used by the network"):
        Layers(HalfUsed(), ["idle"], "avg", 8)


# Pictures that fail


def test_what_is_no_number_is_among_the_failures(
    trained: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from features import passes

    whole = extract(trained, "--overwrite")
    before = open_store(whole / "features.pkl")
    values = {id_: before[id_].copy() for id_ in before}
    table = table_of(trained)
    victims = [
        str(table["id"][table["fold"] == 1].iloc[2]),
        str(table["id"][table["split"] == "test"].iloc[1]),
    ]
    marked = pixels_of(trained)[table["id"].isin(victims).to_numpy()]
    original = passes.views_of

    def spoilt(images: torch.Tensor, names: tuple[str, ...]) -> torch.Tensor:
        views = original(images, names).float()
        for number, image in enumerate(images.permute(0, 2, 3, 1).numpy()):
            if any((image == one).all() for one in marked):
                views[number * len(names) + 3] = torch.nan  # one of its views
        return views

    monkeypatch.setattr(passes, "views_of", spoilt)
    folder = extract(trained, "--overwrite")
    store = open_store(folder / "features.pkl")
    assert set(before.ids) - set(store.ids) == set(victims)
    failures = store.header["failures"]
    assert failures.keys() == set(victims)
    assert failures[victims[0]] == "outputs of the nets of fold 1 are not finite"
    assert store.header["n_expected"] == len(before)
    for id_ in store:
        assert_array_equal(store[id_], values[id_])
    assert "2 pictures failed: features.inspect says why" in caplog.text
    assert victims[0] not in open_store(folder / "views/date.oof.pkl")
    test_views = open_store(folder / "views/date.test.fold0.pkl")
    assert victims[1] not in test_views
    assert test_views.header["failures"].keys() == {victims[1]}


def test_pictures_that_could_not_be_read_are_among_the_failures(tmp_path: Path) -> None:
    run = make_run(tmp_path, words=0)
    lost = run.folder / "data_prep.prepare" / "left_out.csv"
    lost.write_text("id,file,reason\nx1,x1.jpg,cannot be decoded\n0007,,no picture\n")
    finetune(run, "--joint")
    store = open_store(extract(run) / "features.pkl")
    assert store.header["failures"] == {
        "x1": "cannot be decoded",
        "0007": "no picture",
    }
    assert store.header["n_expected"] == len(store) + 2
