"""The one type that holds a column of several files without loss: wider numbers, finer times, more decimals."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.types as pt

_UNITS = ("s", "ms", "us", "ns")


def common_type(first: pa.DataType, second: pa.DataType) -> pa.DataType | None:
    """The narrowest type that holds every value of both canonical types; None where there is none.

    A 64-bit integer beside a double is a double: reading refuses the values beyond 2^53 that it would change.
    """
    if first.equals(second) or pt.is_null(second):
        return first
    if pt.is_null(first):
        return second
    if pt.is_integer(first) and pt.is_integer(second):
        return _common_integer(first, second)
    if pt.is_decimal(first) or pt.is_decimal(second):
        return _common_decimal(first, second)
    numbers = (pt.is_integer, pt.is_floating)
    if all(any(test(t) for test in numbers) for t in (first, second)):
        small = all(pt.is_float32(t) or (pt.is_integer(t) and t.bit_width <= 16) for t in (first, second))
        return pa.float32() if small else pa.float64()
    if pt.is_duration(first) and pt.is_duration(second):
        return pa.duration(_finer(first.unit, second.unit))
    times = [t for t in (first, second) if pt.is_timestamp(t)]
    if times and all(pt.is_timestamp(t) or pt.is_date32(t) for t in (first, second)):
        zones = {t.tz for t in times}
        units = [t.unit for t in times]
        naive_date = len(times) == 1 and times[0].tz is not None
        return None if len(zones) > 1 or naive_date else pa.timestamp(_finer(units[0], units[-1]), tz=times[0].tz)
    return None


def _common_integer(first: pa.DataType, second: pa.DataType) -> pa.DataType | None:
    signed = [pt.is_signed_integer(t) for t in (first, second)]
    if signed[0] == signed[1]:
        return first if first.bit_width >= second.bit_width else second
    plus = second if signed[0] else first
    minus = first if signed[0] else second
    width = max(minus.bit_width, 2 * plus.bit_width)
    return {8: pa.int8(), 16: pa.int16(), 32: pa.int32(), 64: pa.int64()}.get(width)


def _common_decimal(first: pa.DataType, second: pa.DataType) -> pa.DataType | None:
    parts = []
    for type_ in (first, second):
        if pt.is_decimal(type_):
            parts.append((type_.precision - type_.scale, type_.scale))
        elif pt.is_integer(type_):
            parts.append((len(str(2**type_.bit_width)), 0))
        else:
            return None
    whole, scale = max(p[0] for p in parts), max(p[1] for p in parts)
    return pa.decimal128(whole + scale, scale) if whole + scale <= 38 else None


def _finer(first: str, second: str) -> str:
    return max(first, second, key=_UNITS.index)
