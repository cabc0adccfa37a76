"""How far what a private model knows of each column may be off because of noise: from the model's file alone.

Noise is of a known law, so each released figure has an interval that needs no look at the rows. It covers noise alone.
What is not noise is named apart: `within_cells`, the most that a mean may be off because a value counts as the middle
of its cell; how a method joins the columns, and the chance of a sample, come on top.

Counts of declared values were made to add up to the noised number of rows, by a shift that all K of them share: their
errors are those of the noise less its mean, and a K-th of the error of the number of rows. Where a count came out below
zero it became zero; then intervals cover a little more.

A mean's interval is that of the mean by the noised counts as they came out, some below zero: a sum with known weights,
which noise moves to no side (`unbiased_mean` of `dp/mechanisms/histogram.py`). The model has no counts below zero, so
its own mean is pulled to where most of a range is empty, and may lie outside the interval: that it does is told.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from scipy.special import ndtri

from raysynth.dp.accounting.ledger import MOST_LEVELS, Event, Mechanism
from raysynth.encoding.categorical import CategoricalEncoder
from raysynth.encoding.numbers import NumericEncoder
from raysynth.encoding.table_encoder import TableEncoder
from raysynth.errors import ParameterError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ReleasedInterval:
    """One released figure.

    Args:
        column: its name; empty for the number of rows.
        figure: 'rows' (a count), 'share' (of all rows) or 'mean' (of the present values).
        value: the category that is counted; None: missing values, or no category.
        estimate: as the model has it.
        low, high: where the table's own figure lies with probability `level`, as far as noise goes.
        level: in (0, 1).
        within_cells: of a mean: the most that it may be off besides, because of where values lie in the counted cells.
    """

    column: str
    figure: str
    value: Any
    estimate: float
    low: float
    high: float
    level: float
    within_cells: float = 0.0


def released_intervals(model: Any, level: float = 0.95) -> pd.DataFrame:
    """How far each count, share and mean that a private fit released may be off because of its noise.

    Args:
        model: a fitted synthesizer of one table.
        level: of each interval by itself, in (0, 1).

    Returns:
        A row for each `ReleasedInterval`.

    Raises:
        ParameterError: the model has no budget, learns sequences, or the level is out of range.
    """
    import pandas as pd

    spent = getattr(model, "privacy_spent_", None)
    if spent is None or model.learns_sequences:
        raise ParameterError("intervals of noise are those of a model of one table that was fitted with epsilon")
    if not 0 < level < 1:
        raise ParameterError(f"level must be between 0 and 1, such as 0.95; found {level!r}")
    found = intervals_of(model.encoder_, spent.ledger, model.n_rows_, level)
    return pd.DataFrame([asdict(i) for i in found])


def intervals_of(encoder: TableEncoder, events: Iterable[Event], n_rows: float, level: float) -> list[ReleasedInterval]:
    """The same from what was released; columns whose events are not in the ledger are left out.

    Args:
        encoder: built from noised statistics.
        events: of the ledger.
        n_rows: the noised number of rows.
        level: in (0, 1).
    """
    by_name = {e.released: e for e in events}
    rows = by_name.get("number of rows")
    scale = 0.0 if rows is None or not rows.epsilon else rows.sensitivity / rows.epsilon
    wide = scale * math.log(1 / (1 - level))
    found = [ReleasedInterval("", "rows", None, n_rows, max(n_rows - wide, 0.0), n_rows + wide, level)]
    for column in encoder.columns:
        known = _Known(n_rows, wide, level)
        if isinstance(column, CategoricalEncoder):
            event = by_name.get(f"counts of '{column.name}'")
            is_open = f"which values of '{column.name}' occur" in by_name
            found += [] if event is None else _of_categories(column, _sigma(event), known, is_open)
        elif isinstance(column, NumericEncoder):
            sigma = _histogram_sigma(column.name, by_name)
            found += [] if sigma is None else _of_numbers(column, sigma, known)
    return found


@dataclass(frozen=True)
class _Known:
    """The noised number of rows, half the width of its interval, and the level of all intervals."""

    n_rows: float
    rows_half: float
    level: float

    @property
    def z(self) -> float:
        return float(ndtri((1 + self.level) / 2))

    def of_share(
        self, column: str, value: Any, share: float, sigma: float, part: float = 0.0
    ) -> Iterator[ReleasedInterval]:
        """A count and the share that it is; `part` of the error of the number of rows is in the count."""
        count, noise = share * self.n_rows, self.z * sigma
        half = math.hypot(noise, part * self.rows_half)
        yield ReleasedInterval(column, "rows", value, count, max(count - half, 0.0), count + half, self.level)
        half = math.hypot(noise, (part - share) * self.rows_half) / max(self.n_rows, 1.0)
        low, high = max(share - half, 0.0), min(share + half, 1.0)
        yield ReleasedInterval(column, "share", value, share, low, high, self.level)


def _of_categories(
    column: CategoricalEncoder, sigma: float, known: _Known, is_open: bool
) -> Iterator[ReleasedInterval]:
    """Of values that nobody declared, each count has its own noise alone, or less."""
    shares = (column.shares / max(column.shares.sum(), 1e-300)).tolist()
    cells = max(sum(share > 0 for share in shares), 1)
    for value, share in zip((*column.values, None), (*shares[: len(column.values)], shares[-1]), strict=True):
        if is_open or share <= 0:
            yield from known.of_share(column.name, value, share, sigma)
        else:
            yield from known.of_share(column.name, value, share, sigma * math.sqrt(1 - 1 / cells), 1 / cells)


def _of_numbers(column: NumericEncoder, sigma: float, known: _Known) -> Iterator[ReleasedInterval]:
    """The missing values, and the mean: the model's, and the interval of that of the noised counts as they were."""
    cells, noised = column.distribution, column.noised
    yield from known.of_share(column.name, None, cells.missing_share, sigma)
    if noised is None:
        return
    middle = cells.low / 2 + cells.high / 2
    mean = float(cells.share @ (middle if column.line is None else column.line.number(middle).astype(float)))
    half = math.hypot(known.z * noised.sigma, known.rows_half * noised.per_row)
    low, high = (min(max(noised.mean + x, noised.low), noised.high) for x in (-half, half))
    yield ReleasedInterval(column.name, "mean", None, mean, low, high, known.level, noised.within)


def _sigma(event: Event) -> float:
    """Standard deviation of the noise in rows."""
    return (event.noise_multiplier or 0.0) * event.sensitivity


def _histogram_sigma(name: str, by_name: Mapping[str, Event]) -> float | None:
    """Of one level; where the range was found first, the number of levels is not in the ledger: of the most."""
    event = by_name.get(f"histogram of '{name}'")
    if event is None:
        return None
    # one level alone: continuous noise, of earlier files, never said how many there were
    unknown = event.mechanism is Mechanism.GAUSSIAN or f"range of '{name}'" in by_name
    return _sigma(event) * (math.sqrt(MOST_LEVELS) if unknown else 1.0)
