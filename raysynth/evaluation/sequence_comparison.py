"""Two long tables as sequences: the figures of an evaluation that look along time, and their section of the report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from raysynth.comparison.intervals import Estimate
from raysynth.data.arrow_types import is_text
from raysynth.data.fragments import Table
from raysynth.data.sequences import OrderedRows, gaps, order_rows, static_columns, windows_of
from raysynth.data.table import as_table
from raysynth.encoding.numeric import ModeEncoder
from raysynth.encoding.table_encoder import TableEncoder
from raysynth.errors import DataError
from raysynth.evaluation.section import Section, section_body
from raysynth.evaluation.sequence_metrics import (
    FEWEST_SEQUENCES,
    LAGS,
    PaddedSequences,
    autocorrelation_difference,
    autocorrelations,
    cross_correlation_difference,
    predictive_score,
    told_apart,
)
from raysynth.methods.sequences.data import divide, gap_name
from raysynth.statistics.dated_table import dated, with_forms
from raysynth.statistics.table_statistics import collect

MOST_STEPS = 50  # longer sequences are compared in windows of so many rows
MOST_SEQUENCES = 5000
UPDATES = 2000  # of each post-hoc network; the published predictor has 5,000, here time counts


@dataclass(frozen=True)
class SequenceFigures:
    """What a comparison along time found.

    Args:
        accuracy: of a post-hoc GRU that tells synthetic sequences from real ones; 0.5 is guessing.
        predictive, predictive_real: mean absolute error, one step ahead on real sequences, of a GRU that learned from
            synthetic and from real ones; on a scale where the real range is 1.
        predicted: the feature that is predicted.
        autocorrelation_difference, cross_correlation_difference: mean absolute differences, 0 is alike.
        features: names. real_lags, synthetic_lags: autocorrelations (lags, features).
        n_real, n_synthetic: sequences. length_real, length_synthetic: their mean rows.
        steps: rows that were looked at in each.
    """

    accuracy: Estimate
    predictive: float
    predictive_real: float
    predicted: str
    autocorrelation_difference: float
    cross_correlation_difference: float
    features: tuple[str, ...]
    real_lags: np.ndarray
    synthetic_lags: np.ndarray
    n_real: int
    n_synthetic: int
    length_real: float
    length_synthetic: float
    steps: int

    @property
    def discriminative(self) -> float:
        """|accuracy - 0.5|, the published score."""
        return abs(self.accuracy.value - 0.5)


@dataclass(frozen=True)
class SequencePair:
    """Two long tables as arrays on one scale.

    Args:
        real, synthetic: their sequences; features are numbers scaled by the real range, and shares of categories.
        features: names.
        lengths: mean rows of an entity in each, before windows.
        entities: of each.
    """

    real: PaddedSequences
    synthetic: PaddedSequences
    features: tuple[str, ...]
    lengths: tuple[float, float]
    entities: tuple[int, int]


def compare_sequences(
    real: Any, synthetic: Any, *, sequence_key: str, time_column: str | None = None, seed: int = 0
) -> SequenceFigures:
    """Figures along time of two long tables.

    Args:
        real, synthetic: any table, as for `evaluate_synthetic_data`.
        sequence_key: column that says which rows belong to one sequence.
        time_column: column that orders them; None: they are in order.
        seed: of the post-hoc networks and of the choice among more than 5,000 sequences.

    Raises:
        DataError, SchemaError: name the column and the cure.
    """
    pair = pair_long_tables(real, synthetic, sequence_key, time_column, seed)
    first, second = pair.real, pair.synthetic
    lags = min(LAGS, first.values_NTF.shape[1] - 1)
    return SequenceFigures(
        accuracy=told_apart(first, second, seed=seed, updates=UPDATES),
        predictive=predictive_score(first, second, seed=seed, updates=UPDATES),
        predictive_real=predictive_score(first, first, seed=seed, updates=UPDATES),
        predicted=pair.features[-1],
        autocorrelation_difference=autocorrelation_difference(first, second),
        cross_correlation_difference=cross_correlation_difference(first, second),
        features=pair.features,
        real_lags=autocorrelations(first, lags),
        synthetic_lags=autocorrelations(second, lags),
        n_real=pair.entities[0],
        n_synthetic=pair.entities[1],
        length_real=pair.lengths[0],
        length_synthetic=pair.lengths[1],
        steps=first.values_NTF.shape[1],
    )


def pair_long_tables(real: Any, synthetic: Any, key: str, time: str | None, seed: int = 0) -> SequencePair:
    """Both tables as arrays on the real one's scale; columns of the entity are left out, the times become gaps."""
    first, second = (as_table(t) for t in (real, synthetic))
    first, _ = dated(first, collect(first, label="Reading the real table"))
    second = with_forms(second, first.text_forms)
    if set(first.names) != set(second.names):
        raise DataError("the two tables have different columns; give both the same ones")
    ordered = [order_rows(t, key, time) for t in (first, second.select(first.names))]
    static = static_columns(ordered[0], None)
    steps = min(int(max(o.lengths.max() for o in ordered)), MOST_STEPS)
    if min(o.n_entities for o in ordered) < FEWEST_SEQUENCES:  # one long series: its windows are compared
        steps = max(2, min(steps, int(min(o.lengths.sum() for o in ordered)) // (2 * FEWEST_SEQUENCES)))
    windows = [windows_of(o, steps, steps) for o in ordered]
    _check_types(first, second)
    tables = divide(ordered[0], windows[0], static, declared=None, kinds={}, given=first)
    encoder, rng = tables.step_encoder(), np.random.default_rng(seed)
    names: tuple[str, ...] = ()
    padded: list[PaddedSequences] = []
    for rows, found in zip(ordered, windows, strict=True):
        names, values = _features(encoder, _steps(rows, tables.steps.column_names), time)
        at = rng.permutation(len(found))[:MOST_SEQUENCES]
        start, length = found.start[at], found.length[at]
        at_NT = start[:, None] + np.minimum(np.arange(steps), length[:, None] - 1)
        there_NT = np.arange(steps) < length[:, None]
        padded.append(PaddedSequences(values[at_NT] * there_NT[..., None], length))
    lengths = float(ordered[0].lengths.mean()), float(ordered[1].lengths.mean())
    return SequencePair(padded[0], padded[1], names, lengths, (ordered[0].n_entities, ordered[1].n_entities))


def sequence_section(figures: SequenceFigures) -> Section:
    """The section of the report; it shows real figures."""
    lags = [
        {
            "feature": name,
            "real": [float(x) for x in figures.real_lags[:, i]],
            "synthetic": [float(x) for x in figures.synthetic_lags[:, i]],
        }
        for i, name in enumerate(figures.features)
        if not np.isnan(figures.real_lags[:, i]).any()
    ]
    body = section_body("raysynth.evaluation", "sequences.html.j2", figures=figures, lags=lags)
    return Section("sequences", "Along time", body)


def _check_types(first: Table, second: Table) -> None:
    """Raise `DataError` where a column holds text in one table and no text in the other."""
    for name in first.names:
        found = [t.schema.field(name).type for t in (first, second)]
        if is_text(found[0]) != is_text(found[1]):
            kinds = ["text" if is_text(t) else str(t) for t in found]
            raise DataError(
                f"column '{name}' holds {kinds[0]} in the real table but {kinds[1]} in the synthetic one; "
                "convert one of them"
            )


def _steps(ordered: OrderedRows, names: list[str]) -> pa.Table:
    """The columns of a table of steps, as `divide` makes them."""
    steps = ordered.rows
    if ordered.time is not None:
        steps = steps.append_column(gap_name(ordered.time), gaps(ordered))
    return steps.select(names)


def _features(encoder: TableEncoder, steps: pa.Table, time: str | None) -> tuple[tuple[str, ...], np.ndarray]:
    """Names and values (rows, F) in [0, 1]: one for each code that occurs, then the numbers; the gap first."""
    block = encoder.encode(as_table(steps, min_rows=0).to_arrow())
    discrete, numbers = [], []
    for i, (column, place) in enumerate(zip(encoder.columns, encoder.layout, strict=True)):
        alive = np.flatnonzero(column.shares > 0)
        codes = block.codes_NC[:, i]
        if len(alive) > 1:
            discrete += [(f"{column.name}, state {code + 1}", codes == code) for code in alive]
        if place.value_index is not None and isinstance(column, ModeEncoder) and (column.mixture.std > 0).any():
            smooth = codes == int(np.flatnonzero(column.mixture.std > 0)[0])
            numbers.append((column.name, (block.values_NV[:, place.value_index] + 1) / 2 * smooth))
    numbers.sort(key=lambda n: time is None or n[0] != gap_name(time))
    features = [*discrete, *numbers]
    if not features:
        raise DataError(
            "no column of the real table varies along its sequences, so nothing can be compared along time; leave "
            "sequence_key out"
        )
    return tuple(n for n, _ in features), np.stack([x for _, x in features], axis=1).astype(np.float32)
