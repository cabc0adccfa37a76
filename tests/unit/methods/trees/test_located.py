"""Columns that follow others closely: ties and sums come back, draws are as stated, no residual is of few rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from raysynth import SequentialTrees, load_synthetic_model
from raysynth.errors import ModelFileError
from raysynth.files.model_file import read_model, write_model
from raysynth.methods.trees.forest import Forest

N, RARE = 3_000, 5


@pytest.fixture(scope="module")
def real() -> pd.DataFrame:
    """A bill of which seven of ten customers pay all, and a size that is the sum of two parts, one of them often 0."""
    rng = np.random.default_rng(0)
    bill = rng.lognormal(6, 1, N).round(2)
    paid = np.where(rng.random(N) < 0.7, bill, (bill * rng.random(N)).round(2))
    above = rng.integers(400, 4000, N)
    below = np.where(rng.random(N) < 0.6, 0, rng.integers(100, 900, N))
    free = rng.normal(size=N)
    return pd.DataFrame(
        {"bill": bill, "paid": paid, "above": above, "below": below, "size": above + below, "free": free}
    )


@pytest.fixture(scope="module")
def model(real: pd.DataFrame) -> SequentialTrees:
    return SequentialTrees(n_trees=2, seed=0, verbose=False).fit(real)


def forest_of(model: SequentialTrees, name: str) -> Forest:
    return model.model_.forests[model.encoder_.names.index(name)]


def test_ties_and_sums_come_back(real: pd.DataFrame, model: SequentialTrees) -> None:
    made = model.sample(N, seed=1)
    for name, sums in (("paid", "bill"), ("size", ["above", "below"])):
        expected = made[sums] if isinstance(sums, str) else made[sums].sum(axis=1)
        places = [np.searchsorted(np.sort(real[name]), x) / N for x in (made[name], expected)]
        assert (np.abs(places[0] - places[1]) < 0.01).mean() > (0.6 if name == "paid" else 0.9)
    assert ((made.below == 0).mean() - (real.below == 0).mean()) < 0.04
    assert forest_of(model, "free").location is None


@pytest.mark.statistical
def test_draws_have_the_stated_probabilities(real: pd.DataFrame, model: SequentialTrees) -> None:
    """Of five rows each: sums of one over all codes, and a chi-square of 20,000 draws; false alarm 1e-4 in all."""
    from scipy.stats import chisquare

    forest, column = forest_of(model, "paid"), model.encoder_.names.index("paid")
    codes_CN = np.ascontiguousarray(model.encoder_.encode(pa.table(real[:5])).codes_NC.T)
    size, n = model.encoder_.columns[column].cardinality, 20_000
    for row in range(5):
        every_CN = np.repeat(codes_CN[:, row : row + 1], size, axis=1)
        stated = forest.probability(every_CN, np.arange(size))
        assert stated.sum() == pytest.approx(1, abs=1e-6)
        drawn = forest.draw(np.repeat(codes_CN[:, row : row + 1], n, axis=1), n, np.random.default_rng(row))
        seen, usual = np.bincount(drawn, minlength=size), n * stated >= 5
        assert seen[stated == 0].sum() == 0
        observed = np.append(seen[usual], seen[~usual].sum())
        wanted = np.append(n * stated[usual], max(n * stated[~usual].sum(), 1e-9))
        assert chisquare(observed, wanted).pvalue > 2e-5


def test_a_file_gives_the_same_rows(model: SequentialTrees, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    pd.testing.assert_frame_equal(
        load_synthetic_model(tmp_path / "model").sample(300, seed=5), model.sample(300, seed=5)
    )


@pytest.mark.parametrize("name", ["cells", "spikes", "places", "tables"])
def test_a_hostile_file_is_refused(model: SequentialTrees, tmp_path: Path, name: str) -> None:
    model.save(tmp_path / "model")
    content = read_model(tmp_path / "model")
    key = f"model.{model.encoder_.names.index('size')}.location.{name}"
    array = content.arrays[key].copy()
    wrong = {"cells": -array, "spikes": np.array([60_000]), "places": array + 90, "tables": array[:-1]}[name]
    content.arrays[key] = np.ascontiguousarray(wrong)
    write_model(tmp_path / "bad", content)
    with pytest.raises(ModelFileError, match="trees are inconsistent"):
        load_synthetic_model(tmp_path / "bad")


def test_each_cell_of_residuals_holds_enough_rows(model: SequentialTrees) -> None:
    for name in ("paid", "size"):
        forest = forest_of(model, name)
        assert forest.location is not None
        for root in range(len(forest.roots)):
            start, stop = (np.append(forest.roots, len(forest.feature))[root + i] for i in (0, 1))
            leaf = np.arange(start, stop)[forest.feature[start:stop] < 0]
            assert (forest.stop[leaf] - forest.start[leaf]).min() >= 2 * RARE
            codes = forest.codes[forest.start[leaf].min() : forest.stop[leaf].max()]
            rows = np.bincount(codes, minlength=len(forest.location.low))[: len(forest.location.low)]
            assert rows[rows > 0].min() >= RARE
