"""`raysynth ledger`: what a private fit released and cost, or all that was released of a table, by its odometer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from raysynth.cli.application import command
from raysynth.cli.steps import Outcome
from raysynth.errors import ParameterError

if TYPE_CHECKING:
    from raysynth.dp.accounting.ledger import Event
    from raysynth.dp.accounting.privacy_spent import PrivacySpent


@command(
    kept="Nothing was done.",
    epilog="""
[bold]Examples[/bold]

raysynth ledger patients.raysynth

[dim]# for an auditor, who recomputes epsilon from the events[/dim]

raysynth ledger patients.raysynth --json

[dim]# all that is ever released of one table: a limit first, then fits that count there[/dim]

raysynth ledger patients-odometer --limit-epsilon 10 --limit-delta 1e-4

raysynth fit patients.csv --schema schema.json --epsilon 1 --odometer patients-odometer --model patients.raysynth

raysynth ledger patients-odometer
""",
)
def ledger(
    model: Annotated[Path, typer.Argument(help="Model file that `raysynth fit` wrote, or the folder of an odometer.")],
    limit_epsilon: Annotated[
        float | None, typer.Option(help="Of a new odometer: what all releases may cost together.")
    ] = None,
    limit_delta: Annotated[float | None, typer.Option(help="Its delta.")] = None,
) -> Outcome:
    """List what a fit with a privacy budget released, or all that was released of a table, and the total.

    An odometer is the holder's own: it is never part of a model file.
    """
    from raysynth.dp.accounting.odometer import Odometer

    if limit_epsilon is not None or limit_delta is not None:
        if limit_epsilon is None or limit_delta is None:
            raise ParameterError("a limit needs both: --limit-epsilon and --limit-delta")
        Odometer(model).set_limit(limit_epsilon, limit_delta)
    if Odometer.exists(model):
        odometer = Odometer(model)
        return Outcome({"command": "ledger", "odometer": str(model), **odometer.to_dict()}, odometer.describe())
    from raysynth.methods.registry import load_synthetic_model

    return listed(load_synthetic_model(model).privacy_spent_, model)


def listed(spent: PrivacySpent | None, file: Path) -> Outcome:
    """The events with their total; of a model without a budget, that there is no guarantee."""
    record = {"command": "ledger", "model": str(file), "privacy": None if spent is None else spent.to_dict()}
    if spent is None:
        return Outcome(record, f"{file}: fitted without a privacy budget; nothing is guaranteed, no ledger was kept")
    lines = [f"{number:>3}  {_in_words(event)}" for number, event in enumerate(spent.ledger, 1)]
    return Outcome(record, "\n".join([*lines, f"Total: {spent}"]))


def _in_words(event: Event) -> str:
    """Mechanism, what left, and the figures from which its cost follows."""
    figures = {
        "sensitivity": event.sensitivity,
        "noise multiplier": event.noise_multiplier,
        "sampling rate": event.sampling_rate if event.sampling_rate < 1 else None,
        "steps": event.steps if event.steps > 1 else None,
        "epsilon": event.epsilon,
        "delta": event.delta,
    }
    told = ", ".join(f"{name} {value:.6g}" for name, value in figures.items() if value is not None)
    note = "" if event.is_covered else "; NOT covered by the guarantee"
    note += f"; {event.checked}" if event.checked else ""
    return f"{event.mechanism.value}: {event.released} ({told}; per {event.unit}){note}"
