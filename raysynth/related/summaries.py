"""What the children of each parent are like, as columns of the parent: where its children's numbers lie, and how far
apart; which category is typical of them, and how many different ones they have.

A parent's row is drawn together with these columns, as HMA draws parameters of the children with it (Patki, Wedge and
Veeramachaneni 2016), and children are drawn given them. So children of one parent stay as near to each other as real
ones are: a user's ratings within an evening, a player's seasons within a career. A number that differs much more
between parents than within is learned as the place between the least and the largest of its family, and its siblings
are a sequence in its order; other numbers are learned as they are. In both cases the least and the largest of a made
family are those that the parent's row says.

The columns are summaries of protected tables like any other column: what is kept of them is kept by the parent's model,
on a grid whose cells at least `rare_threshold` persons share. Shape legend: N children, P parents.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysynth.related.forms import difference_of, of_type
from raysynth.related.grouping import (
    Family,
    codes,
    group_modes,
    group_moments,
    is_shared,
    nearest_of,
    number_column,
    numbers,
    on_grid,
    persons_each,
    plain,
    reaching,
    unit_in,
    values_of,
    varies,
)
from raysynth.related.kinds import Sample, frequent_levels, share_of_parents, squeezed
from raysynth.schema.columns import ColumnSchema, Kind, column_from_dict, column_to_dict
from raysynth.schema.constraints.base import one_array
from raysynth.schema.relations import Relation

FEWEST_FAMILIES = 50  # of two children or more; fewer teach no distribution of summaries
MOST_SUMMARISED = 40  # columns of one relation: those whose families differ most
WEAKEST = 0.1  # share of the variance between families' means (or deviations) that is no chance
RELATIVE_FROM = 0.75  # share of a column's variance that is between families
FARTHEST = 9.0  # squared: what one column adds at most to how far a family is from its parent's row
SPOTTED = 0.5  # share of the rows of a number that stand on values of enough persons: then it is a name
SPARSE = 0.5  # share of the whole numbers between them that these are, at most
LONGEST_SEQUENCE = 2_000  # children of one parent: a sequence is made row after row


@dataclass(frozen=True)
class Summaries:
    """Which columns of a table are summarised in its primary parent's rows.

    Args:
        relation: to the parent.
        numbers: columns of numbers and times.
        relative: those of them that are learned as a place within the family, and the unit in which they are whole
            numbers (a day of nanoseconds, say); 0: none.
        categories: columns of categories.
        order: the column in whose order siblings stand; None: in random order.
        most: of each number what `rare_threshold` persons reach; no made family goes further.
        ended: the numbers of whose families the parent has the largest value, not the range: ends that many families
            share (a last hour, a full mark) are values of their own. Those that are not relative.
        spots: of relative numbers that are names rather than amounts (of flights, of rooms) the values that made ones
            take, ascending: each of them enough persons share.
    """

    relation: Relation
    numbers: tuple[ColumnSchema, ...]
    relative: Mapping[str, int]
    categories: tuple[ColumnSchema, ...]
    order: str | None
    most: Mapping[str, float] = field(default_factory=dict)
    ended: frozenset[str] = frozenset()
    spots: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON values that `from_dict` reads."""
        return {
            "numbers": [column_to_dict(c) for c in self.numbers],
            "relative": dict(self.relative),
            "categories": [column_to_dict(c) for c in self.categories],
            "order": self.order,
            "most": dict(self.most),
            "ended": sorted(self.ended),
            "spots": {n: list(x) for n, x in self.spots.items()},
        }

    @classmethod
    def from_dict(cls, relation: Relation, values: Mapping[str, Any]) -> Summaries:
        """The inverse of `to_dict`."""
        numbers_, categories = (tuple(column_from_dict(c) for c in values[k]) for k in ("numbers", "categories"))
        relative = {str(n): int(u) for n, u in values["relative"].items()}
        ended = frozenset(values.get("ended", ()))  # files of earlier versions know ranges alone
        spots = {str(n): tuple(map(float, x)) for n, x in values.get("spots", {}).items()}
        return cls(relation, numbers_, relative, categories, values["order"], values.get("most", {}), ended, spots)

    # ---- columns of the parent ---------------------------------------------------------------------------------------

    def _named(self, what: str, column: ColumnSchema) -> str:
        return f"{what} {column.name} of {self.relation.child} by {'+'.join(self.relation.child_key)}"

    def _end(self, column: ColumnSchema) -> str:
        return "largest" if column.name in self.ended else "range of"

    @property
    def schema(self) -> tuple[ColumnSchema, ...]:
        """The columns of the parent."""
        result: list[ColumnSchema] = []
        for column in self.numbers:
            least = replace(column, name=self._named("least", column), bounds=None, inferred=(), reason="")
            end = least if column.name in self.ended else difference_of(column)
            result += [least, replace(end, name=self._named(self._end(column), column))]
            result += [_float(self._named(what, column)) for what in ("middle of", "spread of")]
        for column in self.categories:
            named = self._named("typical", column)
            result.append(ColumnSchema(named, column.kind, column.dtype, categories=column.categories))
            result.append(_float(self._named("typical share of", column)))
            result.append(number_column(self._named("different", column)))
        return tuple(replace(c, nullable=True) for c in result)  # missing without children

    def of(self, children: pa.Table, parent_N: np.ndarray, n_parents: int) -> dict[str, pa.Array]:
        """The columns of each parent, (P,); missing without children.

        Args:
            children: with the summarised columns. parent_N: number of each child's parent, `NO_PARENT` for none.
        """
        there = np.flatnonzero(parent_N >= 0)
        result: dict[str, pa.Array] = {}
        for column in self.numbers:
            least, largest, mean, deviation = group_moments(
                parent_N[there], numbers(children.column(column.name))[there], n_parents
            )
            several = np.bincount(parent_N[there], minlength=n_parents) > 1
            width = np.where(several, largest - least, np.nan)
            with np.errstate(invalid="ignore", divide="ignore"):
                middle, spread = (np.where(width > 0, x / width, np.nan) for x in (mean - least, deviation))
            end = np.where(several, largest, np.nan) if column.name in self.ended else width
            columns = (least, end, middle, spread)
            for wanted, x in zip(self._of_number(column), columns, strict=True):
                result[wanted.name] = of_type(x, wanted)
        for column in self.categories:
            code, distinct = codes(children.column(column.name))
            mode, share = group_modes(parent_N[there], code[there], n_parents)
            pairs = np.unique(parent_N[there] * (len(distinct) + 1) + code[there] + 1)
            different = np.bincount(pairs // (len(distinct) + 1), minlength=n_parents)
            typical, shares, number = self._of_category(column)
            result[typical.name] = values_of(distinct, mode)
            result[shares.name] = pa.array(share, mask=np.isnan(share))
            result[number.name] = pa.array(different, mask=different == 0)
        return result

    def _of_number(self, column: ColumnSchema) -> tuple[ColumnSchema, ...]:
        by_name = {c.name: c for c in self.schema}
        return tuple(by_name[self._named(w, column)] for w in ("least", self._end(column), "middle of", "spread of"))

    def _of_category(self, column: ColumnSchema) -> tuple[ColumnSchema, ...]:
        by_name = {c.name: c for c in self.schema}
        return tuple(by_name[self._named(w, column)] for w in ("typical", "typical share of", "different"))

    @property
    def of_categories(self) -> tuple[ColumnSchema, ...]:
        """Those of them that describe columns of categories."""
        return tuple(x for c in self.categories for x in self._of_category(c))

    # ---- what children see of them -----------------------------------------------------------------------------------

    @property
    def seen_schema(self) -> tuple[ColumnSchema, ...]:
        """What children see: of a relative column all four summaries, of others mean and deviation."""
        result = list(self.schema)
        for column in self.numbers:
            if column.name not in self.relative:
                own = {c.name for c in self._of_number(column)}
                result = [c for c in result if c.name not in own]
                result += [_float(self._named(what, column)) for what in ("mean", "deviation of")]
        return tuple(result)

    def seen(self, parents: Mapping[str, pa.Array | pa.ChunkedArray]) -> dict[str, pa.Array | pa.ChunkedArray]:
        """The columns of `seen_schema` of each parent, (P,), from those of `schema`."""
        result = {c.name: parents[c.name] for c in self.seen_schema if c.name in parents}
        for column in self.numbers:
            if column.name not in self.relative:
                family = self._numbers(parents, column)
                mean = family["least"] + family["middle"] * family["width"]
                deviation = family["spread"] * family["width"]
                for what, x in (("mean", mean), ("deviation of", deviation)):
                    result[self._named(what, column)] = pa.array(x, mask=np.isnan(x))
        return result

    def _numbers(self, parents: Mapping[str, Any], column: ColumnSchema) -> dict[str, np.ndarray]:
        """Least, width, middle and spread of each family, (P,): NaN without values only."""
        found = [numbers(parents[c.name]) for c in self._of_number(column)]
        least, end = found[0], found[1] - found[0] if column.name in self.ended else found[1]
        width = np.maximum(np.nan_to_num(end), 0.0)
        middle, spread = (np.where(np.isnan(x), 0.5, np.clip(x, 0.0, 1.0)) for x in found[2:])
        return {"least": least, "width": width, "middle": middle, "spread": spread}

    def apart(self, children: pa.Table, parents: Mapping[str, Any], parent_N: np.ndarray) -> np.ndarray:
        """How far what the children of each parent are like is from what the parent's row says, (P,).

        The sum of squared differences of all columns that children see, in units of these columns' deviations; of
        categories 1 where they differ.
        """
        n = len(next(iter(parents.values())))
        found, total = self.seen(self.of(children, parent_N, n)), np.zeros(n)
        for column in self.seen_schema:
            made, asked = found[column.name], parents[column.name]
            if column.kind.is_numeric:
                gap, unit = (
                    numbers(made) - numbers(asked),
                    np.nanstd(numbers(asked)) if len(asked) > asked.null_count else 0.0,
                )
                total += np.minimum(np.nan_to_num(gap / unit if unit > 0 else gap * 0.0) ** 2, FARTHEST)
            else:
                same = pc.equal(*(plain(one_array(x)).cast(pa.string()) for x in (made, asked)))
                total += ~pc.fill_null(same, True).to_numpy(zero_copy_only=False)
        return total

    # ---- columns of the children -------------------------------------------------------------------------------------

    def learned(self, columns: Mapping[str, ColumnSchema]) -> dict[str, ColumnSchema]:
        """Columns as they are learned."""
        return {n: replace(_float(n), decimals=None) if n in self.relative else c for n, c in columns.items()}

    def forward(
        self, children: Mapping[str, Any], parents: Mapping[str, pa.Array], parent_N: np.ndarray
    ) -> dict[str, pa.Array]:
        """The relative columns as places from 0 to 1 within their families, (N,)."""
        result = {}
        for column in (c for c in self.numbers if c.name in self.relative):
            family = self._numbers(parents, column)
            least, width = family["least"][parent_N], family["width"][parent_N]
            x = numbers(children[column.name]) - least
            place = np.where(width > 0, np.clip(x / np.where(width > 0, width, 1.0), 0.0, 1.0), x * 0.0)
            result[column.name] = pa.array(place, mask=np.isnan(place))
        return result

    def repaired(self, parents: pa.Table, number_P: np.ndarray) -> pa.Table:
        """Made parents whose summaries say something of every column without missing values.

        A parent with children that was drawn as one without, or as one with a single child, takes these summaries from
        the parent nearest in number of children; so does one whose least child would lie further than any real one. A
        range that reaches further is cut.
        """
        result = {n: parents.column(n) for n in parents.column_names}
        for column in self.numbers:
            names, most = [c.name for c in self._of_number(column)], self.most.get(column.name, np.inf)
            ends = self._numbers(result, column)
            beyond = ends["least"] > most
            cut = np.flatnonzero(~beyond & (ends["least"] + ends["width"] > most))
            if len(cut):
                end = np.array(numbers(result[names[1]]))
                end[cut] = most if column.name in self.ended else most - ends["least"][cut]
                result[names[1]] = of_type(end, self._of_number(column)[1])
                parents = pa.table(result)
            for first, fewest in ((0, 1), (1, 2)):
                asked = number_P >= fewest
                known = asked & ~beyond & (column.nullable | parents.column(names[first]).is_valid().to_numpy())
                lost, whole = np.flatnonzero(asked & ~known), np.flatnonzero(known)
                if not len(lost) or not len(whole):
                    continue
                whole = whole[np.argsort(number_P[whole], kind="stable")]
                taken = np.arange(len(number_P))
                near = np.searchsorted(number_P[whole], number_P[lost])
                taken[lost] = whole[np.minimum(near, len(whole) - 1)]
                near_ones = names if column.name in self.ended else names[first:]  # a largest fits its own least alone
                result |= {n: result[n].take(pa.array(taken)) for n in near_ones}
                beyond[lost] = False
                parents = pa.table(result)
        return parents

    def inverse(self, rows: pa.Table, parents: pa.Table, family: Family) -> pa.Table:
        """Made rows with the numbers as the table has them, each family between the least and the largest of its own.

        Args:
            rows: in the form of `learned`, (N,). parents: made ones. family: of the rows.
        """
        result = {n: rows.column(n) for n in rows.column_names}
        held = np.flatnonzero(family.parent >= 0)
        parent_N = family.parent[held]
        for column in self.numbers:
            x = np.array(numbers(rows.column(column.name)))
            ends = self._numbers({n: parents.column(n) for n in parents.column_names}, column)
            least, width = ends["least"], np.where(family.number > 1, ends["width"], 0.0)
            if column.name in self.relative:
                if column.name == self.order:
                    x[held] = x[held][np.lexsort((x[held], parent_N))]  # rows stand family by family
                x[held] = on_grid(least[parent_N] + x[held] * width[parent_N], self.relative[column.name])
                least, width = (on_grid(e, self.relative[column.name]) for e in (least, width))
            else:  # ends that are among the values of rows: of a few prices or distances none lies between two
                drawn = np.unique(x[~np.isnan(x)])
                least, largest = (nearest_of(e, drawn) for e in (least, least + width))
                width = largest - least
                x[held] = np.clip(x[held], least[parent_N], largest[parent_N])
            x[held] = reaching(x[held], parent_N, least, width, column.name in self.relative)
            x[held] = nearest_of(x[held], np.array(self.spots.get(column.name, ())))
            result[column.name] = of_type(x, column)
        return pa.table(result)


def with_most(summaries: Summaries, parents: Mapping[str, Any], persons_P: np.ndarray, rare: int) -> Summaries:
    """The summaries with what at least `rare` persons reach, without categories that so many have none in common.

    Args:
        parents: their columns. persons_P: whose each is.
    """
    typical = {c.name: parents[summaries._of_category(c)[0].name] for c in summaries.categories}
    shared = tuple(c for c in summaries.categories if is_shared(codes(typical[c.name])[0], persons_P, rare))
    most = {}
    for column in summaries.numbers:
        ends = summaries._numbers(parents, column)
        largest = ends["least"] + ends["width"]
        there = np.flatnonzero(~np.isnan(largest))
        order = there[np.argsort(-largest[there], kind="stable")]
        _, first = np.unique(persons_P[order], return_index=True)
        if len(first) >= rare:
            most[column.name] = float(largest[order[np.sort(first)[rare - 1]]])
    return replace(summaries, most=most, categories=shared)


def with_spots(summaries: Summaries, children: pa.Table, persons_N: np.ndarray, rare: int) -> Summaries:
    """The summaries with the spots of those relative numbers whose rows mostly stand on few of the whole numbers.

    Args:
        children: all rows. persons_N: whose each is. rare: persons that share a spot, at least.
    """
    spots = {}
    for name, unit in summaries.relative.items():
        x = numbers(children.column(name))
        values, code = np.unique(x[there := ~np.isnan(x)], return_inverse=True)
        shared = persons_each(code, persons_N[there], len(values)) >= rare
        found, mostly = values[shared], bool(shared.any() and shared[code].mean() >= SPOTTED)
        if unit and mostly and len(found) < SPARSE * (1 + (found[-1] - found[0]) / unit):
            spots[name] = tuple(found.tolist())
    return replace(summaries, spots=spots)


def choose_summaries(
    relation: Relation, children: Sample, parent_N: np.ndarray, n_parents: int, left_out: frozenset[str]
) -> Summaries | None:
    """The columns in which families differ more than by chance; None where there are too few families, or none.

    Args:
        relation: primary of the children.
        children: all rows; the columns that may be summarised.
        parent_N: number of each child's parent, `NO_PARENT` for none.
        n_parents: P.
        left_out: columns that are made otherwise.
    """
    there = np.flatnonzero(parent_N >= 0)
    parent, number = parent_N[there], np.bincount(parent_N[there], minlength=n_parents)
    families = int((number > 1).sum())
    if families < FEWEST_FAMILIES:
        return None
    least = max(WEAKEST, 3 * np.sqrt(2 / families))
    found: list[tuple[float, ColumnSchema]] = []
    relative: dict[str, float] = {}
    for column in (c for c in children.columns if c.name not in left_out):
        if not column.kind.is_numeric:
            code, _ = codes(children.rows.column(column.name))
            indicators = [(code[there] == level).astype(float) for level in frequent_levels(code)]
            found.append((max((share_of_parents(parent, x, number)[0] for x in indicators), default=0.0), column))
            continue
        x = squeezed(numbers(children.rows.column(column.name))[there])
        signal, between = share_of_parents(parent, x, number)
        apart = share_of_parents(parent, (x - np.nanmedian(x)) ** 2, number)[0] if np.isfinite(x).any() else 0.0
        found.append((max(signal, apart), column))
        if signal > least and between >= RELATIVE_FROM and len(there) == len(parent_N):
            relative[column.name] = between
    kept = sorted((f for f in found if f[0] > least), key=lambda f: -f[0])[:MOST_SUMMARISED]
    names = {c.name for _, c in kept}
    chosen = tuple(c for c in children.columns if c.name in names)
    by_share = sorted((n for n in relative if n in names), key=lambda n: -relative[n])
    varying = [n for n in by_share if varies(numbers(children.rows.column(n))[there], parent, number)]
    order = varying[0] if varying and number.max(initial=0) <= LONGEST_SEQUENCE else None
    if not chosen:
        return None
    return Summaries(
        relation,
        tuple(c for c in chosen if c.kind.is_numeric),
        {n: unit_in(numbers(children.rows.column(n))) for n in by_share},
        tuple(c for c in chosen if not c.kind.is_numeric),
        order,
        ended=frozenset(c.name for c in chosen if c.kind.is_numeric and c.name not in relative),
    )


def _float(name: str) -> ColumnSchema:
    return ColumnSchema(name, Kind.CONTINUOUS, "double", nullable=True)
