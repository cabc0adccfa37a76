"""How many digits after the point nearly all values of a number need, found under a budget from noised counts.

Unit: one row (k rows of one privacy unit). The cells are disjoint, one row is in one of them: L2 sensitivity 1 (k).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from raysynth.data.total_cast import is_missing
from raysynth.statistics.cell_counts import as_doubles
from raysynth.statistics.decimals import needed_digits

MOST_DIGITS = 6  # numbers that need more have as many as their type
FEW = 0.01  # of the rows: so many may need more digits than are found
DIGITS_SEEN = 3.0  # standard deviations: fewer rows than this are taken for noise
LEAST_SEEN = 5.0  # standard deviations, of all rows: a cell of nine tenths of them is the fullest of eight in 99 %


@dataclass(frozen=True)
class DigitCells:
    """How many digits after the point a number needs: 0 .. `MOST_DIGITS`, more, missing."""

    n_cells = MOST_DIGITS + 3

    def index(self, array: pa.Array) -> np.ndarray:
        """Cell of each row, (N,)."""
        missing = is_missing(array)
        digits = needed_digits(np.where(missing, 0.0, as_doubles(array)), MOST_DIGITS)
        return np.where(missing, MOST_DIGITS + 2, digits)


def digits_shown(noised: np.ndarray, sigma: float, n_rows: float) -> int | None:
    """The least digits beyond which the noise shows no more than a few rows; None where most rows need more.

    The rows that need more than d digits are counted twice: as the sum of the cells beyond d, and as all rows without
    those of the cells up to d. The two are averaged by inverse variance. Where they would hide a quarter of the rows,
    the fullest cell decides, which most rows of a number with d digits are in; None where it does not stand out.

    Args:
        noised: counts of `DigitCells`, (C,).
        sigma: their standard deviation.
        n_rows: noised rows of the table.
    """
    values = noised[:-1]
    upper = values[::-1].cumsum()[::-1][1:]
    lower = n_rows - noised[-1] - values.cumsum()[:-1]
    of_upper = np.arange(len(upper), 0, -1.0)
    of_lower = np.arange(2.0, len(upper) + 2)
    more = (upper * of_lower + lower * of_upper) / (of_upper + of_lower)
    noise = DIGITS_SEEN * sigma * np.sqrt(of_upper * of_lower / (of_upper + of_lower))
    if noise.max() >= n_rows / 4:
        fullest = int(values.argmax())
        return fullest if fullest <= MOST_DIGITS and n_rows > LEAST_SEEN * sigma else None
    enough = np.flatnonzero(more <= np.maximum(noise, FEW * n_rows))
    return int(enough[0]) if len(enough) else None
