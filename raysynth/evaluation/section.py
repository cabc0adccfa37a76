"""A section of the report that another part of the house adds: the privacy ledger, attacks, sequences, a sweep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from raysynth.errors import ParameterError
from raysynth.evaluation.templating import environment


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
