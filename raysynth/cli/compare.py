"""`raysynth compare`: two evaluations side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from raysynth.cli.application import Json, app, run
from raysynth.cli.steps import Outcome
from raysynth.errors import DataError

FIGURES: dict[str, tuple[str, ...]] = {  # what is compared, and where the JSON of an evaluation holds it
    "Quality": ("statistical_similarity", "quality"),
    "Column shapes": ("statistical_similarity", "column_shapes"),
    "Column pair trends": ("statistical_similarity", "column_pair_trends"),
    "Accuracy of pairs": ("statistical_similarity", "accuracy", "bivariate", "value"),
    "Told from real (AUC)": ("realism", "auc", "value"),
    "Usefulness": ("ml_efficacy", "score"),
    "Privacy risk": ("privacy_metrics", "risk"),
}
_WORST = 5


@app.command(
    epilog="""
[bold]Examples[/bold]

raysynth evaluate train.csv first.csv --holdout unseen.csv --out first.json

raysynth evaluate train.csv second.csv --holdout unseen.csv --out second.json

raysynth compare first.json second.json
"""
)
def compare(
    first: Annotated[Path, typer.Argument(help="JSON that `raysynth evaluate --out NAME.json` wrote.")],
    second: Annotated[Path, typer.Argument(help="Another one.")],
    as_json: Json = False,
) -> None:
    """Set two evaluations side by side: the deciding figures, and the columns that moved most."""
    run(lambda: side_by_side(_read(first), _read(second)), as_json, kept="Nothing was changed.")


def side_by_side(first: dict[str, Any], second: dict[str, Any]) -> Outcome:
    """The figures that either has, with their differences; None where one was not measured."""
    figures = {}
    for name, way in FIGURES.items():
        a, b = _at(first, way), _at(second, way)
        if a is not None or b is not None:
            figures[name] = {"first": a, "second": b, "change": None if a is None or b is None else b - a}
    before, after = _columns(first), _columns(second)
    moved = sorted((c for c in before if c in after), key=lambda c: -abs(after[c] - before[c]))[:_WORST]
    columns = {c: {"first": before[c], "second": after[c], "change": after[c] - before[c]} for c in moved}
    lines = [f"{'':<24} {'first':>8} {'second':>8} {'change':>8}", *(_line(*row) for row in figures.items())]
    if moved:
        lines += ["", "Columns whose shape moved most:", *(_line(f"  {c}", row) for c, row in columns.items())]
    return Outcome({"command": "compare", "figures": figures, "columns": columns}, "\n".join(lines))


def _read(path: Path) -> dict[str, Any]:
    cure = "write one by: raysynth evaluate REAL SYNTHETIC --out NAME.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"'{path}' cannot be read ({error.strerror}); {cure}") from None
    except ValueError:
        raise DataError(f"'{path}' is no JSON of an evaluation; {cure}") from None
    if not isinstance(content, dict) or not any(way[0] in content for way in FIGURES.values()):
        raise DataError(f"'{path}' holds no figures of an evaluation; {cure}")
    return content


def _at(content: Any, way: tuple[str, ...]) -> float | None:
    for step in way:
        content = content.get(step) if isinstance(content, dict) else None
    return float(content) if isinstance(content, int | float) else None


def _columns(content: dict[str, Any]) -> dict[str, float]:
    similarity = content.get("statistical_similarity") or {}
    return {c["column"]: c["score"] for c in similarity.get("columns", []) if c.get("score") is not None}


def _line(name: str, row: Mapping[str, float | None]) -> str:
    first, second, change = row["first"], row["second"], row["change"]
    shown = ["–" if v is None else f"{v:.3f}" for v in (first, second)]
    return f"{name:<24} {shown[0]:>8} {shown[1]:>8} {'–' if change is None else f'{change:+.3f}':>8}"
