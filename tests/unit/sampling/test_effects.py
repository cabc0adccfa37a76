"""What rules met by rejection do to shares and means is said when a sample is drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import raysynth as rs
from raysynth.constraints import Expression


def sampled(rule: str, capsys: pytest.CaptureFixture[str], *, verbose: bool = True) -> tuple[pd.DataFrame, str]:
    """Rows made under a rule that the real ones keep, and what was printed meanwhile."""
    rng = np.random.default_rng(3)
    data = pd.DataFrame({"a": rng.normal(0, 1, 800).round(2), "b": rng.normal(0, 1, 800).round(2)})
    data = data[data.a + data.b > 0].reset_index(drop=True)
    schema = replace(rs.infer_schema(data), constraints=(Expression(rule),))
    model = rs.GaussianCopula(seed=1, schema=schema, verbose=verbose).fit(data)
    capsys.readouterr()
    made = model.sample(300, seed=1)
    return made, capsys.readouterr().out


def test_a_rejecting_rule_is_told_with_what_it_moves(capsys: pytest.CaptureFixture[str]) -> None:
    made, printed = sampled("a + b > 0", capsys)
    assert (made.a + made.b > 0).all()
    assert "rule Expression(text='a + b > 0'): " in printed and "of made rows are rejected (" in printed
    silent, nothing = sampled("a + b > 0", capsys, verbose=False)
    assert nothing == "" and silent.equals(made)  # the pilot draws from a stream of its own


def test_a_rule_that_rejects_nothing_is_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert "rejected" not in sampled("a > -100", capsys)[1]
