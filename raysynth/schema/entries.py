"""What the JSON of a column may hold: types of its entries, and values that several fields share."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from raysynth.errors import SchemaError
from raysynth.kinds.date_text import DateFormat

MOST_ROWS_EACH = 1 << 40
PROVENANCE = ("inferred", "released")
SPARSE_DTYPE = r"Sparse\[(?P<held>u?int\d+|float\d+|bool), (?P<fill>nan|True|False|-?\d{1,20}(?:\.\d{0,20})?)\]"
PANDAS_DTYPE = re.compile(
    r"U?[Ii]nt(8|16|32|64)|uint(8|16|32|64)|float(16|32|64)|Float(32|64)|bool|boolean|object|category|str"
    r"|string(\[(python|pyarrow|pyarrow_numpy)\])?|datetime64\[(s|ms|us|ns)(, [^\[\]]{1,64})?\]"
    r"|timedelta64\[(s|ms|us|ns)\]|period\[[A-Za-z-]{1,16}\]|.{1,400}\[pyarrow\]|" + SPARSE_DTYPE
)


def check_entries(name: str, content: Mapping[str, Any]) -> None:
    """Raise `SchemaError` for an entry of a column that has another JSON type than it should."""
    text = (str, type(None))
    wanted: dict[str, tuple[str, tuple[type, ...]]] = {
        "dtype": ("text", (str,)),
        "nullable": ("true or false", (bool,)),
        "reason": ("text", (str,)),
        "categories": ("a list of values", (list, tuple, type(None))),
        **dict.fromkeys(PROVENANCE, ("a list of names", (list, tuple))),
        **dict.fromkeys(("pandas_dtype", "pattern", "personal", "within", "date_format"), ("text", text)),
        "in_order": ("true or false", (bool, type(None))),
        "levels": ("a list of values", (list, tuple, type(None))),
    }
    for entry, (noun, types) in wanted.items():
        if entry in content and not isinstance(content[entry], types):
            raise SchemaError(f"column '{name}': {entry} must be {noun}; found {content[entry]!r}")
    if any(isinstance(value, (list, dict)) for value in content.get("categories") or ()):
        raise SchemaError(f"column '{name}': categories must be single values; found {content['categories']!r}")


def are_rows_each(value: Any) -> bool:
    """Whether these are pairs (rows, share) that a number of rows can be drawn from."""
    if not isinstance(value, tuple) or not value or not all(isinstance(e, tuple) and len(e) == 2 for e in value):
        return False
    whole = all(isinstance(n, int) and not isinstance(n, bool) and 1 <= n <= MOST_ROWS_EACH for n, _ in value)
    return whole and all(isinstance(s, (int, float)) and math.isfinite(s) and s > 0 for _, s in value)


def two_numbers(value: Any) -> bool:
    """Whether this is a pair of numbers."""
    return isinstance(value, tuple) and len(value) == 2 and all(isinstance(v, (int, float)) for v in value)


def plain(value: Any) -> Any:
    """Tuples, and tuples of tuples, as lists, for JSON."""
    return [plain(v) for v in value] if isinstance(value, tuple) else value


def check_date_format(column: str, is_datetime: bool, date_format: str, type_: pa.DataType) -> None:
    """Raise `SchemaError` where a date format is none, or the column cannot have one."""
    where = f"column '{column}'"
    if not is_datetime:
        raise SchemaError(f"{where}: date_format makes no sense for this kind; declare kind 'datetime'")
    try:
        DateFormat(str(date_format))
    except ValueError as error:
        raise SchemaError(f"{where}: {error}") from None
    if not (pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_integer(type_)):
        raise SchemaError(f"{where}: date_format is for text or digits, but the dtype is {type_}; remove it")
