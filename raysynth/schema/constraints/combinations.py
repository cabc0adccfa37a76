"""Rules on combinations of values: fixed combinations, one-hot groups, uniqueness.

Fixed ones are learned as one categorical column, so that only combinations that occur can be made.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysynth.errors import ConstraintError
from raysynth.kinds.arrow_text import RARE_LABEL, coded, indices_of, is_string
from raysynth.schema.columns import COMBINED_BESIDE, ColumnSchema, Kind
from raysynth.schema.constraints.base import (
    Constraint,
    Replacement,
    column_of,
    free_name,
    known_columns,
    missing,
    numbers_of,
    storage_type,
)
from raysynth.schema.table import TableSchema


@dataclass(frozen=True)
class Joint:
    """Columns a, b, ... modelled as one column 'a|b|...', whose values are JSON lists such as '["US", "Texas"]'.

    A missing value is null in the list, so its pattern is modelled too. What is no such list (the label of rare values)
    is replaced, when it comes back, by the combination of another row.

    Args:
        columns: their schemas.
        combinations: all that can occur (public), or None: learned.
        beside: whether all columns but the first stay in what is modelled, too: a row whose combination is too rare to
            leave has its own values of them, and the first is missing or '(rare)'.
    """

    columns: tuple[ColumnSchema, ...]
    combinations: tuple[tuple[Any, ...], ...] | None = None
    beside: bool = False

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns that it reads."""
        return tuple(c.name for c in self.columns)

    @property
    def changes(self) -> tuple[str, ...]:
        """All of them are gone, or, beside the joint column, not what rows come back with."""
        return self.needs

    @property
    def gone(self) -> tuple[str, ...]:
        """Those that are not modelled by themselves."""
        return self.needs[:1] if self.beside else self.needs

    @property
    def name(self) -> str:
        """Name of the joint column."""
        return "|".join(self.needs)

    def forward_schema(self, schema: TableSchema) -> TableSchema:
        """The joint column in the place of the first."""
        column = ColumnSchema(
            name=free_name(self.name, schema, f"the constraint on the combination of {', '.join(self.needs)}"),
            kind=Kind.CATEGORICAL,
            dtype="string",
            nullable=False,
            categories=None if self.combinations is None else tuple(map(joint_text, self.combinations)),
            reason=f"{COMBINED_BESIDE if self.beside else 'combinations'} of {', '.join(self.needs)}",
        )
        kept = [column if c.name == self.needs[0] else c for c in schema.columns]
        return replace(schema, columns=tuple(c for c in kept if c.name not in self.gone))

    def forward(self, table: pa.Table) -> pa.Table:
        """Rows with the joint column."""
        rows, found = joint_codes([column_of(table, c) for c in self.needs])
        texts = pa.array([joint_text(v) for v in found], pa.string())
        joint = pa.DictionaryArray.from_arrays(pa.array(rows.astype(np.int32)), texts)
        at = table.column_names.index(self.needs[0])
        return table.set_column(at, self.name, joint).drop_columns(list(self.gone[1:]))

    def inverse(self, table: pa.Table, rng: np.random.Generator) -> pa.Table:
        """Rows with the columns themselves."""
        joint = coded(column_of(table, self.name))
        combinations = [self._parsed(t) for t in joint.dictionary.to_pylist()]
        valid = np.array([c is not None for c in combinations] + [False])
        codes = indices_of(joint, len(combinations))
        broken, known = np.flatnonzero(~valid[codes]), np.flatnonzero(valid[codes])
        if len(broken) and not self.beside:
            codes = codes.copy()
            codes[broken] = codes[rng.choice(known, len(broken))] if len(known) else len(combinations)
        is_known = pa.array(valid[codes])
        nothing = [RARE_LABEL if is_string(c.arrow_type) else None for c in self.columns]  # no combination is shared
        rest = table.select([n for n in table.column_names if n not in (self.name, *self.needs)])
        for i, column in enumerate(self.columns):
            values = [(nothing if c is None else c)[i] for c in [*combinations, None]]
            made = _taken(values, codes, column)
            if column.name not in self.gone:
                made = _where(is_known, made, column_of(table, column.name))
            rest = rest.append_column(column.name, made)
        return rest

    def _parsed(self, text: str | None) -> list[Any] | None:
        try:
            values = json.loads(text) if text is not None else None
        except ValueError:
            return None
        return values if isinstance(values, list) and len(values) == len(self.columns) else None


def joint_codes(arrays: Sequence[pa.Array]) -> tuple[np.ndarray, list[tuple[Any, ...]]]:
    """(for each row the number of its combination (N,) int64, the combinations as Python values)."""
    dense = [_dense_codes(array) for array in arrays]
    codes, members = [c for c, _ in dense], [m for _, m in dense]
    rows, n_rows = codes[0], len(codes[0])
    n_found = len(members[0])
    for more, values in zip(codes[1:], members[1:], strict=True):
        # after each column the numbers are made dense again, so that they never overflow
        used, rows = _dense(rows * len(values) + more, n_found * len(values))
        n_found = len(used)
    used, rows = _dense(rows, n_found)
    example = np.zeros(len(used), np.int64)
    example[rows] = np.arange(n_rows)
    return rows, [tuple(values[own[i]] for values, own in zip(members, codes, strict=True)) for i in example]


def _dense(codes: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """(codes below `size` that occur, ascending; their position among them for each row): np.unique, by counting."""
    if size > 4 * len(codes) + (1 << 16):
        used, positions = np.unique(codes, return_inverse=True)
        return used, positions
    occurs = np.zeros(size, bool)
    occurs[codes] = True
    return np.flatnonzero(occurs), (np.cumsum(occurs) - 1)[codes]


def _dense_codes(array: pa.Array) -> tuple[np.ndarray, list[Any]]:
    """(codes of the values that occur (N,) int64, these values as Python values and None)."""
    array = coded(array)
    n_listed = len(array.dictionary)
    used, indices = _dense(indices_of(array, n_listed), n_listed + 1)  # a dictionary may hold more than its rows use
    texts = [*array.dictionary.take(pa.array(used[used < n_listed])).to_pylist(), None]
    values = list(dict.fromkeys(texts))  # or hold a value twice
    position = {v: i for i, v in enumerate(values)}
    return np.array([position[t] for t in texts], np.int64)[indices], values


def joint_text(values: Sequence[Any]) -> str:
    """A combination as JSON; whole floats as whole numbers, so that 1 and 1.0 are one."""
    return json.dumps([_plain(v) for v in values], ensure_ascii=False)


def joint_hashes(arrays: Sequence[pa.Array]) -> np.ndarray:
    """A hash of each row's values, (N,) uint64, the same in every process."""
    from pandas.util import hash_array

    from raysynth.kinds.permutation import mix

    result = np.zeros(len(arrays[0]), np.uint64)
    for array in arrays:
        if pa.types.is_dictionary(array.type) or is_string(array.type):
            array = coded(array)
            table = hash_array(np.array([*array.dictionary.to_pylist(), ""], dtype=object), categorize=False)
            hashes = table[indices_of(array, len(array.dictionary))]
        else:
            values = numbers_of(array)[0]
            hashes = (values + 0).view(np.uint64)  # + 0 makes -0.0 and 0.0 one
        result = mix(result ^ hashes, np.uint64(0x9E3779B97F4A7C15))
    return result


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _taken(values: list[Any], codes: np.ndarray, column: ColumnSchema) -> pa.Array:
    """values[codes] in the column's type; text as dictionary codes."""
    type_ = storage_type(column.arrow_type)
    if not pa.types.is_dictionary(type_):
        if pa.types.is_boolean(type_):
            values = [None if v is None else bool(v) for v in values]
        return pa.array(values, type_).take(pa.array(codes))
    texts = list(dict.fromkeys(v for v in values if v is not None))
    position = {t: i for i, t in enumerate(texts)}
    table = np.array([-1 if v is None else position[v] for v in values], np.int32)[codes]
    return pa.DictionaryArray.from_arrays(pa.array(table, mask=table < 0), pa.array(texts, pa.string()))


def _where(mask: pa.Array, array: pa.Array, other: pa.Array) -> pa.Array:
    """The values of `array` where the mask (N,) says so, else those of `other`, in the type of the first."""
    if not pa.types.is_dictionary(array.type):
        return pc.if_else(mask, array, other.cast(array.type))
    own = other.dictionary_decode() if pa.types.is_dictionary(other.type) else other
    return pc.if_else(mask, array.dictionary_decode(), own.cast(pa.string())).dictionary_encode()


@dataclass(frozen=True)
class _OfColumns(Constraint):
    """A rule of several columns, all of which it restricts."""

    columns: tuple[str, ...]

    def __post_init__(self) -> None:
        columns = (self.columns,) if isinstance(self.columns, str) else tuple(self.columns)
        object.__setattr__(self, "columns", columns)

    @property
    def involves(self) -> tuple[str, ...]:
        """Columns whose values the rule restricts, as it names them."""
        return self.columns

    def _check_columns(self, least: int = 2) -> None:
        if len(self.columns) < least or len(set(self.columns)) != len(self.columns):
            raise ConstraintError(f"{self}: name {least} or more different columns")


@dataclass(frozen=True)
class FixedCombinations(_OfColumns):
    """The columns occur in known combinations only (city and country, product and category).

    Met by construction: the combinations are one categorical column for the model. Without `combinations` they are
    learned: those in fewer rows than the schema's `rare_threshold` never leave, and beyond `max_categories` of them the
    rest share one code.

    Args:
        columns: two or more columns of categories, or of numbers that have few values.
        combinations: the allowed ones (public), each a value for every column; None: those of the real table. Rows with
            a missing value are allowed in any case.
        beside: learn all columns but the first by themselves, too, for rows whose combination is too rare to leave (as
            numbers that follow from a place): such a row keeps values of its own of them, and has no value of the
            first, or '(rare)'.
    """

    combinations: tuple[tuple[Any, ...], ...] | None = None
    beside: bool = False
    kind: ClassVar[str] = "fixed_combinations"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.combinations is not None:
            object.__setattr__(self, "combinations", tuple(tuple(c) for c in self.combinations))

    def validate(self, schema: TableSchema) -> None:
        """Two or more columns of `schema` that hold categories or numbers; each combination a value for every one."""
        self._check_columns()
        for column in known_columns(self, schema):
            if not column.kind.is_discrete and not column.kind.is_number:
                raise ConstraintError(
                    f"{self.kind} of {self.columns}: column '{column.name}' is {column.kind}; declare it categorical"
                )
            _check_plain(self, column)
        if self.beside and not is_string(schema[self.columns[0]].arrow_type):
            raise ConstraintError(
                f"{self.kind} of {self.columns}: with `beside` the first column is text, whose rare values become "
                f"'{RARE_LABEL}'; '{self.columns[0]}' is {schema[self.columns[0]].dtype}: leave `beside` out"
            )
        given = self.combinations
        if given is not None and (not given or any(len(c) != len(self.columns) for c in given)):
            raise ConstraintError(f"{self.kind} of {self.columns}: each combination has a value for every column")

    def holds(self, table: pa.Table) -> np.ndarray:
        """For each row of `table` whether its combination is allowed; all are where they were learned."""
        if self.combinations is None:
            return np.ones(table.num_rows, bool)
        allowed = {joint_text(c) for c in self.combinations}
        rows, found = joint_codes([column_of(table, c) for c in self.columns])
        return np.array([None in values or joint_text(values) in allowed for values in found], bool)[rows]

    def replacements(self, schema: TableSchema) -> tuple[Replacement, ...]:
        """One joint column in place of those of `schema`."""
        columns = tuple(schema[c] for c in self.columns)
        declared = self.combinations if not any(c.nullable for c in columns) else None
        return (Joint(columns, declared, self.beside and declared is None),)


@dataclass(frozen=True)
class OneHotGroup(_OfColumns):
    """Exactly one of the columns is 1 (true), the others are 0 (false). Met by construction: one joint column.

    A row with missing values keeps it unless two columns are 1, or all that are there are 0 and none is missing.

    Args:
        columns: two or more columns of booleans or of the numbers 0 and 1.
    """

    kind: ClassVar[str] = "one_hot_group"

    def validate(self, schema: TableSchema) -> None:
        """Two or more columns of `schema` that hold booleans or numbers."""
        self._check_columns()
        for column in known_columns(self, schema):
            type_ = column.arrow_type
            if not (pa.types.is_boolean(type_) or pa.types.is_integer(type_) or pa.types.is_floating(type_)):
                raise ConstraintError(
                    f"{self}: column '{column.name}' is {column.dtype}; a one-hot group has booleans or numbers 0 and 1"
                )

    def holds(self, table: pa.Table) -> np.ndarray:
        """For each row of `table` whether exactly one column is 1."""
        ones = np.zeros(table.num_rows, np.int64)
        others = np.zeros(table.num_rows, bool)
        unknown = np.zeros(table.num_rows, bool)
        for name in self.columns:
            values, absent = numbers_of(column_of(table, name))
            ones += (values == 1) & ~absent
            others |= (values != 0) & (values != 1) & ~absent
            unknown |= absent
        return ~others & ((ones == 1) | (unknown & (ones == 0)))

    def replacements(self, schema: TableSchema) -> tuple[Replacement, ...]:
        """One joint column in place of those of `schema`."""
        columns = tuple(schema[c] for c in self.columns)
        if any(c.nullable for c in columns):
            return (Joint(columns, None),)
        kinds = [bool if pa.types.is_boolean(c.arrow_type) else int for c in columns]
        return (Joint(columns, tuple(tuple(k(i == j) for j, k in enumerate(kinds)) for i in range(len(columns)))),)


@dataclass(frozen=True)
class Unique(_OfColumns):
    """No two rows share the values of these columns; rows with a missing value among them are free (as in SQL).

    A single key is met by construction when its column is of kind 'identifier'. Everything else by rejection: `holds`
    marks the later of equal rows in one table, and `hashes` lets the sampling layer compare tables.

    Args:
        columns: one or more columns.
    """

    kind: ClassVar[str] = "unique"

    def validate(self, schema: TableSchema) -> None:
        """Columns of `schema`; a single discrete one should be an identifier."""
        self._check_columns(least=1)
        if self.by_construction(schema):
            return
        columns = known_columns(self, schema)
        if len(columns) == 1 and not columns[0].kind.is_numeric:
            raise ConstraintError(
                f"{self}: column '{columns[0].name}' is {columns[0].kind}, whose values repeat; declare its kind as "
                "'identifier' (its keys are then unique by construction) or remove the constraint"
            )

    def by_construction(self, schema: TableSchema) -> bool:
        """Whether one of the columns is, by `schema`, an identifier that is unique by itself."""
        return any(c in schema and schema[c].kind.is_key and schema[c].rows_each is None for c in self.columns)

    def holds(self, table: pa.Table) -> np.ndarray:
        """For each row of `table` whether no earlier row has the same values (the same 64-bit hash)."""
        hashes, counted = self.hashes(table)
        first = np.zeros(table.num_rows, bool)
        first[np.unique(hashes, return_index=True)[1]] = True
        return first | ~counted

    def hashes(self, table: pa.Table) -> tuple[np.ndarray, np.ndarray]:
        """Hashes of the N rows of `table` (N,) uint64, the same in every process; which rows count (N,) bool."""
        arrays = [column_of(table, c) for c in self.columns]
        return joint_hashes(arrays), ~_any_missing(arrays, table.num_rows)


def _any_missing(arrays: list[pa.Array], n: int) -> np.ndarray:
    result = np.zeros(n, bool)
    for array in arrays:
        result |= missing(array)
    return result


def _check_plain(constraint: Constraint, column: ColumnSchema) -> None:
    type_ = column.arrow_type
    known = (is_string, pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating)
    if not any(test(type_) for test in known):
        raise ConstraintError(
            f"{constraint.kind}: column '{column.name}' is {column.dtype}; combinations are of text, numbers, booleans"
        )
