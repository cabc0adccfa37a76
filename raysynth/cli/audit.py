"""`raysynth audit`: a lower bound of epsilon by many small fits."""

from __future__ import annotations

from typing import Annotated

import typer

from raysynth.cli.application import Csv, Json, Method, Settings, app, run
from raysynth.cli.steps import Outcome, new_model, read_as


@app.command(
    epilog="""
[bold]Examples[/bold]

[dim]# does the fit keep its word? 200 fits with and without one extreme row[/dim]

raysynth audit sample.csv --method bayesian_network --epsilon 1

raysynth audit sample.csv --method dp_tvae --epsilon 3 --set epochs=2 --fits 64
"""
)
def audit(
    data: Annotated[str, typer.Argument(help="A small table (a hundred rows are enough): every fit reads it.")],
    epsilon: Annotated[float, typer.Option(help="The claim that is put to the test.")],
    method: Method = "bayesian_network",
    delta: Annotated[float | None, typer.Option(help="Its delta; default 1e-5.")] = None,
    fits: Annotated[int, typer.Option(help="Fits, half of them with one row more.", min=32)] = 200,
    confidence: Annotated[float, typer.Option(help="Of the lower bound.", min=0.5, max=0.9999)] = 0.95,
    settings: Settings = None,
    csv: Csv = None,
    seed: Annotated[int, typer.Option(help="Of initial weights; counts as published.", min=0)] = 0,
    as_json: Json = False,
) -> None:
    """Attack a method's privacy claim: a lower bound of epsilon above the claim refutes it."""

    def work() -> Outcome:
        from raysynth.attacks.audit.run import audit_epsilon
        from raysynth.data.table import as_table

        model = new_model(method, epsilon=epsilon, delta=delta, settings=settings, seed=seed)
        rows = as_table(read_as(data, csv)).to_arrow().to_pandas()
        found = audit_epsilon(model, rows, n_refits=fits, confidence=confidence, attacks=["file"])
        return Outcome({"command": "audit", "method": method, **found.to_dict()}, str(found))

    run(work, as_json, kept="Nothing was written.")
