"""The report's templates: where they are found, how figures are written, every value escaped."""

from __future__ import annotations

import math

from raysynth.schema.columns import Kind


def as_percent(value: float) -> str:
    """A share as a percentage."""
    return "not defined" if math.isnan(value) else f"{value:.1%}"


def as_number(value: float, digits: int = 3) -> str:
    """A figure with so many digits."""
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def format_value(value: float, kind: Kind) -> str:
    """A number, date or duration (both in microseconds) for people."""
    return kind.about.shown(value)


def environment(*packages: str):  # type: ignore[no-untyped-def]
    """Where templates are found: the folders `templates` of these packages, then the report's own; values escaped."""
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    found = Environment(
        loader=ChoiceLoader([PackageLoader(p) for p in (*packages, "raysynth.evaluation")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters |= {"percent": as_percent, "number": as_number}
    return found
