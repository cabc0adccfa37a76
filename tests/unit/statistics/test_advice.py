"""What is advised of a column that a fit would learn badly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from outcome import value_of

from raysynth.data.table import as_table
from raysynth.statistics.findings import Findings, _shown, find
from raysynth.statistics.text_dates import read_dates


def found_in(**columns: Any) -> Findings:
    return value_of(lambda: find(as_table(pd.DataFrame(columns))))


def advice_of(values: Any, name: str = "x") -> list[str]:
    findings = found_in(**{name: values, "other": np.arange(len(values)) % 3})
    return list(findings.columns[0].advice)


@pytest.mark.parametrize(("n_rare", "is_told"), [(49, False), (51, True)])
def test_rare_values_are_told_from_a_twentieth_of_the_rows_on(n_rare: int, is_told: bool) -> None:
    values = [f"t{i}" for i in range(n_rare)] + ["a", "b"] * ((1000 - n_rare) // 2) + ["a"] * (n_rare % 2)
    findings = found_in(x=values, y=["k"] * len(values))
    assert findings.columns[0].rare == pytest.approx(n_rare / 1000)
    assert any("% will be '(rare)'" in a for a in findings.columns[0].advice) == is_told


@pytest.mark.parametrize(
    ("n_words", "said"), [(30, "90% of the rows are numbers"), (1, "all but 1 row are numbers"), (160, None)]
)
def test_words_among_numbers_are_named(n_words: int, said: str | None) -> None:
    values = [str(v // 2) for v in range(300 - n_words)] + ["none"] * n_words
    told = [a for a in advice_of(values) if "are numbers" in a]
    assert bool(told) == (said is not None)
    if said is not None:
        assert told[0].startswith(said)
        assert ("('none')" in told[0] and "'missing=none'" in told[0]) == (n_words >= 5)


def test_values_far_from_all_others_are_taken_for_signs() -> None:
    rng = np.random.default_rng(0)
    usual = rng.integers(20, 60, 990)
    assert [a.split(" ")[0] for a in advice_of(np.append(usual, [-999] * 10))] == ["-999"]
    assert [a.split(" ")[0] for a in advice_of(np.concatenate([usual, [-999] * 10, [9999] * 10]))] == ["-999", "9999"]
    assert not advice_of(np.append(usual, [75] * 10)), "nearer than the others are apart"
    assert not advice_of(np.append(usual, [999] * 2)), "too few"


def test_repeated_rows_and_the_target_are_told() -> None:
    frame = {"x": np.arange(300.0) % 290, "label": ["a", "b"] * 150, "z": ["k", "l", "m"] * 100, "d": [1.5, None] * 150}
    findings = found_in(**frame)
    pairs = len(pd.DataFrame(frame)) - len(pd.DataFrame(frame).drop_duplicates())
    assert findings.duplicates == pairs and findings.target == "label"
    assert findings.columns[3].missing == 0.5 and findings.columns[0].missing == 0
    assert found_in(x=np.arange(90.0), w=["a", "b", "c"] * 30, z=[f"k{i % 4}" for i in range(90)]).target == "z"
    assert _shown(np.int64(3), pa.int32()) == "3" and _shown(np.float64(2.5), pa.float64()) == "2.5"
    assert _shown(np.int64(18_262), pa.date32()) == "2020-01-01"


@pytest.mark.parametrize(("n_words", "is_read"), [(24, True), (26, False)])
def test_texts_are_dates_only_where_half_of_them_have_digits(n_words: int, is_read: bool) -> None:
    """Of fifty texts, most rows being dates; unless one says that they are."""
    dates = [f"{2000 + i}-03-{1 + i % 28:02d}" for i in range(50 - n_words)]
    words = ["w" + "ab"[i % 2] * (i + 1) for i in range(n_words)]
    counts = np.array([1000] * len(dates) + [1] * n_words)
    order = np.argsort([*range(0, 2 * len(dates), 2), *range(1, 2 * n_words, 2)], kind="stable")
    values = [([*dates, *words])[i] for i in order]
    found = value_of(lambda: read_dates("day", values, counts[order]))
    assert (found is not None) == is_read
    assert read_dates("day", values, counts[order], asked=True) is not None
