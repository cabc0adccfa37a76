"""Templates, values escaped and figures written alike; and a section of the report that another part adds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from raysynth.errors import ParameterError
from raysynth.schema.columns import Kind

if TYPE_CHECKING:
    from jinja2 import Environment


@dataclass(frozen=True)
class Section:
    """One more section of the report, after 'Privacy' and before 'How it was made'.

    Args:
        anchor: of the link to it; letters, digits and '-'.
        title: in the contents and above the section.
        body: its HTML, in the report's style (`section_body` makes it from a template that escapes every value).
        releasable: whether nothing in it was computed from real rows without noise; only then it is part of a
            shareable report.
    """

    anchor: str
    title: str
    body: str
    releasable: bool = False

    def __post_init__(self) -> None:
        if not self.anchor.replace("-", "").isalnum():
            raise ParameterError(
                f"section '{self.title}': anchor must be letters, digits and '-'; found {self.anchor!r}"
            )


def section_body(package: str, template: str, **values: Any) -> str:
    """The HTML of a section: a Jinja template of the folder `templates` of a package, every value escaped.

    A template can import the report's macros: `{% from "macros.html.j2" import tree, verdict %}`.
    """
    return environment(package).get_template(template).render(**values)


def as_percent(value: float) -> str:
    """A share as a percentage."""
    return "not defined" if math.isnan(value) else f"{value:.1%}"


def as_number(value: float, digits: int = 3) -> str:
    """A figure with so many digits."""
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def line(label: str, value: str, note: str = "") -> str:
    """A figure in a summary."""
    return f"  {label:<42} {value}" + (f"  ({note})" if note else "")


def format_value(value: float, kind: Kind) -> str:
    """A number, date or duration (both in microseconds) for people."""
    return kind.about.shown(value)


def environment(*packages: str) -> Environment:
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
