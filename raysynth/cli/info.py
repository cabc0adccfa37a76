"""`raysynth info`: what a model file holds, without a row drawn from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raysynth.cli.application import Json, app, run
from raysynth.cli.steps import Outcome
from raysynth.files.storage import place

if TYPE_CHECKING:
    from raysynth.methods.base import Synthesizer

NO_GUARANTEE = "none (fitted without a privacy budget)"


@app.command(
    epilog="""
[bold]Examples[/bold]

raysynth info patients.raysynth

raysynth info patients.raysynth --json
"""
)
def info(
    model: Annotated[Path, typer.Argument(help="Model file that `raysynth fit` wrote.")],
    as_json: Json = False,
) -> None:
    """Say how a model was made: method, rows, columns with their kinds, guarantee, versions and size."""

    def work() -> Outcome:
        from raysynth.methods.registry import load_synthetic_model

        return described(load_synthetic_model(model), model)

    run(work, as_json, kept="Nothing was done.")


def described(model: Synthesizer, file: Path) -> Outcome:
    """A model's record, and the same as lines; `rows` is noised where the model has a budget."""
    versions = getattr(model, "versions_", {})
    spent = model.privacy_spent_
    record: dict[str, Any] = {
        "command": "info",
        "model": str(file),
        "method": model.method,
        "rows": model.n_rows_,
        "columns": {c.name: str(c.kind) for c in model.schema_.columns},
        "privacy": None if spent is None else spent.to_dict(),
        "versions": versions,
        "bytes": place(file).size(),
    }
    rows = f"{model.n_rows_:,}" + ("" if spent is None else " (with noise)")
    width = max(len(c.name) for c in model.schema_.columns)
    lines = [
        f"Method:     {model.method}",
        f"Rows:       {rows}",
        f"Guarantee:  {NO_GUARANTEE if spent is None else spent}",
        f"Versions:   {', '.join(f'{name} {number}' for name, number in versions.items())}",
        f"Size:       {record['bytes'] / 1e6:.1f} MB",
        f"Columns:    {len(record['columns'])}",
        *(f"  {name:<{width}}  {kind}" for name, kind in record["columns"].items()),
    ]
    return Outcome(record, "\n".join(lines))
