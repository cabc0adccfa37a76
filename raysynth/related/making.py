"""New rows of all tables: parents before children, siblings round by round, then parents found by matching.

Everything follows from the models and one random stream. Shape legend: N rows of a table, P parents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from raysynth.related.distinct import FamilyKeys, distinct_roots, exchange_parents, say_fewer
from raysynth.related.grouping import NO_PARENT, Family, deal, kinds_of, plain, take_or_null
from raysynth.related.learning import TableModel
from raysynth.related.located import parents_by_values
from raysynth.related.plan import code_of, level_of, number_of, place_of, wanted_of
from raysynth.related.rows import RowModel
from raysynth.related.siblings import Walk
from raysynth.running.progress import progress
from raysynth.schema.constraints.base import one_array
from raysynth.schema.relations import Relation

TRIED = 8  # families for each parent whose children are summarised in its row
REPEAT = (
    1.0  # how far a row that repeats a key, and may have to give way, brings a family from what its parent's row says
)
MOST_TRIED = 1_000_000  # rows of a table in all of them at a time
NONE = np.empty(0, np.int64)


@dataclass
class Made:
    """New rows of one table, without their keys.

    Args:
        rows: own columns, summaries of children, kinds of wanted parents.
        context: what they see of ancestors.
        parents: for each key that is filled, the number of each row's parent.
        place: of each row among its siblings.
    """

    rows: pa.Table
    context: pa.Table
    parents: dict[Relation, np.ndarray]
    place: np.ndarray

    @property
    def n(self) -> int:
        """N."""
        return len(self.place)


def make_tables(
    models: Mapping[str, TableModel],
    roots: Mapping[str, Roots],
    scale: float,
    n_referenced: Mapping[str, int],
    rng: np.random.Generator,
    common: Mapping[str, Made] | None = None,
) -> dict[str, Made]:
    """New rows of some tables.

    Args:
        models: of the tables, parents first.
        roots: what is asked for of the tables without a primary parent.
        scale: of rows that could have a parent and have none.
        n_referenced: rows of each reference table.
        rng: the only source of randomness.
        common: tables that are there already, with the numbers of children that these rows are to give them.
    """
    made: dict[str, Made] = dict(common or {})
    with progress("making tables", len(models), public=True) as advance:
        for (name, model), stream in zip(models.items(), rng.spawn(len(models)), strict=True):
            if model.plan.primary is None:
                made[name] = make_roots(model, roots[name], stream)
            else:
                alone = round(model.n_alone * scale)
                made[name] = make_children(model, made[model.plan.primary.parent], alone, stream)
            advance(1)
    match_all(models, made, n_referenced, rng)
    return {n: made[n] for n in models}


@dataclass(frozen=True)
class Roots:
    """What is asked for of a root table.

    Args:
        n: rows.
        conditions: on them, in the forms of `Synthesizer.sample`; None: none.
        given: the rows themselves, whose children are to be made; None: they are made.
    """

    n: int
    conditions: Any = None
    given: pa.Table | None = None


def make_roots(model: TableModel, asked: Roots, rng: np.random.Generator) -> Made:
    """New rows of a root table, or summaries of the children of given ones."""
    rows, rows_model = pa.table({"": pa.nulls(asked.n)}), model.model
    if rows_model is not None and asked.given is not None:
        own = {n: asked.given.column(n) for n in asked.given.column_names}
        rows = rows_model.completed(pa.table(own | model.forms.forward(asked.given, None, Family.made(NONE))), rng)
        rows = model.forms.inverse(rows, None, NONE, set(own))
    elif rows_model is not None and asked.conditions is not None:
        rows = rows_model.conditioned(asked.n, asked.conditions, int(rng.integers(1 << 62)))
        rows = model.forms.inverse(rows, None, NONE, set(asked.conditions))
    elif rows_model is not None:
        rows = _drawn(model, rows_model, asked.n, rng)
        rows = distinct_roots(model, rows, asked.n, lambda n: _drawn(model, rows_model, n, rng))
    n = rows.num_rows
    return Made(rows, pa.table({"": pa.nulls(n)}), {}, np.zeros(n, np.int64))


def _drawn(model: TableModel, rows: RowModel, n: int, rng: np.random.Generator) -> pa.Table:
    """n rows of a root table, as the table has them."""
    return model.forms.inverse(rows.draw(pa.table({}), n, rng), None, NONE)


def make_children(model: TableModel, parents: Made, n_alone: int, rng: np.random.Generator) -> Made:
    """The children that some made parents are to have, parent by parent, and `n_alone` rows without one."""
    relation = model.plan.primary
    assert relation is not None
    number = np.maximum(plain(parents.rows.column(number_of(relation))).fill_null(0).to_numpy().astype(np.int64), 0)
    keys = FamilyKeys.of(model)
    tries = TRIED if model.model is not None and (model.summaries is not None or keys.keys or keys.found) else 1
    if model.summaries is not None:
        known = model.summaries.repaired(parents.rows, number)
        own = {n: known.column(n) for n in known.column_names}
        parents = replace(parents, rows=pa.table(own | model.summaries.seen(own)))
    ends = np.append(_ends(number, MOST_TRIED // tries) if tries > 1 else [], len(number)).astype(int)
    parts = []
    for begin, end in zip([0, *ends[:-1]], ends, strict=True):
        own_P = np.arange(begin, end)
        parts.append(_tried(model, parents, own_P, number, n_alone if end == len(number) else 0, tries, keys, rng))
    context, rows = (pa.concat_tables(p).unify_dictionaries().combine_chunks() for p in zip(*parts, strict=True))
    family = _with_alone(number, n_alone)
    rows, kept = keys.without_repeats(rows, family.parent)
    if len(kept) < len(family.parent):
        say_fewer(model, len(kept), len(family.parent), next(iter(keys.keys)))
        context, rows, parent_N = context.take(pa.array(kept)), rows.take(pa.array(kept)), family.parent[kept]
        family = _with_alone(np.bincount(parent_N[parent_N >= 0], minlength=len(number)), n_alone)
    return Made(rows, context, {relation: family.parent}, family.place)


def _ends(number_P: np.ndarray, most: int) -> np.ndarray:
    """Where some parents with about `most` children end and the next begin, the last end left out."""
    before = np.cumsum(number_P)
    cuts = np.unique(np.searchsorted(before, np.arange(most, max(int(number_P.sum()), 1), most)) + 1)
    result: np.ndarray = cuts[cuts < len(number_P)]
    return result


def _tried(
    model: TableModel,
    parents: Made,
    own_P: np.ndarray,
    number_P: np.ndarray,
    n_alone: int,
    tries: int,
    keys: FamilyKeys,
    rng: np.random.Generator,
) -> tuple[pa.Table, pa.Table]:
    """What the children of some parents see of their ancestors, and these: the nearest of `tries` families, where rows
    that repeat a key give way as far as the other families have others."""
    assert model.plan.primary is not None
    each = pa.array(np.tile(own_P, tries))
    above = replace(parents, rows=parents.rows.take(each), context=parents.context.take(each))
    family = _with_alone(np.tile(number_P[own_P], tries), n_alone)
    context, rows = _children(model, above, model.plan.primary.parent, family, rng)
    if tries == 1:
        return context, rows
    repeated = family.parent[keys.repeated(rows, family.parent)]
    apart = np.bincount(repeated, minlength=len(family.number)) * REPEAT
    if model.summaries is not None:
        asked = {n: above.rows.column(n) for n in above.rows.column_names}
        apart += model.summaries.apart(rows, asked, family.parent)
    chosen = nearest_families(apart, family, len(own_P))
    parent_N = np.where(family.parent >= 0, family.parent % max(len(own_P), 1), NO_PARENT)
    kept = pa.array(keys.instead(rows, parent_N, chosen))
    return context.take(kept), rows.take(kept)


def _with_alone(number_P: np.ndarray, n_alone: int) -> Family:
    """Families of so many rows, then rows without a parent."""
    made = Family.made(number_P)
    parent = np.append(made.parent, np.full(n_alone, NO_PARENT))
    return Family(parent, np.append(made.place, np.zeros(n_alone, np.int64)), number_P)


def _children(
    model: TableModel, parents: Made, name: str, family: Family, rng: np.random.Generator
) -> tuple[pa.Table, pa.Table]:
    """What the rows of some families see of their ancestors, and the rows."""
    context = context_of(model.context, parents, name, family.parent)
    if model.model is None:
        rows = pa.table({"": pa.nulls(len(family.parent))})
    elif model.siblings.is_sequence:
        rows = _sequences(model, family, context, parents.rows, rng)
    else:
        rows = _sets(model, family, context, rng)
    rows = model.forms.inverse(rows, parents.rows, family.parent)
    if model.summaries is not None and model.model is not None:
        rows = model.summaries.inverse(rows, parents.rows, family)
    return context, rows


def nearest_families(apart_F: np.ndarray, family: Family, n_parents: int) -> np.ndarray:
    """The rows of the one family of each parent that is least apart from what the parent's row says, by parent.

    Families follow parent by parent, all of a first try, then all of a second. This is rejection with as much tolerance
    as it takes to keep one of them: children given their summaries, where a row's model only tends towards these.
    """
    best_P = np.argmin(apart_F.reshape(-1, n_parents), axis=0) if n_parents else np.empty(0, np.int64)
    held = np.flatnonzero(family.parent >= 0)
    own = family.parent[held] % max(n_parents, 1)
    kept = held[best_P[own] == family.parent[held] // max(n_parents, 1)]
    kept = kept[np.argsort(family.parent[kept] % max(n_parents, 1), kind="stable")]
    return np.append(kept, np.flatnonzero(family.parent < 0))


def context_of(labels: Sequence[str], parents: Made, name: str, parent_N: np.ndarray) -> pa.Table:
    """What each row sees of its ancestors, (N,).

    Args:
        labels: columns of ancestors. parents: made rows of the table `name`. parent_N: number of each row's parent.
    """
    result: dict[str, pa.Array] = {"": pa.nulls(len(parent_N))}
    for label in labels:
        own = label.removeprefix(f"{name}: ")
        source = parents.rows if own != label and own in parents.rows.column_names else parents.context
        result[label] = one_array(take_or_null(source.column(own if source is parents.rows else label), parent_N))
    return pa.table(result)


def _beside(context: pa.Table, seen: pa.Table) -> pa.Table:
    return pa.table(
        {**{n: context.column(n) for n in context.column_names}, **{n: seen.column(n) for n in seen.column_names}}
    )


def _sets(model: TableModel, family: Family, context: pa.Table, rng: np.random.Generator) -> pa.Table:
    """Rows round by round, in the order of the family."""
    assert model.model is not None
    round_N = model.siblings.rounds(family.place)
    made, made_N = model.model.nothing(), np.empty(0, np.int64)
    for r in range(int(round_N.max(initial=0)) + 1):
        own = np.flatnonzero(round_N == r)
        seen = model.siblings.of_round(made, made_N, family, own)
        rows = model.model.draw(_beside(context.take(pa.array(own)), seen), len(own), rng)
        made = pa.concat_tables([made, rows]).unify_dictionaries().combine_chunks()
        made_N = np.concatenate([made_N, own])
    return made.take(pa.array(np.argsort(made_N, kind="stable")))


def _sequences(
    model: TableModel, family: Family, context: pa.Table, parents: pa.Table, rng: np.random.Generator
) -> pa.Table:
    """Rows one after the other in all families at once, in the order of the family."""
    assert model.model is not None
    walk, parts, order = Walk(model.siblings, None, {}), [], [np.empty(0, np.int64)]
    by_place = np.lexsort((family.parent, family.place))
    ends = np.searchsorted(family.place[by_place], np.arange(int(family.place.max(initial=0)) + 2))
    before_P: np.ndarray | None = None
    last = np.empty(0, np.int64)
    for place, (start, stop) in enumerate(zip(ends[:-1], ends[1:], strict=True)):
        own = by_place[start:stop]
        kept = np.arange(len(own)) if place == 0 else np.searchsorted(family.parent[last], family.parent[own])
        rows = model.model.draw(_beside(context.take(pa.array(own)), walk.seen(place, kept)), len(own), rng)
        rows = model.siblings.inverse(rows, None if walk.last is None else walk.last.take(pa.array(kept)))
        if model.forms.order is not None:
            before_P = model.forms.absolute(rows, None if before_P is None else before_P[kept])
            rows = rows.append_column(*model.forms.order_column(before_P, parents, family.parent[own]))
        walk, last = walk.add(rows, kept), own
        parts.append(rows)
        order.append(own)
    made = pa.concat_tables(parts or [model.model.nothing()]).unify_dictionaries().combine_chunks()
    return made.take(pa.array(np.argsort(np.concatenate(order), kind="stable")))


# ---- parents found by matching ---------------------------------------------------------------------------------------


def match_all(
    models: Mapping[str, TableModel],
    made: Mapping[str, Made],
    n_referenced: Mapping[str, int],
    rng: np.random.Generator,
) -> None:
    """Find the parents of all keys that are not primary; `n_referenced`: rows of each reference table."""
    for (name, model), stream in zip(models.items(), rng.spawn(len(models)), strict=True):
        for relation in model.plan.matched:
            rows, parents = made[name].rows, made[relation.parent].rows
            wanted = kinds_of(rows, wanted_of(relation), NO_PARENT if relation.nullable else 0)
            number = plain(parents.column(number_of(relation))).fill_null(0).to_numpy().astype(np.int64)
            kind = np.maximum(kinds_of(parents, code_of(relation), 0), 0)
            each: int | None = None
            if level_of(relation) in rows.column_names:
                each = int(max(kind.max(initial=0), wanted.max(initial=0))) + 1
                level = np.maximum(kinds_of(rows, level_of(relation), 0), 0)
                wanted = np.where(level > 0, (level - 1) * each + np.maximum(wanted, 0), NO_PARENT)
                kind = level * each + kind
            found = deal(wanted, kind, np.maximum(number, 0), stream, each)
            if not relation.nullable and (found == NO_PARENT).any() and len(kind):
                lost = np.flatnonzero(found == NO_PARENT)  # the kind was drawn as missing, which the key may not be
                found[lost] = stream.integers(0, len(kind), len(lost))
            made[name].parents[relation] = found
        for relation in model.plan.located:
            rows, parents = made[name].rows, made[relation.parent].rows
            made[name].parents[relation] = parents_by_values(relation, rows, parents, stream)
        for relation in model.plan.references:
            made[name].parents[relation] = _places(made[name].rows, relation, n_referenced[relation.parent], stream)
        exchange_parents(model, made[name].rows, made[name].parents, stream)


def _places(rows: pa.Table, relation: Relation, n: int, rng: np.random.Generator) -> np.ndarray:
    """The row of a reference table that each row points to: as drawn, or any where none may be told."""
    if n == 0:
        return np.full(rows.num_rows, NO_PARENT)
    if place_of(relation) not in rows.column_names:
        return rng.integers(0, n, rows.num_rows)
    place = kinds_of(rows, place_of(relation), 0)
    lost = np.flatnonzero(place == NO_PARENT) if not relation.nullable else np.empty(0, np.int64)
    place[lost] = rng.integers(0, n, len(lost))
    return place
