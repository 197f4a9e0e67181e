"""Tests of data_prep.pictures.near_ids."""

import unicodedata
from collections.abc import Callable

import numpy as np
import pytest

from data_prep.pictures.near_ids import DIFFERENCES, SEVERAL, near_ids

SEEDS = range(5)

# How a name may be changed so that the difference of this name is all there is.
CHANGES: dict[str, Callable[[str], str]] = {
    "leading zeros": lambda name: name.replace("-", "-00"),
    "upper and lower case": str.upper,
    "the extension": lambda name: f"{name}.JPG",
    "blanks": lambda name: f" {name[:2]} {name[2:]}\t",
    "blanks, hyphens and underscores": lambda name: name.replace("-", " _ "),
    "the Unicode form": lambda name: f"\ufeff{name[0]}\u200b{name[1:]}",
    "a mark of a copy": lambda name: f"{name} (1)",
    "the folder": lambda name: f"C:\\scans\\{name}",
}


def names(seed: int, n: int = 60) -> list[str]:
    rng = np.random.default_rng(seed)
    letters = ["".join(rng.choice(list("abcdefgh"), 4)) for _ in range(n)]
    return sorted({f"{text}-{number + 1}" for number, text in enumerate(letters)})


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("difference", CHANGES)
@pytest.mark.parametrize("is_in_table", [True, False])
def test_each_difference_is_named_and_pairs_what_belongs_together(
    difference: str, seed: int, is_in_table: bool
) -> None:
    plain = names(seed)
    changed = [CHANGES[difference](name) for name in plain]
    ids, pictures = (changed, plain) if is_in_table else (plain, changed)
    shuffled = np.random.default_rng(seed).permutation(pictures).tolist()
    near = near_ids(ids, [*shuffled, "of-no-row"])
    assert near.pairs == dict(zip(ids, pictures, strict=True))
    assert list(near.pairs) == ids
    assert set(near.differences.values()) == {difference}
    assert not near.unclear
    assert str(near).startswith(f"{difference} ({len(ids)}: id {ids[0]!r}, picture")


@pytest.mark.parametrize("seed", SEEDS)
def test_several_differences_at_once_are_seen(seed: int) -> None:
    rng = np.random.default_rng(seed)
    plain = names(seed)
    changed = []
    for name in plain:
        for difference in rng.permutation(list(CHANGES)[:5])[:3]:
            name = CHANGES[difference](name)  # noqa: PLW2901
        changed.append(name)
    near = near_ids(changed, plain)
    # two blanks inside a word are taken for a blank of its own: never a wrong pair
    assert near.pairs.items() <= dict(zip(changed, plain, strict=True)).items()
    both = near_ids(["IMG 7.PNG"], ["img_007"])
    assert both.pairs == {"IMG 7.PNG": "img_007"}
    assert both.differences == {"IMG 7.PNG": SEVERAL}


@pytest.mark.parametrize(
    ("id_", "picture", "difference"),
    [
        ("1", "0001", "leading zeros"),
        ("0", "000", "leading zeros"),
        ("p1", "p001", "leading zeros"),
        ("12.0", "12", "the form of a number"),
        ("1E+05", "100000", "the form of a number"),
        ("p001", "p001.jpeg", "the extension"),
        ("p001.CR2", "p001", "the extension"),
        ("Straße", "STRASSE", "upper and lower case"),
        ("p008", "p008\n", "blanks"),
        ("p008", "p008\u00a0", "blanks"),
        ("fiﬁ", "fifi", "the Unicode form"),
        ("\uff50\uff11", "p1", "the Unicode form"),
        ("p010", "p010 - Copy (2)", "a mark of a copy"),
        ("p010", "p010 - Kopie", "a mark of a copy"),
        ("scans/p1", "p1", "the folder"),
        ("12.0", "00012", "the form of a number"),
        ("P 1", "p_001", SEVERAL),
    ],
)
def test_pairs_worked_out_by_hand(id_: str, picture: str, difference: str) -> None:
    near = near_ids([id_, "else"], ["other", picture])
    assert near.pairs == {id_: picture}
    assert near.differences == {id_: difference}


@pytest.mark.parametrize(
    ("id_", "picture"),
    [
        *[("p1", "p2"), ("p1", "p10"), ("p1", "p100"), ("12", "21"), ("a1", "a-1")],
        *[("p1", "p1 (2024)"), ("1.5", "15"), ("10", "1"), ("p.v2", "p"), ("ä", "a")],
    ],
)
def test_what_is_another_name_is_not_near(id_: str, picture: str) -> None:
    near = near_ids([id_], [picture])
    assert not near.pairs
    assert not near.unclear


def test_what_is_not_one_to_one_is_told_and_not_paired() -> None:
    near = near_ids(["1", "01", "b", "q"], ["001", "0001", "B"])
    assert near.pairs == {"b": "B"}
    assert near.unclear == {"1": ["001", "0001"], "01": ["001", "0001"]}
    # where one difference tells them apart, it is clear
    cased = near_ids(["A1.png", "a1.png"], ["a1", "A1"])
    assert cased.pairs == {"A1.png": "A1", "a1.png": "a1"}


@pytest.mark.parametrize("seed", SEEDS)
def test_no_picture_is_given_twice_and_the_order_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    forms = ["{}", "{}.png", "0{}", "{} ", "{} (1)", "x{}", "X{}", "{}.0"]
    pool = [form.format(number) for number in range(30) for form in forms]
    ids, pictures = (rng.choice(pool, 90, replace=False).tolist() for _ in range(2))
    ids = [id_ for id_ in ids if id_ not in pictures]
    near = near_ids(ids, pictures)
    assert len(set(near.pairs.values())) == len(near.pairs)
    assert not set(near.pairs) & set(near.unclear)
    assert near.differences.keys() == near.pairs.keys()
    again = near_ids(ids[::-1], pictures[::-1])
    assert again.pairs == near.pairs
    assert again.differences == near.differences


def test_plain_letters_are_their_own_form_whatever_the_short_cut_says() -> None:
    letters = "".join(map(chr, range(128)))
    assert unicodedata.normalize("NFKC", letters) == letters
    assert "Cf" not in map(unicodedata.category, letters)
    for text in (letters, "\u00adabc\u200b", "ﬁne"):
        plain = unicodedata.normalize("NFKC", text)
        slowly = "".join(c for c in plain if unicodedata.category(c) != "Cf")
        assert DIFFERENCES["the Unicode form"](text) == slowly


def test_composed_and_decomposed_letters_are_one_form() -> None:
    name = "café-Ωλ"
    near = near_ids([unicodedata.normalize("NFD", name)], [name])
    assert near.differences == {unicodedata.normalize("NFD", name): "the Unicode form"}


def test_every_difference_is_tried_here() -> None:
    assert set(DIFFERENCES) == {*CHANGES, "the form of a number"}


def test_nothing_near_says_nothing() -> None:
    near = near_ids([], ["a"])
    assert not near.pairs
    assert str(near) == ""
