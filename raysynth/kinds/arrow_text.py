"""Arrow types: their text in a schema ('int64', 'timestamp[us, tz=UTC]', 'decimal128(10, 2)') and what they hold.

Columns of text come as dictionary codes or as text, and times in units of their own: how to read both stands here.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from raysynth.errors import SchemaError

RARE_LABEL = "(rare)"  # in place of texts that too few persons share
TEXT = pa.dictionary(pa.int32(), pa.string())  # the canonical type of text
_SIMPLE_TYPES = (
    *(pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
    *(pa.float32(), pa.float64(), pa.bool_(), pa.string(), pa.large_string(), pa.date32(), pa.null()),
)


def parse_arrow_type(text: str, column: str) -> pa.DataType:
    """Arrow type from its text form; raises `SchemaError` that names the column."""
    if text.startswith("timestamp["):
        unit, _, zone = text[len("timestamp[") : -1].partition(", tz=")
        if unit in ("s", "ms", "us", "ns"):
            return pa.timestamp(unit, tz=zone or None)
    if text.startswith("duration[") and text[9:-1] in ("s", "ms", "us", "ns"):
        return pa.duration(text[9:-1])
    if text.startswith("decimal128("):
        precision, _, scale = text[len("decimal128(") : -1].partition(",")
        try:
            return pa.decimal128(int(precision), int(scale))
        except ValueError:
            raise SchemaError(f"column '{column}': cannot read dtype '{text}'") from None
    simple = {str(t): t for t in _SIMPLE_TYPES}
    if text in simple:
        return simple[text]
    raise SchemaError(
        f"column '{column}': dtype '{text}' is not supported; valid: {', '.join(simple)}, "
        "timestamp[unit(, tz=zone)], duration[unit], decimal128(precision, scale)"
    )


def is_text(type_: pa.DataType) -> bool:
    """True for the canonical text type."""
    return bool(type_.equals(TEXT))


def is_string(type_: pa.DataType) -> bool:
    """True for text that is not dictionary codes."""
    return bool(pt.is_string(type_) or pt.is_large_string(type_))


def plain_type(type_: pa.DataType) -> pa.DataType:
    """The type of the values themselves, where a column holds dictionary codes."""
    return type_.value_type if pt.is_dictionary(type_) else type_


def plain(values: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """The values themselves, where an array or column holds dictionary codes: blocks may number them differently."""
    return values.cast(plain_type(values.type)) if pt.is_dictionary(values.type) else values


def coded(array: pa.Array) -> pa.DictionaryArray:
    """An array as dictionary codes."""
    return array if pt.is_dictionary(array.type) else array.dictionary_encode()


def indices_of(array: pa.DictionaryArray, missing: int = -1) -> np.ndarray:
    """The dictionary codes of an array as whole numbers, `missing` where there is no value, (N,) int64."""
    indices = array.indices.cast(pa.int64())
    return np.asarray((indices.fill_null(missing) if indices.null_count else indices).to_numpy(zero_copy_only=False))


def ticks(array: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Times and durations as whole numbers of their unit (days of a date); others as they are."""
    if not pt.is_temporal(array.type):
        return array
    return array.cast(pa.int32() if pt.is_date32(array.type) else pa.int64())


def dtype_text(type_: pa.DataType) -> str:
    """The text form of a canonical type in a schema: 'string' for text, else Arrow's own."""
    return "string" if is_text(type_) else str(type_)


def held(type_: pa.DataType) -> str:
    """What values of a type are: 'text', 'number', 'boolean', 'datetime' or 'duration'; 'null': there are none."""
    if is_text(type_) or is_string(type_):
        return "text"
    if pt.is_timestamp(type_) or pt.is_date32(type_):
        return "datetime"
    if pt.is_duration(type_):
        return "duration"
    return "boolean" if pt.is_boolean(type_) else "null" if pt.is_null(type_) else "number"
