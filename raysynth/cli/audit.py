"""`raysynth audit`: a lower bound of epsilon by many small fits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from raysynth.cli.application import Csv, Method, Settings, command
from raysynth.cli.steps import Outcome, check_output, new_model, read_as

if TYPE_CHECKING:
    from raysynth.attacks.audit.results import EpsilonAudit
    from raysynth.methods.base import Synthesizer


@command(
    kept="Nothing was written.",
    epilog="""
[bold]Examples[/bold]

[dim]# does the fit keep its word? 200 fits with and without one extreme row[/dim]

raysynth audit sample.csv --method bayesian_network --epsilon 1

raysynth audit sample.csv --method dp_tvae --epsilon 3 --set epochs=2 --fits 64
""",
)
def audit(
    data: Annotated[str, typer.Argument(help="A small table (a hundred rows are enough): every fit reads it.")],
    epsilon: Annotated[float, typer.Option(help="The claim that is put to the test.")],
    method: Method = "bayesian_network",
    delta: Annotated[float | None, typer.Option(help="Its delta; default 1e-5.")] = None,
    fits: Annotated[int, typer.Option(help="Fits, half of them with one row more.", min=32)] = 200,
    confidence: Annotated[float, typer.Option(help="Of the lower bound.", min=0.5, max=0.9999)] = 0.95,
    out: Annotated[Path | None, typer.Option(help="HTML page to write.")] = None,
    settings: Settings = None,
    csv: Csv = None,
    seed: Annotated[int, typer.Option(help="Of initial weights; counts as published.", min=0)] = 0,
) -> Outcome:
    """Attack a method's privacy claim: a lower bound of epsilon above the claim refutes it."""
    from raysynth.attacks.audit.run import audit_epsilon
    from raysynth.data.table import as_table

    if out is not None:
        check_output(out, data, starts=b"<")
    model = new_model(method, epsilon=epsilon, delta=delta, settings=settings, seed=seed)
    rows = as_table(read_as(data, csv)).to_arrow().to_pandas()
    found = audit_epsilon(model, rows, n_refits=fits, confidence=confidence, attacks=["file"])
    outcome = Outcome({"command": "audit", "method": method, **found.to_dict()}, str(found))
    if out is None:
        return outcome
    write_audit(out, found, data, model, len(rows))
    return outcome.with_file(out)


def write_audit(path: Path, found: EpsilonAudit, data: str, model: Synthesizer, n_rows: int) -> None:
    """Write what an audit found as one HTML page; raises `StorageError`."""
    from raysynth.evaluation.decision import Purpose
    from raysynth.evaluation.page import page_heading, table_name, write_page
    from raysynth.evaluation.section import Section, section_body

    claim = f"epsilon {found.epsilon:g}, delta {found.delta:.2g}"
    head = page_heading(
        "Audit of a privacy claim",
        table=table_name(data),
        method=model.method,
        guarantee=f"{claim} is claimed",
        rows=f"{n_rows:,} in each fit",
        more=[("Confidence", f"{found.confidence:g}")],
    )
    refuted = found.refuted
    verdict = Purpose(
        "Does the claim hold?",
        "refuted" if refuted else "not refuted",
        "bad" if refuted else "none",
        f"Attacks show that epsilon is at least {found.lower_bound:.3g}, the claim is {found.epsilon:g}.",
        "Do not release anything of this method: report it (SECURITY.md)."
        if refuted
        else "No proof: more fits (--fits) make a sharper test; below, what a perfect attack could show.",
    )
    body = section_body("raysynth.evaluation", "audit.html.j2", audit=found)
    write_page(path, head, [Section("attacks", "What the attacks show", body)], [verdict])
