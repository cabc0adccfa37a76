"""Precision, recall, density and coverage: by their definitions, and what known tables must score."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from raysynth.comparison.pairing import pair_tables
from raysynth.evaluation.evaluate import read_rows
from raysynth.evaluation.metrics.manifold import Manifold, compare_manifolds, reach


def by_definition(real: np.ndarray, other: np.ndarray, k: int) -> dict[str, float]:
    """The four figures from all distances at once (Naeem et al. 2020, equations 1, 3 and 5)."""
    to_real = np.sqrt(((real[:, None] - real[None]) ** 2).sum(-1))
    to_other = np.sqrt(((other[:, None] - other[None]) ** 2).sum(-1))
    across = np.sqrt(((real[:, None] - other[None]) ** 2).sum(-1))
    real_radius, other_radius = np.sort(to_real)[:, k], np.sort(to_other)[:, k]
    return {
        "precision": (across <= real_radius[:, None]).any(0).mean(),
        "recall": (across <= other_radius[None]).any(1).mean(),
        "density": (across <= real_radius[:, None]).sum(0).mean() / k,
        "coverage": (across.min(1) <= real_radius).mean(),
    }


def test_figures_are_those_of_the_definitions() -> None:
    rng = np.random.default_rng(0)
    real, other = rng.normal(size=(1203, 4)), rng.normal(0.7, 1.3, size=(1100, 4))
    found, expected = reach(real, other, k=5), by_definition(real, other, 5)
    assert {name: getattr(found, name).value for name in expected} == pytest.approx(expected)
    assert found.coverage.low < found.coverage.value < found.coverage.high


def test_crowds_of_equal_rows_are_inside_their_own_ball() -> None:
    crowd = np.repeat(np.arange(4.0)[:, None], 50, axis=0)
    found = reach(crowd, crowd[::-1])
    assert found.precision.value == found.recall.value == found.coverage.value == 1


def figures(real: pd.DataFrame, synthetic: pd.DataFrame, holdout: pd.DataFrame | None) -> Manifold:
    rows = read_rows(pair_tables(real, synthetic, holdout), seed=0)
    found = compare_manifolds(rows["real"], rows["synthetic"], rows.get("holdout"))
    assert found is not None
    return found


def test_fresh_rows_score_as_the_holdout_does_and_lost_modes_lower_recall(health: pd.DataFrame) -> None:
    real, other, holdout = health[:2000], health[2000:4000], health[4000:]
    fresh = figures(real, other, holdout)
    for name in ("precision", "recall", "coverage"):
        assert getattr(fresh.synthetic, name).value == pytest.approx(getattr(fresh.fresh, name).value, abs=0.05)
    collapsed = figures(real, other[other["health"] == "excellent"], None).synthetic
    assert collapsed.precision.value > 0.8  # every row is a real kind of row ...
    assert collapsed.recall.value < 0.8 and collapsed.coverage.value < 0.8  # ... but some kinds are never made


def test_noise_is_outside_every_ball(health: pd.DataFrame) -> None:
    noise = health[:2000].assign(mdvis=10_000.0, lpi=-10_000.0)
    found = figures(health[2000:4000], noise, None).synthetic
    assert found.precision.value == found.recall.value == found.density.value == found.coverage.value == 0


def test_too_few_rows_give_no_figure(health: pd.DataFrame) -> None:
    rows = read_rows(pair_tables(health[:30], health[30:60]), seed=0)
    assert compare_manifolds(rows["real"], rows["synthetic"], None) is None
