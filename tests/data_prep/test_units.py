"""Tests of data_prep.tables.units."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from data_prep.tables.units import Unit, fits_float32

VALUES = np.array([4.0, 1.0, 3.0, 2.0, 9.0, 1.0])


def test_a_unit_is_the_lower_median_and_the_deviation() -> None:
    unit = Unit.of(VALUES)
    assert unit.centre == 2
    assert unit.scale == pytest.approx(np.sqrt(np.mean((VALUES - 10 / 3) ** 2)))
    assert_allclose(unit.restore(unit.standardise(VALUES)), VALUES, rtol=1e-15)


@pytest.mark.parametrize("a", [1e-9, 0.3, 1.0, 1e9])
@pytest.mark.parametrize("b", [0.0, -1e3, 1e6])
def test_standardised_values_know_no_unit(a: float, b: float) -> None:
    measured = a * VALUES + a * b
    standardised = Unit.of(measured).standardise(measured)
    assert_allclose(
        standardised,
        Unit.of(VALUES).standardise(VALUES),
        atol=1e-15 * (1 + b**2) ** 0.5,
    )


def test_seconds_since_1970_lose_no_digit() -> None:
    seconds = 1_600_000_000 + 40 * VALUES
    unit = Unit.of(seconds)
    assert_array_equal(
        unit.standardise(seconds), Unit.of(40 * VALUES).standardise(40 * VALUES)
    )


@pytest.mark.parametrize(
    ("values", "fits"),
    [
        (VALUES, True),
        (1e-9 * VALUES, True),
        (1900 + 30 * VALUES, True),
        (1911 + 4 * VALUES, True),
        (1990 + VALUES, False),
        (2021.4 + 0.1 * VALUES, False),
        (-1e9 + VALUES, False),
        (1e-20 * VALUES, False),
        (1e20 * VALUES, False),
        (np.full(3, 1890.37), True),
        (np.array([]), True),
    ],
)
def test_float32_holds_what_is_not_far_from_zero_for_its_spread(
    values: np.ndarray, fits: bool
) -> None:
    assert fits_float32(values) == fits


@pytest.mark.parametrize("value", [0.0, 0.1 + 0.2, 1e-200, -1.6e9])
def test_equal_values_have_the_scale_one(value: float) -> None:
    assert Unit.of(np.full(7, value)) == Unit(centre=value, scale=1.0)
    nearly = np.array([0.3, 0.1 + 0.2, 0.3])
    assert Unit.of(nearly).scale == 1


def test_no_values_have_the_unit_of_numbers() -> None:
    assert Unit.of(np.array([])) == Unit(centre=0.0, scale=1.0)
