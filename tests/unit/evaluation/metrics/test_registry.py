"""Figures of rows: what each found can be said in words and JSON, and only what is asked for is computed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from raysynth.evaluation.metrics.metric import Compared
from raysynth.evaluation.metrics.registry import METRICS, measure, metrics
from raysynth.evaluation.plain import plain


@pytest.fixture(scope="module")
def compared() -> Compared:
    import pyarrow as pa

    from raysynth.comparison.pairing import pair_tables
    from raysynth.evaluation.evaluate import read_rows

    rng = np.random.default_rng(0)
    real, made = (pa.table({"x": rng.normal(size=90), "c": rng.choice(["a", "b"], 90)}) for _ in range(2))
    rows = read_rows(pair_tables(real, made), 0)
    return Compared(rows["real"], rows["synthetic"], None)


def test_all_that_was_asked_for_is_measured_and_can_be_said(compared: Compared) -> None:
    asked = {metric.asked_by for metric in metrics().values()}
    measured = measure(compared, asked)
    assert list(measured) == list(METRICS)
    for name, found in measured.items():
        metric = metrics()[name]
        if metric.plain is not None:
            json.dumps(plain(metric.plain(found)), allow_nan=False)
        assert all(line.label and line.value for line in metric.lines(found))
    assert measure(compared, ()) == {}
    assert list(measure(compared, ("realism",))) == ["realism", "manifold"]
