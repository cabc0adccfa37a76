"""Rows of a table that are completed, all at once, by a generator that fills in any columns (`fills`).

Each row asks for single values of its own. Drawn one by one, a row costs as much as a thousand drawn together, so rows
that know the same columns are drawn together; those that break a rule, or whose computed column came out otherwise, are
drawn again, each round more often, and what no round finds is left to rejection.

Legend: N rows that are asked for, M drawn ones, C columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from raysynth.encoding.block import EncodedBlock
from raysynth.encoding.categorical import CategoricalEncoder
from raysynth.encoding.numbers import NumericEncoder, to_numbers
from raysynth.encoding.table_encoder import ColumnEncoder
from raysynth.kinds.arrow_text import plain
from raysynth.sampling.conditions import ColumnCondition
from raysynth.sampling.persons import replaced
from raysynth.schema.constraints.base import one_array

FEW = 8  # rows that ask the same, at most: of more, rejection is as fast, and exact
ROUNDS = 8  # each draws four times as many rows for one as the round before
MOST_TOGETHER = 262_144


def completed(model: Any, pieces: Sequence[Any], rng: np.random.Generator) -> dict[int, pa.Table]:
    """Modelled rows of the pieces, by their place, that ask for single values and for which such rows were found.

    Args:
        model: the `SamplingModel`. pieces: of one chunk, each with its conditions.
    """
    unique = model.rules is not None and model.rules.has_unique
    if not getattr(model.generator, "fills", False) or model.encoder.n_values or unique:
        return {}
    alike: dict[tuple[str, ...], list[int]] = {}
    for place, piece in enumerate(pieces):
        if piece.conditions and piece.n <= FEW and all(_is_single(c) for c in piece.conditions):
            alike.setdefault(tuple(sorted(c.column for c in piece.conditions)), []).append(place)
    result: dict[int, pa.Table] = {}
    for names, places in alike.items():
        n_each = np.array([pieces[p].n for p in places])
        asked = _Asked.of(model, names, [pieces[p].conditions for p in places], n_each)
        rows, found = asked.drawn(rng)
        stops = np.cumsum(n_each).tolist()
        for place, n, stop in zip(places, n_each.tolist(), stops, strict=True):
            if found[stop - n : stop].all():
                result[place] = rows.slice(stop - n, n)
    return result


def _is_single(condition: ColumnCondition) -> bool:
    if condition.values is not None:
        return len(condition.values) == 1
    return condition.missing or len(condition.points) == 1


def _value(condition: ColumnCondition) -> Any:
    if condition.missing:
        return None
    return condition.points[0] if condition.values is None else condition.values[0]


@dataclass(frozen=True)
class _Asked:
    """Rows that know the same columns.

    Args:
        model: that draws them.
        given: the values of columns that are drawn by their code, (N,).
        codes_NC: theirs; 0 elsewhere.
        alike_N: equal numbers for rows that are given the same, so that what is drawn for one serves another.
        computed: what the other columns have to come out as, (N,) each.
    """

    model: Any
    given: dict[str, pa.Array]
    codes_NC: np.ndarray
    alike_N: np.ndarray
    computed: dict[str, np.ndarray]

    @classmethod
    def of(
        cls, model: Any, names: Sequence[str], conditions: Sequence[Sequence[ColumnCondition]], n_each: np.ndarray
    ) -> _Asked:
        """Rows of pieces, each with a condition on every one of the names and n rows."""
        known = [n for n in names if n in model.condition_encoder.names]
        row_N = np.repeat(np.arange(len(conditions)), n_each)
        values = [{c.column: _value(c) for c in own} for own in conditions]
        codes_NC = np.zeros((len(row_N), len(model.encoder.columns)), np.uint16)
        given: dict[str, pa.Array] = {}
        for name in known:
            index = model.encoder.names.index(name)
            encoder = model.encoder.columns[index]
            given[name] = _array(encoder, [v[name] for v in values]).take(pa.array(row_N))
            codes_NC[:, index] = encoder.encode(given[name])[0]
        seen: dict[tuple[Any, ...], int] = {}
        alike = [seen.setdefault(tuple(v[n] for n in known), len(seen)) for v in values]
        computed = {n: _comparable([v[n] for v in values])[row_N] for n in names if n not in known}
        return cls(model, given, codes_NC, np.array(alike, np.int64)[row_N], computed)

    def drawn(self, rng: np.random.Generator) -> tuple[pa.Table, np.ndarray]:
        """(N rows, whether each is as asked for (N,) bool)."""
        n = len(self.alike_N)
        rows, matched = self._tried(np.arange(n), np.arange(n), rng)
        found = np.isin(np.arange(n), matched[:, 0])
        rows = rows.take(pa.array(_placed(n, matched)))
        for power in range(1, ROUNDS):
            left = np.flatnonzero(~found)
            if not len(left):
                break
            first = left[np.unique(self.alike_N[left], return_index=True)[1]]
            at = np.repeat(first, min(4**power, max(1, MOST_TOGETHER // len(first))))
            made, matched = self._tried(at, left, rng)
            rows = replaced(rows, matched[:, 0], made.take(pa.array(matched[:, 1])))
            found[matched[:, 0]] = True
        return rows, found

    def _tried(self, at_M: np.ndarray, left: np.ndarray, rng: np.random.Generator) -> tuple[pa.Table, np.ndarray]:
        """(M rows, drawn as rows `at_M` are given, pairs of a row among `left` and the drawn one that is its own)."""
        model, known = self.model, [self.model.encoder.names.index(name) for name in self.given]
        codes_MC = model.generator.generate_given(self.codes_NC[at_M], known, rng)
        rows = model.encoder.decode(EncodedBlock(codes_MC, np.empty((len(at_M), 0), np.float32)), rng)
        for name, values in self.given.items():
            rows = rows.set_column(rows.column_names.index(name), name, values.take(pa.array(at_M)))
        good = np.ones(len(at_M), bool)
        if model.rules is not None:
            rows = model.rules.inverse(rows, rng)
            good = np.asarray(model.rules.holds(rows) & model.rules.used(rows, rng))
            for name, values in self.given.items():  # a rule that repairs values may have changed one
                good &= _same(rows.column(name), values.take(pa.array(at_M)))
        keys = self.alike_N
        key_M = keys[at_M]
        for name, wanted in self.computed.items():
            both, _ = pd.factorize(np.concatenate([wanted, _as_compared(rows.column(name))]), use_na_sentinel=False)
            size = int(both.max()) + 1
            keys, key_M = keys * size + both[: len(wanted)], key_M * size + both[len(wanted) :]
        return rows, _pairs(left, keys[left], np.flatnonzero(good), key_M[good])


def _pairs(left: np.ndarray, wanted: np.ndarray, made: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Pairs (K, 2) of one of `left` and one of `made` with the same key, each in one pair at most."""
    (a, rank_a), (b, rank_b) = _ranked(wanted), _ranked(found)
    top = max(len(left), len(made), 1)
    _, at, of = np.intersect1d(wanted[a] * top + rank_a, found[b] * top + rank_b, True, return_indices=True)
    return np.stack([left[a[at]], made[b[of]]], axis=1)


def _ranked(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(places in the order of their keys, rank of each among those with the same key)."""
    order = np.argsort(keys, kind="stable")
    return order, np.arange(len(keys)) - np.searchsorted(keys[order], keys[order], side="left")


def _placed(n: int, matched: np.ndarray) -> np.ndarray:
    """For each of n rows the drawn one that is its own, else that of its place."""
    place = np.arange(n)
    place[matched[:, 0]] = matched[:, 1]
    return place


def _array(encoder: ColumnEncoder, values: list[Any]) -> pa.Array:
    """Values as the encoder decodes them."""
    if isinstance(encoder, NumericEncoder):
        missing = np.array([v is None for v in values])
        places = [encoder.distribution.low[0] if v is None else encoder.place(v) for v in values]
        return encoder.to_arrow(np.array(places), missing)
    assert isinstance(encoder, CategoricalEncoder), "what is made anew cannot be asked for (`parse_conditions`)"
    array = pa.array(values, encoder.dtype)
    return array.dictionary_encode() if pa.types.is_string(encoder.dtype) else array


def _same(left: pa.Array | pa.ChunkedArray, right: pa.Array) -> np.ndarray:
    a, b = plain(one_array(left)), plain(one_array(right))
    equal = pc.equal(a, b).fill_null(False).to_numpy(zero_copy_only=False)
    return np.asarray(equal | pc.and_(a.is_null(), b.is_null()).to_numpy(zero_copy_only=False))


def _comparable(values: list[Any]) -> np.ndarray:
    """Values of conditions: numbers and times as float64, others as objects; NaN or None where missing."""
    if all(v is None or (isinstance(v, (int, float)) and not isinstance(v, bool)) for v in values):
        return np.array([np.nan if v is None else v for v in values], float)
    return np.array(values, object)


def _as_compared(array: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """As `_comparable`, of drawn values."""
    values = plain(one_array(array))
    if pa.types.is_string(values.type) or pa.types.is_boolean(values.type):
        return np.array(values.to_pylist(), object)
    x, missing = to_numbers(values)
    return x.astype(float) if missing is None else np.where(missing, np.nan, x.astype(float))
