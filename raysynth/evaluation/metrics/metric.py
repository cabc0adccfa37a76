"""What a figure of the evaluation says of itself: how it is computed, put in words, into JSON and into the report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Generic, TypeVar

from raysynth.comparison.rows import Rows
from raysynth.evaluation.section import Section

F = TypeVar("F")


@dataclass(frozen=True)
class Compared:
    """Rows in memory (of a large table some, drawn at random) that figures are computed from.

    Args:
        real, synthetic: of the two tables.
        holdout: real rows that the synthesizer has not seen, or None.
        seed: of every random choice.
    """

    real: Rows
    synthetic: Rows
    holdout: Rows | None
    seed: int = 0


@dataclass(frozen=True)
class Line:
    """A figure in the summary: its label, its value, and what to read it by."""

    label: str
    value: str
    note: str = ""


def _plain(found: Any) -> dict[str, Any]:
    """All fields as they are."""
    return asdict(found)


def _nothing(found: Any) -> list[Any]:
    """No section of the report."""
    return []


@dataclass(frozen=True)
class Metric(Generic[F]):
    """One figure, or some that are computed together; `results.measured` has what it found, by its name.

    Args:
        asked_by: the entry of `metrics=[...]` with which it is computed.
        doing: what the progress says meanwhile.
        compute: gives a frozen dataclass, or None where the rows do not allow it.
        plain: that as JSON values (NaN and arrays may stand in them); None: no part of the JSON.
        lines: that in the summary's lines.
        sections: that in sections of its own in the report; from real rows, so never in a shareable one.
    """

    asked_by: str
    doing: str
    compute: Callable[[Compared], F | None]
    plain: Callable[[F], dict[str, Any]] | None = _plain
    lines: Callable[[F], list[Line]] = _nothing
    sections: Callable[[F], list[Section]] = _nothing
