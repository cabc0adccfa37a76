"""`raysynth schema`: a schema to fill in, from public knowledge alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from raysynth.cli.application import Csv, command
from raysynth.cli.steps import Outcome, check_output, read_as
from raysynth.errors import StorageError


@command(
    kept="Nothing was written.",
    epilog="""
[bold]Examples[/bold]

raysynth schema patients.csv --out schema.json

[dim]# ranges and lists of values from a codebook with the columns column, kind, low, high, values, decimals ...[/dim]

raysynth schema patients.csv --public codebook.csv --out schema.json
""",
)
def schema(
    data: Annotated[str, typer.Argument(help="CSV or Parquet file, folder, glob or URI.")],
    out: Annotated[Path, typer.Option(help="File for the schema.")] = Path("schema.json"),
    public: Annotated[
        Path | None,
        typer.Option(
            help="Codebook: a CSV with a line a column (column, kind, low, high, values, decimals, nullable)."
        ),
    ] = None,
    csv: Csv = None,
) -> Outcome:
    """Write a schema for a fit under a privacy budget, without reading a row; what to declare is left open in it.

    Reads the names of the columns and the types that a file stores, no row.
    """
    from raysynth.data.table import as_table
    from raysynth.files.storage import write_atomically
    from raysynth.statistics.public_schema import schema_of, to_fill_in

    check_output(out, data, public, starts=b"{")
    try:
        text = None if public is None else public.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise StorageError(f"cannot read the codebook '{public}': {error}") from error
    found = schema_of(as_table(read_as(data, csv), min_rows=0, private=True), text, str(public))
    content = to_fill_in(found)
    write_atomically(out, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode("utf-8"))
    open_ = [c["name"] for c in content["columns"] if {"bounds", "categories"} & {k for k, v in c.items() if v is None}]
    following = f"raysynth fit {data} --schema {out} --epsilon 1 --model model.raysynth"
    said = f"To fill in: {', '.join(open_)}\n" if open_ else ""
    record = {"command": "schema", "data": data, "schema": str(out), "open": open_, "next": following}
    return Outcome(record, f"{found.describe()}\n{said}Schema: {out}\nNext: {following}")
