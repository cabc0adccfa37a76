"""What rules that are met by rejection do to a sample: the rows they cost, and which shares and means they move."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from raysynth.sampling.chunks import SamplingModel, chunk_stream
from raysynth.schema.columns import Kind
from raysynth.schema.constraints import Constraint, ConstraintSet
from raysynth.schema.constraints.values import column_of, numbers_of

PILOT_ROWS = 2_048  # drawn before the sample, from a stream of their own: the sample does not depend on them
_SEED = 0x52756C6573
_TOLD = 0.005  # share of rows rejected from which on a rule is told
_MOVED = 0.1  # change of a share, or of a mean in standard deviations, that is called a distortion


def rule_effects(model: SamplingModel) -> list[str]:
    """A line for each rule that rejects rows, by a pilot without conditions; none where all are met by construction."""
    if not isinstance(model.rules, ConstraintSet) or not _rejecting(model.rules):
        return []
    rng = chunk_stream(_SEED, 0)
    rows = model.rules.inverse(model.encoder.decode(model.generator.generate(PILOT_ROWS, rng), rng), rng)
    lines = []
    for constraint in _rejecting(model.rules):
        if all(n in rows.column_names for n in constraint.involves):
            lines += _effect(constraint, rows, model)
    return lines


def _rejecting(rules: ConstraintSet) -> Sequence[Constraint]:
    """The rules that change no column of what is modelled, and repair none."""
    changed = {frozenset(r.needs) for r in rules.replacements}
    return [
        c for c in rules.constraints if frozenset(c.involves) not in changed and type(c).repair is Constraint.repair
    ]


def _effect(constraint: Constraint, rows: pa.Table, model: SamplingModel) -> list[str]:
    kept = constraint.holds(rows)
    rejected = 1 - float(kept.mean())
    if rejected < _TOLD or not kept.any():
        return []
    parts, is_moved = [], False
    for name in constraint.involves:
        before, after, spread, is_share = _figures(column_of(rows, name), kept, model, name)
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
    array: pa.Array, kept: np.ndarray, model: SamplingModel, name: str
) -> tuple[tuple[float, float], tuple[float, float], float, bool]:
    """((missing, mean) of all rows, the same of kept ones, standard deviation, whether it has no mean)."""
    missing = array.is_null().to_numpy(zero_copy_only=False)
    if model.schema[name].kind is not Kind.CONTINUOUS:
        return (float(missing.mean()), 0.0), (float(missing[kept].mean()), 0.0), 0.0, True
    values, absent = numbers_of(array)
    there, left = values[~absent].astype(float), values[kept & ~absent].astype(float)
    if not len(there) or not len(left):
        return (float(missing.mean()), 0.0), (float(missing[kept].mean()), 0.0), 0.0, True
    return (
        (float(missing.mean()), float(there.mean())),
        (float(missing[kept].mean()), float(left.mean())),
        float(there.std()),
        False,
    )
