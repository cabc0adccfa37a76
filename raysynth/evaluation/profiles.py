"""Reports for three readers: all of it (analyst), two pages to decide by (committee), and JSON to check (auditor)."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from raysynth.arguments import check_one_of
from raysynth.errors import ParameterError
from raysynth.evaluation import wording
from raysynth.evaluation.charts import column_chart
from raysynth.evaluation.decision import cards, purposes
from raysynth.evaluation.page import heading
from raysynth.evaluation.plain import plain, results_to_dict
from raysynth.evaluation.section import section_body
from raysynth.files.model_file import software_versions
from raysynth.files.storage import write_atomically

if TYPE_CHECKING:
    from raysynth.dp.accounting.privacy_spent import PrivacySpent
    from raysynth.evaluation.figures import EvaluationFigures

ANALYST, COMMITTEE, AUDITOR = "analyst", "committee", "auditor"
PROFILES = (ANALYST, COMMITTEE, AUDITOR)
_WORST = 3  # columns and pairs on the committee's pages
_RECOMPUTE_SECONDS = 20.0


def write_profile(results: EvaluationFigures, path: str | os.PathLike[str], profile: str) -> None:
    """Write the committee's two pages (HTML) or the auditor's record (JSON).

    Args:
        results: of the evaluation.
        path: of the file; `.json` for an auditor and for nobody else.
        profile: 'committee' or 'auditor'.

    Raises:
        ParameterError: no such profile, or a file name of the other kind.
        StorageError: the path cannot be written.
    """
    check_profile(profile, path)
    text = _MAKERS[profile](results)
    write_atomically(path, text.encode(), private=True)


def check_profile(profile: str, path: str | os.PathLike[str]) -> None:
    """Raise `ParameterError` where there is no such profile, or where the file's name says another kind of file."""
    check_one_of("profile", profile, PROFILES)
    is_json = Path(os.fspath(path)).suffix.lower() == ".json"
    if profile == AUDITOR and not is_json:
        raise ParameterError(f"an auditor's record is JSON: name the file .json; found '{os.fspath(path)}'")
    if profile == COMMITTEE and is_json:
        raise ParameterError(f"a committee's report is a page: name the file .html; found '{os.fspath(path)}'")


def committee_page(results: EvaluationFigures) -> str:
    """Two printed pages: verdicts and the four figures; then the worst columns and pairs, and what bounds the risk."""
    s = results.similarity
    columns = [] if s is None else sorted((c for c in s.columns if c.score == c.score), key=lambda c: c.score)[:_WORST]
    return section_body(
        "raysynth.evaluation",
        "committee.html.j2",
        heading=heading(results, shareable=False),
        purposes=purposes(results),
        cards=cards(results),
        columns=[(c, column_chart(c.kind, c.real, c.synthetic), wording.level(c.score)) for c in columns],
        pairs=() if s is None else s.least_accurate[:_WORST],
        checks=() if results.privacy is None else results.privacy.checks,
        spent=results.spent,
        factor=0.0 if results.spent is None else math.exp(min(results.spent.epsilon, 700.0)),
    )


def auditor_record(results: EvaluationFigures) -> str:
    """Everything as JSON: versions, command, verdicts with reasons, figures, the ledger, and its total again."""
    head = heading(results, shareable=False)
    content: dict[str, Any] = {
        "profile": AUDITOR,
        "private": "computed from real rows: treat it like the real table",
        "header": {**dict(head.facts), "command": head.command},
        "software": software_versions(),
        "verdicts": [
            {"purpose": p.name, "answer": p.answer, "reason": p.reason, "next_step": p.next_step}
            for p in purposes(results)
        ],
        "figures": results_to_dict(results),
        "guarantee": None if results.spent is None else _recomputation(results.spent),
    }
    return json.dumps(plain(content), indent=2, ensure_ascii=False, allow_nan=False)


def _recomputation(spent: PrivacySpent) -> dict[str, Any]:
    """What the model file states, its events, and what these cost when composed anew."""
    from raysynth.dp.accounting.accountant import least_epsilon
    from raysynth.dp.accounting.privacy_spent import CLAIM_TOLERANCE

    covered = tuple(e for e in spent.ledger if e.is_covered)
    least = least_epsilon(covered, spent.delta, _RECOMPUTE_SECONDS)
    return {
        "stated": spent.to_dict(),
        "recomputed": {
            "events": len(spent.ledger),
            "epsilon_at_least": least,
            "delta": spent.delta,
            "consistent": spent.epsilon >= least * (1 - CLAIM_TOLERANCE),
            "by": "composition of the events listed under 'stated'; a lower bound where the full one took too long",
        },
        "second_accountant": {e.released: e.checked for e in spent.ledger if e.checked},
    }


_MAKERS: dict[str, Callable[[EvaluationFigures], str]] = {COMMITTEE: committee_page, AUDITOR: auditor_record}
