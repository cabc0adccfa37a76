"""The page of the report that shows what privacy a model spent: the total, every release, and the ledger as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from raysynth.evaluation.section import Section, section_body

if TYPE_CHECKING:
    from raysynth.dp.accounting.ledger import Event
    from raysynth.dp.accounting.privacy_spent import PrivacySpent

_ANCHOR, _TITLE = "ledger", "Privacy ledger"
_NOUNS = {
    "gaussian": "Gaussian noise",
    "discrete_gaussian": "discrete Gaussian noise",
    "laplace": "discrete Laplace noise",
    "exponential": "exponential mechanism",
    "approximate": "stability",
    "selection": "private selection",
    "not_covered": "not covered",
}


def ledger_section(spent: PrivacySpent | None) -> Section:
    """A section of the report from `model.privacy_spent_`: releasable, no figure of rows is in it.

    None: the model was fitted without a budget, and the section says what that means.
    """
    if spent is None:
        return Section(_ANCHOR, _TITLE, section_body("raysynth.evaluation", "no_ledger.html.j2"), releasable=True)
    rows = [_row(event) for event in spent.ledger]
    body = section_body(
        "raysynth.evaluation",
        "ledger.html.j2",
        spent=spent,
        rows=rows,
        json=spent.ledger.to_json(),
        unit=units_in_words(spent),
    )
    return Section(_ANCHOR, _TITLE, body, releasable=True)


def _row(event: Event) -> dict[str, Any]:
    parameters = []
    if event.noise_multiplier is not None:
        parameters.append(f"noise multiplier {event.noise_multiplier:.4g}")
    if event.sampling_rate < 1:
        parameters.append(f"sampling rate {event.sampling_rate:.3g}")
    if event.epsilon is not None and event.epsilon > 0:
        parameters.append(f"epsilon {event.epsilon:.4g}")
    if event.delta > 0:
        parameters.append(f"delta {event.delta:.2g}")
    if event.mean_runs is not None:
        parameters.append(f"best of a {event.law} number of runs with mean {event.mean_runs:g}")
    if event.checked:
        parameters.append(f"second accountant: {event.checked}")
    return {
        "Released": event.released,
        "Mechanism": _NOUNS[str(event.mechanism)],
        "Parameters of one step": ", ".join(parameters) or "–",
        "Sensitivity": f"{event.sensitivity:.4g}",
        "Steps": f"{event.steps:,}",
    }


def units_in_words(spent: PrivacySpent) -> str:
    """What one unit of the guarantee is."""
    units = sorted({event.unit for event in spent.ledger})
    return units[0] if units else "row"
