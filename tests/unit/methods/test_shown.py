"""What a notebook shows: synthesizers, schemas, ledgers and attacks as tables, losses as a figure, all text escaped."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from raysynth import GaussianCopula, NotFittedError, ParameterError, TabularVAE, infer_schema, load_synthetic_model
from raysynth.dp.accounting.accountant import Spent
from raysynth.dp.accounting.calibration import PrivacyBudget
from raysynth.dp.accounting.ledger import Event, Ledger, Mechanism, not_covered
from raysynth.dp.accounting.privacy_spent import PrivacySpent
from raysynth.methods.shown import _grouped, _losses
from raysynth.privacy import AuditedAttack, EpsilonAudit, run_privacy_attacks


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({"<b>": rng.normal(size=240), "sex": rng.choice(["f", "m"], 240)})


@pytest.fixture(scope="module")
def network(rows: pd.DataFrame) -> TabularVAE:
    return TabularVAE(epochs=3, seed=0, verbose=False).fit(rows)


def test_losses_are_drawn_with_their_numbers_and_can_be_saved(network: TabularVAE, tmp_path: Path) -> None:
    drawing = network.plot_losses()
    names = [k for k in network.history_[0] if k not in ("epoch", "seconds")]
    assert names and all(name in drawing.html for name in names) and "private" in drawing.html
    assert drawing.html.count("<polyline") == len(names)
    corners = re.findall(r'points="([^"]+)"', drawing.html)
    assert all(len(c.split()) == len(network.history_) for c in corners)
    drawing.save(tmp_path / "losses.html")
    assert drawing.html in (tmp_path / "losses.html").read_text(encoding="utf-8")


def test_losses_that_overlap_share_an_axis_and_no_line_leaves_it() -> None:
    assert _grouped({"loss": [5, 3], "validation": [4, 2], "penalty": [0.1, 0.2]}) == [
        ["loss", "validation"],
        ["penalty"],
    ]
    html = _losses("X", [{"epoch": i, "loss": v} for i, v in enumerate([1e9, float("nan"), -1e9])])
    points = [[float(x) for x in p.split(",")] for p in re.findall(r'points="([^"]+)"', html)[0].split()]
    assert len(points) == 2 and all(0 <= x <= 420 and 0 <= y <= 130 for x, y in points)


def test_what_has_no_losses_says_so(rows: pd.DataFrame) -> None:
    with pytest.raises(NotFittedError, match="call fit"):
        TabularVAE().plot_losses()
    with pytest.raises(ParameterError, match="trains no network"):
        GaussianCopula(verbose=False).fit(rows).plot_losses()


def test_a_file_of_a_private_fit_has_no_losses_to_plot(network: TabularVAE) -> None:
    loaded = TabularVAE()
    loaded.stages_, loaded.history_ = (), []
    with pytest.raises(ParameterError, match="leaves them out"):
        loaded.plot_losses()


def test_a_synthesizer_shows_what_was_given_and_what_it_guarantees(network: TabularVAE, tmp_path: Path) -> None:
    assert "not fitted" in TabularVAE(epochs=7)._repr_html_() and "epochs" in TabularVAE(epochs=7)._repr_html_()
    shown = network._repr_html_()
    assert "240" in shown and "none (fitted without a privacy budget)" in shown
    assert "&lt;b&gt;" in shown and "<b>," not in shown
    network.save(tmp_path / "m.raysynth")
    assert "fitted" in load_synthetic_model(tmp_path / "m.raysynth")._repr_html_()


def test_a_schema_and_a_ledger_show_each_line(rows: pd.DataFrame) -> None:
    schema = infer_schema(rows)
    assert all(c.reason in schema._repr_html_() or "&" in c.reason for c in schema.columns)
    events = (Event(Mechanism.GAUSSIAN, "<counts>", noise_multiplier=2.5), not_covered("a choice by eye"))
    shown = PrivacySpent(Ledger(events), Spent(1.0, 1e-5, False, ("a choice by eye",)), PrivacyBudget(1.0, 1e-5))
    assert shown._repr_html_().count("<tr>") == 3 and "&lt;counts&gt;" in shown._repr_html_()
    assert "2.5" in shown._repr_html_() and "Not covered: a choice by eye" in shown._repr_html_()


def test_attacks_and_audits_show_their_verdicts(rows: pd.DataFrame) -> None:
    found = run_privacy_attacks(rows[:80], rows[80:160], holdout_data=rows[160:], seed=0)
    shown = found._repr_html_()
    assert shown.count("<tr>") == 1 + len(found.details) and all(n in shown or "'" in n for n in found.notes)
    one = AuditedAttack("file", 0.4, 3.0, 0.95, {"trials": 100}, "<counts>")
    audit = EpsilonAudit(1.0, 1e-5, 0.95, (one,), "row")
    assert "not refuted" in audit._repr_html_() and "&lt;counts&gt;" in audit._repr_html_()
