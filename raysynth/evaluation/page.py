"""The header that every page has (which table, how it was made, what guarantees it, when), and a page of sections."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from raysynth.evaluation.decision import Purpose, guarantee_words
from raysynth.evaluation.section import Section, section_body
from raysynth.files.storage import check_replaced, is_uri, local_path, write_atomically
from raysynth.version import __version__, command_line

if TYPE_CHECKING:
    from raysynth.evaluation.figures import EvaluationFigures

_MOST_READ = 1 << 30  # bytes of a file whose fingerprint a header gives: more would take seconds


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
    return page_heading(
        "Synthetic data report",
        table="the real one is not named in a shareable report" if shareable else results.source,
        method=str(info.get("method", "")),
        guarantee=guarantee_words(results),
        rows=", ".join(rows),
        more=[("Columns", str(n))],
        command="" if shareable else results.command,
    )


def page_heading(
    title: str,
    *,
    table: str,
    method: str,
    guarantee: str,
    rows: str,
    more: Sequence[tuple[str, str]] = (),
    command: str | None = None,
) -> Heading:
    """The header of any page: what is not known is marked as such, and date and version close it.

    Args:
        title: of the page.
        table: name of the table, with its fingerprint where the page may hold it; empty: not named.
        method: that made the synthetic rows. guarantee: 'none', or epsilon, delta and unit. rows: how many, of what.
        more: further (what, value) pairs.
        command: that makes the page again; None: the one that this program was started with.
    """
    told = [("Table", table), ("Method", method), ("Guarantee", guarantee), ("Rows", rows)]
    made = [("Made", datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")), ("raysynth", __version__)]
    facts = [*((name, value or "not named") for name, value in told), *(f for f in more if f[1]), *made]
    return Heading(title, tuple(facts), command_line() if command is None else command)


def table_name(data: Any) -> str:
    """What a private page calls a table: its path, and of one file the start of its SHA-256 (as `sha256sum` gives)."""
    path = getattr(data, "path", data)
    if not isinstance(path, str | os.PathLike):
        return "in memory"
    shown = os.fspath(path)
    if is_uri(shown):
        return shown
    file = local_path(shown)
    if not file.is_file() or file.stat().st_size > _MOST_READ:
        return shown
    with file.open("rb") as content:
        return f"{shown} (sha256 {hashlib.file_digest(content, 'sha256').hexdigest()[:12]})"


def write_page(
    path: str | os.PathLike[str], head: Heading, sections: Sequence[Section], purposes: Sequence[Purpose] = ()
) -> None:
    """Write one HTML file that needs nothing else, the user's alone (0600); raises `StorageError`.

    Args:
        path: of the file.
        head: its header.
        sections: what is on it.
        purposes: what follows from it, above the sections: an answer with reason and next step each.
    """
    check_replaced(path, b"<")
    page = section_body(
        "raysynth.evaluation", "page.html.j2", heading=head, sections=list(sections), purposes=list(purposes)
    )
    write_atomically(path, page.encode(), private=True)
