"""Tests of pipeline: which stages it runs, and in what order (see also test_chain)."""

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pipeline
from data_prep import prepare
from data_prep.chain import LEARNING, stages_of
from data_prep.errors import UserError
from data_prep.experiment import (
    commands,
    read_experiment,
    settings_class,
    stage_names,
)
from data_prep.run_folders.runs import Run
from data_prep.settings import recorded
from pipeline import check_order, check_settings
from stacking.inputs.other_runs import other_runs
from tests.data_prep.sheets import IDS, make_sheets, table_of, write_table
from tests.drilled import in_drills
from tests.prepared_runs import make_run

ROOT = Path(__file__).parents[1]


def stages(folder: Path, text: str) -> list[str]:
    file = folder / "leaves.toml"
    file.write_text(text)
    return stages_of(read_experiment(file, folder / "run"))


def test_without_a_list_the_usual_stages_run(tmp_path: Path) -> None:
    usual = ["data_prep.prepare", "pretext.jigsaw", *LEARNING]
    assert stages(tmp_path, "") == usual
    assert set(usual) <= set(commands())


@pytest.mark.parametrize(
    ("init", "pretexts"),
    [
        ("pretext.simsiam", ["pretext.simsiam"]),
        ("scratch", []),
        ("weights/backbone.safetensors", []),
    ],
)
def test_the_pretext_is_the_one_that_the_transfer_begins_from(
    tmp_path: Path, init: str, pretexts: list[str]
) -> None:
    found = stages(tmp_path, f'[transfer.finetune]\ninit = "{init}"\n')
    assert found == ["data_prep.prepare", *pretexts, *LEARNING]


OTHER_PRETEXT = "[pretext.visreg]\nepochs = 5\n"


def test_settings_of_a_pretext_that_would_not_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        UserError,
        match=re.escape(
            "[pretext.visreg]: it would not be run, as the nets begin from"
            " pretext.jigsaw; set init = 'pretext.visreg' in [transfer.finetune]"
        ),
    ):
        stages(tmp_path, OTHER_PRETEXT)
    for more in (
        "[pretext.jigsaw]\nepochs = 5\n",
        '[transfer.finetune]\ninit = "scratch"\n',
        '[pipeline]\nstages = ["data_prep.prepare", "pretext.jigsaw"]\n',
    ):
        assert stages(tmp_path, OTHER_PRETEXT + more)
    assert stages(tmp_path, "[pretext.probe]\n")  # trains none


@pytest.mark.parametrize(
    ("last", "table", "remedy"),
    [
        ("transfer.finetune", "", "set init = 'pretext.visreg' in [transfer.finetune]"),
        (
            "features.extract",
            '[features.extract]\nsource = "pretext.jigsaw"\n',
            "set source = 'pretext.visreg' in [features.extract]",
        ),
    ],
)
def test_where_another_pretext_is_made_it_is_offered(
    last: str, table: str, remedy: str, tmp_path: Path
) -> None:
    file = tmp_path / "leaves.toml"
    file.write_text(
        f'[pipeline]\nstages = ["data_prep.prepare", "pretext.visreg", "{last}"]\n'
        + OTHER_PRETEXT
        + table
    )
    experiment = read_experiment(file, tmp_path)
    settings = check_settings(experiment, stages_of(experiment))
    with pytest.raises(UserError, match="name it before " + re.escape(last)) as refused:
        check_order(experiment, settings, Run(tmp_path / "run"))
    assert str(refused.value).endswith(remedy)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[stacking.fit]\nseds = 5", "did you mean 'seeds'?"),
        ("[transfer.finetune]\nepoch = 28", "did you mean 'epochs'?"),
        ("[data_prep.prepare]\nside = 2", "side = 2: give 16"),
    ],
)
def test_a_mistake_in_a_late_stage_is_found_before_the_first_one_runs(
    tmp_path: Path, text: str, message: str
) -> None:
    file = tmp_path / "leaves.toml"
    file.write_text(text)
    experiment = read_experiment(file, tmp_path)
    with pytest.raises(UserError, match=re.escape(message)):
        check_settings(experiment, stages_of(experiment))


def test_the_order_of_the_list_is_kept(tmp_path: Path) -> None:
    text = '[pipeline]\nstages = ["pretext.simsiam", "data_prep.prepare"]\n'
    assert stages(tmp_path, text) == ["pretext.simsiam", "data_prep.prepare"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            'stages = ["pretext.jigsw"]',
            "no stage 'pretext.jigsw'; did you mean 'pretext",
        ),
        ("stages = [3]", "no stage 3; there are: "),
        (
            'stages = ["features.convert"]',
            "features.convert is a command and no stage: it takes flags only; stages",
        ),
        ("stages = []", "stages is empty; name some, or leave it out"),
        ('stages = "pretext.jigsaw"', "stages = 'pretext.jigsaw' is not a list"),
        ("stage = []", "unknown key 'stage'; did you mean 'stages'?"),
    ],
)
def test_a_mistake_in_the_list_is_named(
    tmp_path: Path, line: str, message: str
) -> None:
    expected = re.escape(f"leaves.toml [pipeline]: {message}")
    with pytest.raises(UserError, match=expected):
        stages(tmp_path, f"[pipeline]\n{line}\n")


def test_a_stage_that_stops_with_an_error_stops_the_chain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = make_run(tmp_path / "runs" / "leaves")
    with run.stage("stacking.fit", {}, reads=["data_prep.prepare"]):
        pass  # without oof.csv, which stacking.noise reads
    file = tmp_path / "leaves.toml"
    file.write_text('[pipeline]\nstages = ["stacking.noise", "data_prep.demo"]\n')
    with pytest.raises(UserError, match=r"stacking\.noise did not finish; what was d"):
        pipeline.main([str(file)])
    assert not (run.folder / "data_prep.demo").exists()


@pytest.mark.parametrize("stage", stage_names())
def test_every_stage_has_the_settings_that_its_source_names(
    tmp_path: Path, stage: str
) -> None:
    file = tmp_path / "leaves.toml"
    file.write_text("")
    settings = check_settings(read_experiment(file, tmp_path), [stage])
    assert type(settings[stage]) is settings_class(stage)


def test_another_file_of_the_same_name_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stages = '[pipeline]\nstages = ["data_prep.prepare"]\n'
    make_sheets(tmp_path)
    text = f'[data]\nimages = "{tmp_path}/pictures"\n{stages}'
    files = [tmp_path / name / "leaves.toml" for name in ("experiments", "")]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    for _ in range(2):  # its own, however often asked for
        assert pipeline.main([str(files[0])]) == Path("runs/leaves")
    message = (
        r"runs/leaves is the run of experiments/leaves\.toml, and .*/leaves\.toml is an"
    )
    with pytest.raises(UserError, match=message):
        pipeline.main([str(files[1])])
    other = pipeline.main([str(files[1]), "--run", "runs/other"])
    assert (other / "experiment.toml").read_text() == text


def test_a_stack_that_is_for_comparison_ends_the_chain_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = make_run(tmp_path / "runs" / "leaves", n_train=48)
    source = {"source": "transfer.finetune"}
    with run.stage("features.extract", source, reads=["data_prep.prepare"]):
        pass
    file = tmp_path / "leaves.toml"
    file.write_text(
        '[pipeline]\nstages = ["stacking.fit"]\n'
        '[stacking.fit]\nprotocol = "insample"\n[data]\ntarget = "level"\n'
    )
    ended = subprocess.CompletedProcess([], 0)
    monkeypatch.setattr("pipeline.subprocess.run", lambda *_, **__: ended)
    assert pipeline.main([str(file)]) == Path("runs/leaves")


def test_paths_of_stages_are_relative_to_the_file_wherever_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "experiments" / "leaves.toml"
    file.parent.mkdir()
    file.write_text(
        '[transfer.finetune]\ninit = "../weights/x.pth"\n'
        '[features.extract]\nsource = "../weights/y.safetensors"\n'
        '[pretext.simsiam]\ninit = "{run}/z.pth"\n'
        '[stacking.fit]\nalso = ["../runs/other"]\n'
    )
    records = []
    for cwd in (tmp_path, file.parent, Path("/")):
        monkeypatch.chdir(cwd)
        experiment = read_experiment(file, tmp_path / "run")
        settings = check_settings(experiment, list(experiment.stages))
        written = {
            "../weights/x.pth": settings["transfer.finetune"].init,
            "../weights/y.safetensors": settings["features.extract"].source,
            "../run/z.pth": settings["pretext.simsiam"].init,
            "../runs/other": settings["stacking.fit"].also[0],
        }
        for text, path in written.items():
            assert Path(path).resolve() == (file.parent / text).resolve()
        records.append(recorded(settings["features.extract"]))
    assert records[0] == records[1] == records[2]


def test_experiments_that_join_the_stack_come_first_and_are_not_stacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    files = {}
    for name, also in (("other", ""), ("leaves", '"other.toml"')):
        run = make_run(tmp_path / "runs" / name)
        with run.stage("pretext.jigsaw", {}, reads=["data_prep.prepare"]):
            pass
        files[name] = tmp_path / f"{name}.toml"
        files[name].write_text(
            '[data]\ntarget = "level"\n'
            '[pipeline]\nstages = ["features.extract", "stacking.fit"]\n'
            '[features.extract]\nsource = "pretext.jigsaw"\n'
            f"[stacking.fit]\nalso = [{also}]\n"
        )
    made: list[tuple[str, str]] = []

    def make(stage: str, file: Path, folder: Path) -> None:
        made.append((stage, file.name))
        with Run(folder).stage(stage, {"source": "pretext.jigsaw"}, reads=[]):
            pass

    monkeypatch.setattr("pipeline.run_stage", make)
    monkeypatch.setattr("pipeline.log_outcome", lambda *_: None)
    monkeypatch.setattr("pipeline.check_libraries", lambda *_: None)
    with pytest.raises(UserError, match=r"its features are not there yet; the"):
        other_runs([files["other"]], Run(tmp_path / "runs" / "leaves"))
    caplog.set_level("INFO")
    pipeline.main([str(files["leaves"]), "--plan"])
    assert made == []
    sums = re.findall(r"^in all +(\d+) s", caplog.text, re.MULTILINE)
    (total,) = re.findall(r"all 2 experiments: +(\d+) s", caplog.text)
    assert len(sums) == 2
    assert int(total) == pytest.approx(sum(map(int, sums)), abs=1)
    pipeline.main([str(files["leaves"])])
    assert made == [
        ("features.extract", "other.toml"),
        ("features.extract", "leaves.toml"),
        ("stacking.fit", "leaves.toml"),
    ]
    assert [*other_runs([files["other"]], Run(tmp_path / "runs/leaves"))] == ["other"]


def test_a_plan_says_why_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    make_sheets(tmp_path)
    text = '[pipeline]\nstages = ["data_prep.prepare", "pretext.jigsaw"]\n'
    text += '[data]\nimages = "pictures"\n[pretext.jigsaw]\nbackbone = "test_resnet"\n'
    file = tmp_path / "leaves.toml"
    file.write_text(f"{text}batch_size = 2\n[data_prep.prepare]\nside = 32\n")
    caplog.set_level("INFO")
    run = pipeline.main([str(file), "--plan"])
    assert re.search(r"data_prep\.prepare +\d+ s +< 1 MB +not there yet", caplog.text)
    assert re.search(r"pretext\.jigsaw +\d+ s +1 MB +not there yet", caplog.text)
    assert not run.exists()
    prepare.main(["--experiment", str(file), "--run", str(run)])
    caplog.clear()
    file.write_text(file.read_text().replace("side = 32", "side = 40"))
    pipeline.main([str(file), "--plan"])
    assert re.search(r"data_prep\.prepare .* side 32 -> 40", caplog.text)
    assert re.search(r"it replaces one that took \d+ s", caplog.text)


@pytest.mark.parametrize(
    ("backbone", "is_loaded"),
    [
        ("test_resnet", False),
        in_drills("test_resnet2", True),
    ],
)
def test_a_plan_loads_torch_only_for_networks_that_nobody_has_counted(
    tmp_path: Path, backbone: str, is_loaded: bool
) -> None:
    make_sheets(tmp_path)
    (tmp_path / "leaves.toml").write_text(
        '[pipeline]\nstages = ["data_prep.prepare", "pretext.jigsaw"]\n'
        f'[data]\nimages = "pictures"\n[pretext.jigsaw]\nbackbone = "{backbone}"\n'
        "batch_size = 2\n[data_prep.prepare]\nside = 32\n"
    )
    code = (
        "import sys, pipeline\n"
        "try: pipeline.main(['leaves.toml', '--plan'])\n"
        "finally: print(sorted({'torch', 'timm', 'sklearn'} & set(sys.modules)))"
    )
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    shown = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ("torch" in shown.stdout) == is_loaded
    assert is_loaded == ("timm has no such network" in shown.stderr)
    assert is_loaded == (shown.returncode != 0)


def test_pictures_of_one_name_in_two_folders_are_planned_by_their_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.chdir(make_sheets(tmp_path))
    names = [f"{'oak' if n % 2 else 'elm'}/{n // 2}" for n in range(len(IDS))]
    for id_, name in zip(IDS, names, strict=True):
        (tmp_path / "pictures" / name).parent.mkdir(exist_ok=True)
        file = tmp_path / "pictures" / f"{id_}.png"
        file.rename(tmp_path / "pictures" / f"{name}.png")
    write_table(tmp_path, id=names)
    Path("leaves.toml").write_text(
        '[data]\nimages = "pictures"\ntrain = "train.csv"\ntarget = "grade"\n'
        'group = "sheet"\n'
        '[pipeline]\nstages = ["data_prep.prepare"]\n'
        "[data_prep.prepare]\nside = 16\nworkers = 1\n"
    )
    run = pipeline.main(["leaves.toml"])
    assert set(table_of(run / "data_prep.prepare").index) == set(names)
    caplog.clear()
    pipeline.main(["leaves.toml", "--plan"])
    assert re.search(r"data_prep\.prepare +current$", caplog.text, re.MULTILINE)


def test_what_a_stage_says_is_told_in_keys_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(make_sheets(tmp_path))
    Path("leaves.toml").write_text(
        '[data]\nimages = "pictures"\n[pipeline]\nstages = ["data_prep.prepare"]\n'
        "[data_prep.prepare]\nside = 16\nworkers = 1\n"
    )

    def refuse(_: list[str]) -> None:
        logging.getLogger("data_prep.prepare").warning("%s is too few", "--workers 1")
        raise UserError("give a larger --side; again: python -m x --side 3")

    monkeypatch.setattr(prepare, "main", refuse)
    with pytest.raises(UserError, match=r"^give a larger side; again: python -m x --s"):
        pipeline.main(["leaves.toml"])
    assert caplog.messages[-1] == "workers = 1 is too few"
    logging.getLogger("data_prep.prepare").warning("--workers 1")
    assert caplog.messages[-1] == "--workers 1", "outside it is a flag again"
