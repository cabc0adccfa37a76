"""The ledger's page of the report: the total, every release, and the JSON that an auditor needs."""

from __future__ import annotations

import html
import re
from types import SimpleNamespace
from typing import Any

from raysynth.api import new_synthesizer
from raysynth.dp import Ledger, PrivacyBudget, PrivacySpent
from raysynth.dp.accounting import ledger
from raysynth.evaluation.provenance import ledger_section, provenance

BOOK = Ledger(
    (
        ledger.laplace("number of rows", 0.02, composition="basic"),
        ledger.gaussian("counts of '<b>job</b>'", 12.5),
        ledger.subsampled_gaussian("gradients", 1.1, sampling_rate=0.01, steps=1000),
    )
)


def test_total_and_every_release_are_shown_and_escaped() -> None:
    spent = PrivacySpent.of(BOOK, PrivacyBudget(3.0, 1e-5))
    section = ledger_section(spent)
    assert section.releasable
    assert f"({spent.epsilon:.4g}, 1e-05) differential privacy" in section.body
    assert "sampling rate 0.01" in section.body and "1,000" in section.body
    assert "<b>job</b>" not in section.body and "&lt;b&gt;job&lt;/b&gt;" in section.body
    assert section.body.count('<th scope="col">') == 5


def test_the_json_on_the_page_is_the_ledger() -> None:
    section = ledger_section(PrivacySpent.of(BOOK, PrivacyBudget(3.0, 1e-5)))
    found = re.search(r"<pre[^>]*>(.*?)</pre>", section.body, re.DOTALL)
    assert found is not None
    assert Ledger.from_json(html.unescape(found[1])).events == BOOK.events


def test_without_a_guarantee_the_page_says_so() -> None:
    spent = PrivacySpent.of(BOOK, PrivacyBudget(3.0, 1e-5)).with_note("selection: not covered by epsilon")
    body = ledger_section(spent).body
    assert "No guarantee" in body and "selection: not covered by epsilon" in body
    assert "differential privacy</strong>" not in body


def test_no_path_of_the_machine_is_told() -> None:
    parameters = new_synthesizer(
        "ctgan", epochs=3, keep_shards="/home/anna/shards", odometer="/home/anna/o"
    ).get_params()
    known: dict[str, Any] = {"method": "ctgan", "n_rows_": 9, "versions_": {"raysynth": "1"}, "privacy_spent_": None}
    model: Any = SimpleNamespace(get_params=lambda: parameters, **known)
    told = provenance(model)
    assert told["parameters"]["epochs"] == 3 and "anna" not in str(told)
