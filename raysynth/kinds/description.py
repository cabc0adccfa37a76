"""What every kind of column says of itself."""

from __future__ import annotations

from typing import Protocol

import pyarrow as pa


class Column(Protocol):
    """What a kind needs to know of a declared column (`schema.columns.ColumnSchema` is one)."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def dtype(self) -> str:
        """Arrow type as text."""
        ...

    @property
    def pattern(self) -> str | None:
        """How its keys look."""
        ...

    @property
    def personal(self) -> str | None:
        """The Faker provider of its personal data."""
        ...

    @property
    def date_format(self) -> str | None:
        """How its dates are written as text."""
        ...

    @property
    def arrow_type(self) -> pa.DataType:
        """The Arrow type that it is written with."""
        ...
