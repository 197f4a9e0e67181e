"""Tests of data_prep.settings."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge

from data_prep import renamed
from data_prep.errors import UserError
from data_prep.experiment import DataSettings
from data_prep.file_paths import MayBePath
from data_prep.ranges import Ranged
from data_prep.settings import (
    NOT_HASHED,
    POSITIONAL,
    SEVERAL,
    SWITCH,
    Parser,
    add_flags,
    as_keys,
    fields_of,
    from_flags,
    from_table,
    nearest,
    recorded,
)


@dataclass(frozen=True, kw_only=True)
class TryoutSettings(Ranged):
    """Try every type of setting."""

    text: Annotated[str, "a text"] = "plain"
    count: Annotated[int, "a count", Ge(0)] = 1
    none_of_it: Annotated[int, "a count that begins at nothing"] = 0
    share: Annotated[float, "a share, in %"] = 1.0
    is_on: Annotated[bool, "a switch"] = True
    is_off: Annotated[bool, "another switch"] = False
    kind: Annotated[Literal["leaf", "coin"], "a choice"] = "leaf"
    names: Annotated[tuple[str, ...], "several texts"] = ()
    sizes: Annotated[tuple[int, ...], "several counts"] = (3, 4)
    file: Annotated[Path | None, "a path"] = None
    most: Annotated[int | None, "a count, if any"] = None
    places: Annotated[tuple[Path, ...], "several paths"] = ()
    speed: Annotated[int, "how fast", NOT_HASHED] = 2
    later: Annotated[float, "not there in earlier versions", SWITCH] = 0.0


def parse(*flags: str) -> dict[str, Any]:
    parser = Parser(prog="tryout")
    add_flags(parser, TryoutSettings)
    return parser.parse(flags)


def resolve(table: dict[str, Any], *flags: str) -> TryoutSettings:
    return from_table(TryoutSettings, table, "leaves.toml [tryout]", parse(*flags))


# a setting, its default, and two other values: as in TOML and as a flag
EACH_TYPE = [
    ("text", "plain", ("from file", "from file"), (["--text", "flag"], "flag")),
    ("count", 1, (7, 7), (["--count", "8"], 8)),
    ("share", 1.0, (0.5, 0.5), (["--share", "2e-3"], 0.002)),
    ("is_on", True, (False, False), (["--no-is-on"], False)),
    ("is_off", False, (True, True), (["--is-off"], True)),
    ("kind", "leaf", ("coin", "coin"), (["--kind", "coin"], "coin")),
    ("names", (), (["a", "b"], ("a", "b")), (["--names", "c, d"], ("c", "d"))),
    ("sizes", (3, 4), ([5], (5,)), (["--sizes", "6,7"], (6, 7))),
    ("file", None, ("x/y", Path("x/y")), (["--file", "z"], Path("z"))),
    ("most", None, (3, 3), (["--most", "-4"], -4)),
    ("places", (), ("x", (Path("x"),)), (["--places", "y,z"], (Path("y"), Path("z")))),
]


@pytest.mark.parametrize(("name", "default", "in_file", "as_flag"), EACH_TYPE)
def test_flags_win_over_the_file_and_the_file_over_defaults(
    name: str,
    default: Any,
    in_file: tuple[Any, Any],
    as_flag: tuple[list[str], Any],
) -> None:
    given, from_file = in_file
    flags, from_flags = as_flag
    found = [
        resolve({}),
        resolve({name: given}),
        resolve({}, *flags),
        resolve({name: given}, *flags),
    ]
    values = [getattr(settings, name) for settings in found]
    assert values == [default, from_file, from_flags, from_flags]
    assert [type(value) for value in values[1:]] == [type(from_file)] * 3
    others = {f for f in fields_of(TryoutSettings) if f != name}
    assert all(getattr(s, f) == getattr(found[0], f) for s in found for f in others), (
        "a setting changed another"
    )


def test_every_type_of_setting_is_tried() -> None:
    tried = {name for name, *_ in EACH_TYPE} | {"none_of_it", "speed", "later"}
    assert tried == set(fields_of(TryoutSettings))


def test_a_whole_number_does_for_a_number_but_not_the_reverse() -> None:
    share = resolve({"share": 2}).share
    assert (share, type(share)) == (2.0, float)
    with pytest.raises(UserError, match=r"count = 2\.0 is not a whole number"):
        resolve({"count": 2.0})


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"cuont": 3}, "unknown key 'cuont'; did you mean 'count'?"),
        ({"zzz": 3}, "unknown key 'zzz'; there are: count, file, is_off, is_on, kind,"),
        ({"kind": "laef"}, "kind = 'laef': did you mean 'leaf'?"),
        ({"kind": 3}, "kind = 3: there are: coin, leaf"),
        ({"kind": ["leaf"]}, "kind = ['leaf']: did you mean 'leaf'?"),
        ({"text": 3}, "text = 3 is not a text"),
        ({"count": "3"}, "count = '3' is not a whole number"),
        ({"count": True}, "count = True is not a whole number"),
        ({"share": "3"}, "share = '3' is not a number"),
        ({"share": True}, "share = True is not a number"),
        ({"share": float("nan")}, "share = nan is not a number"),
        ({"share": float("inf")}, "share = inf is not a number"),
        ({"is_on": 1}, "is_on = 1 is not true or false"),
        ({"is_on": "no"}, "is_on = 'no' is not true or false"),
        ({"names": [1.5]}, "names = 1.5 is not a text"),
        ({"sizes": ["1"]}, "sizes = '1' is not a whole number"),
        ({"file": 3}, "file = 3 is not a path"),
        ({"count": -1}, "count = -1: give 0 or more"),
    ],
)
def test_what_does_not_fit_in_the_file_is_named_with_its_place(
    table: dict[str, Any], message: str
) -> None:
    expected = re.escape(f"leaves.toml [tryout]: {message}")
    with pytest.raises(UserError, match=rf"^{expected}") as caught:
        resolve(table)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--cuont", "3"], "unknown argument '--cuont'; did you mean '--count'?"),
        (["--cuont=3"], "unknown argument '--cuont'; did you mean '--count'?"),
        (["--is-of"], "unknown argument '--is-of'; did you mean '--is-off'?"),
        (["--coun", "3"], "unknown argument '--coun'; did you mean '--count'?"),
        (["stray"], "unknown argument 'stray'; there are: "),
        (["sam"], "unknown argument 'sam'; there are: "),  # no key of others
        (["--kind", "laef"], "argument --kind: 'laef': did you mean 'leaf'?"),
        (["--kind", "zzz"], "argument --kind: 'zzz': there are: coin, leaf"),
        (["--count", "many"], "argument --count: 'many' is not a whole number"),
        (["--count", "1.5"], "argument --count: '1.5' is not a whole number"),
        (["--share", "half"], "argument --share: 'half' is not a number"),
        (["--share", "nan"], "argument --share: nan is not a number"),
        (["--sizes", "1,x"], "argument --sizes: '1,x' is not a whole number"),
        (["--count"], "argument --count: expected one argument"),
    ],
)
def test_a_flag_that_does_not_fit_is_one_line_and_status_2(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(*flags)
    assert caught.value.code == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"tryout: {message}")
    assert shown.count("\n") == 1


def test_words_may_stand_behind_flags_and_are_no_flags() -> None:
    parser = Parser(prog="tryout")
    parser.add_argument("file")
    parser.add_argument("groups", nargs="*")
    parser.add_argument("--folds", default="0")
    for line in (
        "a.toml x y --folds 1",
        "a.toml --folds 1 x y",
        "--folds 1 a.toml x y",
    ):
        parsed = parser.parse(line.split())
        assert parsed == {"file": "a.toml", "groups": ["x", "y"], "folds": "1"}, line
    assert parser.parse(["a.toml"])["groups"] == []


def test_a_range_broken_by_a_flag_is_not_blamed_on_the_file() -> None:
    with pytest.raises(UserError, match=r"^command line: count = -1: give 0 or more"):
        resolve({"count": 5}, "--count", "-1")


def test_a_flag_mends_a_value_out_of_range_in_the_file() -> None:
    assert resolve({"count": -5}, "--count", "6").count == 6


def test_neutral_settings_are_not_recorded() -> None:
    slow, fast = resolve({"speed": 1}), resolve({"speed": 9})
    assert recorded(slow) == recorded(fast)
    assert "speed" not in recorded(slow)
    assert recorded(slow) != recorded(resolve({"count": 2}))


def test_a_switch_is_recorded_where_it_is_used() -> None:
    assert "later" not in recorded(resolve({}))
    assert "later" not in recorded(resolve({"later": 1.0}, "--later", "0"))
    assert recorded(resolve({"later": 0.5}))["later"] == 0.5


def test_the_record_is_plain_json() -> None:
    settings = resolve({"places": ["a"], "file": "b", "names": ["c"]})
    assert recorded(settings) == {
        "text": "plain",
        "count": 1,
        "none_of_it": 0,
        "share": 1.0,
        "is_on": True,
        "is_off": False,
        "kind": "leaf",
        "names": ["c"],
        "sizes": [3, 4],
        "file": "b",
        "most": None,
        "places": ["a"],
    }


def test_help_shows_every_setting_with_its_default() -> None:
    parser = Parser(prog="tryout")
    add_flags(parser, TryoutSettings)
    shown = " ".join(parser.format_help().split())
    for line in (
        "--text STR a text (default: plain)",
        "--count INT a count (default: 1)",
        "--none-of-it INT a count that begins at nothing (default: 0)",
        "--share FLOAT a share, in % (default: 1.0)",
        "--is-on, --no-is-on a switch (default: on)",
        "--is-off, --no-is-off another switch (default: off)",
        "--kind {leaf,coin} a choice (default: leaf)",
        "--names STR,... several texts --sizes",
        "--sizes INT,... several counts (default: 3,4)",
        "--file PATH a path --most",
        "--most INT a count, if any --places",
        "--speed INT how fast (default: 2)",
    ):
        assert line in shown


@pytest.mark.parametrize(
    ("word", "known", "expected"),
    [
        ("sgkfold", ["skfold", "sgkfold3", "kfold"], "did you mean 'sgkfold3'?"),
        ("zzz", ["b", "a"], "there are: a, b"),
        ("zzz", [], "there are: none"),
        (
            "ho\u0308he",
            ["höhe"],
            "'höhe' has another Unicode form; copy the name from there",
        ),
    ],
)
def test_nearest_names_one_or_all(word: str, known: list[str], expected: str) -> None:
    assert nearest(word, known) == expected


def test_of_thousands_of_names_three_are_listed() -> None:
    ids = [f"{number:04d}" for number in range(4000)]
    told = nearest("x", ids)
    assert re.fullmatch(r"the nearest of 4,000 are: \d{4}, \d{4}, \d{4}", told)
    assert nearest("x", ids[:30]) == f"there are: {', '.join(ids[:30])}"
    keys = nearest("x", ids, is_key=True)
    assert keys.startswith("there are: 0000, 0001, "), "nothing near: do not suggest"
    assert keys.endswith(", 0029, and 3,970 more")
    names = [f"leaf_{number:04d}_scan" for number in range(4000)]
    told = nearest("0123", names)
    assert told.startswith("the nearest of 4,000 are: ")
    assert "leaf_0123_scan" in told


def test_an_old_key_is_refused_with_the_new_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(renamed.NAMES, "how_many", "none_of_it")
    monkeypatch.setitem(renamed.NAMES, "groat", "coin")
    refusals = {
        "how_many": r"unknown key 'how_many'; it was renamed: write none_of_it$",
        "kind": r"kind = 'groat': it was renamed: write coin$",
    }
    for key, message in refusals.items():
        with pytest.raises(UserError, match=message):
            resolve({key: "groat"})
    for flags, message in (
        (("--how-many=3",), "tryout: unknown argument '--how-many'; it was renamed: "),
        (("--kind=groat",), "tryout: argument --kind: 'groat': it was renamed: write"),
    ):
        with pytest.raises(SystemExit):
            parse(*flags)
        assert capsys.readouterr().err.startswith(message)


def test_renamed_names_are_those_of_today() -> None:
    """An old name that came back, or a new one that is gone, would mislead."""
    keys = set(fields_of(DataSettings)) | {"overwrite"}
    assert {"again", "doubts"} & keys == set()
    assert {renamed.NAMES["again"], renamed.NAMES["doubts"]} <= keys


@dataclass(frozen=True, kw_only=True)
class CommandSettings(Ranged):
    """A command that is no stage."""

    files: Annotated[tuple[Path, ...], "several files", POSITIONAL]
    folders: Annotated[tuple[Path, ...], "several folders", SEVERAL] = (Path("usual"),)
    names: Annotated[tuple[str, ...], "several names"] = ("a",)
    count: Annotated[int, "a count in %", Ge(0)] = 3
    is_on: Annotated[bool, "a switch"] = False


@dataclass(frozen=True, kw_only=True)
class AnotherCommandSettings:
    """Another one."""

    file: Annotated[Path | None, "one file, if any", POSITIONAL] = None
    folders: Annotated[tuple[Path, ...], "several folders", SEVERAL]


def test_a_command_reads_arguments_and_flags() -> None:
    read = from_flags(CommandSettings, "tools.tryout", ["x", "y,z"])
    assert read == CommandSettings(files=(Path("x"), Path("y,z")))
    flags = ["--folders", "b", "c,d", "--names", "e,f", "--count=7", "--is-on"]
    assert from_flags(
        CommandSettings, "tools.tryout", ["x", *flags]
    ) == CommandSettings(
        files=(Path("x"),),
        folders=(Path("b"), Path("c,d")),
        names=("e", "f"),
        count=7,
        is_on=True,
    )
    for arguments, file in (([], None), (["x"], Path("x"))):
        read_next = from_flags(
            AnotherCommandSettings, "tools.other", [*arguments, "--folders", "b"]
        )
        assert read_next == AnotherCommandSettings(file=file, folders=(Path("b"),))


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (CommandSettings, [], "the following arguments are required: FILES"),
        (CommandSettings, ["x", "--count=x"], "argument --count: 'x' is not a whole n"),
        (CommandSettings, ["x", "--no-is-on"], "unknown argument '--no-is-on'; did"),
        (AnotherCommandSettings, [], "the following arguments are required: --folders"),
        (AnotherCommandSettings, ["x", "y", "--folders", "b"], "unknown argument 'y'"),
    ],
)
def test_a_mistake_in_a_command_is_one_line(
    kind: type[Any],
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        from_flags(kind, "tools.tryout", arguments)
    assert capsys.readouterr().err.startswith(f"python -m tools.tryout: {message}")


def test_a_range_of_a_command_is_kept() -> None:
    with pytest.raises(UserError, match=r"^count = -1: give 0 or more$"):
        from_flags(CommandSettings, "tools.tryout", ["x", "--count=-1"])


# Paths of a file


def is_with_slash(text: str, folder: Path) -> bool:
    """Tell paths by a slash, or a folder that is there."""
    return "/" in text or (folder / text).is_dir()


@dataclass(frozen=True, kw_only=True)
class WithPaths:
    """Settings of which some may be paths."""

    init: Annotated[str, "a name or a path", MayBePath(is_path=is_with_slash)] = "none"
    many: Annotated[
        tuple[str, ...], "names or paths", MayBePath(is_path=is_with_slash)
    ] = ()
    file: Annotated[Path | None, "a path"] = None
    text: Annotated[str, "no path"] = ""


def located(table: dict[str, Any], base: Path, **flags: Any) -> WithPaths:
    return from_table(
        WithPaths, table, "x.toml [with]", flags, locate=lambda path: base / path
    )


def test_paths_of_a_table_are_relative_to_its_file_and_those_of_flags_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bare").mkdir()
    table = {
        "init": "w/x.pth",
        "many": ["name", "bare", "../y/z"],
        "file": "f.csv",
        "text": "a/b",
    }
    settings = located(table, tmp_path)
    assert settings.init == str(tmp_path / "w/x.pth")
    assert settings.many == ("name", f"{tmp_path}/bare", f"{tmp_path.parent}/y/z")
    assert settings.file == tmp_path / "f.csv"
    assert settings.text == "a/b"
    assert located(table, tmp_path, init="w/x.pth").init == "w/x.pth"
    monkeypatch.chdir(tmp_path)  # from there it is written shorter
    assert located(table, tmp_path).init == "w/x.pth"
    assert located(table, tmp_path).many[1] == "bare"


def test_a_path_relative_to_where_one_stands_is_told_how_to_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "w").mkdir()
    base = tmp_path / "experiments"
    message = (
        r"^x\.toml \[with\]: init = 'w/': paths in an experiment file are relative to"
        r" it; write '\.\./w'$"
    )
    with pytest.raises(UserError, match=message):
        located({"init": "w/"}, base)
    (base / "w").mkdir(parents=True)
    assert located({"init": "w/"}, base).init == "experiments/w"


def test_a_record_does_not_depend_on_where_files_lie(tmp_path: Path) -> None:
    for place in (tmp_path / "a", tmp_path / "b"):
        table = {"init": "w/x.pth", "many": ["name", "y/z"]}
        record = recorded(located(table, place))
        assert record["init"] == "./x.pth"
        assert record["many"] == ["name", "./z"]
        assert is_with_slash(record["init"], tmp_path)  # it reads as a path again


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("give a smaller --batch-size", "give a smaller batch_size"),
        ("--workers 1, or --threads 1", "workers = 1, or threads = 1"),
        ("try --learning-rate 0.003, or", "try learning_rate = 0.003, or"),
        ("fewer --epochs or --stop plateau", 'fewer epochs or stop = "plateau"'),
        ("train it with --all, --run X", "train it with --all, --run X"),
        ("leave --stop out", "leave stop out"),
        (
            "again: python -m a.b --run R --threads 2; or --threads 1",
            "again: python -m a.b --run R --threads 2; or threads = 1",
        ),
        ("a well--known dash -- and --", "a well--known dash -- and --"),
    ],
)
def test_flags_are_told_as_keys_where_there_are_none(text: str, expected: str) -> None:
    @dataclass(frozen=True, kw_only=True)
    class OfTraining:
        batch_size: Annotated[int, "size"] = 3
        epochs: Annotated[int, "epochs"] = 3
        learning_rate: Annotated[float, "rate"] = 3.0
        stop: Annotated[Literal["never", "plateau"], "when"] = "never"
        threads: Annotated[int, "threads"] = 3
        workers: Annotated[int, "workers"] = 3

    assert as_keys(text, OfTraining) == expected
