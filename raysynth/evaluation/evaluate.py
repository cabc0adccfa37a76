"""The calls of the documented API: one table against another."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from raysynth.attacks.attack import Records
from raysynth.attacks.registry import FAMILIES
from raysynth.attacks.run import Asked, sample_records
from raysynth.comparison.pairing import LABELS, Tables, pair_tables, person_notes
from raysynth.comparison.rows import Rows
from raysynth.dp.accounting.odometer import record_use
from raysynth.errors import ParameterError
from raysynth.evaluation.attacks import FULL_COLUMNS, asked_attacks, attack_checks, attack_rows
from raysynth.evaluation.counting import PassSummary, joints
from raysynth.evaluation.diagnostics import diagnose, synthetic_columns
from raysynth.evaluation.efficacy import MODELS, TargetEfficacy, choose_target, targets_efficacy
from raysynth.evaluation.expected import expected_seconds
from raysynth.evaluation.metrics.metric import Compared
from raysynth.evaluation.metrics.registry import measure, metrics
from raysynth.evaluation.privacy import PARTS, PrivacyRisk, privacy_figures
from raysynth.evaluation.provenance import origin
from raysynth.evaluation.report import EvaluationResults
from raysynth.evaluation.similarity import MOST_PAIRS, Similarity, compare_column, compare_pass, plan_pass
from raysynth.running.forecast import forecast
from raysynth.running.progress import progress
from raysynth.running.runner import summarise
from raysynth.running.stages import stage
from raysynth.schema.table import TableSchema

if TYPE_CHECKING:
    from raysynth.attacks.attack import Attack
    from raysynth.attacks.results import AttackResults
    from raysynth.methods.base import Synthesizer

METRICS = ("statistical_similarity", "privacy_metrics", "ml_efficacy")  # and what `metrics/` adds
PRIVACY_METRICS = tuple(PARTS)
_ROWS = {"real": 100_000, "synthetic": 20_000, "holdout": 100_000}  # beyond 50 columns fewer, down to a tenth


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
    model_info: Mapping[str, Any] | Synthesizer | None = None,
    attack_types: Sequence[str | Attack] | None = None,
    seed: int | None = None,
    sequence_key: str | None = None,
    time_column: str | None = None,
    entity: str | None = None,
    odometer: str | os.PathLike[str] | None = None,
) -> EvaluationResults:
    """Compare a synthetic table with the real one that it was made from.

    Similarity and diagnostics are computed over all rows. Privacy, realism and machine-learning figures are computed on
    up to 100,000 real, 100,000 holdout and 20,000 synthetic rows, drawn at random; beyond 50 columns on fewer rows and
    targets of attacks, and of more than 5,000 pairs on so many. The results say how many.

    Args:
        real_data: the rows that the synthesizer was fitted to: DataFrame, Arrow table, path or URI, Ray Dataset.
        synthetic_data: the synthetic rows, with the same columns.
        categorical_columns, continuous_columns: kinds of columns; the others are inferred as `fit` infers them.
        metrics: any of 'statistical_similarity', 'privacy_metrics' (figures from distances, and attacks),
            'ml_efficacy', 'realism'; None: all.
        holdout_data: real rows that the synthesizer has not seen; without them several figures are weaker or cannot be
            given, and the results say so.
        target_columns: columns that models should predict; None: one is chosen, and named in the notes.
        schema: declared schema; gives kinds, domains, keys and constraints to check.
        model_info: for the report, how the synthetic table was made: the fitted synthesizer itself (its parameters,
            versions and privacy ledger are then shown), or a mapping of your own.
        attack_types: attacks among the privacy metrics, as for `run_privacy_attacks`, on 2,000 targets in 10 rounds;
            None: membership inference, attribute inference and model inversion by an attacker who has the tables only;
            an empty list: none.
        seed: of every random choice (subsamples, splits, models); None: 0.
        sequence_key: for long tables: the column that says which rows belong to one sequence. Figures along time are
            added, and the column, whose values are made anew, is left out of all others.
        time_column: orders the rows of a sequence; None: they are in order.
        entity: the column that says whose each row is, where persons have several: every split then divides persons,
            and a row is not compared with others of its person. None: `sequence_key`, that of the schema, or one that
            looks like it.
        odometer: private folder that counts what is released of this table; exact figures are listed there.

    Raises:
        DataError: the tables cannot be compared; names column and cure. ParameterError: an unknown metric or column.
    """
    wanted, seed = _checked(metrics, _valid()), seed or 0
    asked = asked_attacks(attack_types, holdout_data is not None) if "privacy_metrics" in wanted else None
    record_use(odometer, "an exact evaluation")
    (info, sections), sequences = origin(model_info), None
    if sequence_key is not None:
        from raysynth.evaluation.sequence_comparison import compare_sequences

        with stage("sequences"):
            sequences = compare_sequences(
                real_data, synthetic_data, sequence_key=sequence_key, time_column=time_column, seed=seed
            )
        entity = entity or sequence_key
    elif time_column is not None:
        raise ParameterError("time_column orders the rows of sequences; name their sequence_key too")
    with stage("statistics of both") as done:
        tables = pair_tables(
            real_data,
            synthetic_data,
            holdout_data,
            categorical_columns=categorical_columns,
            continuous_columns=continuous_columns,
            schema=schema,
            entity=entity,
        )
        n_rows = done.rows = tables.real_statistics.n_rows + tables.synthetic_statistics.n_rows
    with forecast("evaluation", expected_seconds(tables, _most_rows(tables), wanted, target_columns, asked)):
        with stage("similarity", n_rows):
            similarity = compare_tables(tables, seed) if "statistical_similarity" in wanted else None
        found = EvaluationResults(
            kinds=tables.kinds,
            diagnostics=diagnose(tables, tables.marginals()),
            similarity=similarity,
            has_holdout=tables.holdout is not None,
            model_info=info,
            notes=tuple(_notes(tables)),
            sections=sections,
            sequences=sequences,
            shareable_columns=synthetic_columns(tables),
            spent=getattr(model_info, "privacy_spent_", None),
            source=str(real_data) if isinstance(real_data, str | os.PathLike) else "",
        )
        if not tables.compared:
            return found
        with stage("rows for privacy and models", n_rows):
            records = _read_records(tables, seed)
        found = replace(found, notes=(*found.notes, *_row_notes(tables, records)))
        return _with_figures_of_rows(found, records, wanted, asked, target_columns, seed)


def _with_figures_of_rows(
    found: EvaluationResults,
    records: Mapping[str, Records],
    wanted: Sequence[str],
    asked: Asked | None,
    targets: Sequence[str] | str | None,
    seed: int,
) -> EvaluationResults:
    """The same results with the figures that need rows in memory: usefulness, privacy, realism, the embedding."""
    rows = {label: r.rows for label, r in records.items()}
    sides = rows["real"], rows["synthetic"], rows.get("holdout")
    efficacy, target_notes = _efficacy(rows, targets, seed) if "ml_efficacy" in wanted else ((), [])
    attacks, attack_notes = _attacks(records, asked, seed)
    privacy = None
    if "privacy_metrics" in wanted:
        with progress("distances and disclosure"):
            privacy = privacy_figures(*sides, seed, () if attacks is None else attack_checks(attacks))
    return replace(
        found,
        efficacy=efficacy,
        privacy=privacy,
        attacks=attacks,
        measured=measure(Compared(*sides, seed), wanted),
        notes=(*found.notes, *target_notes, *attack_notes),
    )


def statistical_similarity_score(
    real_data: Any,
    synthetic_data: Any,
    categorical_columns: Sequence[str] | None = None,
    continuous_columns: Sequence[str] | None = None,
) -> float:
    """Quality in [0, 1]: the mean of Column Shapes and Column Pair Trends, as in SDMetrics 0.32.

    `real_data`, `synthetic_data`, `categorical_columns`, `continuous_columns`, errors: as in `evaluate_synthetic_data`.
    """
    tables = pair_tables(
        real_data, synthetic_data, categorical_columns=categorical_columns, continuous_columns=continuous_columns
    )
    return compare_tables(tables).quality


def privacy_risk_score(
    real_data: Any,
    synthetic_data: Any,
    metrics: Sequence[str] = ("identifiability", "membership_inference", "attribute_disclosure"),
    holdout_data: Any = None,
    categorical_columns: Sequence[str] | None = None,
    continuous_columns: Sequence[str] | None = None,
    *,
    seed: int | None = None,
    entity: str | None = None,
) -> float:
    """Privacy risk in [0, 1]: the largest part among the metrics, each measured beyond what unseen people's rows score.

    0: no metric found a leak, which does not prove that there is none; 1: every row is disclosed. The result is a float
    that carries its parts (`.parts`, `.summary()`), combined as `PrivacyRisk` says.

    - 'identifiability': Yoon et al. (2020); 'closer_to_training' and 'exact_copies': by distances.
    - 'membership_inference': the larger of the attack by plain distance and the strongest of `run_privacy_attacks`
      (where it surely gains). It needs holdout rows: without them it cannot be measured, and 'proximity' (the share of
      real rows nearer to the synthetic table than to other real rows) takes its place under that name, with a warning.
    - 'attribute_disclosure': CAP beside its baseline; 'attribute_inference' and 'model_inversion': attacks.

    Args:
        metrics: any of 'identifiability', 'membership_inference', 'attribute_disclosure', 'attribute_inference',
            'model_inversion', 'closer_to_training', 'exact_copies'.
        real_data, synthetic_data, holdout_data, categorical_columns, continuous_columns, seed, entity: as in
            `evaluate_synthetic_data`.

    Raises:
        DataError: the tables cannot be compared.
        ParameterError: an unknown metric, or none of those asked for can be computed without holdout rows.
    """
    wanted, seed = _checked(metrics, PRIVACY_METRICS), seed or 0
    asked = asked_attacks([m for m in wanted if m in FAMILIES], holdout_data is not None)
    tables = pair_tables(
        real_data,
        synthetic_data,
        holdout_data,
        categorical_columns=categorical_columns,
        continuous_columns=continuous_columns,
        entity=entity,
    )
    records = _read_records(tables, seed)
    rows, attacks = {label: r.rows for label, r in records.items()}, _attacks(records, asked, seed)[0]
    checks = () if attacks is None else attack_checks(attacks)
    found = privacy_figures(rows["real"], rows["synthetic"], rows.get("holdout"), seed, checks)
    keys = [key for metric in wanted for key in PARTS[metric]]
    score = PrivacyRisk(c for c in found.checks if c.key in keys)
    undefined = [m for m in wanted if math.isnan(score.of_metric(m))]
    if undefined:
        message = f"{', '.join(undefined)}: not defined for these tables; give holdout_data (real rows not used in fit)"
        if len(undefined) == len(wanted):
            raise ParameterError(message)
        warnings.warn(f"{message}; left out of the score", stacklevel=2)
    if "proximity" in score.parts:
        warnings.warn(
            "membership_inference: not measured without holdout_data; 'proximity' to the real rows took its place. "
            "Keep real rows out of the fit and pass them",
            stacklevel=2,
        )
    return score


def machine_learning_efficacy(
    real_data: Any,
    synthetic_data: Any,
    target_column: str,
    task_type: str | None = None,
    holdout_data: Any = None,
    categorical_columns: Sequence[str] | None = None,
    continuous_columns: Sequence[str] | None = None,
    *,
    models: Sequence[str] = MODELS,
    seed: int | None = None,
    entity: str | None = None,
) -> float:
    """The share of what models learn from real rows that they also learn from synthetic ones, in [0, 1].

    Of the model that does best when trained on real rows: (score trained on synthetic - guessing) / (score trained on
    real - guessing), both tested on the same real rows, by AUC (macro for several classes) or R2; NaN where even the
    real rows teach nothing. Without `holdout_data` the real rows are split: the synthesizer may have seen the test
    part.

    Args:
        target_column: what is predicted.
        task_type: 'classification' or 'regression'; None: by the column's kind.
        models: any of 'gradient boosting', 'linear', 'random forest'.
        real_data, synthetic_data, holdout_data, categorical_columns, continuous_columns, seed, entity: as in
            `evaluate_synthetic_data`.

    Raises:
        DataError: the target has one class, or the tables cannot be compared.
        ParameterError: unknown column, task or model.
    """
    if task_type == "regression":
        continuous_columns = [*(continuous_columns or ()), target_column]
    tables = pair_tables(
        real_data,
        synthetic_data,
        holdout_data,
        categorical_columns=categorical_columns,
        continuous_columns=list(dict.fromkeys(continuous_columns or ())),
        entity=entity,
    )
    rows = read_rows(tables, seed or 0)
    sides = rows["real"], rows["synthetic"], rows.get("holdout")
    return targets_efficacy([target_column], *sides, task=task_type, models=models, seed=seed or 0)[0].score


def compare_tables(tables: Tables, seed: int = 0) -> Similarity:
    """All similarity figures of two tables, over all rows, in one more pass over each."""
    marginals = tables.marginals()
    n_rows = tables.real_statistics.n_rows, tables.synthetic_statistics.n_rows
    columns = tuple(compare_column(n, tables.kinds[n], *marginals[n], n_rows) for n in marginals)
    plans = plan_pass(marginals, seed)
    real, synthetic = (
        summarise(table, partial(PassSummary, plan), columns=list(marginals), label=f"Counting pairs, {label} table")
        for table, plan, label in zip((tables.real, tables.synthetic), plans, LABELS, strict=False)
    )
    found = Similarity(*compare_pass(columns, real, synthetic), *n_rows)
    return replace(found, joints=joints(found.least_accurate_names, tables.kinds, real, synthetic))


def read_rows(tables: Tables, seed: int) -> dict[str, Rows]:
    """Rows of each table in memory (a random part of a large one), by label."""
    return {label: records.rows for label, records in _read_records(tables, seed).items()}


def _read_records(tables: Tables, seed: int) -> dict[str, Records]:
    return sample_records(tables, np.random.default_rng(seed), most_rows=_most_rows(tables), columns=tables.compared)


def _most_rows(tables: Tables) -> dict[str, int]:
    share = min(1.0, max(0.1, FULL_COLUMNS / max(len(tables.compared), 1)))
    return {label: int(share * n) for label, n in _ROWS.items()}


def _attacks(
    records: Mapping[str, Records], asked: Asked | None, seed: int
) -> tuple[AttackResults | None, Sequence[str]]:
    if asked is None:
        return None, ()
    with stage("attacks"):
        return attack_rows(records, asked, seed)


def _efficacy(
    rows: dict[str, Rows], targets: Sequence[str] | str | None, seed: int
) -> tuple[tuple[TargetEfficacy, ...], list[str]]:
    """Every target, and what the reader must know about the choice."""
    notes = []
    if targets is None:
        chosen = choose_target(rows["real"])
        if chosen is None:
            return (), ["no column can serve as a target for machine learning"]
        notes.append(f"no target was named; '{chosen}' was chosen for machine-learning efficacy")
    named = [targets] if isinstance(targets, str) else [chosen] if targets is None else list(targets)
    sides = rows["real"], rows["synthetic"], rows.get("holdout")
    untested: list[str] = []
    found = targets_efficacy([str(t) for t in named], *sides, seed=seed, untested=untested)
    why = "no column can serve as a target for machine learning" if targets is None else "not tested"
    notes = [*(notes if found else ()), *(f"{why}: {reason}" for reason in untested)]
    for result in found:
        if result.task == "regression" and result.target not in rows["real"].space.numbers:
            notes.append(f"'{result.target}' has more classes than can be tested and is predicted as a number")
        if result.unseen_classes:
            classes = ", ".join(result.unseen_classes[:5])
            notes.append(f"'{result.target}': classes never seen in the synthetic table: {classes}")
    return found, notes


def _notes(tables: Tables) -> list[str]:
    notes = []
    if tables.holdout is None:
        notes.append(
            "no holdout rows were given: membership inference and the share nearer to training rows cannot be "
            "measured, and models were tested on real rows that the synthesizer may have seen"
        )
    if skipped := ", ".join(n for n in tables.kinds if n not in tables.compared):
        notes.append(f"not compared, since made anew for each row: {skipped}")
    if (n := math.comb(len(tables.compared), 2)) > MOST_PAIRS:
        notes.append(f"pairs: {MOST_PAIRS:,} of {n:,}, drawn at random; their means are estimates, with intervals")
    return notes


def _row_notes(tables: Tables, rows: Mapping[str, Records]) -> list[str]:
    totals = {"real": tables.real_statistics.n_rows, "synthetic": tables.synthetic_statistics.n_rows}
    drawn = [
        f"privacy, realism and models used {len(rows[label]):,} of the {total:,} {label} rows, drawn at random"
        for label, total in totals.items()
        if len(rows[label]) < total
    ]
    return [*person_notes(tables, {label: r.table for label, r in rows.items()}), *drawn]


def _valid() -> tuple[str, ...]:
    """What can be asked for."""
    return tuple(dict.fromkeys((*METRICS, *(m.asked_by for m in metrics().values()))))


def _checked(metrics: Sequence[str] | None, valid: tuple[str, ...]) -> tuple[str, ...]:
    wanted = valid if metrics is None else tuple([metrics] if isinstance(metrics, str) else metrics)
    if unknown := [m for m in wanted if m not in valid]:
        raise ParameterError(f"unknown metrics {unknown}; valid: {', '.join(valid)}")
    if not wanted:
        raise ParameterError(f"metrics is empty; valid: {', '.join(valid)}")
    return wanted
