"""Model inversion: training rows rebuilt, from the synthetic table alone or with the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from raysynth.attacks.attack import ClaimAttack, RecordAttack, Records, ThreatModel, View
from raysynth.attacks.attribute import TOLERANCE, check_columns, column_of, metric_on, right
from raysynth.comparison.neighbours import Metric, gower_metric, nearest
from raysynth.comparison.rows import Rows, RowSpace
from raysynth.data.table import as_table
from raysynth.errors import ConditionError
from raysynth.statistics.dated_table import declared_forms, with_forms

_NEAR = 0.02  # of a number's range: nearer in every column counts as rebuilt
_LOOKED_AT = 8  # nearest rows that a candidate is compared with
_AROUND = 5  # neighbours that say how thinly a place is settled


@dataclass(frozen=True)
class Reconstruction:
    """Rows that the attacker takes for training rows, and the units in which 1 is as far as a right one may be off."""

    rows: Rows
    metric: Metric


class TableInversionAttack(ClaimAttack):
    """Rows rebuilt from the synthetic table: where it is denser than around, each place named once.

    A memorising synthesizer heaps mass on its training rows, so candidates are the rows whose nearest neighbour is
    nearest in proportion to the fifth (modes of the synthetic density); of candidates that could be one row the first
    is kept. One is right where a training row agrees in every category, and in every number within 2 % of the range.
    The baseline counts the same among as many rows that the synthesizer never saw.

    Args:
        n_candidates: rows that the attacker names.
        n_looked_at: synthetic rows that it looks through for them.
    """

    name: ClassVar[str] = "inversion_table"
    title: ClassVar[str] = "Training rows rebuilt from the table"
    family: ClassVar[str] = "model_inversion"
    in_one_go: ClassVar[bool] = True

    def __init__(self, n_candidates: int = 500, n_looked_at: int = 10_000) -> None:
        self.n_candidates = n_candidates
        self.n_looked_at = n_looked_at

    def claim(self, view: View, rng: np.random.Generator) -> Reconstruction:
        """The modes of the synthetic rows, no two within reach of one row."""
        synthetic = view.synthetic.rows
        part = synthetic.take(rng.permutation(len(synthetic))[: self.n_looked_at])
        # the nearest row is the row itself
        distances = nearest(part, synthetic, gower_metric(synthetic), min(_AROUND + 1, len(synthetic))).distances_QK
        concentration = distances[:, -1] / np.maximum(distances[:, min(1, distances.shape[1] - 1)], 1e-9)
        metric = _strict(gower_metric(synthetic))
        order = np.argsort(-concentration, kind="stable")
        chosen = _apart(metric.points(part), order, self.n_candidates, len(metric.scale))
        return Reconstruction(part.take(chosen), metric)

    def check(self, claims: Any, records: Records) -> tuple[np.ndarray, np.ndarray]:
        """1 where a row is as good as equal, and that row."""
        found = nearest(claims.rows, records.rows, claims.metric, min(_LOOKED_AT, len(records))).rows_QK
        points, rows = claims.metric.points(claims.rows), claims.metric.points(records.rows)
        agree_QK = (np.abs(points[:, None, :] - rows[found]) < 1).all(axis=2)
        first = found[np.arange(len(found)), agree_QK.argmax(axis=1)]
        return agree_QK.any(axis=1).astype(float), np.where(agree_QK.any(axis=1), first, -1)


class UnknownColumnsAttack(RecordAttack):
    """What attacks on the unknown columns of partly known rows share: which ones, and when they are read off right.

    Args:
        secret: columns to rebuild; None: each experiment takes a random third of them.
    """

    family: ClassVar[str] = "model_inversion"
    threat: ClassVar[ThreatModel] = ThreatModel(model=True)

    def __init__(self, secret: Sequence[str] | None = None) -> None:
        self.secret = secret

    def answers(self, targets: Records, secret: Sequence[str], model: Any, rng: np.random.Generator) -> Rows:
        """Rows that the model gives for what is known, equally many for each target, one target after the other."""
        raise NotImplementedError

    def succeed(self, targets: Records, view: View, rng: np.random.Generator) -> np.ndarray:
        """Share of the secret columns that are read off right (N,)."""
        space = targets.rows.space
        secret = self._secret(targets.rows, rng)
        answers_NA = self.answers(targets, secret, view.model, rng)
        hits = [
            right(
                _read(answers_NA, name, len(targets)), column_of(targets.rows, name), name in space.numbers, TOLERANCE
            )
            for name in secret
        ]
        return np.mean(hits, axis=0)

    def _secret(self, rows: Rows, rng: np.random.Generator) -> list[str]:
        names = rows.space.names
        if self.secret is not None:
            check_columns(rows, list(self.secret))
            return list(self.secret)
        return [str(n) for n in rng.permutation(names)[: max(len(names) // 3, 1)]]


class ModelInversionAttack(UnknownColumnsAttack):
    """Columns of partly known rows read out of the model by asking it for rows.

    The attacker asks the model for rows under a target's known columns: exactly, where the model has exact conditions;
    else of many rows generated those nearest to what is known. Of the rows found the most frequent category or the
    median of the numbers is read off. A memorising model answers with the training row.

    Args:
        secret: columns to rebuild; None: each experiment takes a random third of them.
        n_answers: rows that the value is read from.
        n_generated: rows generated for the search in one experiment.
    """

    name: ClassVar[str] = "inversion_model"
    title: ClassVar[str] = "Unknown columns read out of the model"

    def __init__(self, secret: Sequence[str] | None = None, n_answers: int = 5, n_generated: int = 30_000) -> None:
        super().__init__(secret)
        self.n_answers = n_answers
        self.n_generated = n_generated

    def fits(self, view: View) -> bool:
        """Where the model makes rows one by one: the rows of a sequence depend on those before."""
        return super().fits(view) and not getattr(view.model, "learns_sequences", False)

    def answers(self, targets: Records, secret: Sequence[str], model: Any, rng: np.random.Generator) -> Rows:
        """Rows under exact conditions, or the nearest of those generated."""
        found = _completed(model, targets, secret, self.n_answers, rng)
        return self._searched(model, targets.rows, secret, rng) if found is None else found

    def _searched(self, model: Any, targets: Rows, secret: Sequence[str], rng: np.random.Generator) -> Rows:
        """For each target the generated rows nearest in the known columns, one target after the other."""
        space = targets.space
        seed = int(rng.integers(2**31))
        generated = _encoded(space, model, model.sample_arrow(self.n_generated, seed=seed))
        known = [n for n in space.names if n not in secret]
        found = nearest(targets, generated, metric_on(known, targets, generated), self.n_answers).rows_QK
        return generated.take(found.reshape(-1))


class InputInversionAttack(UnknownColumnsAttack):
    """Columns of partly known rows read off the model's answer to the input that explains the known ones best.

    The input of a neural network (a decoder's place; a generator's noise, under the condition of a known column) is
    found by gradient descent on the likelihood of the known columns (`methods/shared/inversion.py`; Fredrikson et al.
    2015, Zhang et al. 2020). Sharper than asking for rows where a network has learned its rows by heart, since of all
    inputs it finds the row's own.
    """

    name: ClassVar[str] = "inversion_input"
    title: ClassVar[str] = "Unknown columns by a search of the model's input"

    def fits(self, view: View) -> bool:
        """Where the model is a network that can be asked so."""
        return super().fits(view) and hasattr(view.model, "invert") and view.model.rules_ is None

    def answers(self, targets: Records, secret: Sequence[str], model: Any, rng: np.random.Generator) -> Rows:
        """One row for each target."""
        space = targets.rows.space
        found = model.invert(targets.table, secret, seed=int(rng.integers(2**31)))
        return _encoded(space, model, found)


def _completed(
    model: Any, targets: Records, secret: Sequence[str], n_answers: int, rng: np.random.Generator
) -> Rows | None:
    """Rows that a model with exact conditions makes of the known columns; None where it has none or refuses."""
    if not getattr(model._generator(), "exact_conditions", False):
        return None
    space = targets.rows.space
    frame = targets.table.select(list(space.names)).to_pandas()
    frame[list(secret)] = None
    asked = frame.loc[frame.index.repeat(n_answers)].reset_index(drop=True)
    try:
        return _encoded(space, model, model.sample_arrow(conditions=asked, seed=int(rng.integers(2**31))))
    except ConditionError:
        return None


def _encoded(space: RowSpace, model: Any, made: pa.Table) -> Rows:
    """What a model gave, in the space of the targets, whose dates have been read where they are written as text."""
    read = with_forms(as_table(made, min_rows=0), declared_forms(model.schema_))
    return space.encode(read.to_arrow(list(space.names)))


def _read(answers: Rows, name: str, n_targets: int) -> np.ndarray:
    """The value that the answers for each target agree on most (N,)."""
    answers_NA = column_of(answers, name).reshape(n_targets, -1)
    if name in answers.space.numbers:
        known = np.isfinite(answers_NA).any(axis=1)
        result = np.full(n_targets, np.nan)
        result[known] = np.nanmedian(answers_NA[known], axis=1)
        return result
    same_NAA = answers_NA[:, :, None] == answers_NA[:, None, :]
    return answers_NA[np.arange(n_targets), same_NAA.sum(axis=2).argmax(axis=1)]


def _strict(metric: Metric) -> Metric:
    """The units in which a number is 1 off at 2 % of its range, and categories count most."""
    n_numbers = len(metric.scale)
    weights = np.where(np.arange(len(metric.weights)) < n_numbers, 1.0, float(len(metric.weights)))
    return Metric(metric.scale * _NEAR, weights, 1, metric.origin)


def _apart(points_ND: np.ndarray, order: np.ndarray, n: int, n_numbers: int) -> np.ndarray:
    """The first n rows in an order such that no row can be within 1 of two of them (codes are 1 apart at least)."""
    apart_D = np.where(np.arange(points_ND.shape[1]) < n_numbers, 2.0, 1.0)
    kept: list[int] = []
    for row in order.tolist():
        if len(kept) == n:
            break
        if not kept or (np.abs(points_ND[kept] - points_ND[row]) >= apart_D).any(axis=1).all():
            kept.append(row)
    return np.array(kept, dtype=np.int64)
