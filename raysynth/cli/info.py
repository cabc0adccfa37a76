"""`raysynth info`: what a model file holds, without a row drawn from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raysynth.cli.application import command
from raysynth.cli.steps import Outcome
from raysynth.files.storage import place

if TYPE_CHECKING:
    from raysynth.methods.base import Synthesizer
    from raysynth.related.synthesizer import RelationalSynthesizer
    from raysynth.schema.table import TableSchema

NO_GUARANTEE = "none (fitted without a privacy budget)"


@command(
    kept="Nothing was done.",
    epilog="""
[bold]Examples[/bold]

raysynth info patients.raysynth

raysynth info patients.raysynth --json
""",
)
def info(
    model: Annotated[Path, typer.Argument(help="Model file that `raysynth fit` wrote.")],
) -> Outcome:
    """Say how a model was made: method, rows, columns with their kinds, guarantee, versions and size."""
    from raysynth.methods.registry import load_synthetic_model

    return described(load_synthetic_model(model), model)


def described(model: Synthesizer | RelationalSynthesizer, file: Path) -> Outcome:
    """A model's record, and the same as lines; `rows` is noised where the model has a budget.

    Of several tables rows and columns are those of each, by its name, and the keys between them are listed.
    """
    versions = getattr(model, "versions_", None) or {}
    spent, size, tables = model.privacy_spent_, place(file).size(), _tables(model)
    columns = {name: {c.name: str(c.kind) for c in schema.columns} for name, (_, schema) in tables.items()}
    counts, keys = (
        {name: n for name, (n, _) in tables.items()},
        [str(r) for r in getattr(model.schema_, "relations", ())],
    )
    record: dict[str, Any] = {
        "command": "info",
        "model": str(file),
        "method": model.method,
        "rows": counts.get("", counts),
        "columns": columns.get("", columns),
        **({} if "" in tables else {"relations": keys}),
        "privacy": None if spent is None else spent.to_dict(),
        "versions": versions,
        "bytes": size,
    }
    noised = "" if spent is None else " (with noise)"
    lines = [
        f"Method:     {model.method}",
        f"Guarantee:  {NO_GUARANTEE if spent is None else spent}",
        f"Versions:   {', '.join(f'{name} {number}' for name, number in versions.items())}",
        f"Size:       {size / 1e6:.1f} MB",
        *(f"Key:        {key}" for key in keys),
    ]
    for name, kinds in columns.items():
        width = max(map(len, kinds), default=0)
        lines += [f"Table:      {name}"] if name else []
        lines += [f"Rows:       {counts[name]:,}{noised}", f"Columns:    {len(kinds)}"]
        lines += [f"  {column:<{width}}  {kind}" for column, kind in kinds.items()]
    return Outcome(record, "\n".join(lines))


def _tables(model: Any) -> dict[str, tuple[int, TableSchema]]:
    """Rows and columns of each table that a model was fitted to; one table has no name."""
    if (database := getattr(model, "database_", None)) is None:
        return {"": (model.n_rows_, model.schema_)}
    kept = {n: rows.num_rows for n, (rows, _) in database.references.items()}
    rows = {n: t.n_rows for n, t in database.tables.items()} | kept
    return {n: (rows[n], database.columns(n)) for n in database.declared.names}
