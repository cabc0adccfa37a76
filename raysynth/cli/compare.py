"""`raysynth compare`: two evaluations side by side."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from raysynth.cli.application import command
from raysynth.cli.steps import Outcome, check_output
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
TOLD, ALIKE = "Told from real (AUC)", 0.01
DECIDING = {"Quality": True, TOLD: False, "Usefulness": True, "Privacy risk": False}  # whether more is better
_WORST = 5


@command(
    kept="Nothing was changed.",
    epilog="""
[bold]Examples[/bold]

raysynth evaluate train.csv first.csv --holdout unseen.csv --out first.json

raysynth evaluate train.csv second.csv --holdout unseen.csv --out second.json

raysynth compare first.json second.json

[dim]# the same as a page, with what follows from it[/dim]

raysynth compare first.json second.json --out compared.html
""",
)
def compare(
    first: Annotated[Path, typer.Argument(help="JSON that `raysynth evaluate --out NAME.json` wrote.")],
    second: Annotated[Path, typer.Argument(help="Another one.")],
    out: Annotated[Path | None, typer.Option(help="HTML page to write.")] = None,
) -> Outcome:
    """Set two evaluations side by side: which does better, the deciding figures, and the columns that moved most."""
    if out is not None:
        check_output(out, first, second, starts=b"<")
    found = side_by_side(_read(first), _read(second))
    if out is None:
        return found
    write_comparison(out, first, second, found.record)
    return found.with_file(out)


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
    better = better_of(figures)
    lines = [
        verdict(better),
        "",
        f"{'':<24} {'first':>8} {'second':>8} {'change':>8}",
        *(_line(*row) for row in figures.items()),
    ]
    if moved:
        lines += ["", "Columns whose shape moved most:", *(_line(f"  {c}", row) for c, row in columns.items())]
    about = {what: [told(content) for content in (first, second)] for what, told in _ABOUT.items()}
    record = {"command": "compare", "better": better, "about": about, "figures": figures, "columns": columns}
    return Outcome(record, "\n".join(lines))


def better_of(figures: Mapping[str, Mapping[str, float | None]]) -> dict[str, str]:
    """For each deciding figure that both have which evaluation does better: 'first', 'second' or 'alike'.

    Differences below `ALIKE` are those of another seed. Telling by an AUC is worse the farther it lies from one half.
    """
    found = {}
    for name, is_good in DECIDING.items():
        a, b = (figures.get(name, {}).get(side) for side in ("first", "second"))
        if a is None or b is None:
            continue
        change = abs(a - 0.5) - abs(b - 0.5) if name == TOLD else (b - a if is_good else a - b)
        found[name] = "alike" if abs(change) < ALIKE else "second" if change > 0 else "first"
    return found


def verdict(better: Mapping[str, str]) -> str:
    """Which evaluation does better, in a sentence."""
    won = {side: [name for name, by in better.items() if by == side] for side in ("first", "second")}
    if not any(won.values()):
        return "Alike in all deciding figures." if better else "They have no deciding figure in common."
    if all(won.values()):
        return f"Each is better in something: the first in {_and(won['first'])}, the second in {_and(won['second'])}."
    side = "first" if won["first"] else "second"
    return f"The {side} is better: in {_and(won[side])}; in all else they are alike."


def write_comparison(path: Path, first: Path, second: Path, record: Mapping[str, Any]) -> None:
    """Write two evaluations side by side as one HTML page; raises `StorageError`."""
    from raysynth.evaluation.decision import Purpose
    from raysynth.evaluation.page import page_heading, write_page
    from raysynth.evaluation.section import Section, section_body

    head = page_heading(
        "Two evaluations side by side",
        **{what: _of_both(*told) for what, told in record["about"].items()},
        more=[("First", str(first)), ("Second", str(second))],
    )
    better = record["better"]
    sides = {side for side in better.values() if side != "alike"}
    risk = better.get("Privacy risk")
    step = {
        0: "Take the one with the guarantee, or the one that is quicker to make.",
        1: f"Take the {', '.join(sides)}.",
        2: f"Take the {risk}, where the table leaves the house: it gives less away; else by what you use it for."
        if risk in ("first", "second")
        else "Decide by what the table is used for.",
    }[len(sides)]
    answer = ("alike", "one is better", "it depends")[len(sides)]
    purpose = Purpose("Which one?", answer, ("none", "good", "fair")[len(sides)], verdict(better), step)
    body = section_body("raysynth.evaluation", "comparison.html.j2", record=record, alike=ALIKE)
    write_page(path, head, [Section("figures", "Figures", body)], [purpose])


def _rows(content: Mapping[str, Any]) -> str:
    """How many rows an evaluation compared; empty where it does not say."""
    n = [(content.get("statistical_similarity") or {}).get(side) for side in ("n_real", "n_synthetic")]
    return f"{n[0]:,} real, {n[1]:,} synthetic" if all(n) else ""


# what the header of a page says of an evaluation; empty where its file does not
_ABOUT: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "table": lambda content: content.get("table") or "",
    "method": lambda content: (content.get("model_info") or {}).get("method") or "",
    "guarantee": lambda content: content.get("guarantee") or "",
    "rows": _rows,
}


def _of_both(first: str, second: str) -> str:
    """One text where two are the same, else both and whose they are."""
    return first if first == second else f"{first or 'not named'} (first), {second or 'not named'} (second)"


def _and(names: list[str]) -> str:
    names = [name[0].lower() + name[1:] for name in names]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


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
