"""Canonical Arrow types and values: what every source's columns become, so that nothing downstream asks what the input
was.

Text becomes dictionary codes (int32 -> string); other dictionaries are decoded; 16-bit floats, 64-bit dates and wide
decimals take the nearest type that the schema knows. Nested, binary and time-of-day columns are refused with a cure.

Each value has one spelling, so that what is counted by value is counted once: zero has no sign, NaN of any payload is
missing, and a dictionary names a text once. Texts are equal where their code points are: 'é' as one code point and as
'e' with an accent are two values, as they are to every other reader of the file.

A lenient column (`lenient`) is one under a privacy budget, where no error may depend on a row: a value that its type
cannot hold is missing.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from raysynth.data.total_cast import total_cast
from raysynth.errors import DataError, first_line
from raysynth.kinds.arrow_text import TEXT as TEXT
from raysynth.kinds.arrow_text import is_text as is_text

EXACT_DOUBLE = float(1 << 53)  # whole numbers below are exact as float64
_LENIENT = {b"unreadable": b"missing"}


def canonical_schema(schema: pa.Schema, source: str) -> pa.Schema:
    """The schema with canonical types; raises `DataError` for repeated names, no columns, or an unsupported type."""
    if not schema.names:
        raise DataError(f"{source} has no columns; give a table with at least one")
    if repeated := sorted({n for n in schema.names if schema.names.count(n) > 1}):
        raise DataError(f"{source}: column names must be unique; repeated: {', '.join(repeated)}; rename them")
    if "" in schema.names:
        raise DataError(f"{source}: column {schema.names.index('') + 1} has an empty name; give it one")
    return pa.schema([pa.field(f.name, canonical_type(f.type, f.name)) for f in schema])


def canonical_type(type_: pa.DataType, column: str) -> pa.DataType:
    """The canonical type of one column; raises `DataError` that names the column and the cure."""
    if pt.is_dictionary(type_):
        return canonical_type(type_.value_type, column)
    if pt.is_string(type_) or pt.is_large_string(type_) or pt.is_string_view(type_):
        return TEXT
    if pt.is_float16(type_):
        return pa.float32()
    if pt.is_date64(type_):
        return pa.date32()
    if pt.is_decimal(type_):
        return _canonical_decimal(type_, column)
    plain = (pt.is_integer, pt.is_floating, pt.is_boolean, pt.is_timestamp, pt.is_duration, pt.is_date32, pt.is_null)
    if any(test(type_) for test in plain):
        return type_
    raise DataError(f"column '{column}' holds {_noun(type_)} ({type_}), which cannot be modelled; {_cure(type_)}")


def lenient(schema: pa.Schema) -> pa.Schema:
    """The schema with every column lenient: the mark travels with its fields."""
    return pa.schema([field.with_metadata(_LENIENT) for field in schema])


def is_lenient(field: pa.Field) -> bool:
    """Whether values that the column's type cannot hold are missing, where others raise."""
    return bool(field.metadata == _LENIENT)


def canonical_array(array: pa.Array, type_: pa.DataType, column: str, *, lenient: bool = False) -> pa.Array:
    """The array with its canonical type and one spelling of each value, copying only what differs.

    Args:
        array: of any type that `canonical_type` takes.
        type_: canonical.
        column: name, for the message.
        lenient: what does not fit is missing.

    Raises:
        DataError: it does not fit; never where `lenient`.
    """
    try:
        if pt.is_null(array.type) and not pt.is_null(type_):
            return pa.nulls(len(array), type_)
        if is_text(type_):
            return _text(array)
        if lenient:
            return _one_spelling(total_cast(array, type_))
        if pt.is_dictionary(array.type):
            array = array.dictionary_decode()
        return _one_spelling(array if array.type.equals(type_) else array.cast(type_))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        if lenient:
            return total_cast(array, type_)
        if "UTF8" in str(error):
            raise DataError(
                f"column '{column}' holds text that is not UTF-8; write the file again, with each value decoded, for "
                "example by `value.decode('latin-1')`"
            ) from None
        raise DataError(
            f"column '{column}': found {array.type} where the table's schema says {type_} ({first_line(error)}); "
            "make the column one type in every file and block"
        ) from None


def canonical_batch(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """One block with the columns of `schema`, in its order and with its types; raises `DataError`."""
    arrays = []
    for field in schema:
        position = batch.schema.get_field_index(field.name)
        if position < 0:
            raise DataError(f"column '{field.name}' is missing from a part of the table; every part needs all columns")
        arrays.append(canonical_array(batch.column(position), field.type, field.name, lenient=is_lenient(field)))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _canonical_decimal(type_: pa.DataType, column: str) -> pa.DataType:
    if type_.precision <= 38 and type_.scale >= 0:
        return pa.decimal128(type_.precision, type_.scale)
    raise DataError(
        f"column '{column}': {type_} has more than 38 digits or a negative scale; cast it to decimal128 or float64"
    )


def _text(array: pa.Array) -> pa.DictionaryArray:
    if not pt.is_dictionary(array.type):
        if not (pt.is_string(array.type) or pt.is_large_string(array.type)):
            array = array.cast(pa.string())
        array = array.dictionary_encode()
    values = array.dictionary if pt.is_string(array.dictionary.type) else array.dictionary.cast(pa.string())
    values.validate(full=True)  # raises for bytes that are no UTF-8
    unique = values.dictionary_encode()  # a null among the values is a missing value like any other
    if unique.null_count == 0 and len(unique.dictionary) == len(values):
        indices = array.indices if pt.is_int32(array.indices.type) else array.indices.cast(pa.int32())
        return pa.DictionaryArray.from_arrays(indices, values, safe=False)
    return pa.DictionaryArray.from_arrays(unique.indices.take(array.indices), unique.dictionary, safe=False)


def _one_spelling(array: pa.Array) -> pa.Array:
    """Floats without a negative zero and without NaN, which is null; others as they are."""
    if not pt.is_floating(array.type) or not len(array):
        return array
    type_ = np.dtype(array.type.to_pandas_dtype())
    held = np.frombuffer(array.buffers()[1], type_, len(array), type_.itemsize * array.offset)  # anything where null
    negative_zero = np.iinfo(f"i{type_.itemsize}").min  # the sign and nothing else, as a whole number of that size
    with np.errstate(invalid="ignore"):  # some payloads of NaN signal
        if held.view(f"i{type_.itemsize}").min() != negative_zero and not np.isnan(held.min()):
            return array  # as most columns: seen without a copy
        x = array.to_numpy(zero_copy_only=False)  # NaN where null
        return pa.array(x + type_.type(0), array.type, mask=np.isnan(x))


def _noun(type_: pa.DataType) -> str:
    if pt.is_nested(type_):
        return "nested values"
    if pt.is_time(type_):
        return "times of day"
    if pt.is_binary(type_) or pt.is_large_binary(type_) or pt.is_fixed_size_binary(type_) or pt.is_binary_view(type_):
        return "binary values"
    return "values of an unsupported type"


def _cure(type_: pa.DataType) -> str:
    if pt.is_nested(type_):
        return "flatten it into columns of its own, or drop it"
    if pt.is_time(type_):
        return "turn it into a duration since midnight (timedelta) or text"
    return "turn it into numbers or text, or drop it"
