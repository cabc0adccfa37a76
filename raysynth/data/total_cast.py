"""Casts without an error: any array as any canonical type; a value that the type cannot hold is missing.

Under a privacy budget no error may depend on a row (design: 'One door to the private data'), so each value is cast by
itself, by rules that know nothing of the other values. Text becomes what it spells: numbers with a point for decimals,
true and false (or 1 and 0), times in ISO 8601, durations as '1 day, 2:03:04', '1 days 02:03:04' or a whole number of
the type's unit. Times without a zone are taken for UTC where the type has one. Times outside the years 1 to 9999, which
Python cannot hold, are missing, and so are durations of over 292 years, which pandas cannot.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation, localcontext
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_DAY = 86_400
_FIRST_SECOND = -62_135_596_800  # 0001-01-01
_LAST_SECOND = 253_402_300_799  # 9999-12-31 23:59:59
_LONGEST_SECONDS = ((1 << 63) - 1) // 10**9  # of pandas' Timedelta, 292 years
_LARGEST_INT64 = float((1 << 63) - 1024)  # the largest doubles inside the types
_LARGEST_UINT64 = float((1 << 64) - 2048)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,4})?", re.ASCII)
_WHOLE = re.compile(r"[+-]?\d{1,30}", re.ASCII)
_DURATION = re.compile(
    r"(?:(?P<days>-?\d{1,9}) days?,? ?)?"
    r"(?:(?P<plus>[+-])?(?P<hours>\d{1,9}):(?P<minutes>\d\d)(?::(?P<seconds>\d\d)(?:\.(?P<part>\d{1,9}))?)?)?",
    re.ASCII,
)
_TRUTHS = {"true": True, "1": True, "false": False, "0": False}


def total_cast(array: pa.Array, type_: pa.DataType) -> pa.Array:
    """The array as another canonical type; values that it cannot hold are missing, and nothing raises."""
    if pt.is_null(array.type) or pt.is_null(type_):
        return pa.nulls(len(array), type_)
    if pt.is_dictionary(array.type):
        values = total_cast(_text_of(array.dictionary), type_.value_type if pt.is_dictionary(type_) else type_)
        return _coded(array.indices, values) if pt.is_dictionary(type_) else values.take(array.indices)
    if pt.is_dictionary(type_):
        coded = _text_of(array).dictionary_encode()
        return _coded(coded.indices, coded.dictionary)
    if _is_text(type_):
        return _text_of(array)
    if _is_text(array.type):
        return _parsed(_text_of(array), type_)
    if pt.is_duration(type_) and pt.is_duration(array.type) or _is_point(type_) and _is_point(array.type):
        return _retimed(array, type_)
    if pt.is_temporal(type_) or pt.is_temporal(array.type) or pt.is_boolean(type_) or pt.is_boolean(array.type):
        return array if array.type.equals(type_) else _parsed(_text_of(array), type_)
    return array if array.type.equals(type_) else _number_cast(array, type_)


def held_ticks(type_: pa.DataType) -> tuple[int, int]:
    """First and last time, or shortest and longest duration, that Python and pandas hold, in the unit of the type."""
    if pt.is_duration(type_):
        most = min(_LONGEST_SECONDS * _PER_SECOND[type_.unit], (1 << 63) - 1)
        return -most, most
    seconds = _seconds_of(type_)
    if pt.is_date32(type_):
        return seconds[0] // _DAY, seconds[-1] // _DAY
    per_second = _PER_SECOND[type_.unit]
    return max(seconds[0] * per_second, -(1 << 63)), min(seconds[-1] * per_second, (1 << 63) - 1)


def is_missing(array: pa.Array) -> np.ndarray:
    """True for null, NaN and infinite values, (N,)."""
    if pt.is_floating(array.type):
        array = pc.if_else(pc.is_finite(array), array, None)
    mask: np.ndarray = array.is_null(nan_is_null=True).to_numpy(zero_copy_only=False)
    return mask


def _coded(indices: pa.Array, values: pa.Array) -> pa.DictionaryArray:
    """Text codes whose dictionary names each text once, and none that is missing."""
    unique = values.dictionary_encode()
    return pa.DictionaryArray.from_arrays(unique.indices.take(indices).cast(pa.int32()), unique.dictionary, safe=False)


def _is_text(type_: pa.DataType) -> bool:
    return bool(pt.is_string(type_) or pt.is_large_string(type_) or pt.is_string_view(type_))


def _is_point(type_: pa.DataType) -> bool:
    return bool(pt.is_timestamp(type_) or pt.is_date(type_))


# ---- to text


def _text_of(array: pa.Array) -> pa.StringArray:
    """Values as text; what is no UTF-8, or has no text, is missing."""
    try:
        text = array.cast(pa.string())
        text.validate(full=True)
        return text
    except pa.ArrowException:
        return pa.array([_text_or_none(array.slice(i, 1)) for i in range(len(array))], pa.string())


def _text_or_none(one: pa.Array) -> str | None:
    try:
        text: str | None = one.cast(pa.string())[0].as_py()
    except (pa.ArrowException, UnicodeDecodeError):
        return None
    return text


# ---- from text


def _parsed(text: pa.StringArray, type_: pa.DataType) -> pa.Array:
    """What texts spell; each different one is read once."""
    unique = text.dictionary_encode()
    read = _reader(type_)
    found = [None if value is None else read(value.strip()) for value in unique.dictionary.to_pylist()]
    if pt.is_timestamp(type_) or pt.is_duration(type_):
        values = pa.array(found, pa.int64()).cast(type_)
    elif pt.is_date32(type_):
        values = pa.array(found, pa.int32()).cast(type_)
    else:
        values = pa.array(found, type_)
    return values.take(unique.indices)


def _reader(type_: pa.DataType) -> Callable[[str], Any]:
    """The function that reads one text: None where it spells nothing of the type."""
    if pt.is_boolean(type_):
        return lambda text: _TRUTHS.get(text.lower())
    if pt.is_timestamp(type_):
        seconds = _seconds_of(type_)
        return lambda text: _time(text, _PER_SECOND[type_.unit], seconds)
    if pt.is_date(type_):
        return lambda text: None if (found := _time(text, 1, _seconds_of(type_))) is None else found // _DAY
    if pt.is_duration(type_):
        return lambda text: _duration(text, _PER_SECOND[type_.unit])
    if pt.is_decimal(type_):
        return lambda text: _decimal(text, type_.precision, type_.scale)
    if pt.is_integer(type_):
        info = np.iinfo(type_.to_pandas_dtype())
        return lambda text: _whole(text, int(info.min), int(info.max))
    narrow = type_.to_pandas_dtype()
    return lambda text: _float(text, narrow)


def _float(text: str, narrow: Any) -> float | None:
    if not _NUMBER.fullmatch(text):
        return None
    with np.errstate(over="ignore"):
        value = float(narrow(float(text)))
    return value + 0.0 if np.isfinite(value) else None


def _whole(text: str, least: int, most: int) -> int | None:
    if _WHOLE.fullmatch(text):
        value = int(text)
    else:
        number = _float(text, np.float64)
        if number is None:
            return None
        value = round(number)
    return value if least <= value <= most else None


def _decimal(text: str, precision: int, scale: int) -> Decimal | None:
    if not _NUMBER.fullmatch(text):
        return None
    try:
        with localcontext() as context:
            context.prec = precision
            return Decimal(text).quantize(Decimal(1).scaleb(-scale)) + Decimal(0)
    except InvalidOperation:  # more digits than the type has
        return None


def _seconds_of(type_: pa.DataType) -> range:
    """Seconds since 1970 that Python can hold: a day less on each side where a zone moves them."""
    margin = _DAY if pt.is_timestamp(type_) and type_.tz is not None else 0
    return range(_FIRST_SECOND + margin, _LAST_SECOND - margin + 1)


def _time(text: str, per_second: int, held: range) -> int | None:
    """A time of ISO 8601 in units since 1970, of the seconds that can be `held`; nanoseconds are read, too."""
    head, _, tail = text.partition(".")
    digits = re.match(r"\d*", tail)
    part = digits[0] if digits else ""
    try:
        found = datetime.fromisoformat(head + tail[len(part) :])
    except (ValueError, OverflowError):
        return None
    if tail and not part:
        return None
    found = found.replace(tzinfo=UTC) if found.tzinfo is None else found
    since = found - _EPOCH
    seconds = since.days * _DAY + since.seconds
    if seconds not in held:
        return None
    return _in_type(seconds * per_second + int((part[:9] or "0").ljust(9, "0")) * per_second // 10**9)


def _duration(text: str, per_second: int) -> int | None:
    if _WHOLE.fullmatch(text):
        return _in_type(int(text), _LONGEST_SECONDS * per_second)
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        return None
    days, hours, minutes, seconds = (int(match[g] or 0) for g in ("days", "hours", "minutes", "seconds"))
    part = int((match["part"] or "0").ljust(9, "0"))
    clock = (hours * 3600 + minutes * 60 + seconds) * 10**9 + part
    total = days * _DAY * 10**9 + (-clock if match["plus"] == "-" else clock)
    return _in_type(total * per_second // 10**9, _LONGEST_SECONDS * per_second)


def _in_type(value: int, most: int = 1 << 63) -> int | None:
    return value if abs(value) <= most and -(1 << 63) <= value < 1 << 63 else None


# ---- within a family


def _retimed(array: pa.Array, type_: pa.DataType) -> pa.Array:
    """Times or durations in another unit: rounded down; those that do not fit, or that Python cannot hold, missing."""
    old, new = _ticks(array.type), _ticks(type_)
    x = array.cast(pa.int32() if pt.is_date32(array.type) else pa.int64())
    missing = x.is_null().to_numpy(zero_copy_only=False)
    ticks = x.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
    if pt.is_duration(type_):
        low, high = -_LONGEST_SECONDS, _LONGEST_SECONDS
    else:
        low, high = _seconds_of(type_)[0], _seconds_of(type_)[-1]
    seconds = ticks // old if old >= 1 else ticks * _DAY  # days of 32 bits cannot overflow
    outside = missing | (seconds < low) | (seconds > high)
    if new < old:
        ticks = ticks // (old // new) if new >= 1 else seconds // _DAY
    elif new > old:
        factor = new // old if old >= 1 else new * _DAY
        outside |= np.abs(ticks) > ((1 << 63) - 1) // factor
        ticks = np.where(outside, 0, ticks) * factor
    whole = np.where(outside, 0, ticks)
    if pt.is_date32(type_):
        return pa.array(whole.astype(np.int32), mask=outside).cast(type_)
    return pa.array(whole, mask=outside).cast(type_)


def _ticks(type_: pa.DataType) -> int:
    """Units in a second; 0 for days."""
    return 0 if pt.is_date32(type_) else 1000 if pt.is_date64(type_) else _PER_SECOND[type_.unit]


def _number_cast(array: pa.Array, type_: pa.DataType) -> pa.Array:
    if pt.is_integer(type_) and pt.is_integer(array.type):
        missing, x = array.is_null().to_numpy(zero_copy_only=False), array.fill_null(0).to_numpy(zero_copy_only=False)
        info = np.iinfo(type_.to_pandas_dtype())
        outside = missing | (x < info.min) | (x > info.max)
        return pa.array(np.where(outside, 0, x).astype(type_.to_pandas_dtype()), type_, mask=outside)
    missing = is_missing(array)
    x = pc.fill_null(array.cast(pa.float64(), safe=False), 0.0).to_numpy(zero_copy_only=False)
    x = np.where(missing, 0.0, x)
    if pt.is_integer(type_):
        x = np.rint(x)
        info = np.iinfo(type_.to_pandas_dtype())
        largest = _LARGEST_UINT64 if pt.is_uint64(type_) else _LARGEST_INT64
        outside = missing | (x < info.min) | (x > info.max) | (np.abs(x) > largest)
        return pa.array(np.where(outside, 0, x).astype(type_.to_pandas_dtype()), type_, mask=outside)
    if pt.is_decimal(type_):
        limit = 10.0 ** (type_.precision - type_.scale) / 2
        outside = missing | ~(np.abs(x) < limit)
        return pc.if_else(pa.array(~outside), pa.array(np.where(outside, 0.0, x)).cast(type_, safe=False), None)
    with np.errstate(over="ignore"):
        narrow = x.astype(type_.to_pandas_dtype())
    outside = missing | ~np.isfinite(narrow)
    return pa.array(np.where(outside, 0, narrow).astype(narrow.dtype), type_, mask=outside)
