"""A page of its own around some sections, self-contained and in the report's style."""

from __future__ import annotations

import os
from collections.abc import Sequence

from raysynth.evaluation.section import Section, section_body
from raysynth.files.storage import write_atomically


def write_page(path: str | os.PathLike[str], title: str, sections: Sequence[Section]) -> None:
    """Write one HTML file that needs nothing else; raises `StorageError`."""
    page = section_body("raysynth.evaluation", "page.html.j2", title=title, sections=list(sections))
    write_atomically(path, page.encode())
