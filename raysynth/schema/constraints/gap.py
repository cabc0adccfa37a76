"""low <= high by construction: the model learns low and the gap between them, which cannot be negative."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from raysynth.kinds.arrow_text import plain
from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.schema.constraints.base import column_of, free_name, from_numbers, numbers_of
from raysynth.schema.table import TableSchema

_PRESENT = ("both", "low", "high", "none")
_NO_INT64 = ("uint64", "decimal128")


@dataclass(frozen=True)
class Gap:
    """Two columns low <= high (low < high if strict) modelled as a base and a gap.

    The column `low` keeps its place and is modelled as it is; `high` gives way to 'high - low'. Missing values: where
    high is missing, so is the gap. Where low can be missing too, the base holds high in the rows without low, and a
    third column says which of the two are present, so that every pattern of missing values is modelled and comes back.

    Args:
        low, high: their schemas.
        strict: low < high.
    """

    low: ColumnSchema
    high: ColumnSchema
    strict: bool

    @staticmethod
    def possible(low: ColumnSchema, high: ColumnSchema) -> bool:
        """Whether the two can be modelled so: times of the same type, or numbers that 64 bits hold."""
        if not low.kind.is_number:
            return low.dtype == high.dtype
        return not any(c.dtype.startswith(_NO_INT64) for c in (low, high))

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns that it reads."""
        return (self.low.name, self.high.name)

    @property
    def changes(self) -> tuple[str, ...]:
        """High is gone; low means something else where it can be missing."""
        return (self.low.name, self.high.name) if self.low.nullable else (self.high.name,)

    @property
    def gap_name(self) -> str:
        """Name of the gap's column."""
        return f"{self.high.name} - {self.low.name}"

    @property
    def presence_name(self) -> str:
        """Name of the column that says which of the two are present."""
        return f"{self.low.name}, {self.high.name} present"

    def forward_schema(self, schema: TableSchema) -> TableSchema:
        """Base, gap, and the presence of the two where low can be missing."""
        label = f"the constraint '{self.low.name}' <= '{self.high.name}'"
        columns: list[ColumnSchema] = []
        for column in schema.columns:
            if column.name == self.low.name:
                columns.append(self._base())
            elif column.name == self.high.name:
                columns.append(replace(self._gap(), name=free_name(self.gap_name, schema, label)))
                if self.low.nullable:
                    columns.append(self._presence(free_name(self.presence_name, schema, label)))
            else:
                columns.append(column)
        return replace(schema, columns=tuple(columns))

    def forward(self, table: pa.Table) -> pa.Table:
        """Rows with base and gap; a negative gap becomes 0."""
        low, no_low = numbers_of(column_of(table, self.low.name))
        high, no_high = numbers_of(column_of(table, self.high.name))
        gap = from_numbers(np.maximum(_difference(high, low), 0), no_low | no_high, self._gap().arrow_type)
        columns = dict(zip(table.column_names, table.columns, strict=True))
        result = {
            self.gap_name if n == self.high.name else n: gap if n == self.high.name else c for n, c in columns.items()
        }
        if self.low.nullable:
            base = np.where(no_low, high, low)
            result[self.low.name] = from_numbers(base, no_low & no_high, self._base().arrow_type)
            present = pa.array((no_low * 2 + no_high).astype(np.int32))
            # 0: both, 1: low alone, 2: high alone, 3: none
            result[self.presence_name] = pa.DictionaryArray.from_arrays(present, pa.array(_PRESENT))
        return pa.table(result)

    def inverse(self, table: pa.Table, rng: np.random.Generator) -> pa.Table:
        """Rows with low and high; what the model left out is drawn from its other rows."""
        base, no_base = numbers_of(column_of(table, self.low.name))
        gap, no_gap = numbers_of(column_of(table, self.gap_name))
        state = self._state(table, no_base, no_gap)
        base, no_base = _filled(base, no_base, state != 3, rng)
        gap = self._positive(gap)
        gap, no_gap = _filled(gap, no_gap | (self.strict & (gap <= 0)), state == 0, rng)
        low_type = self.low.arrow_type
        low, no_low = numbers_of(from_numbers(base, no_base | (state >= 2), low_type))
        high = np.where(state == 0, _sum(low, gap), base)
        no_high = no_base | (state % 2 == 1) | ((state == 0) & no_gap)
        high = self._fitted(high, low, (state == 0) & ~no_high)
        names = {self.low.name, self.gap_name, self.presence_name}
        rest = table.select([n for n in table.column_names if n not in names])
        rest = rest.append_column(self.low.name, from_numbers(low, no_low, low_type))
        return rest.append_column(self.high.name, from_numbers(high, no_high, self.high.arrow_type))

    def _base(self) -> ColumnSchema:
        if not self.low.nullable:
            return self.low
        both = (self.low, self.high)
        whole = all(pa.types.is_integer(c.arrow_type) for c in both)
        mixed = "int64" if whole else "double"
        return replace(
            self.low,
            dtype=self.low.dtype if self.low.dtype == self.high.dtype else mixed,
            decimals=_most_decimals(both),
            bounds=_hull(both),
            inferred=_private(both),
            pandas_dtype=None,
        )

    def _gap(self) -> ColumnSchema:
        both, kind = (self.low, self.high), Kind.CONTINUOUS
        types = [c.arrow_type for c in both]
        if any(pa.types.is_timestamp(t) or pa.types.is_duration(t) for t in types):
            kind, dtype = Kind.TIMEDELTA, f"duration[{types[1].unit}]"
        else:
            dtype = "double" if any(pa.types.is_floating(t) for t in types) else "int64"
        bounds = None
        if self.low.bounds is not None and self.high.bounds is not None:
            bounds = (0.0, max(0.0, self.high.bounds[1] - self.low.bounds[0]))
        return ColumnSchema(
            name=self.gap_name,
            kind=kind,
            dtype=dtype,
            nullable=self.low.nullable or self.high.nullable,
            bounds=bounds,
            inferred=() if bounds is None else _private(both),
            decimals=_most_decimals(both) if kind.is_number else None,
            reason=f"from the constraint '{self.low.name}' <= '{self.high.name}'",
        )

    def _presence(self, name: str) -> ColumnSchema:
        return ColumnSchema(
            name=name,
            kind=Kind.CATEGORICAL,
            dtype="string",
            nullable=False,
            categories=_PRESENT,
            reason=f"from the constraint '{self.low.name}' <= '{self.high.name}'",
        )

    def _state(self, table: pa.Table, no_base: np.ndarray, no_gap: np.ndarray) -> np.ndarray:
        """0: both present, 1: low alone, 2: high alone, 3: none."""
        told = np.where(no_base, 3, no_gap.astype(int))
        if not self.low.nullable:
            return told
        texts = plain(column_of(table, self.presence_name))
        state = np.array([_PRESENT.index(t) if t in _PRESENT else -1 for t in texts.unique().to_pylist()])
        codes = texts.dictionary_encode(null_encoding="encode").indices.to_numpy()
        state = state[codes] if len(codes) else np.zeros(0, int)
        return np.where(state < 0, told, state)

    def _step(self) -> float:
        """The least difference that low and high can have, 0 where there is no least."""
        if not self.high.kind.is_number or pa.types.is_integer(self.high.arrow_type):
            return 1
        return 0.0 if self.high.decimals is None else 10.0**-self.high.decimals

    def _positive(self, gap: np.ndarray) -> np.ndarray:
        return np.maximum(gap, gap.dtype.type(self._step() if self.strict else 0))

    def _fitted(self, high: np.ndarray, low: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """High at its decimals and inside its declared bounds, in `rows` never below low."""
        if high.dtype.kind == "f":
            decimals = 0 if pa.types.is_integer(self.high.arrow_type) else self.high.decimals
            if decimals is not None:
                high = np.round(high, decimals)
                short = rows & ((high <= low) if self.strict else (high < low))
                high = np.where(short, np.round(high + 10.0**-decimals, decimals), high)
        if self.high.bounds is not None:
            inside = np.clip(high, *np.array(self.high.bounds).astype(high.dtype))
            high = np.where(rows, np.maximum(inside, low + self.strict * self._step()), inside).astype(high.dtype)
        return high


def _difference(high: np.ndarray, low: np.ndarray) -> np.ndarray:
    if high.dtype.kind == low.dtype.kind == "i":
        return np.where(high.astype(float) - low.astype(float) > 9e18, np.iinfo(np.int64).max, high - low)
    return high.astype(float) - low.astype(float)


def _sum(low: np.ndarray, gap: np.ndarray) -> np.ndarray:
    if gap.dtype.kind == low.dtype.kind == "i":
        return np.where(low.astype(float) + gap.astype(float) > 9e18, np.iinfo(np.int64).max, low + gap)
    return low.astype(float) + gap.astype(float)


def _filled(
    values: np.ndarray, absent: np.ndarray, wanted: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Values where a value is wanted and absent drawn from the others; (values, absent)."""
    holes, known = np.flatnonzero(wanted & absent), np.flatnonzero(~absent)
    if len(holes) == 0 or len(known) == 0:
        return values, absent
    values, absent = values.copy(), absent.copy()
    values[holes] = values[rng.choice(known, len(holes))]
    absent[holes] = False
    return values, absent


def _most_decimals(columns: tuple[ColumnSchema, ColumnSchema]) -> int | None:
    decimals = [0 if pa.types.is_integer(c.arrow_type) else c.decimals for c in columns]
    return None if None in decimals else max(d for d in decimals if d is not None)


def _private(columns: tuple[ColumnSchema, ColumnSchema]) -> tuple[str, ...]:
    """Says where a range follows from one that was read from the rows."""
    return ("bounds",) if any("bounds" in c.inferred for c in columns) else ()


def _hull(columns: tuple[ColumnSchema, ColumnSchema]) -> tuple[float, float] | None:
    bounds = [c.bounds for c in columns]
    if bounds[0] is None or bounds[1] is None:
        return None
    return min(bounds[0][0], bounds[1][0]), max(bounds[0][1], bounds[1][1])
