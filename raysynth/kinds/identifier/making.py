"""Identifier columns: unique keys made anew in the column's pattern, never copied from the data."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
import pyarrow as pa

from raysynth.errors import SchemaError
from raysynth.kinds.arrow_text import parse_arrow_type
from raysynth.kinds.description import Column
from raysynth.kinds.identifier.pattern import IntegerPattern, TextPattern, infer_pattern, parse_pattern
from raysynth.kinds.permutation import MAX_SIZE, mix, permute, round_keys

__all__ = ["IdentifierEncoder", "infer_pattern"]

_TABLE_ROWS = 1 << 16  # spellings of some neighbouring places are looked up together in tables up to this long
MOST_GAPS = 4.0  # times the usual distance of two places: none moves into a range without keys
FEWEST_BLOCKS, FEWEST_IN_BLOCK = 500, 1_000_000  # of a range in which keys share leading digits
_BLOCK_ROWS = 1 << 16  # keeps intermediate arrays in the processor's cache: twice the rate of 2**20 for UUIDs


@dataclass(frozen=True)
class IdentifierEncoder:
    """Unique keys for row numbers, in a pattern (see `kinds/identifier/pattern.py` for its language).

    A key is a keyed permutation of the row number within the pattern's domain: any worker makes the keys of its own
    rows, and no two rows of a table share one. When rows outnumber the domain, the pattern widens: the further rows get
    keys with one more character (one more digit for whole numbers), so the length tells them from the others and
    uniqueness holds. Domains above 2**62 keys permute the last places and hash the others.

    No key is ever read from the data. In a small domain (whole numbers, four digits) some keys will still equal real
    ones by chance: with R real keys in a domain of D, a share R/D of them. Only a wider pattern avoids it.

    Args:
        name: column name.
        pattern: pattern in the mini-language.
        dtype: Arrow type as text; text, whole numbers, floats (whole values) and decimals.
    """

    name: str
    pattern: str
    dtype: str
    _parsed: TextPattern | IntegerPattern = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        parsed = parse_pattern(self.pattern, self.name)
        kind = parse_arrow_type(self.dtype, self.name)
        low, high = _limits(kind, self.name)
        if isinstance(parsed, TextPattern) and not _is_text(kind):
            raise SchemaError(
                f"column '{self.name}': pattern '{self.pattern}' makes text, but the column is {self.dtype}; "
                "use 'integer' or 'integer(low, high)'"
            )
        if isinstance(parsed, IntegerPattern):
            if self.pattern == "integer":
                parsed = IntegerPattern(parsed.low, min(parsed.high, high))
            if parsed.low < low or parsed.high > high:
                raise SchemaError(
                    f"column '{self.name}': pattern '{self.pattern}' leaves the range of {self.dtype}, {low} to {high}"
                )
        object.__setattr__(self, "_parsed", parsed)

    @classmethod
    def from_schema(cls, column: Column) -> IdentifierEncoder:
        """The encoder of a column; without a pattern 'integer' for numbers and 'uuid' for text."""
        default = "uuid" if _is_text(column.arrow_type) else "integer"
        return cls(column.name, column.pattern or default, column.dtype)

    @property
    def size(self) -> int:
        """How many different keys the pattern has, before it widens."""
        return self._parsed.size

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"name": self.name, "pattern": self.pattern, "dtype": self.dtype}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> IdentifierEncoder:
        """The inverse of `to_dict`; raises `SchemaError`."""
        return cls(content["name"], content["pattern"], content["dtype"])

    def values(self, row_start: int, n: int, key: int) -> pa.Array:
        """Keys of rows row_start to row_start + n - 1, in the column's Arrow type.

        Args:
            row_start: number of the first row within the whole output, >= 0.
            n: how many rows.
            key: non-negative integer; the same key gives the same keys, row by row, however the rows are cut.

        Raises:
            SchemaError: the column's type has fewer different values than rows are asked for.
        """
        parts: list[pa.Array] = []
        pattern, start, stage = self._parsed, 0, 0
        while n > 0 or not parts:
            capacity = min(pattern.size, MAX_SIZE)
            if row_start < start + capacity:
                take = min(n, start + capacity - row_start, _BLOCK_ROWS)
                index = np.arange(row_start - start, row_start - start + take, dtype=np.uint64)
                parts.append(self._spell(pattern, index, capacity, key, f"{self.name}/{stage}"))
                row_start, n = row_start + take, n - take
            else:
                start, stage = start + capacity, stage + 1
                pattern = self._widened(pattern, start)
        return parts[0] if len(parts) == 1 else pa.concat_arrays(parts)

    def near(self, places: np.ndarray, row_start: int, reserved: int, key: int) -> pa.Array:
        """Keys of rows whose key is to be near a given number; no two rows of a table share one.

        In a wide range a key has the place's leading digits and, by a keyed permutation of its row number, others after
        them. In a narrow one rows take, in the order of their places, the next of the keys that `values` has for
        them. Row numbers for which no such key is left get one as by `values`.

        Args:
            places: one for each row, whole numbers (N,).
            row_start: number of the first row within the whole output.
            reserved: row numbers from it on whose keys no other rows take.
            key: as of `values`.
        """
        n, block = len(places), self._block
        if block and n:
            pattern = self._parsed
            assert isinstance(pattern, IntegerPattern)
            inside = min(max(block - 1 - row_start, 0), n)
            index = np.arange(row_start, row_start + inside, dtype=np.uint64)
            after = permute(index, block - 1, key, f"{self.name}/near").view(np.int64) + 1
            leading = np.clip(places[:inside].astype(np.int64) // block, pattern.low // block, pattern.high // block)
            kind = parse_arrow_type(self.dtype, self.name)
            near = pa.array(np.clip(leading * block + after, pattern.low, pattern.high)).cast(kind)
            if inside == n:
                return near
            return pa.concat_arrays([near, self.values(self.size + row_start + inside, n - inside, key)])
        left = max(min(self.size, MAX_SIZE) - row_start, 0)
        keys = np.sort(self.values(row_start, max(n, min(reserved, left)), key).to_numpy(zero_copy_only=False))
        places = self._between(places, row_start, key)
        order, place = np.argsort(places, kind="stable"), np.arange(n)
        at = place + np.maximum.accumulate(np.searchsorted(keys, places[order]) - place)  # the next that is free
        result = np.empty(n, keys.dtype)
        result[order] = keys[np.minimum(at, len(keys) - n + place)]
        return pa.array(result).cast(parse_arrow_type(self.dtype, self.name))

    def _between(self, places: np.ndarray, row_start: int, key: int) -> np.ndarray:
        """Each place moved by chance towards the next one: drawn ones lie on the grid of real keys (all even, say)."""
        distinct, of_N = np.unique(places, return_inverse=True)
        gaps = np.diff(distinct, append=distinct[-1:] + 1).astype(float)
        gaps = np.minimum(gaps, MOST_GAPS * np.median(gaps)) if len(gaps) else gaps
        row_N = np.arange(row_start, row_start + len(places), dtype=np.uint64)
        chance_N = (mix(row_N, round_keys(key, f"{self.name}/between", 1)[0]) >> np.uint64(11)) * 2.0**-53
        moved: np.ndarray = np.floor(places + chance_N * gaps[of_N])
        return moved

    @property
    def _block(self) -> int:
        """Whole numbers that share their leading digits, a power of ten; 0 where the range has too few."""
        if not isinstance(self._parsed, IntegerPattern) or self._parsed.size < FEWEST_BLOCKS * FEWEST_IN_BLOCK:
            return 0
        return int(10 ** (len(str(self._parsed.size // FEWEST_BLOCKS)) - 1))

    def _widened(self, pattern: TextPattern | IntegerPattern, used: int) -> TextPattern | IntegerPattern:
        wider = pattern.widened()
        if isinstance(wider, TextPattern):
            return wider
        highest = _limits(parse_arrow_type(self.dtype, self.name), self.name)[1]
        if wider.low > highest:
            raise SchemaError(
                f"column '{self.name}': {self.dtype} holds only {used} keys in pattern '{self.pattern}', and more rows "
                "are asked for; declare a wider dtype, or a pattern with a lower start"
            )
        return IntegerPattern(wider.low, min(wider.high, highest))

    def _spell(
        self, pattern: TextPattern | IntegerPattern, index: np.ndarray, capacity: int, key: int, label: str
    ) -> pa.Array:
        kind = parse_arrow_type(self.dtype, self.name)
        if isinstance(pattern, IntegerPattern):
            # wraps for low < 0 and comes back right: two's complement
            number = (permute(index, capacity, key, label) + np.uint64(pattern.low % (1 << 64))).view(np.int64)
            wide = pa.decimal256(76, kind.scale) if pa.types.is_decimal(kind) else pa.int64()
            return pa.array(number).cast(wide).cast(kind)
        if pattern.size > MAX_SIZE:
            return _spell_large(pattern.layouts, index, key, label, kind)
        return _spell_small(pattern.layouts, permute(index, capacity, key, label), kind)


def _spell_small(layouts: tuple[tuple[bytes, ...], ...], number: np.ndarray, kind: pa.DataType) -> pa.Array:
    """The keys with the given numbers among all keys of the layouts, shortest first."""
    sizes = [prod(map(len, layout)) for layout in layouts]
    if len(layouts) == 1:
        return _as_text(_places(layouts[0], number), kind)
    ends = np.cumsum(np.array(sizes, np.uint64))
    which = np.searchsorted(ends, number, side="right")
    pieces, rows = [], []
    for i, layout in enumerate(layouts):
        rows.append(np.flatnonzero(which == i))
        first = ends[i] - np.uint64(sizes[i])
        pieces.append(_as_text(_places(layout, number[rows[-1]] - first), kind))
    return pa.concat_arrays(pieces).take(pa.array(np.argsort(np.concatenate(rows))))


def _spell_large(
    layouts: tuple[tuple[bytes, ...], ...], index: np.ndarray, key: int, label: str, kind: pa.DataType
) -> pa.Array:
    """Keys of more than 2**62: the last places by permutation (unique), the places before by hash.

    Rows share evenly among the lengths that are large enough to be unique by themselves.
    """
    largest = max(prod(map(len, layout)) for layout in layouts)
    layouts = tuple(x for x in layouts if prod(map(len, x)) >= min(largest, MAX_SIZE))
    split = [_groups(layout, MAX_SIZE) for layout in layouts]
    size = min(prod(map(len, groups[-1])) for groups in split)
    unique = permute(index, size, key, label)
    which = mix(unique, round_keys(key, label + "/length", 1)[0]) % np.uint64(len(layouts))
    pieces, rows = [], []
    for i, groups in enumerate(split):
        rows.append(np.flatnonzero(which == i) if len(layouts) > 1 else np.arange(len(index)))
        own = unique[rows[-1]]
        keys = round_keys(key, label + "/rest", len(groups))
        numbers = [mix(own, k) % np.uint64(prod(map(len, g))) for g, k in zip(groups[:-1], keys, strict=False)]
        places = [_places(g, v) for g, v in zip(groups, [*numbers, own], strict=True)]
        pieces.append(_as_text(np.concatenate(places, axis=1), kind))
    if len(pieces) == 1:
        return pieces[0]
    return pa.concat_arrays(pieces).take(pa.array(np.argsort(np.concatenate(rows))))


def _groups(layout: tuple[bytes, ...], limit: int) -> list[tuple[bytes, ...]]:
    """The places cut from the right into runs of at most `limit` spellings, in order."""
    groups: list[tuple[bytes, ...]] = []
    current: list[bytes] = []
    size = 1
    for place in reversed(layout):
        if current and size * len(place) > limit:
            groups.append(tuple(reversed(current)))
            current, size = [], 1
        current.append(place)
        size *= len(place)
    groups.append(tuple(reversed(current)))
    return groups[::-1]


def _places(layout: tuple[bytes, ...], number: np.ndarray) -> np.ndarray:
    """Bytes (N, places) of the spellings with the given numbers."""
    result = np.empty((len(number), len(layout)), np.uint8)
    at = len(layout)
    for group in reversed(_groups(layout, _TABLE_ROWS)):
        table = _spellings(group)
        rest = number // np.uint64(len(table))
        result[:, at - len(group) : at] = table[(number - rest * np.uint64(len(table))).view(np.int64)]
        number, at = rest, at - len(group)
    return result


@lru_cache(maxsize=256)
def _spellings(group: tuple[bytes, ...]) -> np.ndarray:
    """All spellings of a few places, (spellings, places) bytes."""
    result = np.empty((prod(map(len, group)), len(group)), np.uint8)
    rest = np.arange(len(result))
    for at in range(len(group) - 1, -1, -1):
        rest, letter = np.divmod(rest, len(group[at]))
        result[:, at] = np.frombuffer(group[at], np.uint8)[letter]
    return result


def _as_text(places: np.ndarray, kind: pa.DataType) -> pa.Array:
    n, width = places.shape
    offset_type = np.int64 if kind == pa.large_string() else np.int32
    offsets = np.arange(n + 1, dtype=np.int64) * width
    return pa.Array.from_buffers(
        kind, n, [None, pa.py_buffer(offsets.astype(offset_type)), pa.py_buffer(np.ascontiguousarray(places))]
    )


def _is_text(kind: pa.DataType) -> bool:
    return bool(kind == pa.string() or kind == pa.large_string())


def _limits(kind: pa.DataType, name: str) -> tuple[int, int]:
    """Smallest and largest whole number that a column of this type holds exactly."""
    if _is_text(kind):
        return -(1 << 63), (1 << 63) - 1
    if pa.types.is_integer(kind):
        bits, signed = kind.bit_width, pa.types.is_signed_integer(kind)
        return (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, min((1 << bits) - 1, (1 << 63) - 1))
    if pa.types.is_floating(kind):
        exact = 1 << {16: 11, 32: 24, 64: 53}[kind.bit_width]
        return -exact, exact
    if pa.types.is_decimal(kind) and kind.precision > kind.scale:
        most = min(10 ** (kind.precision - kind.scale), 1 << 63) - 1
        return -most, most
    raise SchemaError(
        f"column '{name}': an identifier of type {kind} cannot be made; use text, whole numbers, or another kind"
    )
