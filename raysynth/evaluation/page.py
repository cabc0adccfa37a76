"""A page of its own around some sections, self-contained and in the report's style."""

from __future__ import annotations

import os
from collections.abc import Sequence

from raysynth.evaluation.heading import Heading, with_date
from raysynth.evaluation.section import Section, section_body
from raysynth.files.storage import check_replaced, write_atomically


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
