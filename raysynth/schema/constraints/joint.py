"""Several columns as one categorical column, so that only their combinations that occur can be made."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.schema.constraints.base import free_name
from raysynth.schema.constraints.values import column_of, numbers_of, storage_type
from raysynth.schema.table import TableSchema


@dataclass(frozen=True)
class Joint:
    """Columns a, b, ... modelled as one column 'a|b|...', whose values are JSON lists such as '["US", "Texas"]'.

    A missing value is null in the list, so its pattern is modelled too. What is no such list (the label of rare values)
    is replaced, when it comes back, by the combination of another row.

    Args:
        columns: their schemas.
        combinations: all that can occur (public), or None: learned.
    """

    columns: tuple[ColumnSchema, ...]
    combinations: tuple[tuple[Any, ...], ...] | None = None

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns that it reads."""
        return tuple(c.name for c in self.columns)

    @property
    def changes(self) -> tuple[str, ...]:
        """All of them are gone."""
        return self.needs

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
            reason=f"combinations of {', '.join(self.needs)}",
        )
        kept = [column if c.name == self.needs[0] else c for c in schema.columns]
        return replace(schema, columns=tuple(c for c in kept if c.name not in self.needs))

    def forward(self, table: pa.Table) -> pa.Table:
        """Rows with the joint column."""
        rows, found = joint_codes([column_of(table, c) for c in self.needs])
        texts = pa.array([joint_text(v) for v in found], pa.string())
        joint = pa.DictionaryArray.from_arrays(pa.array(rows.astype(np.int32)), texts)
        at = table.column_names.index(self.needs[0])
        return table.set_column(at, self.name, joint).drop_columns(list(self.needs[1:]))

    def inverse(self, table: pa.Table, rng: np.random.Generator) -> pa.Table:
        """Rows with the columns themselves."""
        coded = column_of(table, self.name)
        if not pa.types.is_dictionary(coded.type):
            coded = coded.dictionary_encode()
        combinations = [self._parsed(t) for t in coded.dictionary.to_pylist()]
        valid = np.array([c is not None for c in combinations] + [False])
        codes = coded.indices.fill_null(len(combinations)).to_numpy(zero_copy_only=False).astype(np.int64)
        broken, known = np.flatnonzero(~valid[codes]), np.flatnonzero(valid[codes])
        if len(broken):
            codes = codes.copy()
            codes[broken] = codes[rng.choice(known, len(broken))] if len(known) else len(combinations)
        nothing = [None] * len(self.columns)
        rest = table.select([n for n in table.column_names if n != self.name])
        for i, column in enumerate(self.columns):
            values = [(nothing if c is None else c)[i] for c in [*combinations, None]]
            rest = rest.append_column(column.name, _taken(values, codes, column))
        return rest

    def _parsed(self, text: str | None) -> list[Any] | None:
        try:
            values = json.loads(text) if text is not None else None
        except ValueError:
            return None
        return values if isinstance(values, list) and len(values) == len(self.columns) else None


def joint_codes(arrays: Sequence[pa.Array]) -> tuple[np.ndarray, list[tuple[Any, ...]]]:
    """(for each row the number of its combination (N,) int64, the combinations as Python values)."""
    coded = [_dense_codes(array) for array in arrays]
    codes, members = [c for c, _ in coded], [m for _, m in coded]
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
    coded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
    indices = coded.indices.fill_null(len(coded.dictionary)).to_numpy(zero_copy_only=False).astype(np.int64)
    used, indices = _dense(indices, len(coded.dictionary) + 1)  # a dictionary may hold more than its rows use
    texts = [*coded.dictionary.take(pa.array(used[used < len(coded.dictionary)])).to_pylist(), None]
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
        coded = array if pa.types.is_dictionary(array.type) else None
        if coded is not None or pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
            coded = coded if coded is not None else array.dictionary_encode()
            table = hash_array(np.array([*coded.dictionary.to_pylist(), ""], dtype=object), categorize=False)
            hashes = table[coded.indices.fill_null(len(coded.dictionary)).to_numpy(zero_copy_only=False)]
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
