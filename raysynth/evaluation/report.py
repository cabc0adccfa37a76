"""The report: one self-contained HTML file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from raysynth.evaluation.results import EvaluationResults


def write_report(results: EvaluationResults, path: str | os.PathLike[str], *, shareable: bool = False) -> None:
    """Render and write."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(_template("report.html.j2").render(results=results, shareable=shareable), encoding="utf-8")


def render_card(results: EvaluationResults) -> str:
    """A few figures for a notebook."""
    from markupsafe import escape

    return f"<pre>{escape(results.summary())}</pre>"


def _template(name: str):  # type: ignore[no-untyped-def]
    from jinja2 import Environment, PackageLoader

    return Environment(loader=PackageLoader("raysynth.evaluation"), autoescape=True).get_template(name)
