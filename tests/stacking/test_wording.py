"""Tests of stacking.reporting.wording."""

import pytest

from data_prep.reporting.numerals import decimals_for
from stacking.reporting.wording import MINUS, number, signed


@pytest.mark.parametrize(
    ("value", "size", "text"),
    [
        (0.4509, 0.4757, "0.4509"),
        (-0.25, 0.4757, f"{MINUS}0.2500"),
        (12345.6, 25_000.0, "12,346"),
        (1.234e-7, 1.1e-7, "1.234e-07"),
        (-4e-9, 1.1e-7, f"{MINUS}4.000e-09"),
        (0.0, 1.1e-7, "0"),
    ],
)
def test_a_number_has_four_digits_of_its_size(
    value: float, size: float, text: str
) -> None:
    assert number(value, decimals_for(size)) == text


@pytest.mark.parametrize(
    ("value", "size", "text"),
    [
        (0.03, 0.4757, "+0.0300"),
        (-0.00001, 0.4757, "+0.0000"),
        (4e-9, 1.1e-7, "+4.000e-09"),
        (-3.21e-8, 1.1e-7, f"{MINUS}3.210e-08"),
    ],
)
def test_a_difference_has_its_sign_and_digits(
    value: float, size: float, text: str
) -> None:
    assert signed(value, decimals_for(size)) == text
