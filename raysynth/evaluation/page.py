"""The header that every page has (which table, how it was made, what guarantees it, when), and a page of sections."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from raysynth.evaluation.decision import guarantee_words
from raysynth.evaluation.section import Section, section_body
from raysynth.files.storage import check_replaced, write_atomically

if TYPE_CHECKING:
    from raysynth.evaluation.figures import EvaluationFigures


@dataclass(frozen=True)
class Heading:
    """The header of a page.

    Args:
        title: of the page.
        facts: (what, value) pairs in the order in which they are shown.
        command: the command line that makes the page again; empty where it is not known or may not be shown.
    """

    title: str
    facts: tuple[tuple[str, str], ...]
    command: str = ""


def heading(results: EvaluationFigures, shareable: bool) -> Heading:
    """The header of a report; a shareable one names neither the real table, its rows nor the files of a command."""
    info, s = results.model_info or {}, results.similarity
    rows = [] if s is None else [f"{s.n_synthetic:,} synthetic"]
    if s is not None and not shareable:
        rows = [f"{s.n_real:,} real", *rows, "with holdout rows" if results.has_holdout else "without holdout rows"]
    n = len(results.shareable_columns) if shareable else len(results.kinds)
    table = "" if shareable or not results.source else results.source
    facts = [
        ("Table", table),
        ("Method", str(info.get("method", ""))),
        ("Guarantee", guarantee_words(results)),
        ("Rows", ", ".join(rows)),
        ("Columns", str(n)),
    ]
    return Heading("Synthetic data report", with_date(facts), "" if shareable else results.command)


def with_date(facts: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """The facts that have a value, with date and version after them."""
    from raysynth.version import __version__

    made = [("Made", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")), ("raysynth", __version__)]
    return tuple((name, value) for name, value in [*facts, *made] if value)


def write_page(
    path: str | os.PathLike[str], title: str, sections: Sequence[Section], facts: Sequence[tuple[str, str]] = ()
) -> None:
    """Write one HTML file that needs nothing else; raises `StorageError`.

    Args:
        path: of the file.
        title: of the page.
        sections: what is on it.
        facts: (what, value) pairs of its header, before date and version.
    """
    check_replaced(path, b"<")
    head = Heading(title, with_date(list(facts)))
    page = section_body("raysynth.evaluation", "page.html.j2", heading=head, sections=list(sections))
    write_atomically(path, page.encode())
