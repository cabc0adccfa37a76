"""`raysynth look`: what a table holds and what to decide of it, before any fit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from raysynth.cli.application import Csv, command
from raysynth.cli.database import look_database, means_database, refuse
from raysynth.cli.steps import Outcome, check_output, read_as
from raysynth.errors import ParameterError, listed

if TYPE_CHECKING:
    from raysynth.evaluation.decision import Purpose
    from raysynth.statistics.findings import Findings


@command(
    kept="Nothing was written.",
    epilog="""
[bold]Examples[/bold]

raysynth look patients.csv

[dim]# the schema to edit, and a page to keep; both are private[/dim]

raysynth look patients.csv --schema schema.json --out look.html

[dim]# a file whose form is not found out right[/dim]

raysynth look patients.csv --csv decimal=, --csv encoding=latin-1
""",
)
def look(
    data: Annotated[str, typer.Argument(help="CSV or Parquet file, folder, glob or URI; or a database.")],
    schema: Annotated[Path, typer.Option(help="File for the schema that a fit would take; edit it.")] = Path(
        "schema.json"
    ),
    out: Annotated[Path | None, typer.Option(help="HTML page to write.")] = None,
    rules: Annotated[
        str | None, typer.Option(help="auto: rules that all rows keep become constraints of the schema.")
    ] = None,
    csv: Csv = None,
) -> Outcome:
    """Show what a fit would take each column for and why, which values are too rare to appear, and what to decide.

    Reads real rows without noise: the output, the schema and the page are as private as the table.
    """
    from dataclasses import replace

    from raysynth.data.table import as_table
    from raysynth.statistics.findings import find

    if means_database(data, None):
        refuse({"--out": out, "--rules": rules, "--csv": csv})
        return look_database(data)
    check_output(schema, data, starts=b"{")
    if out is not None:
        check_output(out, data, starts=b"<")
    found = find(as_table(read_as(data, csv)))
    if rules is not None:
        if rules != "auto":
            raise ParameterError(f"--rules must be 'auto'; found '{rules}'")
        found = replace(found, schema=found.with_rules())
    found.schema.save(schema, private=True)
    options = "".join(f" --csv {setting}" for setting in csv or ())
    following = f"raysynth fit {data} --schema {schema} --model model.raysynth{options}"
    if out is not None:
        write_look(out, found, data, following)
    record = {"command": "look", **found.record(), "schema": str(schema), "next": following}
    page = "" if out is None else f"\nPage: {out}"
    return Outcome(record, f"{found.text()}\nSchema: {schema} (edit kinds there){page}\nNext: {following}")


def write_look(path: Path, found: Findings, data: str, following: str) -> None:
    """Write what was found as one HTML page, with the command that follows; raises `StorageError`."""
    from raysynth.evaluation.page import page_heading, table_name, write_page
    from raysynth.evaluation.section import Section, section_body

    head = page_heading(
        f"A look at {found.source}",
        table=table_name(data),
        method="none yet: nothing was learned",
        guarantee="none: rows were read without noise",
        rows=f"{found.n_rows:,} real",
        more=[("Columns", str(len(found.columns)))],
    )
    body = section_body("raysynth.evaluation", "look.html.j2", found=found, following=following)
    write_page(path, head, [Section("columns", "Columns", body)], [readiness(found, following)])


def readiness(found: Findings, following: str) -> Purpose:
    """Whether a fit can take the table as it is: no where it refuses it, with care where something is to decide."""
    from raysynth.evaluation.decision import Purpose

    name, refused = "Ready to be learned?", [c.column.name for c in found.columns if c.is_refused]
    if refused:
        reason = f"A fit refuses infinite values; they stand in {listed(map(repr, refused), 5)}."
        return Purpose(name, "no", "bad", reason, "Replace them in the table by numbers or by nothing, and look again.")
    if open_ := [c.column.name for c in found.columns if c.advice]:
        reason = (
            f"{len(open_)} of {len(found.columns)} columns have something to decide: {listed(map(repr, open_), 5)}."
        )
        step = f"Decide what the last column of the table asks, in the schema file or in the table; then: {following}"
        return Purpose(name, "with care", "fair", reason, step)
    reason = "Nothing is to be decided, where each column is taken for the right kind."
    return Purpose(name, "yes", "good", reason, f"Read the kinds below; then: {following}")
