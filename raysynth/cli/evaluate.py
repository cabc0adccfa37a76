"""`raysynth evaluate`: a synthetic table beside the real one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from raysynth.cli.application import Csv, Entity, OdometerFolder, Seed, command
from raysynth.cli.database import Relations, evaluate_databases, means_database, refuse
from raysynth.cli.steps import Outcome, Reports, check_output, evaluate_tables, read_as
from raysynth.errors import ParameterError


@command(
    kept=lambda out, **_: "No report was written" + (f" to '{out}'." if out else "."),
    epilog="""
[bold]Examples[/bold]

raysynth evaluate real.csv synthetic.csv --out report.html

[dim]# rows that the model has not seen show whether it copied; one column to predict[/dim]

raysynth evaluate train.csv synthetic.csv --holdout holdout.csv --target income --json

[dim]# how the table was made and what privacy it spent; and a report that may be shared[/dim]

raysynth evaluate train.csv synthetic.csv --model model.raysynth --out report.html --shareable shared.html

[dim]# two pages for those who decide; figures, ledger and the recomputed epsilon for those who check[/dim]

raysynth evaluate train.csv synthetic.csv --holdout holdout.csv --out decide.html --profile committee

raysynth evaluate train.csv synthetic.csv --model model.raysynth --out record.json --profile auditor

[dim]# sequences: many rows for each entity, also compared along time[/dim]

raysynth evaluate visits.csv synthetic.csv --sequence-key patient --time-column day --out report.html

[dim]# several tables: folders with a file a table, or database files[/dim]

raysynth evaluate clinic/ synthetic/ --relations clinic/relations.json --holdout others/ --out report.html
""",
)
def evaluate(
    real: Annotated[str, typer.Argument(help="The real table: what the model learned from.")],
    synthetic: Annotated[str, typer.Argument(help="The synthetic table.")],
    out: Annotated[Path | None, typer.Option(help="Report to write: HTML, or all figures as JSON (.json).")] = None,
    profile: Annotated[
        str, typer.Option(help="Whom --out is for: analyst, committee (two pages to print), or auditor (.json).")
    ] = "analyst",
    holdout: Annotated[
        str | None, typer.Option(help="Real rows that the model has not seen; makes copying visible.")
    ] = None,
    target: Annotated[
        list[str] | None, typer.Option(help="Column to predict, for the machine-learning test; may be repeated.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Model file that made the table; the report shows how, and its privacy ledger.")
    ] = None,
    shareable: Annotated[
        Path | None, typer.Option(help="Second HTML report to write, without any figure computed from the real rows.")
    ] = None,
    sequence_key: Annotated[
        str | None, typer.Option(help="Column that says which rows are one sequence; adds figures along time.")
    ] = None,
    time_column: Annotated[str | None, typer.Option(help="Column that orders the rows of a sequence.")] = None,
    entity: Entity = None,
    odometer: OdometerFolder = None,
    relations: Relations = None,
    csv: Csv = None,
    seed: Seed = None,
) -> Outcome:
    """Compare a synthetic table with the real one, and attack it: figures here, pictures in an HTML report."""
    from raysynth.dp.accounting.odometer import record_use
    from raysynth.evaluation.page import table_name
    from raysynth.evaluation.profiles import ANALYST, check_profile
    from raysynth.methods.registry import load_synthetic_model

    for path in (out, shareable):
        if path is not None:
            check_output(path, real, synthetic, holdout, model)
    if profile != ANALYST and out is None:
        raise ParameterError(f"--profile {profile} says whom --out is for; name a file with --out")
    check_profile(profile, out or "")
    record_use(odometer, "an exact evaluation")
    if means_database(real, relations):
        refuse({"--target": target, "--model": model, "--shareable": shareable, "--sequence-key": sequence_key})
        refuse({"--time-column": time_column, "--csv": csv, "--profile": None if profile == ANALYST else profile})
        return evaluate_databases(
            real, synthetic, relations=relations, entity=entity, holdout=holdout, out=out, seed=seed
        )
    return evaluate_tables(
        read_as(real, csv),
        synthetic,
        Reports(out, shareable, table_name(real), profile),
        model=None if model is None else load_synthetic_model(model),
        seed=seed,
        holdout_data=None if holdout is None else read_as(holdout, csv),
        target_columns=target or None,
        sequence_key=sequence_key,
        time_column=time_column,
        entity=entity,
    )
