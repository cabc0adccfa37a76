"""How a synthetic table was made, read off the model that made it: for the report's page of that name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from raysynth.errors import ParameterError
from raysynth.evaluation.ledger_section import ledger_section
from raysynth.evaluation.section import Section
from raysynth.files.model_file import software_versions

if TYPE_CHECKING:
    from raysynth.methods.base import Synthesizer

_LEFT_OUT = (
    "schema",
    "verbose",
    "scaling_config",
    "run_config",
    "odometer",
)  # objects, and paths that are nobody's business
_KINDS = ("categorical_columns", "continuous_columns")


def told_of(made_by: Mapping[str, Any] | Synthesizer | None) -> tuple[Mapping[str, Any] | None, tuple[Section, ...]]:
    """What the report tells of how the table was made, and the ledger's page where a model was given."""
    if made_by is None or isinstance(made_by, Mapping):
        return made_by, ()
    if not hasattr(made_by, "privacy_spent_"):
        raise ParameterError(f"model_info must be a fitted synthesizer or a mapping; found {made_by!r}")
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
