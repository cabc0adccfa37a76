"""Folders named COLUMN=VALUE: columns whose values are in the paths, not in the files (Hive's layout)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

import pyarrow as pa

from raysynth.data.arrow_types import TEXT
from raysynth.errors import DataError

NULL = "__HIVE_DEFAULT_PARTITION__"


def partition_of(folders: Sequence[str]) -> tuple[tuple[str, str | None], ...]:
    """(column, text or None) of each folder named COLUMN=VALUE."""
    pairs = [folder.split("=", 1) for folder in folders if "=" in folder]
    return tuple((unquote(name), None if value == NULL else unquote(value)) for name, value in pairs)


def partition_columns(
    partitions: Sequence[tuple[tuple[str, str | None], ...]], paths: Sequence[str]
) -> tuple[pa.Schema, list[tuple[Any, ...]]]:
    """The columns that the folders give, and each file's values in them.

    A column is boolean or whole numbers where all its values read so, else text.

    Raises:
        DataError: files lie under different columns.
    """
    names = [name for name, _ in partitions[0]]
    for partition, path in zip(partitions, paths, strict=True):
        if [name for name, _ in partition] != names:
            raise DataError(
                f"'{path}' and '{paths[0]}' lie under folders of different columns; divide all files alike, by folders "
                "COLUMN=VALUE in one order"
            )
    fields, columns = [], []
    for position, name in enumerate(names):
        type_, values = _typed([partition[position][1] for partition in partitions])
        fields.append(pa.field(name, type_))
        columns.append(values)
    return pa.schema(fields), [tuple(column[i] for column in columns) for i in range(len(paths))]


def _typed(texts: Sequence[str | None]) -> tuple[pa.DataType, list[Any]]:
    given = {t for t in texts if t is not None}
    if given and given <= {"true", "false"}:
        return pa.bool_(), [None if t is None else t == "true" for t in texts]
    if given and all(_is_whole(t) for t in given):
        return pa.int64(), [None if t is None else int(t) for t in texts]
    return TEXT, list(texts)


def _is_whole(text: str) -> bool:
    """True for a number as it prints itself: '7', not '007', which is text."""
    digits = text.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) < 19 and str(int(text)) == text
