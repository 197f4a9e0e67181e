"""Tests of data_prep.reporting.numerals."""

import math

import pytest

from data_prep.reporting.numerals import (
    decimals_for,
    four_digits,
    style_for,
    with_decimals,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.4509, "0.4509"),
        (0.45094, "0.4509"),
        (1.08444, "1.0844"),
        (-0.25, "-0.2500"),
        (0.0451, "0.04510"),
        (12.345, "12.35"),
        (1234.4, "1234"),
        (16_000_000.0, "16000000"),
        (0.0001234, "0.0001234"),
        (1.234e-7, "1.234e-07"),
        (-5e-9, "-5.000e-09"),
        (1.5e20, "1.500e+20"),
        (0.0, "0.0000"),
        (math.nan, "nan"),
        (math.inf, "inf"),
    ],
)
def test_people_see_four_digits(value: float, text: str) -> None:
    assert four_digits(value) == text


@pytest.mark.parametrize("power", range(-12, 15))
def test_four_digits_are_right_to_a_few_thousandths(power: int) -> None:
    value = 4.5678 * 10.0**power
    assert float(four_digits(value)) == pytest.approx(value, rel=5e-4)
    assert float(with_decimals(value, decimals_for(value))) == pytest.approx(
        value, rel=5e-4
    )


def test_numbers_of_a_table_are_written_alike() -> None:
    assert style_for(0.4509, 1.2, -0.01, math.nan) == ".4f"
    assert style_for(24.75, 0.01) == ".2f"
    assert style_for(3e-8, 1e-9) == ".3e"
    assert style_for() == style_for(math.nan) == style_for(0.0) == ".4f"
    texts = [format(value, f"9{style_for(3e-8)}") for value in (3e-8, 0.0, 1.2e-10)]
    assert {len(text) for text in texts} == {9}


def test_decimals_that_are_many_become_a_power_of_ten() -> None:
    assert with_decimals(1234.56, 1, ",") == "1,234.6"
    assert with_decimals(2.5e-9, 12, "+,") == "+2.500e-09"
    assert with_decimals(0.0, 12) == "0"
