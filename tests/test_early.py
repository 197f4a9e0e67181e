"""What settings and tables decide is told before the first stage, while a run is empty.

What has to wait, and for what, is listed in ``test_late_refusals``.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import pipeline
from data_prep.chain import LEARNING
from data_prep.effort import NetworkSpeed
from data_prep.errors import UserError
from data_prep.experiment import DataSettings, Experiment
from data_prep.outlook import Outlook
from data_prep.prepare_settings import PrepareSettings
from data_prep.prepared import PREPARED
from data_prep.rows import with_folds
from data_prep.run_folders.runs import Run
from data_prep.settings import recorded
from pretext.jigsaw import JigsawSettings
from pretext.networks import trial
from stacking.settings import FitSettings
from tests.prepared_runs import make_run
from transfer.settings import FinetuneSettings

Tables = dict[str, dict[str, Any]]

SPEED = NetworkSpeed(
    picture_s=0.01,
    step_s=0.1,
    view_s=0.005,
    n_weights=11_000_000,
    kept_bytes=1e6,
    free_bytes=1e10,
)
BASE: Tables = {
    "data": {
        "images": "pictures",
        "train": "train.csv",
        "test": "test.csv",
        "target": "target",
    },
    "data_prep.prepare": {"side": 32, "cv": "skfold3", "workers": 1},
    "transfer.finetune": {"batch_size": 8, "init": "scratch"},
}


def collect(folder: Path, n_train: int = 48, n_test: int = 6) -> None:
    """Write tables, and names of pictures: nobody may open one."""
    ids = [f"p{k:03d}" for k in range(n_train + n_test)]
    (folder / "pictures").mkdir(parents=True)
    (folder / "labelled").mkdir()
    for number, id_ in enumerate(ids):
        (folder / "pictures" / f"{id_}.png").touch()
        if number < n_train:
            (folder / "labelled" / f"{id_}.png").touch()
    k = np.arange(n_train)
    train = {
        "id": ids[:n_train],
        "target": k % 4,
        "name": np.array(list("abcd"))[k % 4],
        "year": 1900 + k,
        "real": k / 7,
        "g": [f"g{j % 3}" for j in k],
        "pairs": [f"g{j % 24}" for j in k],
        "of_pair": k % 24 / 7,
        "same": "x",
        "rare": [f"r{j}" for j in k],
        "size": k * 1.5,
        "seven": 7,
        "blank": [1, 2, *[None] * (n_train - 2)],
    }
    pd.DataFrame(train).to_csv(folder / "train.csv", index=False)
    pd.DataFrame(train)[:15].to_csv(folder / "few.csv", index=False)
    names = {"id": ids[:n_train], "name": [f"n{j % 24}" for j in k]}
    pd.DataFrame(names).to_csv(folder / "names.csv", index=False)
    test = {"id": ids[n_train:], "size": "wide", "year": 1950}
    pd.DataFrame(test).to_csv(folder / "test.csv", index=False)


def write(folder: Path, changes: Tables) -> Path:
    """Write an experiment: the base, with tables and keys changed; None takes out."""
    names = list(dict.fromkeys([*BASE, *changes]))
    lines = []
    for name in names:
        table = BASE.get(name, {}) | changes.get(name, {})
        lines.append(f"[{name}]")
        lines += [f"{k} = {json.dumps(v)}" for k, v in table.items() if v is not None]
    file = folder / "leaves.toml"
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


def fit(**keys: Any) -> Tables:
    return {"stacking.fit": keys}


def tune(**keys: Any) -> Tables:
    return {"transfer.finetune": keys}


def data(**keys: Any) -> Tables:
    return {"data": keys}


def source(name: str, **keys: Any) -> Tables:
    return {"features.extract": {"source": name, **keys}}


def listed(*stages: str) -> Tables:
    return {"pipeline": {"stages": ["data_prep.prepare", *stages]}}


def search(**keys: Any) -> Tables:
    return {"transfer.tune": keys} | listed("transfer.tune")


JIGSAW = tune(init="pretext.jigsaw")
DISTILL = listed("transfer.finetune", "transfer.distill") | {
    "transfer.distill": {"batch_size": 8, "init": "scratch"}
}
LABEL_FREE = listed("pretext.jigsaw", "features.extract", "stacking.fit") | {
    "features.extract": {"source": "pretext.jigsaw"},
    "pretext.jigsaw": {"batch_size": 8},
}
READY = listed("features.extract", "stacking.fit")
ALONE = data(train=None, test=None, target=None)
OBJECTS = data(object="pairs", target="of_pair", test=None) | {
    "data_prep.prepare": {"cv": "sgkfold3"}
}
PAGES: Tables = {"data_prep.prepare": {"page": "all", "cv": "sgkfold3"}}
MISTAKES: list[tuple[Tables, str]] = [
    # the stack
    (fit(metric="auc"), r"metric = 'auc' does not fit a target of numbers; give one"),
    (fit(metric="logloss"), r"metric = 'logloss': did you mean 'log_loss'"),
    (fit(metric="rmse") | data(target="name"), r"'rmse' does not fit a target of cl"),
    (fit(metric="accuracy") | data(target="real"), r"of numbers without classes"),
    (
        fit(stackers=["ridge", "cnn1d"]) | OBJECTS,
        r"'cnn1d' reads the views of one picture, and \[data\] object makes a row",
    ),
    (
        OBJECTS | {"features.extract": {"statistics": ["mean", "median"]}},
        r"the median over all pictures of an object cannot be had from the median",
    ),
    (
        fit(stackers=["ridge", "cnn1d"]) | PAGES,
        r"'cnn1d' reads the views of one picture, and page = 'all' of \[data_prep",
    ),
    (
        PAGES | {"features.extract": {"statistics": ["mean", "median"]}},
        r"the median over all pictures of an object cannot be had from the median",
    ),
    (
        {"data_prep.prepare": {"page": "all"}},
        r"cv = 'skfold3' would tear the pages of a file apart \(page = 'all'\); set cv",
    ),
    (
        {"data_prep.prepare": {"page": "every"}},
        r"page = 'every': there are: all, first",
    ),
    (
        data(object="pairs"),
        r"cv = 'skfold3' would tear the objects of column 'pairs' apart; set cv = 'sgk",
    ),
    (
        data(object="g", target="real") | {"data_prep.prepare": {"cv": "sgkfold3"}},
        r"3 objects have several labels \('g0' of column 'g' has 0 and 0\.",
    ),
    (fit(postprocess=["roundd"]), r"postprocess = 'roundd': did you mean 'round'"),
    (
        fit(postprocess=["round"]) | data(target="name"),
        r"postprocess = 'round' needs class prob",
    ),
    (
        fit(postprocess=["round"]) | tune(tasks=["target"]),
        r"postprocess = 'round' needs class prob",
    ),
    (
        fit(postprocess=["blend"]) | tune(tasks=["onehot"]),
        r"postprocess = 'blend' needs a regression",
    ),
    (
        fit(postprocess=["blend"]) | LABEL_FREE,
        r"postprocess = 'blend' needs a regression",
    ),
    (
        fit(postprocess=["thresholds"]),
        r"postprocess = 'thresholds' needs a metric of ordered classes",
    ),
    (fit(stackers=["lgbm"]), r"stackers = 'lgbm': did you mean 'lightgbm'"),
    (fit(columns=["width_cm"]), r"no column 'width_cm'; did you mean 'width'"),
    (fit(columns=["id"]), r"columns = 'id' is \[data\] id, which nothing is learned"),
    (fit(columns=["target"]), r"columns = 'target' is \[data\] target, which nothing"),
    (fit(columns=["name"]), r"column 'name' is empty in all 6 rows to predict"),
    (fit(columns=["same"]), r"column 'same' is 'x' in all 48 rows"),
    (fit(columns=["rare"]), r"column 'rare' has 48 texts and none in 5 rows"),
    (fit(columns=["size"]), r"column 'size': 6 of 6 values are no finite number"),
    (fit(test_nets="all"), r"test_nets = 'all': no net saw every label; train one"),
    (fit(test_nets="all") | LABEL_FREE, r"test_nets = 'all': no net saw every lab"),
    (fit(test_nets="all", stackers=["cnn1d"]), r"test_nets = 'all' and cnn1d"),
    (fit(test_nets="all", also=["a"]), r"also and test_nets = 'all'"),
    (fit(also=["a"], stackers=["cnn2d"]), r"also and cnn2d"),
    (fit(also=["a"], protocol="insample"), r"also and protocol = 'insample'"),
    (fit(also=["runs/nowhere"]), r"also = '.*runs/nowhere': there is no such run"),
    (fit(also=["run"]), r"also = '.*run' is the run itself"),
    (fit(also=["b.toml"]), r"also = '.*b\.toml': there is no such experiment file"),
    (fit(cv="skfold5"), r"cv = 'skfold5': the run's folds are skfold3"),
    (fit(cv="xfold3"), r"cv = 'xfold3': give kfold, skfold"),
    (fit(cv="sgkfold3") | LABEL_FREE, r"cv = 'sgkfold3' keeps groups, but"),
    (fit(cv="kfold30") | LABEL_FREE, r"cv = 'kfold30': 48 rows leave a fold with on"),
    (fit(protocol="insample") | LABEL_FREE, r"protocol = 'insample': the features"),
    (fit(protocol="insample", tune=3), r"tune and protocol = 'insample'"),
    (fit(protocol="insample"), r"set insample = true in \[features.extract\]"),
    (
        fit() | {"features.extract": {"layer": ["layer3"]}},
        r"\[features.extract\] layer = 'layer3': inner layers",
    ),
    (
        fit() | {"features.extract": {"shard": "0/2"}},
        r"\[features.extract\]: with shard the stage makes nothing that stacking.fit",
    ),
    (
        LABEL_FREE | {"pretext.jigsaw": {"keep": "best-probe", "batch_size": 8}},
        r"\[pretext.jigsaw\] keep = 'best-probe': a probe of the labels",
    ),
    (tune(folds=[0, 2]), r"\[transfer.finetune\] folds = 0,2: no net holds out fold 1"),
    (data(train="few.csv"), r"15 rows have a target and a fold; give 20 or more"),
    (data(target=None, date="year"), r"there is no target to predict"),
    (
        data(group="g") | {"data_prep.prepare": {"cv": "sgkfold3"}},
        r"\[stacking.fit\]: cv = 'sgkfold3': 3 groups leave a fold with one",
    ),
    (
        {"data_prep.prepare": {"cv": "gkfold3"}},
        r"\[data_prep.prepare\]: cv = 'gkfold3' keeps groups together, but",
    ),
    (data(group="pairs"), r"\[data_prep.prepare\]: cv = 'skfold3' would tear the gro"),
    ({"data_prep.prepare": {"cv": "skfold30"}}, r"cv = 'skfold30': 48 rows leave a f"),
    # which way up
    (
        tune(turns=False),
        r"\[features.extract\]: views = 'd4', but the nets of transfer.finetune wer",
    ),
    (
        data(up=True) | tune(turns=True),
        r"\[transfer.finetune\]: turns = true, but \[data\] up = true",
    ),
    (
        data(up=False) | listed("pretext.rotation"),
        r"\[pretext.rotation\]: the task is to tell which way up a picture is, but",
    ),
    # the transfer
    (tune(init="pretext.jigsawl"), r"init = 'pretext.jigsawl' is no pretext stage"),
    (tune(init="pretext.probe"), r"init = 'pretext.probe' is no pretext stage"),
    (tune(init="gone.safetensors"), r"gone.safetensors': there is no such file or"),
    (tune(init="weights/gone"), r"init = 'weights/gone': there is no such file or f"),
    (tune(init="bare.safetensors"), r"bare.safetensors': no JSON beside it names its"),
    (tune(init="labelled"), r"labelled: there is no model.safetensors or pytorch_mo"),
    (
        tune(init="timm:resnet18", backbone="resnet34"),
        r"init = 'timm:resnet18': weights of 'resnet18', not of 'resnet34'",
    ),
    (tune(init="torn.safetensors"), r"torn.json: not what stands beside weights"),
    (tune(init="list.safetensors"), r"list.json: this does not say what"),
    (
        tune(init="net.safetensors"),
        r"net.safetensors: these are not the weights of a b",
    ),
    (
        tune(init="back.safetensors", backbone="resnet34"),
        r"init = 'back.safetensors': weights of 'resnet18', not of 'resnet34'; set b",
    ),
    (
        JIGSAW
        | {"pretext.jigsaw": {"batch_size": 8}}
        | tune(init="pretext.jigsaw", backbone="resnet18"),
        r"init = 'pretext.jigsaw': weights of 'resnet34', not of 'resnet18'; set bac",
    ),
    (READY | source("no/such"), r"source = 'no/such': there is no such file or folder"),
    (READY | source("bare.safetensors"), r"source = 'bare.safetensors': no JSON besid"),
    (
        {"features.extract": {"backbone": "resnet18"}},
        r"backbone = 'resnet18': transfer.finetune has a network of its own",
    ),
    (tune(folds=["7"]), r"folds = '7': give some of 0, 1, 2, all"),
    (
        tune(folds=["all"])
        | data(test=None, images="labelled")
        | listed("transfer.finetune", "features.extract"),
        r"folds = all: its net holds out no row",
    ),
    (tune(tasks=["dates"]), r"tasks = 'dates': no such task"),
    (search(fold=3), r"fold = 3: give 0 to 2"),
    (search(task="targt"), r"task = 'targt': no such task; did you mean 'target'"),
    (search() | tune(batch_size=60), r"batch_size = 60, but target has only 48 label"),
    (search() | tune(init="gone.safetensors"), r"gone.safetensors': there is no such"),
    (search() | data(train=None, target=None, test=None), r"the run has no folds, so"),
    ({"tasks.x": {"kind": "classes", "column": "nam"}}, r"leaves.toml \[tasks.x\]: th"),
    ({"tasks.x": {"kind": "date", "column": "name"}}, r"\[tasks.x\]: kind = 'date'"),
    ({"tasks.x": {"kind": "words"}}, r"\[tasks.x\]: \[data\] names no attributes"),
    ({"tasks.x": {"kind": "classes", "column": "rare"}}, r"\[tasks.x\]: 0 of its cl"),
    ({"tasks.x": {"kind": "ordinal", "column": "name"}}, r"\[tasks.x\]: names such as"),
    (
        {
            "tasks.x": {
                "kind": "ordinal",
                "column": "name",
                "grades": ["a", "b", "c", "e"],
            }
        },
        r"\[tasks.x\]: grades: there is no 'e'; ",
    ),
    (
        {"tasks.x": {"kind": "classes", "class_weights": ["4=2"]}},
        r"\[tasks.x\]: class_weights: there is no class '4'",
    ),
    (
        {"tasks.x": {"kind": "regression", "column": "seven"}},
        r"\[tasks.x\], column 'seven': all 48 lab",
    ),
    (
        {"tasks.x": {"kind": "regression", "column": "blank"}},
        r"\[tasks.x\], column 'blank': 2 of its r",
    ),
    ({"tasks.x": {"kind": "regression", "bins": 9}}, r"\[tasks.x\]: bins = 9: give 10"),
    (
        data(attributes=["names.csv"]) | {"tasks.x": {"kind": "tags"}},
        r"\[tasks.x\]: no name of \[data\] attributes is on 20 of the 48 labelled",
    ),
    (tune(batch_size=40), r"batch_size = 40, but target has only 32 labelled"),
    (tune(batch_size=8, accumulate=5), r"batch_size = 8 x accumulate = 5, but target"),
    (tune(unfreeze_after=2), r"unfreeze_after = 2: nothing is frozen, as train = 'all"),
    (tune(columns=["sise"]), r"columns: there is no column 'sise'; did you mean 'siz"),
    (tune(columns=["target"]), r"columns = 'target' is \[data\] target, which nothing"),
    (data(date="year") | tune(columns=["year"]), r"is \[data\] date; write 'date' for"),
    (tune(columns=["g"]), r"column 'g' is empty in all 6 rows to predict; fill it in"),
    (
        {"tasks.x": {"kind": "regression", "column": "year"}} | tune(columns=["year"]),
        r"columns = 'year' is what \[tasks.x\] learns; take it out of columns",
    ),
    (tune(mix="cutmx"), r"mix = 'cutmx': did you mean 'cutmix'"),
    (tune(mix="mixup", mix_share=1.5), r"mix_share = 1.5: give above 0, at most 1"),
    (tune(mix="mixup", batch_size=1), r"batch_size = 1: give 2 or more"),
    (tune(mix_alpha=0.4), r"mix_alpha = 0.4 is for mixed pictures, but mix = 'none'"),
    (tune(mix="mixup", mix_last_plain=30), r"mix_last_plain = 30, but the training h"),
    (
        tune(mix="snapmix", head_width=8),
        r"mix = 'snapmix' reads maps of classes off linear heads, but head_width = 8",
    ),
    (
        tune(mix="snapmix"),
        r"each net has to learn classes alone, and 'target' learns regression",
    ),
    (
        tune(mix="snapmix", backbone="test_vit")
        | {"tasks.x": {"kind": "classes", "column": "name"}},
        r"reads maps of classes off a network whose .* those of 'test_vit' are not",
    ),
    (
        tune(mix="cmixup") | {"tasks.x": {"kind": "classes", "column": "name"}},
        r"mix = 'cmixup' pairs pictures by a number, and net 'x' learns none",
    ),
    (
        tune(mix="mixup", mix_share=1.0)
        | {"tasks.x": {"kind": "regression", "ranksim": 1.0}},
        r"\[tasks.x\]: ranksim compares plain pictures alone, and mix_share = 1 leaves",
    ),
    (
        tune(devices=2) | {"tasks.x": {"kind": "regression", "ranksim": 1.0}},
        r"\[tasks.x\] has ranksim, which compares all pictures .* but 2 devices share",
    ),
    (
        tune(mix="snapmix", devices=2, sync_batchnorm=True)
        | {"tasks.x": {"kind": "classes", "column": "name"}},
        r"mix = 'snapmix' sends some parts of a batch .* sync_batchnorm = true takes",
    ),
    (
        {"tasks.x": {"kind": "classes", "column": "name", "t1": 0.5}},
        r"\[tasks.x\]: t1 = 0.5 is for loss = 'bi_tempered' alone, not 'cross_entropy'",
    ),
    (tune(final_scale=1.5), r"final_scale = 1.5 makes views of 48 px"),
    (tune(keep_pretext=0.3), r"keep_pretext = 0.3 goes on .*, but init = 'scratch'"),
    (tune(patience=3), r"patience = 3 waits for a better score, but select = 'last'"),
    (tune(select="fold", all=True), r"select = 'fold', but the net of all rows holds"),
    (tune(devices=3), r"batch_size = 8 is shared by devices = 3"),
    (tune(devices=2, jobs=2), r"devices = 2 share one net"),
    (tune(pseudo_labels="nowhere"), r"pseudo_labels = '.*nowhere': there is no such"),
    (tune(pseudo_labels="run"), r"pseudo_labels = '.*run' is the run itself, whose"),
    (tune(pseudo_weight=0.5), r"pseudo_weight = 0.5 is for what a teacher labels, an"),
    (tune(pseudo_weight=1.5), r"pseudo_weight = 1.5: give above 0, at most 1"),
    (tune(pseudo_min_confidence=1.0), r"pseudo_min_confidence = 1.0: give 0 to below"),
    (tune(augment="heavy"), r"augment = 'heavy'"),
    (tune(rand_magnitude=5), r"rand_magnitude = 5 is for augment = 'randaugment', but"),
    (tune(augment="randaugment", rand_magnitude=31), r"rand_magnitude = 31"),
    (tune(optimizer="sam"), r"optimizer = 'sam': no such optimiser; SAM goes over any"),
    (DISTILL | tune(select="fold"), r"the epochs of its nets were chosen on the folds"),
    (
        DISTILL | tune(folds=["0"]),
        r"\[transfer.finetune\] folds = 0: a net of each fol",
    ),
    (tune(average_epochs=31), r"average_epochs = 31, but there are only 30 epochs"),
    (
        ALONE | listed("transfer.finetune"),
        r"the tables give nothing to learn|the run has no folds",
    ),
    # the pretexts
    (JIGSAW, r"\[pretext.jigsaw\]: batch_size = 64, but the collection has only 51"),
    (
        JIGSAW | {"pretext.jigsaw": {"batch_size": 52, "inductive": True}},
        r"batch_size = 52, but the collection has only 46",
    ),
    (
        JIGSAW | {"pretext.jigsaw": {"batch_size": 8, "held_out": 0.9}},
        r"batch_size = 8, but the collection has only 5 pictures to train on",
    ),
    (JIGSAW | {"pretext.jigsaw": {"side": 20}}, r"side = 20 gives tiles of 6 px"),
    (JIGSAW | {"data_prep.prepare": {"side": 16}}, r"pictures of 16 px give tiles of"),
    (JIGSAW | {"pretext.jigsaw": {"side": 128}}, r"whole pictures are stored at 32 px"),
    (
        ALONE
        | listed("pretext.jigsaw")
        | {"pretext.jigsaw": {"keep": "best-probe", "batch_size": 8}},
        r"keep = 'best-probe' chooses by labels",
    ),
    (listed("pretext.probe"), r"there is no pretext stage to probe"),
    (
        listed("pretext.probe") | {"pretext.probe": {"weights": ["jigsaw"]}},
        r"weights = 'jigsaw' is no pretext stage",
    ),
    (
        listed("pretext.probe") | {"pretext.probe": {"weights": ["no.safetensors"]}},
        r"weights = 'no.safetensors': there is no such file",
    ),
    (
        listed("pretext.probe") | {"pretext.probe": {"weights": ["bare.safetensors"]}},
        r'bare.safetensors.: no JSON .*; write {"architecture": "NAME"} into bare',
    ),
    (
        ALONE
        | listed("pretext.jigsaw", "pretext.probe")
        | {"pretext.jigsaw": {"batch_size": 8}},
        r"no folds to probe by",
    ),
    # the order
    (
        JIGSAW | {"pretext.jigsaw": {"find_lr": True}},
        r"\[pretext.jigsaw\]: with find_lr the stage makes nothing that transfer.fin",
    ),
    (tune(find_lr=True), r"with find_lr the stage makes nothing that features.extrac"),
    ({"features.extract": {"layers": True}}, r"with layers the stage makes nothing"),
    ({"stacking.noise": {"shar": 0.1}}, r"\[stacking.noise\]: unknown key 'shar'"),
    (listed("stacking.fit", "features.extract"), r"stacking.fit reads features.extrac"),
    (
        fit(protocol="insample")
        | {"features.extract": {"insample": True}}
        | listed(*LEARNING, "stacking.noise"),
        r"\[stacking.fit\]: with protocol = 'insample' the stage makes nothing",
    ),
    (
        JIGSAW | {"pretext.jigsaw": {"init": "pretext.jigsaw"}},
        r"\[pretext.jigsaw\]: it would begin from itself",
    ),
    (listed("features.extract"), r"reads transfer.finetune, which is not finished"),
    (
        listed("pretext.simsiam", "transfer.finetune") | tune(init="pretext.dino"),
        r"transfer.finetune reads pretext.dino, which is not finished",
    ),
    (listed("stacking.predict"), r"stacking.predict is a command and no stage"),
]
# Told by libraries, which take seconds to load.
OF_LIBRARIES: list[tuple[Tables, str]] = [
    (
        tune(backbone="resnet-18"),
        r"'resnet-18': timm has no such network; did you mean",
    ),
    (tune(backbone="resnet18.nope"), r"backbone = 'resnet18.nope': Invalid pretrained"),
    (tune(init="timm:resnet-18"), r"'resnet-18': timm has no such network; did you"),
    (
        tune(init="code.pth", backbone="test_resnet"),
        r"code.pth: a pickle of more than tensors, which may run any code, is not read",
    ),
    (
        tune(init="misfit.pth", backbone="test_resnet"),
        r"misfit.pth: does not fit 'test_resnet': 90 tensors missing",
    ),
    (
        READY | source("misfit.pth", backbone="test_resnet"),
        r"\[features.extract\]: misfit.pth: does not fit 'test_resnet'",
    ),
    (tune(optimizer="adamm"), r"optimizer = 'adamm': no such optimiser; did you mean"),
    (
        tune(backbone="test_resnet", train="layr3"),
        r"train = 'layr3': test_resnet has no such part; did you mean 'layer",
    ),
    (
        tune(backbone="test_resnet", train="last-9", unfreeze_after=1),
        r"train = 'last-9': test_resnet has 5 layers; give last-5",
    ),
    (tune(num_nodes=2), r"num_nodes = 2, but torchrun did not start this"),
    (
        tune(backbone="test_vit3", side=32, final_scale=1.5)
        | {"data_prep.prepare": {"side": 64}},
        r"final_scale = 1.5: test_vit3 takes pictures of one size only",
    ),
    (
        tune(init="pretext.simsiam", side=32)
        | {"data_prep.prepare": {"side": 64}}
        | {"pretext.simsiam": {"backbone": "test_vit", "batch_size": 8}},
        r"init = 'pretext.simsiam' trains 'test_vit' on 64 px, and its weights do not",
    ),
    (
        tune(init="pretext.dino")
        | {"data_prep.prepare": {"side": 64}}
        | {"pretext.dino": {"backbone": "test_vit", "batch_size": 8}},
        r"local_crops = \d+: this backbone takes no views of",
    ),
    (
        tune(backbone="test_resnet")
        | {"features.extract": {"layer": ["layer9"]}}
        | listed("transfer.finetune", "features.extract"),
        r"layer = 'layer9': did you mean 'layer",
    ),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tables, names of pictures, and files that pass for weights."""
    place = tmp_path_factory.mktemp("place")
    collect(place)
    notes = {
        "torn": "{",
        "list": "[]",
        "net": '{"backbone": "resnet18", "tasks": []}',
        "back": '{"backbone": "resnet18"}',
    }
    torch.save({"a": torch.zeros(1)}, place / "misfit.pth")
    torch.save({"a": Path("a")}, place / "code.pth")
    for name in ("bare", *notes):
        (place / f"{name}.safetensors").touch()
    for name, text in notes.items():
        (place / f"{name}.json").write_text(text)
    return place


@pytest.mark.parametrize(("changes", "message"), [*MISTAKES, *OF_LIBRARIES])
def test_a_mistake_is_told_before_the_first_stage(
    place: Path, monkeypatch: pytest.MonkeyPatch, changes: Tables, message: str
) -> None:
    monkeypatch.chdir(place)
    shutil.rmtree(place / "run", ignore_errors=True)
    (place / "run").mkdir()
    with pytest.raises(UserError, match=message) as caught:
        pipeline.main([str(write(place, changes)), "--run", "run"])
    files = (f"{place / 'leaves.toml'} ", "train.csv: ")
    assert str(caught.value).startswith(files)
    assert "\n" not in str(caught.value)
    assert not list((place / "run").iterdir()), "a stage has begun"


def test_a_stacker_without_its_package_is_refused_before_the_first_stage(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stacking.models.stacker.find_spec", lambda _: None)
    changes = fit(stackers=["lightgbm", "tabm"])
    message = r"stackers = 'tabm' needs tabm, which is not installed; pip install tabm"
    test_a_mistake_is_told_before_the_first_stage(place, monkeypatch, changes, message)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        data(target="name") | fit(metric="auc", columns=["year"], postprocess=[]),
        data(target="real") | fit(metric="r2", postprocess=["isotonic"]),
        fit(postprocess=["round", "blend", "thresholds"], metric="quadratic_kappa"),
        data(group="pairs") | {"data_prep.prepare": {"cv": "sgkfold3"}},
        tune(all=True, batch_size=32) | fit(test_nets="all"),
        LABEL_FREE | fit(cv="kfold5"),
        DISTILL,
        fit(columns=["width", "year"], cv="skfold3"),
        {"tasks.x": {"kind": "classes", "column": "g"}} | tune(tasks=["x"]),
        data(attributes=["names.csv"])
        | {"tasks.x": {"kind": "tags", "min_count": 2}, "tasks.y": {"kind": "ordinal"}}
        | fit(postprocess=["round", "blend_expected"]),
        data(date="year", group="pairs") | {"data_prep.prepare": {"cv": "gkfold2"}},
    ],
)
def test_what_fits_is_let_through(
    place: Path, monkeypatch: pytest.MonkeyPatch, changes: Tables
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setattr("pipeline.check_libraries", lambda _: None)
    # timing a network takes longer than all else
    monkeypatch.setattr(trial, "time_network", lambda *_, **__: SPEED)
    shutil.rmtree(place / "run", ignore_errors=True)
    begun = []

    class BegunError(Exception):
        pass

    def begin(argv: list[str]) -> None:
        begun.append(argv)
        raise BegunError

    monkeypatch.setattr("data_prep.prepare.main", begin)
    with pytest.raises(BegunError):
        pipeline.main([str(write(place, changes)), "--run", "run"])
    assert len(begun) == 1


def outlooks(seed: int, folder: Path) -> tuple[Outlook, Outlook]:
    """Give rows as the tables have them, and as they are once assigned to folds.

    Some have no target, some are excluded or weigh nothing; a picture in eight cannot
    be read, and one in eight is a copy of another.
    """
    rng = np.random.default_rng(seed)
    n, n_folds = int(rng.integers(20, 70)), int(rng.integers(2, 6))
    index = np.arange(n)
    has_group = bool(seed % 2)
    target = np.where(rng.random(n) < 0.9, rng.integers(0, 4, n), np.nan)
    rows = pd.DataFrame(
        {
            "id": [f"p{k:03d}" for k in index],
            "split": "train",
            "target": target,
            "class_index": np.nan_to_num(target, nan=-1).astype(int),
            "group": [f"g{k}" for k in rng.integers(0, 14, n)] if has_group else "",
            "date": 1900.0 + index,
            "weight": np.where(rng.random(n) < 0.9, 1.0, 0.0),
            "is_excluded": rng.random(n) < 0.1,
            "image_row": -1,
        }
    )
    cv = f"{'sgkfold' if has_group else 'skfold'}{n_folds}"
    metadata = {
        **{"side": 32, "cv": cv, "n_folds": n_folds, "words": 0},
        **{"classes": [0.0, 1.0, 2.0, 3.0], "target_kind": "numeric"},
        **{"has_group": has_group, "target_column": "target"},
    }
    kept = rows[rng.random(n) < 0.875].reset_index(drop=True)
    index = np.arange(len(kept))
    copied = np.where(rng.random(len(kept)) < 0.125, index // 2, index)
    copies = copied.astype(str)
    kept = kept.assign(
        image_row=np.arange(len(kept)), pixels_sha256=copies, same_as=copies
    )
    dealt = with_folds(kept, cv, has_group=has_group, seed=seed)
    experiment = Experiment(data=DataSettings(target="target"))
    given: dict[str, Any] = {"experiment": experiment, "run": Run(folder)}
    return (
        Outlook(table=rows, metadata=metadata, **given),
        Outlook(table=dealt, metadata=metadata, prepared=folder, **given),
    )


def refuses(settings: Any, outlook: Outlook) -> bool:
    try:
        settings.check_data(outlook)
    except UserError:
        return True
    return False


def test_tables_refuse_nothing_that_the_prepared_rows_allow(tmp_path: Path) -> None:
    counts = np.zeros((2, 2), dtype=int)  # by the tables, once prepared
    for seed in range(12):
        try:
            before, after = outlooks(seed, tmp_path)
        except UserError:  # fewer groups than folds: told by the deal
            continue
        many = round(len(before.table) * (0.4 + 0.1 * (seed % 7)))
        for settings in (
            FitSettings(),
            FinetuneSettings(init="scratch", batch_size=many, joint=True),
            FinetuneSettings(init="scratch", batch_size=many, folds=("0", "all")),
            JigsawSettings(batch_size=many),
        ):
            counts[int(refuses(settings, before)), int(refuses(settings, after))] += 1
    assert counts[1, 0] == 0
    assert counts[0, 0] > 10
    assert counts[1, 1] > 3


@pytest.mark.parametrize(
    ("n_folds", "source", "is_refused"),
    [
        (3, "transfer.finetune", False),
        (4, "transfer.finetune", True),
        (4, "pretext.jigsaw", False),  # which saw no label
    ],
)
def test_runs_with_other_folds_are_told_before_the_training(
    tmp_path: Path, n_folds: int, source: str, is_refused: bool
) -> None:
    run = make_run(tmp_path / "one")
    other = make_run(tmp_path / "two", n_folds=n_folds)
    with other.stage("features.extract", {"source": source}, reads=[PREPARED]):
        pass
    experiment = Experiment(data=DataSettings(target="level"))
    outlook = Outlook.of_prepared(run.finished(PREPARED), run, experiment)
    settings = FitSettings(also=(other.folder,))
    if not is_refused:
        settings.check_data(outlook)
        return
    with pytest.raises(
        UserError, match="also: the run 'two' has other folds than this"
    ):
        settings.check_data(outlook)


def check_also(file: Path, outlook: Outlook, message: str) -> None:
    """Check a stack that a file joins; an empty message: it is let through."""
    settings = FitSettings(also=(file,))
    if not message:
        settings.check_data(outlook)
        return
    with pytest.raises(UserError, match=f"also = '.*two.toml': {message}"):
        settings.check_data(outlook)


@pytest.mark.parametrize(
    ("text", "expected", "message"),
    [
        ('cv = "sgkfold3x2"', {}, r"cv = 'sgkfold3x2' in its .* 'sgkfold3' here: its"),
        ("", {"cv": "skfold3"}, r"cv = 'sgkfold3' in its .*; give both the same cv"),
        (
            "seed = 1",
            {},
            r"seed = 1 in its \[data_prep.prepare\], and 0 here: its nets",
        ),
        (
            'cv = "time3"\ngap = 2',
            {"cv": "time3"},
            r"gap = 2.0 in its .*, and 0.0 here",
        ),
        ('cv = "time3"\nseed = 1', {"cv": "time3"}, ""),  # nothing is drawn
        ("seed = 1", {"folds": "folds.csv"}, ""),  # compared once they are there
        ('folds = "site"', {}, ""),
        ("side = 64", {}, ""),
        ('cv = "kfold5"\n[features.extract]\nsource = "pretext.jigsaw"', {}, ""),
    ],
)
def test_other_folds_of_a_file_are_told_before_its_nets_are_trained(
    tmp_path: Path, text: str, expected: dict[str, Any], message: str
) -> None:
    file = tmp_path / "two.toml"
    file.write_text(
        f'[data]\nimages = "pictures"\ntarget = "level"\n[data_prep.prepare]\n{text}\n'
    )
    run = make_run(tmp_path / "one")
    outlook = replace(
        Outlook.of_prepared(
            run.finished(PREPARED), run, Experiment(data=DataSettings(target="level"))
        ),
        settings={PREPARED: PrepareSettings(**expected)},
    )
    check_also(file, outlook, message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('train = "rest/../train.csv"\ntarget = "level"\ngroup = "site"', ""),
        (
            'train = "other.csv"\ntarget = "level"\ngroup = "site"',
            r"train = '.*other.csv' in its \[data\], and '.*train.csv' here: its folds",
        ),
        (
            'train = "train.csv"\ntarget = "level"',
            "group = nothing in its .*, and 'site' here: .*; give both the same group",
        ),
        (
            'train = "train.csv"\ntarget = "level"\ngroup = "site"\nobject = "tree"',
            "object = 'tree' in its .*, and nothing here",
        ),
    ],
)
def test_other_rows_of_a_file_are_told_before_its_nets_are_trained(
    tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "two.toml"
    file.write_text(f"[data]\n{text}\n")
    run = make_run(tmp_path / "one")
    data = DataSettings(train=tmp_path / "train.csv", target="level", group="site")
    outlook = replace(
        Outlook.of_prepared(run.finished(PREPARED), run, Experiment(data=data)),
        settings={PREPARED: PrepareSettings()},
    )
    check_also(file, outlook, message)


def test_a_finished_stage_is_not_asked_of_libraries_again(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    settings = JigsawSettings(backbone="nobody_knows_it", batch_size=8)
    outlook = Outlook.of_prepared(
        run.finished(PREPARED),
        run,
        Experiment(data=DataSettings()),
        {"pretext.jigsaw": settings},
    )
    with pytest.raises(UserError, match="'nobody_knows_it': timm has no such network"):
        pipeline.check_libraries(outlook)
    with run.stage("pretext.jigsaw", recorded(settings), reads=[PREPARED]):
        pass
    pipeline.check_libraries(outlook)


def test_what_only_the_prepared_rows_show_is_told_after_them(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    prepared = run.finished(PREPARED)
    outlook = Outlook.of_prepared(prepared, run, Experiment(data=DataSettings()))
    FitSettings().check_data(outlook)
    table = outlook.table
    one = table["cv_group"].where(table["fold"] != 0, 0)  # copies, found in decoding
    with pytest.raises(UserError, match="fold 0 is one group, so its score tells how"):
        FitSettings().check_data(replace(outlook, table=table.assign(cv_group=one)))
