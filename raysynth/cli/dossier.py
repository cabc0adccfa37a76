"""`raysynth dossier`: what every recipient can find out, for a data-protection officer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from raysynth.cli.application import Csv, Entity, OdometerFolder, Seed, command
from raysynth.cli.steps import Outcome, check_output, read_as


@command(
    kept=lambda out, **_: f"No dossier was written to '{out}'.",
    epilog="""
[bold]Examples[/bold]

raysynth dossier model.raysynth train.csv synthetic.csv --holdout holdout.csv --out dossier.html

[dim]# the edition that may leave the house: no record, rounded figures[/dim]

raysynth dossier model.raysynth train.csv synthetic.csv --holdout holdout.csv --out dossier.html --edition releasable
""",
)
def dossier(
    model: Annotated[Path, typer.Argument(help="Model file that made the table.")],
    real: Annotated[str, typer.Argument(help="The real table: what the model learned from.")],
    synthetic: Annotated[str, typer.Argument(help="The synthetic table that is to be published.")],
    holdout: Annotated[str, typer.Option(help="Real rows that the model has not seen: every baseline is theirs.")],
    out: Annotated[Path, typer.Option(help="HTML file to write: two pages when printed, and an annex.")],
    edition: Annotated[
        Literal["private", "releasable"],
        typer.Option(help="private: records by row number, exact figures; releasable: no record, rounded figures."),
    ] = "private",
    targets: Annotated[int, typer.Option(help="Targets of each attack.", min=2)] = 1_000,
    entity: Entity = None,
    odometer: OdometerFolder = None,
    csv: Csv = None,
    seed: Seed = None,
) -> Outcome:
    """What every recipient of the table, the model or its file can find out, with room for a signature."""
    from dataclasses import replace

    from raysynth.evaluation.dossier import privacy_dossier
    from raysynth.evaluation.page import table_name
    from raysynth.version import command_line

    check_output(out, model, real, synthetic, holdout, starts=b"<")
    found = privacy_dossier(
        model,
        read_as(real, csv),
        synthetic,
        read_as(holdout, csv),
        n_targets=targets,
        entity=entity,
        seed=seed,
        odometer=odometer,
    )
    found = replace(found, source=table_name(real), command=command_line())
    found.write(out, edition)
    record = {"command": "dossier", **found.to_dict(edition), "dossier": str(out)}
    return Outcome(record, f"{found.summary(edition)}\nDossier: {out} ({edition} edition)")
