"""What every kind of column says of itself: the one value that a file or folder of this room gives, as `KIND`.

Rooms above ask a kind's description, never which kind it is: they know five families, in which values are modelled
alike. So a new kind is its file and its line in `registry.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from raysynth.kinds.evidence import Clue, Evidence, PublicField


class Family(Enum):
    """How the values of a kind are modelled."""

    NUMBER = "numbers"
    TIME = "times, as whole numbers of their unit"
    CLASS = "values of a list"
    MADE = "made anew for each row number, without a model and never copied"
    CONSTANT = "one value"


class Column(Protocol):
    """What a kind needs to know of a declared column (`schema.columns.ColumnSchema` is one)."""

    @property
    def name(self) -> str:
        """Name of the column."""

    @property
    def dtype(self) -> str:
        """Arrow type as text."""

    @property
    def pattern(self) -> str | None:
        """How its keys look."""

    @property
    def personal(self) -> str | None:
        """The Faker provider of its personal data."""

    @property
    def date_format(self) -> str | None:
        """How its dates are written as text."""

    @property
    def arrow_type(self) -> pa.DataType:
        """The Arrow type that it is written with."""


class Maker(Protocol):
    """Makes the values of a column of the family MADE."""

    def values(self, row_start: int, n: int, key: int) -> pa.Array:
        """Values of rows row_start to row_start + n - 1: a pure function of row number and key."""


def _any(evidence: Evidence) -> bool:
    """Whether a column of an Arrow type can be of this kind: always."""
    return True


def _nobodys(column: Column) -> int | None:
    """Says of nobody whose a row is."""
    return None


def plain_number(column: Column, value: Any) -> float:
    """A number as a column's type holds it, a whole one exactly; raises TypeError or ValueError for what is none."""
    if isinstance(value, (str, bytes, bool)):
        raise TypeError
    number = float(value)
    if pt.is_integer(column.arrow_type) and isinstance(value, (int, np.integer)):
        return int(value)
    return float(np.float32(number)) if pt.is_float32(column.arrow_type) else number


def plain_text(value: float) -> str:
    """A number for people."""
    if value == round(value) and abs(value) < 1e9:
        return f"{value:,.0f}"
    return f"{value:,.4g}" if abs(value) < 1e6 else f"{value:.3g}"


@dataclass(frozen=True)
class Description:
    """One kind of column.

    Args:
        family: how its values are modelled.
        held: what values of a type are that is always of this kind ('boolean', 'datetime', 'duration'), or None.
        clues: how it is told from statistics.
        public_clues: how it is told under a privacy budget, where nobody declared it.
        fits: whether a column that is declared of this kind can be, by its type.
        cure: what to do where it cannot.
        fills: fields of the schema that are read from the rows where nobody declared them.
        needs: fields without which a declaration is none, and what they are.
        takes: fields that make sense for this kind alone.
        words: how a codebook may call it, beside its own name; empty: a codebook cannot declare it.
        stored: Arrow type of columns that a codebook declares of a file without types.
        number: a value of a condition on the number line of a column; raises TypeError or ValueError.
        shown: a number of its line (times: microseconds) for people.
        maker: family MADE: what makes a column's values.
        whose: how likely a column of this kind says whose each row is, from 0, the likeliest; None: it does not.
    """

    family: Family
    held: str | None = None
    clues: tuple[Clue[Evidence], ...] = ()
    public_clues: tuple[Clue[PublicField], ...] = ()
    fits: Callable[[Evidence], bool] = _any
    cure: str = "declare another kind, or convert it to text"
    fills: Mapping[str, Callable[[Evidence], Any]] = field(default_factory=dict)
    needs: Mapping[str, str] = field(default_factory=dict)
    takes: frozenset[str] = frozenset()
    words: tuple[str, ...] = ()
    stored: str = "string"
    number: Callable[[Column, Any], float] = plain_number
    shown: Callable[[float], str] = plain_text
    maker: Callable[[Column], Maker] | None = None
    whose: Callable[[Column], int | None] = _nobodys
