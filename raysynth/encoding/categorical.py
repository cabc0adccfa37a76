"""Categories to codes and back: a code for each frequent value, one for the tail, one for 'missing'."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from raysynth.encoding.block import EncodedColumn
from raysynth.encoding.numbers import inconsistent
from raysynth.errors import DataError, SchemaError
from raysynth.kinds.arrow_text import RARE_LABEL, indices_of
from raysynth.schema.columns import COMBINED_BESIDE, ColumnSchema, Kind
from raysynth.statistics.released import CategoryCounts, from_plain, to_plain

RARE_LABEL_SHARE = 0.05
MOST_VALUES = 65_000  # codes are uint16; values beyond these share the tail's code


@dataclass(frozen=True)
class CategoricalEncoder:
    """Codes of one discrete column: 0..K-1 own values, K the tail (if any), the last one missing.

    Values of fewer persons (rows, where persons are not known) than `rare_threshold` are in no list here, so they
    cannot leave. The tail code stands for them
    and for the values beyond `max_categories`; it decodes to the latter by their frequency, else to the kept values by
    theirs, else (text whose rare rows are more than 5 %, or a joint column beside which its parts are learned) to
    '(rare)'.

    Args:
        name, kind, dtype: of the column.
        values: values with a code of their own, Python scalars.
        shares: released share of rows of each code, shape (cardinality,).
        tail_values, tail_shares: what the tail code decodes to; empty when no tail code exists.
    """

    name: str
    kind: Kind
    dtype: pa.DataType
    values: tuple[Any, ...]
    shares: np.ndarray
    tail_values: tuple[Any, ...] = ()
    tail_shares: np.ndarray | None = None

    @property
    def has_tail(self) -> bool:
        """True when one code stands for all values without a code of their own."""
        return bool(self.tail_values)

    @property
    def rare_share(self) -> float:
        """Share of the rows with a value that decode to '(rare)', since fewer rows than are protected share theirs."""
        if not (pa.types.is_string(self.dtype) and self.tail_values == (RARE_LABEL,)):
            return 0.0
        return float(self.shares[len(self.values)] / max(self.shares[:-1].sum(), 1e-300))

    @property
    def cardinality(self) -> int:
        """Number of codes."""
        return len(self.values) + self.has_tail + 1

    @cached_property
    def _tail_dictionary(self) -> tuple[list[Any], np.ndarray]:
        """All values that codes decode to, and where those of the tail stand among them."""
        position = {v: i for i, v in enumerate(dict.fromkeys((*self.values, *self.tail_values)))}
        return list(position), np.array([position[v] for v in self.tail_values], dtype=np.int32)

    def layout(self) -> EncodedColumn:
        """Where the column stands in encoded blocks."""
        return EncodedColumn(self.name, self.kind, self.cardinality, missing_code=self.cardinality - 1)

    def encode(self, array: pa.Array) -> tuple[np.ndarray, None]:
        """Codes (N,) uint16; unknown values get the tail code, or 'missing' when there is none."""
        unknown = len(self.values) if self.has_tail else self.cardinality - 1
        known = pa.array(self.values, type=self.dtype)
        if pa.types.is_dictionary(array.type):
            table = _lookup(array.dictionary.cast(self.dtype), known, unknown, self.cardinality - 1)
            table = np.append(table, np.uint16(self.cardinality - 1))
            return table[indices_of(array, len(array.dictionary))], None
        return _lookup(array.cast(self.dtype), known, unknown, self.cardinality - 1), None

    def decode(
        self, codes: np.ndarray, values: None, rng: np.random.Generator, allowed: Collection[Any] | None = None
    ) -> pa.Array:
        """Arrow array (N,) of the column's type (text as dictionary codes).

        The tail is drawn with `rng`, from its values among the `allowed` ones where it has any.
        """
        indices = codes.astype(np.int32)
        dictionary, tail_positions = self._tail_dictionary
        if self.has_tail:
            in_tail = np.flatnonzero(codes == len(self.values))
            ranks = np.cumsum(self._tail_within(allowed))
            drawn = np.searchsorted(ranks[:-1] / ranks[-1], rng.random(len(in_tail)), side="right")
            indices[in_tail] = tail_positions[drawn]
        missing = codes == self.cardinality - 1
        indices[missing] = 0
        coded = pa.DictionaryArray.from_arrays(
            pa.array(indices, mask=missing if missing.any() else None), pa.array(dictionary, type=self.dtype)
        )
        return coded if pa.types.is_string(self.dtype) else coded.cast(self.dtype)

    def _tail_within(self, allowed: Collection[Any] | None) -> np.ndarray:
        """Weights of the tail's values, 0 for those not allowed; all as they are where none is."""
        assert self.tail_shares is not None
        if allowed is None:
            return self.tail_shares
        weights = np.where([v in allowed for v in self.tail_values], self.tail_shares, 0.0)
        return weights if weights.any() else self.tail_shares

    def condition_weights(self, allowed: Any) -> np.ndarray:
        """P(condition | code), shape (cardinality,), for a predicate `allowed(value) -> bool`; not for missing."""
        weights = np.zeros(self.cardinality)
        weights[: len(self.values)] = [allowed(v) for v in self.values]
        if self.has_tail:
            assert self.tail_shares is not None
            weights[len(self.values)] = self.tail_shares @ np.array([allowed(v) for v in self.tail_values], float)
        return weights

    def to_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """JSON values and arrays that `from_state` reads."""
        meta = {"values": to_plain(self.values, self.dtype), "tail_values": to_plain(self.tail_values, self.dtype)}
        tail = {} if self.tail_shares is None else {"tail_shares": self.tail_shares}
        return meta, {"shares": self.shares, **tail}

    def checked(self) -> CategoricalEncoder:
        """Itself; raises `ModelFileError` where its parts do not fit together."""
        tail = () if self.tail_shares is None else self.tail_shares
        fits = self.shares.shape == (self.cardinality,) and len(tail) == len(self.tail_values)
        fits = fits and all(len(set(listed)) == len(listed) for listed in (self.values, self.tail_values))
        if not fits or self.cardinality > MOST_VALUES + 2 or not _are_shares(self.shares) or not _are_shares(tail):
            raise inconsistent(self.name)
        return self

    @classmethod
    def from_state(
        cls, column: ColumnSchema, meta: dict[str, Any], arrays: dict[str, np.ndarray]
    ) -> CategoricalEncoder:
        """The inverse of `to_state`."""
        return cls(
            column.name,
            column.kind,
            column.value_type,
            tuple(from_plain(meta["values"], column.value_type)),
            arrays["shares"],
            tuple(from_plain(meta["tail_values"], column.value_type)),
            arrays.get("tail_shares"),
        ).checked()


def build_categorical(
    column: ColumnSchema, counts: CategoryCounts, *, rare_threshold: int, max_categories: int
) -> CategoricalEncoder:
    """Encoder of one discrete column from its released counts.

    Raises:
        DataError: every value is rare. SchemaError: more declared categories than codes.

    A category that the schema declares, and both values of a boolean, are public and kept however rare they are.
    """
    if column.categories is not None and len(column.categories) > MOST_VALUES:
        raise SchemaError(
            f"column '{column.name}': {len(column.categories):,} categories are declared, at most {MOST_VALUES:,} are "
            "possible; leave `categories` out (rarer ones then share a code), or declare an identifier"
        )
    by_value = dict(zip(counts.values, counts.counts.tolist(), strict=True))
    persons = counts.counts if counts.persons is None else counts.persons
    if column.categories is not None or not column.kind.is_listed:
        kept = list(column.categories) if column.categories is not None else _boolean_domain(column, counts)
        tail: list[Any] = []
    else:
        frequent = [v for v, n in zip(counts.values, persons.tolist(), strict=True) if n >= rare_threshold]
        at_most = min(max_categories, MOST_VALUES)
        kept, tail = frequent[:at_most], frequent[at_most:]
    kept_rows = np.array([by_value.get(v, 0.0) for v in kept], dtype=float)
    other = max(0.0, counts.total - counts.missing - kept_rows.sum())
    tail_values, tail_weights = _tail(column, kept, kept_rows, tail, by_value, other, rare_threshold)
    rows = np.concatenate([kept_rows, [other] if tail_values else [], [counts.missing]])
    return CategoricalEncoder(
        column.name,
        column.kind,
        column.value_type,
        tuple(kept),
        rows / max(rows.sum(), 1.0),
        tuple(tail_values),
        tail_weights / tail_weights.sum() if tail_values else None,
    )


def _tail(
    column: ColumnSchema,
    kept: list[Any],
    kept_rows: np.ndarray,
    tail: list[Any],
    by_value: dict[Any, float],
    other: float,
    rare_threshold: int,
) -> tuple[list[Any], np.ndarray]:
    """What the tail code decodes to, with weights; empty when every row has a code of its own."""
    if other <= 0:
        return [], np.empty(0)
    if tail:
        return tail, np.array([by_value[v] for v in tail], dtype=float)
    is_text = pa.types.is_string(column.value_type)
    if column.reason.startswith(COMBINED_BESIDE):  # other columns say what such a row has in its place
        return [RARE_LABEL], np.ones(1)
    if column.categories is not None:  # a declared domain has no other values
        return kept, kept_rows if kept_rows.sum() > 0 else np.ones(len(kept))
    if kept and kept_rows.sum() > 0 and (not is_text or other <= RARE_LABEL_SHARE * (other + kept_rows.sum())):
        return kept, kept_rows
    if is_text:
        return [RARE_LABEL], np.ones(1)
    raise DataError(
        f"column '{column.name}': taken as {column.kind}, but no value stands in {rare_threshold} rows (of as many "
        "persons, where they are counted) or more, and rarer values are protected; declare it 'continuous' or "
        "'identifier', or lower rare_threshold in the schema"
    )


def _are_shares(values: Any) -> bool:
    return bool(np.all(np.isfinite(values)) and np.all(np.asarray(values) >= 0))


def _boolean_domain(column: ColumnSchema, counts: CategoryCounts) -> list[Any]:
    return [False, True] if pa.types.is_boolean(column.arrow_type) else list(counts.values)


def _lookup(values: pa.Array, known: pa.Array, unknown: int, missing: int) -> np.ndarray:
    """Code (uint16) of each value; NaN and infinity are missing."""
    if pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_finite(values), values, None)
    codes = pc.index_in(values, value_set=known).fill_null(unknown).to_numpy(zero_copy_only=False).astype(np.uint16)
    if values.null_count:
        codes[values.is_null().to_numpy(zero_copy_only=False)] = missing
    return codes
