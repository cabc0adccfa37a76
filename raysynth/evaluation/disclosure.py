"""Attribute disclosure: how well a person's unknown attribute is guessed from the synthetic table and what is known.

The attacker knows every other column of a target, finds the nearest synthetic row and reads the attribute off it: the
generalized correct attribution probability (CAP; Elliot 2014, Taub et al. 2018). Numbers count as guessed when they
fall into the same tenth of the real distribution. The baseline is the same attack with as many other real rows in place
of the synthetic ones: what it gains over that is not knowledge of the population but of the person.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from raysynth.comparison.intervals import UNDEFINED, Z95, Estimate, share
from raysynth.comparison.neighbours import gower_metric, nearest_without
from raysynth.comparison.rows import Rows

_TARGETS, _SOURCES, _COLUMNS = 2_000, 10_000, 12


@dataclass(frozen=True)
class AttributeDisclosure:
    """The attack on one column.

    Args:
        column: the attribute that is guessed.
        success: share of targets guessed right from the synthetic table.
        baseline: share guessed right from other real rows.
    """

    column: str
    success: Estimate
    baseline: float

    @property
    def advantage(self) -> float:
        """(success - baseline) / (1 - baseline): 0 no gain, 1 everything disclosed."""
        return (self.success.value - self.baseline) / max(1 - self.baseline, 1e-9)


@dataclass(frozen=True)
class Disclosure:
    """The attack on all columns together.

    Args:
        columns: column by column.
        success, baseline: means over the columns.
        gain: mean over targets and columns of success minus baseline; its interval is over targets, and over the rows
            that the guesses were read off, of which one may decide for many targets.
    """

    columns: tuple[AttributeDisclosure, ...]
    success: float
    baseline: float
    gain: Estimate

    @property
    def advantage(self) -> float:
        """gain / (1 - baseline): 0 nothing learned of the person, 1 everything disclosed."""
        return self.gain.value / max(1 - self.baseline, 1e-9)


def attribute_disclosure(real: Rows, synthetic: Rows, holdout: Rows | None, seed: int = 0) -> Disclosure:
    """The attack on up to twelve columns, fewest values first; none with fewer than two columns or 20 real rows.

    `holdout` rows serve as the other real rows; without them part of `real` does, and is then not attacked.
    """
    rng = np.random.default_rng(seed)
    if len(real) < 20 or len(real.space.names) < 2:
        return Disclosure((), float("nan"), float("nan"), UNDEFINED)
    if holdout is None:
        targets, others = real.split(min(_TARGETS, len(real) // 2), rng)
        targets = targets.independent(rng)
    else:
        targets, others = real.independent(rng).sample(_TARGETS, rng), holdout
    n = min(len(synthetic), len(others), _SOURCES)
    sources = [rows.sample(n, rng) for rows in (synthetic, others)]
    attributes = sorted(_attributes(real), key=lambda a: a[2].size)[:_COLUMNS]
    metric, positions = gower_metric(real), [position for position, _, _ in attributes]
    nearest_of = [[f.rows_QK[:, 0] for f in nearest_without(targets, s, metric, positions)] for s in sources]
    results, gains = [], []
    deviations = np.zeros((2, n))  # of each source row: by how many guesses it did better than the mean
    for (position, name, cut), *rows in zip(attributes, *nearest_of, strict=True):
        truth = _value(targets, position, cut)
        hits = []
        for source, deviation, found in zip(sources, deviations, rows, strict=True):
            hits.append((_value(source, position, cut)[found] == truth).astype(float))
            np.add.at(deviation, found, hits[-1] - hits[-1].mean())
        gains.append(hits[0] - hits[1])
        results.append(AttributeDisclosure(name, share(hits[0].sum(), len(targets)), float(hits[1].mean())))
    return _together(tuple(results), gains, float((deviations**2).sum()))


def _together(columns: tuple[AttributeDisclosure, ...], gains: list[np.ndarray], of_sources: float) -> Disclosure:
    """All columns; `of_sources`: variance of the number of right guesses that comes from the source rows."""
    if not columns:
        return Disclosure((), float("nan"), float("nan"), UNDEFINED)
    of_target = np.mean(gains, axis=0)
    n = len(of_target)
    variance = float(of_target.var(ddof=1)) / n + of_sources / (n * len(columns)) ** 2
    mean, half = float(of_target.mean()), Z95 * math.sqrt(variance)
    success, baseline = (
        float(np.mean(part)) for part in ([c.success.value for c in columns], [c.baseline for c in columns])
    )
    return Disclosure(columns, success, baseline, Estimate(mean, mean - half, mean + half))


def _attributes(real: Rows) -> list[tuple[int, str, np.ndarray]]:
    """(position, name, cuts) of each column that varies; categories have as many cuts as values seen."""
    found = []
    n_numbers = real.numbers_NV.shape[1]
    for position, name in enumerate(real.space.names):
        if position < n_numbers:
            column = real.numbers_NV[:, position]
            column = column[np.isfinite(column)]
            cut = np.unique(np.quantile(column, np.arange(1, 10) / 10)) if len(column) else np.zeros(0)
            varies = len(column) > 0 and column.min() < column.max()
        else:
            cut = np.unique(real.codes_NC[:, position - n_numbers]).astype(float)
            varies = len(cut) > 1
        if varies:
            found.append((position, name, cut))
    return found


def _value(rows: Rows, position: int, cut: np.ndarray) -> np.ndarray:
    """What is to be guessed: the code of a category, the tenth of a number (missing: a value of its own)."""
    n_numbers = rows.numbers_NV.shape[1]
    if position >= n_numbers:
        return rows.codes_NC[:, position - n_numbers]
    column = rows.numbers_NV[:, position]
    return np.where(np.isfinite(column), np.searchsorted(cut, column, side="right"), -1)
