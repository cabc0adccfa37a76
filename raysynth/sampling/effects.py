"""What rules that are met by rejection do to a sample, and the weights that undo what rejection alone would move."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from raysynth.errors import ConstraintError
from raysynth.sampling.chunks import SamplingModel, chunk_stream
from raysynth.schema.constraints import Constraint, ConstraintSet, FixedCombinations
from raysynth.schema.constraints.base import column_of, numbers_of
from raysynth.schema.constraints.derived import Derived
from raysynth.schema.constraints.thinning import is_off, learned
from raysynth.schema.table import TableSchema

PILOT_ROWS = 2_048  # drawn before the sample, from a stream of their own: the sample does not depend on them
_SEED = 0x52756C6573
_LEAST_REJECTED = 0.005  # share of rows: a rule that rejects fewer is not reported, and its rejection not weighted
_MOVED = 0.1  # change of a share, or of a mean in standard deviations, that is called a distortion
_KEPT = 16_384  # rows that keep the rules, which the weights are found with
_MOST_PILOTS = 32
_MOST_COLUMNS = 40  # whose shares the weights keep: those of the rules, and others, which would move with them

Rules: TypeAlias = Sequence[Constraint]


def with_thinning(model: SamplingModel) -> ConstraintSet | None:
    """The model's constraints with weights for its rows, where rejection alone would move shares; None without any.

    The weights (`thinning.py`) are learned from pilot samples of the model. They are needed where rejection
    takes a share of the rows, or where a computed column misses the shares that its rule was released with.
    """
    rules = model.rules
    if rules is None:
        return None
    if not rules.rejecting and not rules.shares:
        return rules
    pilots: list[pa.Table] = []
    n_kept = n_made = 0
    for rows in islice(_pilots(model), _MOST_PILOTS):
        pilots.append(rows)
        n_made, n_kept = n_made + rows.num_rows, n_kept + int(_kept(rules, rows).sum())
        if n_kept >= _KEPT or (n_made - n_kept < _LEAST_REJECTED * n_made and not rules.shares):
            break
    rows = pa.concat_tables(pilots).unify_dictionaries()
    kept = _kept(rules, rows)
    if n_made - n_kept < _LEAST_REJECTED * n_made and not any(is_off(rows, kept, c) for c in rules.shares):
        return rules
    ruled = {n for c in rules.rejecting for n in c.involves} | {n for r in rules.replacements for n in r.needs}
    columns = sorted(rows.column_names, key=lambda n: n not in ruled)[: max(_MOST_COLUMNS, len(ruled))]
    return replace(rules, thinning=learned(rows, kept, columns, rules.shares))


def with_rules(model: SamplingModel, extra: Rules) -> SamplingModel:
    """A model whose rows keep further rules, which it has not learned: others are rejected, so shares move as they do.

    An equality is met by computing one column from the others, a range by the nearest value.

    Raises:
        ConstraintError: a rule does not fit the model's columns, or is one that only a fit can learn.
    """
    if not extra:
        return model
    schema = model.schema.as_modelled()
    for rule in extra:
        if isinstance(rule, FixedCombinations) and rule.combinations is None:
            raise ConstraintError(
                f"{rule}: combinations are learned by a fit; when rows are drawn, list them, or fit with this rule"
            )
    rules = model.rules or ConstraintSet((), schema)
    rules = replace(rules, extra=(*rules.extra, *extra))
    rules.validate(schema)
    _check_persons(model, extra, schema)
    return replace(model, rules=rules)


def _check_persons(model: SamplingModel, extra: Rules, schema: TableSchema) -> None:
    """Raise `ConstraintError` where a rule would compute what is one for a person from what differs in its rows."""
    if model.persons is None:
        return
    own = {model.encoder.columns[i].name for i in model.persons.columns}
    own |= {c.name for c in schema.columns if c.kind.is_constant}
    for made in (r for c in extra for r in c.replacements(schema) if isinstance(r, Derived)):
        if made.column.name in own and (odd := [c.name for c in made.operands if c.name not in own]):
            raise ConstraintError(
                f"the rule '{made.text}' computes '{made.column.name}', the same in all rows of one "
                f"'{model.persons.entity}', from '{odd[0]}', which differs in them; give the rule to the fit (in its "
                "schema), or without the columns that differ"
            )


def _pilots(model: SamplingModel) -> Iterator[pa.Table]:
    """Tables of made rows before rejection, from a stream of their own."""
    rng = chunk_stream(_SEED, 0)
    while model.rules is not None:
        made = model.encoder.decode(model.generator.generate(PILOT_ROWS, rng), rng)
        yield model.rules.inverse(made, rng)


def _kept(rules: ConstraintSet, rows: pa.Table) -> np.ndarray:
    return np.logical_and.reduce([np.ones(rows.num_rows, bool), *(c.holds(rows) for c in _on(rules, rows))])


def _on(rules: ConstraintSet, rows: pa.Table) -> list[Constraint]:
    """The rejecting rules on columns that were made (a constant is not)."""
    return [c for c in rules.rejecting if all(n in rows.column_names for n in c.involves)]


def rule_effects(model: SamplingModel) -> list[str]:
    """A line for each rule that rejects rows, by a pilot without conditions; none where all are met by construction."""
    rules = model.rules
    if rules is None or not rules.rejecting:
        return []
    rows = next(_pilots(model))
    weight_N = _kept(rules, rows).astype(float)
    if rules.thinning is not None:
        weight_N *= rules.thinning.probabilities(rows)
    return [line for constraint in _on(rules, rows) for line in _effect(constraint, rows, weight_N, model)]


def _effect(constraint: Constraint, rows: pa.Table, weight_N: np.ndarray, model: SamplingModel) -> list[str]:
    """What is said of one rule; `weight_N`: with what probability each row is used under all rules."""
    rejected = 1 - float(constraint.holds(rows).mean())
    if rejected < _LEAST_REJECTED or not weight_N.any():
        return []
    parts, is_moved = [], False
    for name in constraint.involves:
        before, after, spread, is_share = _figures(column_of(rows, name), weight_N, model, name)
        for word, (a, b), scale in (("missing", (before[0], after[0]), 1.0), ("mean", (before[1], after[1]), spread)):
            if word == "missing" or not is_share:
                moved = abs(b - a) / scale if scale > 0 else 0.0
                shown = f"{a:.1%} to {b:.1%}" if word == "missing" else f"{a:.4g} to {b:.4g}"
                parts += [f"{word} of '{name}' {shown}"] if moved >= _MOVED / 5 else []
                is_moved |= moved >= _MOVED
    how = "; ".join(parts) if parts else "no share or mean moves by more than a fiftieth"
    end = (
        ": DISTORTED; declare it as an equality, an ordering or combinations, which reject nothing" if is_moved else ""
    )
    return [f"rule {constraint}: {rejected:.1%} of made rows are rejected ({how}){end}"]


def _figures(
    array: pa.Array, weight_N: np.ndarray, model: SamplingModel, name: str
) -> tuple[tuple[float, float], tuple[float, float], float, bool]:
    """((missing, mean) of all rows, the same of used ones, standard deviation, whether it has no mean)."""
    missing = array.is_null().to_numpy(zero_copy_only=False)
    shares = float(missing.mean()), float(np.average(missing, weights=weight_N))
    if not model.schema[name].kind.is_number:
        return (shares[0], 0.0), (shares[1], 0.0), 0.0, True
    values, absent = numbers_of(array)
    there, left_N = values[~absent].astype(float), weight_N[~absent]
    if not left_N.any():
        return (shares[0], 0.0), (shares[1], 0.0), 0.0, True
    mean = float(np.average(there, weights=left_N))
    return (shares[0], float(there.mean())), (shares[1], mean), float(there.std()), False
