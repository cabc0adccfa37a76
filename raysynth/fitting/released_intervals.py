"""How far what a private model knows of each column may be off because of noise: from the model's file alone.

Noise is of a known law, so each released figure has an interval that needs no look at the rows. It covers noise alone.
What a model adds is named apart: `within_cells`, the most that a mean may be off because values inside a released
interval are taken as spread evenly over it; how a method joins the columns, and the chance of a sample, come on top.

Counts of declared values were made to add up to the noised number of rows, by a shift that all K of them share: their
errors are those of the noise less its mean, and a K-th of the error of the number of rows. Where a count came out below
zero it became zero; then intervals cover a little more, and that of a mean reaches farther to the side from which such
counts pull it: where most of a range is empty, all that noise leaves there lies on one side.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtri

from raysynth.dp.accounting.ledger import MOST_LEVELS, Event, Mechanism
from raysynth.dp.mechanisms.histogram import simplex
from raysynth.encoding.categorical import CategoricalEncoder
from raysynth.encoding.numbers import NumericEncoder
from raysynth.encoding.table_encoder import TableEncoder
from raysynth.errors import ParameterError

if TYPE_CHECKING:
    import pandas as pd

DRAWS = 100  # of noise
MOST_EMPTY = 128  # cells in one gap
SEEN = 2.0  # standard deviations of a count that are taken for rows


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
        within_cells: of a mean: the most that it may be off besides, because of where values lie in their cells.
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
    """The missing values, and the mean: the middles of the cells, weighted by counts that each have noise."""
    cells = column.distribution
    yield from known.of_share(column.name, None, cells.missing_share, sigma)
    middle, width = cells.low / 2 + cells.high / 2, cells.high - cells.low
    mean = float(cells.share @ middle)
    present = max(known.n_rows * (1 - cells.missing_share), 1.0)
    away = middle - mean
    noise, shift = known.z * sigma * float(np.sqrt((away**2).sum())), known.rows_half * float(away.mean())
    half = math.hypot(noise, shift) / present
    empty = _between(cells.low, cells.high) - mean
    rows = np.append(cells.share * present, np.zeros(len(empty)))
    pulled = _pulled(rows, np.append(away, empty), sigma) / present
    low, high = mean - half - max(pulled, 0.0), mean + half - min(pulled, 0.0)
    within = float(cells.share @ width) / 2
    yield ReleasedInterval(column.name, "mean", None, mean, low, high, known.level, within)


def _between(low_K: np.ndarray, high_K: np.ndarray) -> np.ndarray:
    """Middles of the cells that were released as empty and so are in no distribution: as wide as those beside them."""
    order = np.argsort(low_K)
    low, high = low_K[order], high_K[order]
    if len(low) < 2:
        return np.empty(0)
    wide = np.maximum(high - low, np.diff(np.unique(low)).min(initial=np.inf))
    found = []
    for i in range(len(low) - 1):
        width, begin = max(wide[i], wide[i + 1]), low[i] + wide[i]
        n = int(min(round((low[i + 1] - begin) / width), MOST_EMPTY))
        found.append(begin + (np.arange(n) + 0.5) * (low[i + 1] - begin) / max(n, 1))
    return np.concatenate(found)


def _pulled(rows_K: np.ndarray, away_K: np.ndarray, sigma: float) -> float:
    """How far noise pulls the sum of distances from the mean because no count is below zero, in the mean of draws.

    Noise is drawn once more, on the counts that it lets one see, and these are then brought to the same sum again.
    """
    seen_K = np.where(rows_K > SEEN * sigma, rows_K, 0.0)
    if not seen_K.any():
        return 0.0
    rng = np.random.default_rng(0)
    drawn = [simplex(seen_K + rng.normal(0, sigma, len(seen_K)), seen_K.sum()) for _ in range(DRAWS)]
    return float((np.mean(drawn, axis=0) - seen_K) @ away_K)


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
