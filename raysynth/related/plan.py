"""How the rows of each table are made: which parent brings them, which others are found, which columns follow.

Of the foreign keys of a table one is primary: its parent says how many rows it has, and they are made given that
parent's row. The parents of the other keys are found by matching, after all rows are made; so are self-references and
keys of a cycle; or, where a key is a place (`located.py`), by its values. A key into a reference table is a category.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

import pyarrow as pa

from raysynth.errors import SchemaError
from raysynth.schema.relations import CrossTableRule, DatabaseSchema, Relation

COMPARED = (">=", ">", "<=", "<")


@dataclass(frozen=True)
class TablePlan:
    """How one table is made.

    Args:
        name: of the table.
        columns: of the output, in order.
        primary: the key whose parent brings the rows; None: a root.
        matched: keys whose parents are found among rows that are made already.
        located: keys whose columns are learned, and whose parents are found by their values.
        references: keys into reference tables.
        brings: keys of other tables for which this one is the parent, reference tables apart.
        keys: primary and referenced keys whose values are to be distinct; those of one column that is made apart.
        made: columns that are a key by themselves and are made anew in their pattern.
        order: column by which the rows of one primary parent are a sequence.
        rules: that concern the table as a child of its primary parent, or as the parent of a total.
    """

    name: str
    columns: tuple[str, ...]
    primary: Relation | None
    matched: tuple[Relation, ...]
    located: tuple[Relation, ...]
    references: tuple[Relation, ...]
    brings: tuple[Relation, ...]
    keys: tuple[tuple[str, ...], ...]
    made: tuple[str, ...]
    order: str | None
    rules: tuple[CrossTableRule, ...]

    @property
    def foreign(self) -> frozenset[str]:
        """Columns that are filled by keys of other rows."""
        keys = (*(() if self.primary is None else (self.primary,)), *self.matched, *self.references)
        return frozenset(c for r in keys for c in r.child_key)

    @property
    def copies(self) -> dict[str, str]:
        """Columns that repeat one of the primary parent's, and which."""
        return {r.child_column: r.parent_column for r in self.rules if r.kind == "==" and r.child == self.name}

    @property
    def totals(self) -> tuple[CrossTableRule, ...]:
        """Rules by which a column of this table follows from its children."""
        return tuple(r for r in self.rules if r.kind in ("sum", "count") and r.parent == self.name)

    @property
    def compared(self) -> dict[str, CrossTableRule]:
        """Columns that are learned as differences from one of the primary parent's."""
        return {r.child_column: r for r in self.rules if r.kind in COMPARED and r.child == self.name}

    @property
    def learned(self) -> tuple[str, ...]:
        """Columns that a model makes: no key, no copy, no total."""
        left_out = self.foreign | set(self.made) | set(self.copies) | {r.parent_column for r in self.totals}
        return tuple(c for c in self.columns if c not in left_out)


def number_of(relation: Relation) -> str:
    """Name of the column that counts a parent's children."""
    return f"number of {relation.child} by {'+'.join(relation.child_key)}"


def code_of(relation: Relation) -> str:
    """Name of the column that says what a parent's children are like."""
    return f"kind of {relation.child} by {'+'.join(relation.child_key)}"


def wanted_of(relation: Relation) -> str:
    """Name of a child's column that says which kind of parent it wants."""
    return f"kind of {relation.parent} wanted by {'+'.join(relation.child_key)}"


def level_of(relation: Relation) -> str:
    """Name of the column that says how many rows stand above one in a hierarchy of its own table."""
    return f"level by {'+'.join(relation.child_key)}"


def place_of(relation: Relation) -> str:
    """Name of a child's column that holds the number of a row of a reference table."""
    return f"row of {relation.parent} by {'+'.join(relation.child_key)}"


def plan_of(
    schema: DatabaseSchema,
    types: Mapping[str, pa.Schema],
    rows: Mapping[str, int],
    alike: Mapping[Relation, float] | None = None,
    located: Set[Relation] = frozenset(),
) -> tuple[TablePlan, ...]:
    """The plan of each table that is made (reference tables are not), parents before children.

    Args:
        schema: of the database, valid.
        types: columns of each table. rows: of each table.
        alike: how much rows of one parent are alike, where a table has several.
        located: keys whose parents are found by their values.

    Raises:
        SchemaError: a cycle of keys, keys of one table that share columns in a way that cannot be filled, a rule that
            runs along another key than the primary one, or a column named like one that is added.
    """
    aside: set[Relation] = set(schema.set_aside())
    made = [n for n in schema.topological() if not schema[n].reference]
    primary = {n: _primary(schema, n, aside | located, rows, alike or {}) for n in made}
    others = {n: _others(schema, n, primary[n]) for n in made}
    for rule in schema.rules:
        _check_rule(schema, rule, primary)
    plans = tuple(_table_plan(schema, n, types[n], primary, others, located) for n in made)
    for plan in plans:
        _check_names(plan)
    return plans


def bringing(schema: DatabaseSchema, name: str, aside: set[Relation]) -> list[Relation]:
    """The keys of a table that may bring its rows."""
    return [r for r in schema.parents_of(name) if r not in aside and not schema[r.parent].reference]


def _primary(
    schema: DatabaseSchema, name: str, aside: set[Relation], rows: Mapping[str, int], alike: Mapping[Relation, float]
) -> Relation | None:
    """Of the keys that may bring a table's rows the closest one.

    That is one that a rule follows, else one that may not be missing, that the primary key holds, whose parent has
    parents itself (so that rows hang from a person), and of several the one whose children are most alike, else the
    one with the most parents.
    """
    open_ = bringing(schema, name, aside)
    ruled = {schema.relation_of(rule) for rule in schema.rules}

    def closeness(relation: Relation) -> tuple[bool, bool, bool, bool, float, int]:
        above = bringing(schema, relation.parent, aside)
        held = set(relation.child_key) <= set(schema[name].primary_key)
        likeness = alike.get(relation, 0.0)
        return relation in ruled, not relation.nullable, held, bool(above), likeness, rows[relation.parent]

    return max(open_, key=closeness, default=None)


def _others(schema: DatabaseSchema, name: str, primary: Relation | None) -> tuple[Relation, ...]:
    """The other keys of a table that are to be filled; what the columns of longer ones fill already is left out."""
    columns = set() if primary is None else set(primary.child_key)
    found = []
    for relation in sorted(schema.parents_of(name), key=lambda r: -len(r.child_key)):
        if relation == primary or set(relation.child_key) <= columns:
            continue
        if shared := columns & set(relation.child_key):
            raise SchemaError(
                f"relation {relation}: column '{min(shared)}' of '{name}' belongs to another of its keys, too, so that "
                "the rest of the key cannot be chosen freely; leave one of the two relations out"
            )
        columns |= set(relation.child_key)
        found.append(relation)
    return tuple(found)


def _table_plan(
    schema: DatabaseSchema,
    name: str,
    types: pa.Schema,
    primary: Mapping[str, Relation | None],
    others: Mapping[str, tuple[Relation, ...]],
    located: Set[Relation],
) -> TablePlan:
    foreign = {c for r in schema.parents_of(name) for c in r.child_key}
    keys = {r.parent_key for r in schema.children_of(name)} | ({schema[name].primary_key} - {()})
    made = tuple(c for c in types.names if (c,) in keys and c not in foreign and _can_be_made(types.field(c).type))
    below = (r for r in schema.children_of(name) if r.child in primary and r not in located)
    brings = tuple(r for r in below if r == primary[r.child] or r in others[r.child])
    found = tuple(r for r in others[name] if not schema[r.parent].reference)
    return TablePlan(
        name=name,
        columns=tuple(types.names),
        primary=primary[name],
        matched=tuple(r for r in found if r not in located),
        located=tuple(r for r in found if r in located),
        references=tuple(r for r in others[name] if schema[r.parent].reference),
        brings=brings,
        keys=tuple(sorted(k for k in keys if not (len(k) == 1 and k[0] in made))),
        made=made,
        order=None if primary[name] is None else schema[name].order,
        rules=tuple(r for r in schema.rules if name in (r.child, r.parent)),
    )


def _can_be_made(type_: pa.DataType) -> bool:
    """Whether keys of a type can be made in a pattern; other keys (dates) are learned like any column."""
    value = type_.value_type if pa.types.is_dictionary(type_) else type_
    return pa.types.is_integer(value) or pa.types.is_string(value) or pa.types.is_large_string(value)


def _check_rule(schema: DatabaseSchema, rule: CrossTableRule, primary: Mapping[str, Relation | None]) -> None:
    relation = schema.relation_of(rule)
    if rule.child in primary and primary[rule.child] != relation and rule.kind != "count":
        raise SchemaError(
            f"rule '{rule}' runs along {relation}, but the rows of '{rule.child}' are made with "
            f"{primary[rule.child] or 'no parent'}; rules hold along that key only, so leave this one out"
        )
    if rule.child not in primary or rule.parent not in primary:
        raise SchemaError(f"rule '{rule}' concerns a reference table, which is kept as it is; leave the rule out")


def _check_names(plan: TablePlan) -> None:
    added = [f(r) for r in plan.brings for f in (number_of, code_of)] + [wanted_of(r) for r in plan.matched]
    added += [level_of(r) for r in plan.matched if r.is_self_reference]
    added += [place_of(r) for r in plan.references]
    if taken := sorted(set(added) & set(plan.columns)):
        raise SchemaError(f"table '{plan.name}': column '{taken[0]}' has a name that the model needs; rename it")
