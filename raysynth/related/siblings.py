"""What a row sees of the siblings that were made before it.

Siblings are exchangeable: they stand in random order, and are made in rounds that double, places 0, 1, 2-3, 4-7, ...
Each row sees a summary of the rounds before its own. So the number of rounds grows with the logarithm of the largest
family, and what siblings have in common beyond their parent's columns shows more sharply from round to round, as in
the sequential predictive form of an exchangeable sequence (de Finetti; Blackwell and MacQueen 1973). Where a column
orders them, each row is a round of its own and sees the row before it and the mean of all before.

Shape legend: N rows, G groups.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysynth.related.grouping import (
    Family,
    code_column,
    codes,
    group_means,
    group_modes,
    numbers,
    plain,
    take_or_null,
    values_of,
)
from raysynth.schema.columns import ColumnSchema, Kind

PLACE = "place among siblings"
AS_BEFORE = "(as before)"  # how a category of the row before is learned in the next one
REPEATED = 2.0  # times as often as by chance: then a column of categories is learned so
ECHOED = 0.03  # the same for other columns, whose ties are to be so much more frequent than by chance, too


@dataclass(frozen=True)
class Siblings:
    """How the siblings of a table see each other.

    Args:
        columns: of the table's rows that are shown to later siblings.
        is_sequence: whether siblings stand in an order.
        repeated: columns of text, in sequences, in which a value mostly stays: it is learned as `AS_BEFORE`, so that
            it is the same value that stays, of however many.
        echoed: other columns, in sequences, in which rows often repeat the row before (the same flight day by day): a
            column says of each row whether it does, and then it is exactly that value.
    """

    columns: tuple[ColumnSchema, ...]
    is_sequence: bool
    repeated: frozenset[str] = frozenset()
    echoed: frozenset[str] = frozenset()

    def rounds(self, place_N: np.ndarray) -> np.ndarray:
        """The round that makes each row, (N,) from 0."""
        if self.is_sequence:
            return place_N
        return np.where(place_N > 0, np.floor(np.log2(np.maximum(place_N, 1))).astype(np.int64) + 1, 0)

    def seen(self, round_: int) -> int:
        """How many siblings are there before a round."""
        return round_ if self.is_sequence or round_ == 0 else 1 << (round_ - 1)

    @property
    def schema(self) -> tuple[ColumnSchema, ...]:
        """The columns that a row sees."""
        added = [ColumnSchema(PLACE, Kind.CONTINUOUS, "int64", decimals=0)]
        for column in self.columns:
            if column.kind.is_numeric:
                added.append(ColumnSchema(_mean(column), Kind.CONTINUOUS, "double"))
            if column.kind.is_discrete or self.is_sequence:
                added.append(ColumnSchema(_typical(column), column.kind, column.dtype, categories=column.categories))
            if column.kind.is_discrete:
                added.append(ColumnSchema(_share(column), Kind.CONTINUOUS, "double"))
        return tuple(added)

    def of_all(self, rows: pa.Table, family: Family) -> pa.Table:
        """What each of the rows sees, (N,): for learning.

        Args:
            rows: the table. family: of its rows.
        """
        if self.is_sequence:
            return self._of_sequences(rows, family)
        round_N = self.rounds(family.place)
        number_N = np.where(family.parent >= 0, family.number[family.parent], 1) if len(family.number) else round_N
        parts, order = [], []
        for r in range(int(round_N.max(initial=0)) + 1):
            own = np.flatnonzero(round_N == r)
            before = np.flatnonzero((family.place < self.seen(r)) & (number_N > self.seen(r)))
            parts.append(self._seen_by(rows, before, family, own))
            order.append(own)
        back = pa.array(np.argsort(np.concatenate(order), kind="stable"))
        return pa.concat_tables(parts).combine_chunks().take(back)

    def of_round(self, made: pa.Table, made_N: np.ndarray, family: Family, own_N: np.ndarray) -> pa.Table:
        """What the rows of one round see of those made before: for sampling.

        Args:
            made: the rows made before; `made_N`: which of the family they are.
            family: of all rows, made or not.
            own_N: the rows that the round makes.
        """
        wanted = np.zeros(len(family.number) + 1, bool)
        wanted[family.parent[own_N]] = True
        shown = np.flatnonzero(wanted[family.parent[made_N]])
        part = Family(family.parent[made_N[shown]], family.place[made_N[shown]], family.number)
        both = Family(
            np.concatenate([part.parent, family.parent[own_N]]),
            np.concatenate([part.place, family.place[own_N]]),
            family.number,
        )
        own = len(shown) + np.arange(len(own_N))
        return self._seen_by(made.take(pa.array(shown)), np.arange(len(shown)), both, own)

    def _seen_by(self, rows: pa.Table, before: np.ndarray, family: Family, own: np.ndarray) -> pa.Table:
        """Summaries of the rows `before`, by parent, for the rows `own` of the family."""
        parents, group = np.unique(family.parent[before], return_inverse=True)
        place = np.searchsorted(parents, family.parent[own])
        hit = place < len(parents)
        hit[hit] = parents[place[hit]] == family.parent[own][hit]
        of_own = np.where(hit, place, -1)
        result = {PLACE: pa.array(family.place[own])}
        for column in self.columns:
            values = rows.column(column.name).take(pa.array(before))
            if column.kind.is_numeric:
                mean, _ = group_means(group, numbers(values), len(parents))
                result[_mean(column)] = _floats(np.append(mean, np.nan)[of_own])
            else:
                code, distinct = codes(values)
                mode, share = group_modes(group, code, len(parents))
                taken = np.append(mode, -1)[of_own]
                result[_typical(column)] = values_of(distinct, taken)
                result[_share(column)] = _floats(np.append(share, np.nan)[of_own])
        return pa.table(result)

    # ---- sequences ---------------------------------------------------------------------------------------------------

    def with_repeated(self, rows: pa.Table, family: Family) -> Siblings:
        """These siblings with the columns in which the value of the row before often stays."""
        if not self.is_sequence:
            return self
        before, repeated, echoed = _row_before(family), [], []
        later = np.flatnonzero(before >= 0)
        for column in self.columns:
            code, distinct = codes(rows.column(column.name))
            is_text = column.kind.is_discrete and pa.types.is_string(column.arrow_type)
            if is_text and len(distinct) > 2 and AS_BEFORE not in distinct.to_pylist():
                stays, chance = _ties(code, before, later, -1)
                repeated += [column.name] * (stays > REPEATED * chance)
            elif not is_text and len(distinct) > 2:
                stays, chance = _ties(code, before, later, int(np.bincount(code[code >= 0]).argmax()))
                echoed += [column.name] * (stays > max(REPEATED * chance, chance + ECHOED))
        return replace(self, repeated=frozenset(repeated), echoed=frozenset(echoed))

    def learned(self, columns: Mapping[str, ColumnSchema]) -> dict[str, ColumnSchema]:
        """Columns as they are learned."""
        echoes = {_echo(n): code_column(_echo(n)) for n in columns if n in self.echoed}
        own = {n: replace(c, categories=None, levels=None) if n in self.repeated else c for n, c in columns.items()}
        return echoes | own

    def forward(self, rows: pa.Table, family: Family) -> dict[str, pa.Array]:
        """The repeated columns as they are learned, and what says of the echoed ones whether they repeat, (N,)."""
        before, result = _row_before(family), {}
        for name in self.repeated | self.echoed:
            code, distinct = codes(rows.column(name))
            stays = (before >= 0) & (code >= 0) & (code == code[before])
            if name in self.echoed:
                result[_echo(name)] = pa.array(stays.astype(np.int64))
                continue
            labels = pa.concat_arrays([distinct.cast(pa.string()), pa.array([AS_BEFORE])])
            result[name] = values_of(labels, np.where(stays, len(distinct), code))
        return result

    def inverse(self, rows: pa.Table, last: pa.Table | None) -> pa.Table:
        """Rows as they are shown, from drawn ones; `last`: the row before each, None where they are the first."""
        for name in self.echoed:
            if _echo(name) not in rows.column_names:
                continue
            stays = pc.fill_null(pc.equal(rows.column(_echo(name)), 1), False)
            if last is not None:
                values = pc.if_else(stays, plain(last.column(name)), plain(rows.column(name)))
                rows = rows.set_column(rows.column_names.index(name), name, values)
            rows = rows.drop_columns([_echo(name)])
        for name in self.repeated:
            values = plain(rows.column(name))
            stays = pc.fill_null(pc.equal(values, AS_BEFORE), False)
            if last is not None:
                values = pc.if_else(stays, plain(last.column(name)), values)
            elif pc.any(stays).as_py():  # a first row repeats none: any of the other first ones
                others = values.filter(pc.invert(stays))
                taken = pa.array(np.arange(len(values)) % max(len(others), 1))
                values = pc.if_else(
                    stays, others.take(taken) if len(others) else pa.nulls(len(values), values.type), values
                )
            rows = rows.set_column(rows.column_names.index(name), name, values.dictionary_encode())
        return rows

    def _of_sequences(self, rows: pa.Table, family: Family) -> pa.Table:
        order, before = np.lexsort((family.place, family.parent)), _row_before(family)
        result = {PLACE: pa.array(family.place)}
        for column in self.columns:
            last = take_or_null(rows.column(column.name), before)
            if column.kind.is_numeric:
                result[_mean(column)] = _floats(_means_before(numbers(rows.column(column.name)), order, family.place))
            else:
                result[_share(column)] = _floats(_runs_before(codes(rows.column(column.name))[0], order, family.place))
            result[_typical(column)] = last
        return pa.table(result)


@dataclass
class Walk:
    """Sequences under construction: the last row of each, and what is known of all its rows.

    Args:
        siblings: what is shown.
        last: the newest row of each of P sequences; None before the first.
        known: for each column two arrays (P,): sum and number of the values, or length of the run of equal ones.
    """

    siblings: Siblings
    last: pa.Table | None
    known: dict[str, tuple[np.ndarray, np.ndarray]]

    def seen(self, place: int, own: np.ndarray) -> pa.Table:
        """What the next rows of some sequences see, (len(own),)."""
        result = {PLACE: pa.array(np.full(len(own), place))}
        for column in self.siblings.columns:
            if self.last is None:
                nothing = pa.nulls(len(own), column.arrow_type)
                result[_typical(column)] = nothing
                result[_mean(column) if column.kind.is_numeric else _share(column)] = pa.nulls(len(own), pa.float64())
                continue
            one, two = self.known[column.name]
            result[_typical(column)] = self.last.column(column.name).take(pa.array(own))
            with np.errstate(invalid="ignore", divide="ignore"):
                known = one[own] / two[own] if column.kind.is_numeric else one[own]
            result[_mean(column) if column.kind.is_numeric else _share(column)] = _floats(known)
        return pa.table(result)

    def add(self, rows: pa.Table, kept: np.ndarray) -> Walk:
        """The sequences of which these are the next rows; `kept`: which sequences they are, (len(rows),)."""
        known = {}
        for column in self.siblings.columns:
            values = rows.column(column.name)
            if column.kind.is_numeric:
                x = numbers(values)
                before = self.known.get(column.name, (np.zeros(len(kept)), np.zeros(len(kept))))
                one, two = (b[kept] if self.last is not None else b for b in before)
                known[column.name] = (one + np.nan_to_num(x), two + ~np.isnan(x))
            else:
                run = np.ones(len(kept))
                if self.last is not None:
                    both = pa.chunked_array(
                        [*self.last.column(column.name).take(pa.array(kept)).chunks, *values.chunks]
                    ).unify_dictionaries()
                    code, _ = codes(both.combine_chunks())
                    same = code[: len(kept)] == code[len(kept) :]
                    run = np.where(same, self.known[column.name][0][kept] + 1, 1.0)
                known[column.name] = (run, run)
        return Walk(self.siblings, rows, known)


def _ties(code_N: np.ndarray, before_N: np.ndarray, later: np.ndarray, apart: int) -> tuple[float, float]:
    """How often a later row has the value of the row before, and how often by chance; where that is not `apart`.

    The most frequent number is left out: it is repeated without being meant (no goals in both seasons).
    """
    later = later[(code_N[before_N[later]] >= 0) & (code_N[before_N[later]] != apart)]
    if not len(later):
        return 0.0, 0.0
    shares = np.bincount(code_N[code_N >= 0], minlength=1) / max(len(code_N), 1)
    by_value = np.bincount(code_N[before_N[later]], minlength=len(shares)) / len(later)
    return float((code_N[later] == code_N[before_N[later]]).mean()), float(shares @ by_value)


def _row_before(family: Family) -> np.ndarray:
    """The number of the sibling before each row, -1 for the first, (N,)."""
    order = np.lexsort((family.place, family.parent))
    before = np.full(len(order), -1, np.int64)
    follows = np.flatnonzero(family.place[order] > 0)
    before[order[follows]] = order[follows - 1]
    return before


def _means_before(x_N: np.ndarray, order: np.ndarray, place_N: np.ndarray) -> np.ndarray:
    """For each row the mean of the values of its sequence before it, (N,)."""
    x, first = x_N[order], place_N[order] == 0
    start = np.maximum.accumulate(np.where(first, np.arange(len(x)), 0))
    there = ~np.isnan(x)
    total, number = (np.concatenate([[0.0], np.cumsum(v)]) for v in (np.where(there, x, 0.0), there))
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = (total[:-1] - total[start]) / (number[:-1] - number[start])
    result = np.empty(len(x))
    result[order] = mean
    return result


def _runs_before(code_N: np.ndarray, order: np.ndarray, place_N: np.ndarray) -> np.ndarray:
    """For each row how many rows before it have had the value of the last one without a break, (N,); NaN: first."""
    code, first = code_N[order], place_N[order] == 0
    begins = first | np.append(True, code[1:] != code[:-1])
    start = np.maximum.accumulate(np.where(begins, np.arange(len(code)), 0))
    run = np.arange(len(code)) - start + 1.0
    result = np.empty(len(code))
    result[order] = np.where(first, np.nan, np.append(np.nan, run[:-1]))
    return result


def _floats(x: np.ndarray) -> pa.Array:
    return pa.array(x, mask=np.isnan(x))


def _mean(column: ColumnSchema) -> str:
    return f"siblings' mean {column.name}"


def _typical(column: ColumnSchema) -> str:
    return f"siblings' {column.name}"


def _echo(name: str) -> str:
    return f"{name} as before"


def _share(column: ColumnSchema) -> str:
    return f"siblings' share of {column.name}"
