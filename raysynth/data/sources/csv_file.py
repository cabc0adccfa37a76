"""How a CSV file is to be read, where a user says so: what is left open is found out from the file itself."""

from __future__ import annotations

import codecs
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from raysynth.data.sources.csv_numbers import NULL_SPELLINGS
from raysynth.errors import ParameterError


@dataclass(frozen=True)
class CsvFile:
    """A CSV file or folder of them, with what the user knows of its form; taken wherever a table is.

    On the command line the same names follow `--csv`, for example `--csv decimal=, --csv encoding=latin-1`.

    Args:
        path: local path, URI, folder or glob.
        delimiter: one character between values; None: found out among comma, semicolon, tab, bar, '^' and '~'.
        quote: character around values; None: found out, usually '"'.
        encoding: a Python codec such as 'utf-8', 'latin-1', 'utf-16'; None: found out.
        header: whether the first row holds the names; None: found out.
        decimal: '.' or ','; None: found out column by column.
        thousands: one character between groups of three digits; None: found out.
        missing: further texts that stand for a missing value.
        keep: texts such as 'None' or 'NA' that are values, though they usually stand for a missing one.
        skip: lines before the header that are no part of the table; None: found out.
        skip_footer: lines after the table that are no part of it (totals, sources), blank ones not counted; None: found
            out, in files that are read whole.
        keep_index: keep a first column without a name (row numbers written by pandas or R), which is else left out.

    Raises:
        ParameterError: an option is out of range.
    """

    path: str | os.PathLike[str]
    delimiter: str | None = None
    quote: str | None = None
    encoding: str | None = None
    header: bool | None = None
    decimal: str | None = None
    thousands: str | None = None
    missing: tuple[str, ...] = ()
    keep: tuple[str, ...] = ()
    skip: int | None = None
    skip_footer: int | None = None
    keep_index: bool = False

    def __post_init__(self) -> None:
        if twice := set(self.missing) & set(self.keep):
            raise ParameterError(f"csv missing and keep both name {sorted(twice)[0]!r}; a text is one of them")
        for name in ("delimiter", "quote", "thousands"):
            value = getattr(self, name)
            if value is not None and (len(value) != 1 or value in "\r\n"):
                raise ParameterError(f"csv {name} must be one character; found {value!r}")
        if self.decimal not in (None, ".", ","):
            raise ParameterError(f"csv decimal must be '.' or ','; found {self.decimal!r}")
        if self.decimal is not None and self.decimal == self.thousands:
            raise ParameterError(f"csv decimal and thousands are both {self.decimal!r}; they must differ")
        for name in ("skip", "skip_footer"):
            lines = getattr(self, name)
            if lines is not None and (isinstance(lines, bool) or lines < 0):
                raise ParameterError(f"csv {name} must be a whole number, at least 0; found {lines!r}")
        if self.encoding is not None:
            try:
                codecs.lookup(self.encoding)
            except LookupError:
                raise ParameterError(
                    f"csv encoding {self.encoding!r} is not known; valid are Python's codecs, for example 'utf-8', "
                    "'latin-1', 'cp1252', 'utf-16'"
                ) from None

    @property
    def nulls(self) -> tuple[str, ...]:
        """All texts that stand for a missing value, the empty one among them."""
        return tuple(text for text in (*NULL_SPELLINGS, *self.missing) if text == "" or text not in self.keep)


def csv_file(path: str, settings: Sequence[str]) -> CsvFile:
    """A CSV file with the settings NAME=VALUE of a command line; raises `ParameterError` that names the setting."""
    known = {f.name for f in fields(CsvFile)} - {"path"}
    values: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or name not in known:
            raise ParameterError(f"--csv {setting}: write NAME=VALUE; valid names: {', '.join(sorted(known))}")
        values[name] = _value(name, text, setting)
    return CsvFile(path, **values)


_WORDS: Mapping[str, str] = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "bar": "|", "space": " "}


def _value(name: str, text: str, setting: str) -> Any:
    if name in ("header", "keep_index"):
        if text.lower() not in ("yes", "no", "true", "false"):
            raise ParameterError(f"--csv {setting}: {name} is yes or no")
        return text.lower() in ("yes", "true")
    if name in ("skip", "skip_footer"):
        if not text.isdigit():
            raise ParameterError(f"--csv {setting}: {name} is a number of lines")
        return int(text)
    if name in ("missing", "keep"):
        return tuple(text.split("|"))
    return _WORDS.get(text.lower(), text)
