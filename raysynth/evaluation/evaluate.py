"""The calls of the documented API: one table against another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from raysynth.errors import ParameterError
from raysynth.evaluation.counting import PassSummary
from raysynth.evaluation.pairing import LABELS, Tables, pair_tables
from raysynth.evaluation.results import EvaluationResults
from raysynth.evaluation.similarity import Similarity, compare_column, compare_pass, plan_pass
from raysynth.execution import summarise
from raysynth.schema import TableSchema

METRICS = ("statistical_similarity", "privacy_metrics", "ml_efficacy", "realism")


def evaluate_synthetic_data(
    real_data: Any,
    synthetic_data: Any,
    categorical_columns: Sequence[str] | None = None,
    continuous_columns: Sequence[str] | None = None,
    metrics: Sequence[str] | None = None,
    holdout_data: Any = None,
    target_columns: Sequence[str] | str | None = None,
    *,
    schema: TableSchema | None = None,
    model_info: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> EvaluationResults:
    """Compare a synthetic table with the real one it was made from.

    Args:
        real_data: the rows that the synthesizer was fitted to: DataFrame, Arrow table, path or URI, Ray Dataset.
        synthetic_data: the synthetic rows, with the same columns.
        categorical_columns, continuous_columns: kinds of columns; the others are inferred from their types.
        metrics: any of 'statistical_similarity', 'privacy_metrics', 'ml_efficacy', 'realism'; None: all.
        holdout_data: real rows that the synthesizer has not seen; without them several figures are weaker, and the
            results say so.
        target_columns: columns that a model should predict; None: one is chosen, and named in the notes.
        schema: declared schema; gives kinds, domains, keys and constraints to check.
        model_info: how the synthetic table was made (method, parameters, seed, versions, ledger), for the report.
        seed: of every random choice (subsamples, splits, models).

    Raises:
        DataError: the tables cannot be compared; names the column and the cure.
        ParameterError: an unknown metric or column.
    """
    wanted = _checked_metrics(metrics)
    tables = pair_tables(
        real_data,
        synthetic_data,
        holdout_data,
        categorical_columns=categorical_columns,
        continuous_columns=continuous_columns,
        schema=schema,
    )
    similarity = compare_tables(tables, seed) if "statistical_similarity" in wanted else None
    return EvaluationResults(kinds=tables.kinds, similarity=similarity, model_info=model_info)


def statistical_similarity_score(
    real_data: Any,
    synthetic_data: Any,
    categorical_columns: Sequence[str] | None = None,
    continuous_columns: Sequence[str] | None = None,
) -> float:
    """Quality in [0, 1]: the mean of Column Shapes and Column Pair Trends, as in SDMetrics 0.32.

    Arguments and errors as in `evaluate_synthetic_data`.
    """
    tables = pair_tables(
        real_data, synthetic_data, categorical_columns=categorical_columns, continuous_columns=continuous_columns
    )
    return compare_tables(tables).quality


def compare_tables(tables: Tables, seed: int = 0) -> Similarity:
    """All similarity figures of two tables, in two passes over each."""
    marginals = tables.marginals()
    n_rows = tables.real_statistics.n_rows, tables.synthetic_statistics.n_rows
    columns = tuple(compare_column(n, tables.kinds[n], *marginals[n], n_rows) for n in marginals)
    plans = plan_pass(marginals, seed)
    real, synthetic = (
        summarise(table, partial(PassSummary, plan), columns=list(marginals), label=f"Counting pairs, {label} table")
        for table, plan, label in zip((tables.real, tables.synthetic), plans, LABELS, strict=False)
    )
    pairs, triples = compare_pass(list(marginals), real, synthetic)
    return Similarity(columns, pairs, triples, *n_rows)


def _checked_metrics(metrics: Sequence[str] | None) -> tuple[str, ...]:
    wanted = METRICS if metrics is None else tuple([metrics] if isinstance(metrics, str) else metrics)
    if unknown := [m for m in wanted if m not in METRICS]:
        raise ParameterError(f"unknown metrics {unknown}; valid: {', '.join(METRICS)}")
    return wanted
