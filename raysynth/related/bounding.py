"""Which rows of a database a private fit sees, such that one root row changes few of them: caps, and their proof.

A unit is one row of the root table with all that descends from it. A row descends from root row u alone if every row
that its key names is u or descends from u alone; keys are those by which tables hang from the root (the primary ones of
the plan), never self-references, cycles or further parents. Two databases are neighbours if one lacks a root row and
all that descends from it alone.

What stays, from the root downwards, with a declared cap c for each key (children of one parent at most):
1. of the rows that name the same parent those c that come first in the order of a public hash of their values,
2. of these the ones whose parent stays; a key that is missing or points nowhere names none, and such rows go,
3. of these, in a table with children, no two with the same key: where several have one, all of them go.
A row is seen together with its ancestors' columns and, of each of its own keys to children, min(rows that name it, c).

Sensitivity. Let s be how many seen rows (with what they are seen with) of a table are in one of two neighbours and not
in the other. Then s = 1 for the root, and s = c * s(parent) for other tables: the product of the caps along the chain.
- A table before step 3 against the same after it: one row more with a key that no other has, or with none, adds itself;
  with a key that one other has it removes that one; with a key of several it changes nothing. So step 3 does not
  increase s. (Were one of several kept, a row less would both go and bring another: twice as much in each table.)
- Root: neighbours differ by u, and by step 3 in one row at most. Its number of children is that of the rows that name
  it, which do not change: those that go name u alone.
- Child: rows of one parent are chosen among themselves alone (step 1; of equal hashes the earlier row), so a parent
  that stays in both neighbours, with the same rows naming it, brings the same rows to both. These are the same: a row
  that goes with u names rows that are u or go with it, none of which stays. Each other seen parent, s(parent) in all,
  brings c rows at most to the database that has it. So s = c * s(parent) before step 3, and after it. The number of
  children is again min(rows that name it, c) of unchanged rows.
By induction; what step 1 takes away counts nowhere later, as its children name no row that stays. All else that a fit
counts is a function of single seen rows, so every table of counts changes by at most s in L1 norm.

Everything here is a function of cells whose types are public: no message depends on a row. Shape legend: N rows.

What such a budget protects is declared: the root and the caps; what it cannot cover is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysynth.dp.accounting.calibration import PrivacyBudget
from raysynth.dp.mechanisms.noise import NoiseSource
from raysynth.errors import ParameterError, SchemaError
from raysynth.related.grouping import NO_PARENT, plain
from raysynth.related.plan import TablePlan, plan_of
from raysynth.schema.constraints.base import one_array
from raysynth.schema.relations import DatabaseSchema, Relation
from raysynth.statistics.persons import value_hashes

_MIX = np.uint64(0x9E3779B97F4A7C15)  # the public key of the order in which rows of one parent stand


@dataclass(frozen=True)
class Seen:
    """The rows of one table that a private fit sees.

    Args:
        rows: their places in the table, ascending, (N,).
        parent: for each the place of its parent among the parent's seen rows, (N,); `NO_PARENT` for the root.
        numbers: for each key to children how many rows name each row, at most the cap, (N,).
    """

    rows: np.ndarray
    parent: np.ndarray
    numbers: Mapping[Relation, np.ndarray]


def rows_per_unit(plans: tuple[TablePlan, ...], caps: Mapping[str, int]) -> dict[str, int]:
    """Most seen rows of each table that one unit changes: the product of the caps along its chain."""
    most: dict[str, int] = {}
    for plan in plans:
        most[plan.name] = 1 if plan.primary is None else caps[plan.name] * most[plan.primary.parent]
    return most


def seen_rows(plans: tuple[TablePlan, ...], tables: Mapping[str, pa.Table], caps: Mapping[str, int]) -> dict[str, Seen]:
    """What stays of each table.

    Args:
        plans: of the root and of what descends from it, parents first.
        tables: with public types.
        caps: children of one parent at most, by the child's name.
    """
    result: dict[str, Seen] = {}
    for plan in plans:
        table = tables[plan.name]
        kept, parent = np.arange(table.num_rows), np.full(table.num_rows, NO_PARENT)
        if plan.primary is not None:
            own = key_texts(table, plan.primary.child_key)
            above = tables[plan.primary.parent].take(pa.array(result[plan.primary.parent].rows))
            kept = _first_of_each(own, table, caps[plan.name])
            found = pc.index_in(
                own.take(pa.array(kept)), value_set=key_texts(above, plan.primary.parent_key), skip_nulls=True
            )
            parent = found.fill_null(NO_PARENT).to_numpy().astype(np.int64)
            kept, parent = kept[parent != NO_PARENT], parent[parent != NO_PARENT]
        if plan.brings:
            alone = _alone(key_texts(table.take(pa.array(kept)), plan.brings[0].parent_key))
            kept, parent = kept[alone], parent[alone]
        numbers = {r: _numbers(tables, r, kept, caps[r.child]) for r in plan.brings}
        result[plan.name] = Seen(kept, parent, numbers)
    return result


def key_texts(table: pa.Table, key: tuple[str, ...]) -> pa.Array:
    """Each row's key as one text, (N,); null where a cell is missing. Equal keys are equal texts."""
    cells = [plain(table.column(c)).cast(pa.string()) for c in key]
    if len(cells) == 1:
        return cells[0]
    sized = [pc.binary_join_element_wise(pc.utf8_length(c).cast(pa.string()), c, ":") for c in cells]
    return one_array(pc.binary_join_element_wise(*sized, ""))


def _first_of_each(key_N: pa.Array, table: pa.Table, most: int) -> np.ndarray:
    """Of the rows of each key those `most` that come first by the hash of their values, ascending; without key none."""
    code_N = pc.fill_null(key_N.dictionary_encode().indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    order = np.lexsort((_row_hashes(table), code_N))
    sorted_N = code_N[order]
    rank = np.arange(len(order)) - np.searchsorted(sorted_N, sorted_N)
    kept: np.ndarray = np.sort(order[(rank < most) & (sorted_N >= 0)])
    return kept


def _row_hashes(table: pa.Table) -> np.ndarray:
    """A number for each row, (N,) uint64, the same for equal rows wherever they stand."""
    total = np.zeros(table.num_rows, np.uint64)
    for column in table.columns:
        mixed = (total ^ value_hashes(one_array(column))) * _MIX
        total = mixed ^ (mixed >> np.uint64(29))
    return total


def _alone(key_N: pa.Array) -> np.ndarray:
    """Which rows share their key with no other, or have none, (N,)."""
    code_N = pc.fill_null(key_N.dictionary_encode().indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
    alone: np.ndarray = (code_N < 0) | (np.bincount(code_N[code_N >= 0], minlength=1)[np.maximum(code_N, 0)] == 1)
    return alone


def _numbers(tables: Mapping[str, pa.Table], relation: Relation, kept: np.ndarray, most: int) -> np.ndarray:
    """How many rows name each of the kept parents, at most so many."""
    parents = key_texts(tables[relation.parent].take(pa.array(kept)), relation.parent_key)
    found = pc.index_in(key_texts(tables[relation.child], relation.child_key), value_set=parents, skip_nulls=True)
    place = found.drop_null().to_numpy().astype(np.int64)
    return np.minimum(np.bincount(place, minlength=len(kept)), most)


MOST_CAP = 64  # children of one parent that are counted


@dataclass(frozen=True)
class Unit:
    """What is protected, and by how much; all of it public.

    Args:
        root: the table whose rows are the units.
        caps: most children of one parent that count, by the child's name.
        budget: of all tables together.
        public_types: the types that Parquet and Arrow files store are public.
        noise: None: of the operating system.
    """

    root: str
    caps: Mapping[str, int]
    budget: PrivacyBudget
    public_types: bool = False
    noise: NoiseSource | None = None

    @property
    def words(self) -> str:
        """For the ledger."""
        return f"row of '{self.root}' with all that descends from it"


def unit_of(
    epsilon: float | None,
    delta: float | None,
    root: str | None,
    caps: Mapping[str, int] | None,
    public_types: bool,
    noise: NoiseSource | None,
) -> Unit | None:
    """What the parameters of a synthesizer protect; None without epsilon.

    Raises:
        ParameterError: the root is not named, a budget is out of range, or belongs to no epsilon.
    """
    if epsilon is None:
        given = {"delta": delta, "root": root, "caps": caps, "public_types": public_types or None}
        if name := next((n for n, value in given.items() if value is not None), None):
            raise ParameterError(f"{name} belongs to differential privacy: give epsilon, too")
        return None
    if root is None:
        raise ParameterError(
            "under a budget name the table whose rows are protected, each with all that descends from it: root=..."
        )
    return Unit(root, dict(caps or {}), PrivacyBudget.fixed(epsilon, delta), bool(public_types), noise)


def private_plans(schema: DatabaseSchema, types: Mapping[str, pa.Schema], unit: Unit) -> tuple[TablePlan, ...]:
    """The plan of each table, parents first, from what is declared alone.

    Raises:
        ParameterError: root or caps are missing or name what is not there.
        SchemaError: names the table or relation that no budget covers, and why.
    """
    _ = schema[unit.root]
    plans = plan_of(schema, types, dict.fromkeys(schema.names, 0))
    for plan in plans:
        if plan.primary is None and plan.name != unit.root:
            raise SchemaError(
                f"table '{plan.name}' does not descend from '{unit.root}', whose rows the budget protects; declare the "
                "key that leads there, declare the table a public reference table (TableKeys(reference=True)), or "
                "leave it out"
            )
        if plan.matched:
            raise SchemaError(
                f"relation {plan.matched[0]}: rows of '{plan.name}' hang from '{unit.root}' by another key, and along "
                "this one persons would know each other; a budget does not cover self-references, cycles and further "
                "parents: leave the relation out, or declare the parent a public reference table"
            )
        keys = {r.parent_key for r in plan.brings}
        if len(keys) > 1 or any(len(k) != 1 or k[0] not in plan.made for k in keys):
            raise SchemaError(
                f"table '{plan.name}': under a budget its children name it by one column of whole numbers or text; "
                f"found {', '.join(str(r) for r in plan.brings)}"
            )
        if plan.compared or schema[plan.name].order is not None:
            what = f"rule '{next(iter(plan.compared.values()))}'" if plan.compared else "its order"
            raise SchemaError(f"table '{plan.name}': {what} is learned from single rows, which a budget rules out")
    _check_caps(plans, unit)
    return plans


def _check_caps(plans: tuple[TablePlan, ...], unit: Unit) -> None:
    below = [p.name for p in plans if p.primary is not None]
    if missing := [n for n in below if n not in unit.caps]:
        raise ParameterError(
            f"caps says nothing of '{missing[0]}': under a budget declare how many of its rows of one parent count, "
            f"for example caps={{'{missing[0]}': 10}}"
        )
    if unknown := [n for n in unit.caps if n not in below]:
        raise ParameterError(f"caps names '{unknown[0]}', which has no parent; these have: {', '.join(below)}")
    for name, cap in unit.caps.items():
        if isinstance(cap, bool) or not isinstance(cap, int) or not 1 <= cap <= MOST_CAP:
            raise ParameterError(f"caps['{name}'] must be a whole number from 1 to {MOST_CAP}; found {cap!r}")
