"""How a synthetic table was made, and what privacy its model spent (the ledger's page): for the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from raysynth.comparison.pairing import check_of_one_table
from raysynth.errors import ParameterError
from raysynth.evaluation.section import Section, section_body
from raysynth.files.model_file import software_versions

if TYPE_CHECKING:
    from raysynth.dp.accounting.ledger import Event
    from raysynth.dp.accounting.privacy_spent import PrivacySpent
    from raysynth.methods.base import Synthesizer


# Objects, and paths that are nobody's business.
_LEFT_OUT = ("schema", "verbose", "scaling_config", "run_config", "keep_shards", "odometer")
_KINDS = ("categorical_columns", "continuous_columns")


def origin(made_by: Mapping[str, Any] | Synthesizer | None) -> tuple[Mapping[str, Any] | None, tuple[Section, ...]]:
    """How a table was made, for its report: (what is shown of it, sections that a model's ledger adds).

    Of a fitted synthesizer `provenance` and its ledger, a mapping as it is. Raises `ParameterError` for others.
    """
    if made_by is None or isinstance(made_by, Mapping):
        return made_by, ()
    if not hasattr(made_by, "privacy_spent_"):
        raise ParameterError(f"model_info must be a fitted synthesizer or a mapping; found {made_by!r}")
    check_of_one_table(made_by)
    return provenance(made_by), (ledger_section(made_by.privacy_spent_),)


def provenance(model: Synthesizer) -> dict[str, Any]:
    """Method, parameters that are not None, rows learned from, versions, and what the ledger adds up to.

    'rows' and 'network' are figures of the real rows: the shareable report leaves them out.
    """
    chosen = {k: v for k, v in model.get_params().items() if v is not None and k not in _LEFT_OUT}
    spent = model.privacy_spent_
    privacy = "none" if spent is None else f"epsilon {spent.epsilon:.4g}, delta {spent.delta:.2g}"
    if spent is not None and not spent.guarantee:
        privacy = "no guarantee: see the ledger"
    learned = {"network": edges} if (edges := getattr(model, "edges_", None)) else {}
    return {
        "method": model.method,
        "rows": model.n_rows_,
        "parameters": {k: list(v) if k in _KINDS else v for k, v in chosen.items()},
        "differential privacy": privacy,
        "versions": model.versions_ or software_versions(),
        **learned,
    }


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
