"""What a notebook shows of a value: a figure, or a table of plain cells; HTML that needs nothing else."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from raysynth.files.storage import write_atomically

STYLE = "font:13px system-ui,sans-serif;color:#18202f;background:#fff;margin:0;padding:10px"
_CELL = "text-align:left;vertical-align:top;padding:2px 12px 2px 0;border-bottom:1px solid #dde1e8"


@dataclass(frozen=True)
class Drawing:
    """A figure: a notebook shows it, `save` writes it. Private where it was drawn from real rows.

    Args:
        html: the figure, self-contained.
    """

    html: str

    def _repr_html_(self) -> str:
        return self.html

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as an HTML file; raises `StorageError`."""
        page = (
            '<!doctype html><html lang="en"><meta charset="utf-8"><title>raysynth</title>'
            f'<body style="background:#fff">{self.html}</body></html>'
        )
        write_atomically(path, page.encode())


def html_table(caption: str, header: Sequence[str], rows: Iterable[Sequence[object]], notes: Iterable[str] = ()) -> str:
    """A table with a line above and notes below, every text escaped.

    Args:
        caption: what it is.
        header: of the columns.
        rows: one cell for each column.
        notes: sentences below.
    """
    head = "".join(f'<th scope="col" style="{_CELL}">{escape(h)}</th>' for h in header)
    body = "".join(
        "<tr>" + "".join(f'<td style="{_CELL}">{escape(str(cell))}</td>' for cell in row) + "</tr>" for row in rows
    )
    below = "".join(f'<p style="margin:6px 0 0;color:#566072">{escape(n)}</p>' for n in notes)
    return (
        f'<div style="{STYLE}"><table style="border-collapse:collapse">'
        f'<caption style="text-align:left;padding:0 0 6px"><b>{escape(caption)}</b></caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}</div>"
    )
