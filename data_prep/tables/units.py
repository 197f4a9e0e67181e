"""The unit of a target: nothing that is learned or chosen depends on it.

Float32 has seven digits, and learners have constants that suit a spread near one. So a
quantity of the user's is centred and scaled in float64 first, and what is learned of
it is brought back at the end. Metres, microns and seconds since 1970 come to the same.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from data_prep.arrays import Floats

# Deviations that are smaller beside the values are rounding: the values are all alike.
ROUNDING = 1e-12
# Float32 tells 1/65,000 of a spread that is this many times smaller than the values,
# and holds the square of any spread between these two.
FAR = 256
SMALLEST, LARGEST = 1e-15, 1e15


@dataclass(frozen=True, kw_only=True)
class Unit:
    """Where the values of a quantity lie, and how far they spread.

    Attributes:
        centre: The lower median: a value itself, so that subtracting it rounds nothing
            of values that differ by little.
        scale: Standard deviation; 1 where the values do not vary.
    """

    centre: float = 0.0
    scale: float = 1.0

    @classmethod
    def of(cls, values: Floats) -> Self:
        """Measure (N,) values, all finite; N may be 0."""
        if not len(values):
            return cls()
        middle = (len(values) - 1) // 2
        centre = float(np.partition(values, middle)[middle])
        scale = float((values - centre).std())
        varies = scale > ROUNDING * abs(centre)
        return cls(centre=centre, scale=scale if varies else 1.0)

    def standardise(self, values: Floats) -> Floats:
        """Bring (N, ...) values to a centre of 0 and a spread of 1."""
        return (values - self.centre) / self.scale

    def restore(self, values: Floats) -> Floats:
        """Bring (N, ...) standardised values back."""
        return self.centre + self.scale * values


def origin_of(values: Floats) -> float:
    """Say what (N,) values are counted from: 0, unless float32 loses them then."""
    return 0.0 if fits_float32(values) else Unit.of(values).centre


def fits_float32(values: Floats) -> bool:
    """Tell whether float32 holds (N,) values well enough, and their variance at all.

    Values that are all alike fit: there is nothing to tell apart.
    """
    unit = Unit.of(values)
    if not len(values) or np.ptp(values) <= ROUNDING * abs(unit.centre):
        return True
    is_near = abs(unit.centre) <= FAR * unit.scale
    return bool(is_near and SMALLEST <= unit.scale <= LARGEST)
