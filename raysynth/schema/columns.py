"""Columns: kinds, types, declared domains, and one column as JSON.

The JSON's entries have types, and some values are shared by several fields.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import pyarrow as pa

from raysynth.errors import SchemaError
from raysynth.kinds.arrow_text import is_string, parse_arrow_type
from raysynth.kinds.date_text import DateFormat
from raysynth.kinds.registry import Kind as Kind

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
    if not (is_string(type_) or pa.types.is_integer(type_)):
        raise SchemaError(f"{where}: date_format is for text or digits, but the dtype is {type_}; remove it")


COMBINED_BESIDE = "combinations, learned beside all but the first,"  # begins the reason of such a joint column
WHOLE_BY_FIT = "whole numbers, found with noise by the fit"  # the reason of integers that models see as doubles


@dataclass(frozen=True)
class ColumnSchema:
    """One column: its kind, types, and (declared, or inferred and protected) domain.

    Args:
        name: column name.
        kind: one of `Kind`.
        dtype: Arrow type as text, for example 'int64', 'string', 'timestamp[us, tz=UTC]', 'decimal128(10, 2)'.
        pandas_dtype: dtype that a DataFrame came with ('Int64', 'category', 'str', ...), restored by `sample`.
        nullable: False declares that no value is missing.
        categories: declared domain (public); None means learned from the data.
        bounds: declared (low, high), inclusive, as numbers (datetimes: as text or dates too, kept as integers of the
            column's unit); None: learned.
        decimals: digits after the point, 0 for whole numbers, None for as many as float has.
        pattern: identifiers only: how a key looks (see `kinds/identifier/making.py`); None: learned.
        in_order: keys of whole numbers only: whether made ones lie where those of like rows do, so that they tell as
            much of the other columns as real ones (row numbers of a table in order of time); None: found by the fit.
        personal: personal data only: the Faker provider, for example 'name', 'email', 'phone_number', 'address'.
        rows_each: identifiers and personal data only: how many rows share one value, as pairs (rows, share of the
            values); None: every row has a value of its own.
        within: the column of persons in all rows of each of whom the value is the same; methods that complete rows
            (`trees`, `autoregressive`) draw a modelled one once for each made person.
        value: constants only: the value.
        date_format: datetimes that are written as text or digits: how (see `kinds/date_text.py`), for example
            '%d/%m/%Y'; the dtype is then that of the text.
        levels: ordered categories of a DataFrame: the values from the lowest to the highest; restored by `sample`.
        label: the column's name in a DataFrame where it is a number there; restored by `sample`.
        reason: why inference took the column for this kind; empty where the user declared it.
        inferred: which of these were read from the rows without noise: private, and refused under a privacy budget.
        released: which were released with noise; the schema's `releases` say at what cost. All others are declared.
    """

    name: str
    kind: Kind
    dtype: str
    pandas_dtype: str | None = None
    nullable: bool = True
    categories: tuple[Any, ...] | None = None
    bounds: tuple[float, float] | None = None
    decimals: int | None = None
    pattern: str | None = None
    in_order: bool | None = None
    personal: str | None = None
    value: Any = None
    rows_each: tuple[tuple[int, float], ...] | None = None
    within: str | None = None
    date_format: str | None = None
    levels: tuple[Any, ...] | None = None
    label: int | float | None = None
    reason: str = ""
    inferred: tuple[str, ...] = ()
    released: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.bounds, tuple) and isinstance(self.kind, Kind) and self.kind.is_dated:
            ends = tuple(self._end(b) if isinstance(b, (str, dt.date)) else b for b in self.bounds)
            object.__setattr__(self, "bounds", ends)

    def _end(self, bound: str | dt.date) -> float:
        try:
            return self.kind.about.number(self, bound)
        except (TypeError, ValueError):
            raise SchemaError(
                f"column '{self.name}': the bound {bound!r} is no date; write it as 2020-12-31, or as the column does"
            ) from None

    @property
    def arrow_type(self) -> pa.DataType:
        """The Arrow type that the column is written with (text as dictionary codes is decided by the writer)."""
        return parse_arrow_type(self.dtype, self.name)

    @property
    def value_type(self) -> pa.DataType:
        """The Arrow type of single values, where these are a list."""
        return pa.string() if pa.types.is_large_string(self.arrow_type) else self.arrow_type

    def as_modelled(self) -> ColumnSchema:
        """The column as models see it: dates written as text are datetimes, integers found by a private fit doubles.

        A key `in_order` is the whole number that its made values are to be near.
        """
        if self.in_order:
            whole = replace(self, kind=Kind.CONTINUOUS, decimals=0, in_order=None)
            return replace(whole, pattern=None, rows_each=None)
        if self.released and self.reason == WHOLE_BY_FIT:
            return replace(self, dtype="double", decimals=None, released=(), reason="numbers")
        if self.date_format is None:
            return self
        return replace(self, dtype=str(DateFormat(self.date_format).type), pandas_dtype=None, date_format=None)

    def validate(self) -> None:
        """Check the column by itself; raises `SchemaError` that names it."""
        where = f"column '{self.name}'"
        try:
            Kind(self.kind)
        except ValueError:
            raise SchemaError(f"{where}: unknown kind '{self.kind}'; valid kinds: {', '.join(Kind)}") from None
        _ = self.arrow_type
        if self.pandas_dtype is not None and not PANDAS_DTYPE.fullmatch(self.pandas_dtype):
            raise SchemaError(
                f"{where}: pandas_dtype '{self.pandas_dtype[:60]}' is none that a synthetic column can have; leave it "
                "out, or give one such as 'int64', 'Int64', 'float64', 'boolean', 'object', 'category', 'string'"
            )
        if self.in_order and not (self.kind.is_key and pa.types.is_integer(self.arrow_type)):
            raise SchemaError(f"{where}: in_order is for keys of whole numbers; remove it, or declare such a key")
        if self.bounds is not None:
            if not self.kind.is_numeric:
                raise SchemaError(f"{where}: bounds make no sense for kind '{self.kind}'; remove them")
            if not two_numbers(self.bounds):
                raise SchemaError(f"{where}: bounds must be two numbers, low <= high; found {self.bounds!r}")
            low, high = self.bounds
            if not (math.isfinite(low) and math.isfinite(high) and low <= high):
                raise SchemaError(f"{where}: bounds must be two finite numbers, low <= high; found {self.bounds}")
        if self.categories is not None:
            if not self.kind.is_discrete:
                raise SchemaError(f"{where}: categories make no sense for kind '{self.kind}'; remove them")
            if len(self.categories) == 0 or len(set(self.categories)) != len(self.categories):
                raise SchemaError(f"{where}: categories must be a non-empty list without repeats")
        if self.decimals is not None and not (isinstance(self.decimals, int) and 0 <= self.decimals <= 15):
            raise SchemaError(f"{where}: decimals must be a whole number from 0 to 15; found {self.decimals!r}")
        if self.rows_each is not None and not are_rows_each(self.rows_each):
            raise SchemaError(
                f"{where}: rows_each must be a list of pairs [rows, share], whole rows of at least 1 and positive "
                f"shares; found {self.rows_each!r}"
            )
        if self.date_format is not None:
            check_date_format(self.name, self.kind.is_dated, self.date_format, self.arrow_type)
        if self.levels is not None and (not self.levels or len(set(self.levels)) != len(self.levels)):
            raise SchemaError(
                f"{where}: levels must be a non-empty list without repeats, from the lowest to the highest"
            )
        for needed, what in self.kind.about.needs.items():
            if not getattr(self, needed):
                raise SchemaError(f"{where}: kind '{self.kind}' needs `{needed}`, {what}")


def as_kind(value: Any, name: str) -> Kind:
    """A kind by its name; raises `SchemaError`."""
    try:
        return Kind(value)
    except ValueError:
        raise SchemaError(f"column '{name}': unknown kind {value!r}; valid kinds: {', '.join(Kind)}") from None


def column_to_dict(column: ColumnSchema) -> dict[str, Any]:
    """A column as JSON values; what is as by default is left out."""
    result: dict[str, Any] = {"name": column.name, "kind": str(column.kind), "dtype": column.dtype}
    for f in fields(ColumnSchema):
        value = getattr(column, f.name)
        if f.name not in result and value != f.default:
            result[f.name] = plain(value)
    return result


def column_from_dict(content: Any) -> ColumnSchema:
    """The inverse of `column_to_dict`; raises `SchemaError`."""
    if not isinstance(content, Mapping) or not isinstance(content.get("name"), str):
        raise SchemaError(f"each column of a schema is an object with a 'name'; found {content!r}")
    name = content["name"]
    known = {f.name for f in fields(ColumnSchema)}
    if unknown := set(content) - known:
        raise SchemaError(f"column '{name}': unknown entries {sorted(unknown)}; valid: {', '.join(sorted(known))}")
    if missing := {"kind", "dtype"} - set(content):
        raise SchemaError(f"column '{name}': missing entries {sorted(missing)}")
    check_entries(name, content)
    values = dict(content)
    values["kind"] = as_kind(values["kind"], name)
    for key in ("categories", "bounds", "levels", *PROVENANCE):
        if isinstance(values.get(key), list):
            values[key] = tuple(values[key])
    if isinstance(values.get("rows_each"), list):
        values["rows_each"] = tuple(tuple(e) if isinstance(e, list) else e for e in values["rows_each"])
    column = ColumnSchema(**values)
    if column.bounds is not None and not two_numbers(column.bounds):
        raise SchemaError(f"column '{name}': bounds must be a list of two numbers; found {content['bounds']!r}")
    column.validate()
    return column
