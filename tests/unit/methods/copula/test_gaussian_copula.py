"""The copula's numerics: planted correlations, orders and margins are found; conditions equal rejection."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import ndtr, ndtri

from raysynth.methods.copula.gaussian_copula import (
    MAX_CORRELATION,
    Copula,
    Margin,
    category_order,
    hermite_coefficients,
    latent_correlation,
    latent_orders,
    nearest_correlation,
    normal_scores,
    sample_codes,
    sample_conditional,
    with_implied,
)

N = 200_000


def pair(rho: float, n: int = N, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x, e = rng.standard_normal((2, n))
    return x, rho * x + np.sqrt(1 - rho**2) * e


def table_of(a: np.ndarray, b: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return np.bincount(a * shape[1] + b, minlength=shape[0] * shape[1]).reshape(shape)


def cut(z: np.ndarray, k: int) -> np.ndarray:
    """Codes 0..k-1 at unequal quantiles."""
    shares = np.linspace(1, 2, k)
    return np.searchsorted(ndtri(np.cumsum(shares / shares.sum())[:-1]), z)


@pytest.mark.statistical
@pytest.mark.parametrize("shape", [(2, 2), (2, 9), (3, 5), (20, 20), (40, 40)])
@pytest.mark.parametrize("rho", [-0.9, -0.4, 0.0, 0.3, 0.8, 0.97])
def test_planted_correlation_is_recovered(shape: tuple[int, int], rho: float) -> None:
    """200,000 rows. The standard error of a tetrachoric correlation is below 2.6 / sqrt(n) = 0.006 at rho = 0 for
    these cuts, and smaller elsewhere; at 4 of them the false alarm is 6e-5 a case, 0.2 % in all. The seed is fixed."""
    x, y = pair(rho, seed=3)
    table = table_of(cut(x, shape[0]), cut(y, shape[1]), shape)
    assert latent_correlation(table) == pytest.approx(rho, abs=0.024 if shape == (2, 2) else 0.012)


@pytest.mark.parametrize("rho", [-0.8, -0.5, 0.0, 0.6, 0.97])
@pytest.mark.parametrize("cuts", [([0.0], [0.0]), ([0.5], [0.8]), ([-0.3, 0.4], [-1.0, 0.0, 1.0])])
def test_exact_probabilities_give_the_exact_correlation(rho: float, cuts: tuple[list[float], list[float]]) -> None:
    """From the bivariate normal itself, so without any sampling error."""
    corners = [[-9.0, *c, 9.0] for c in cuts]
    cdf, covariance = stats.multivariate_normal.cdf, [[1, rho], [rho, 1]]
    below = np.array(
        [[cdf([a, b], cov=covariance, abseps=1e-12, releps=1e-12) for b in corners[1]] for a in corners[0]]
    )
    table = np.maximum(np.diff(np.diff(below, axis=0), axis=1), 0)
    assert latent_correlation(table) == pytest.approx(rho, abs=2e-3)


def test_integral_and_series_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = pair(0.55)
    table = table_of(cut(x, 12), cut(y, 15), (12, 15))
    by_integral = latent_correlation(table)
    monkeypatch.setattr("raysynth.methods.copula.gaussian_copula.INTEGRAL_CELLS", 0)
    assert latent_correlation(table) == pytest.approx(by_integral, abs=1e-4)


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (np.array([[50, 0], [0, 50]]), MAX_CORRELATION),
        (np.array([[0, 50], [50, 0]]), -MAX_CORRELATION),
        (np.array([[10, 20], [0, 0]]), 0.0),
        (np.array([[10.0, 0.0], [20.0, 0.0]]), 0.0),
        (np.zeros((3, 4)), 0.0),
        (np.outer([1, 2, 3], [4, 5]), 0.0),
    ],
)
def test_tables_at_the_edge(table: np.ndarray, expected: float) -> None:
    assert latent_correlation(table) == pytest.approx(expected, abs=1e-3)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.01, 1), min_size=2, max_size=12))
def test_scores_are_means_of_a_normal_inside_the_cells(weights: list[float]) -> None:
    share = np.array(weights) / sum(weights)
    scores = normal_scores(share)
    assert share @ scores == pytest.approx(0, abs=1e-9)
    assert (np.diff(scores) > 0).all()
    assert 0 < share @ scores**2 < 1
    edges = ndtri(np.clip(np.concatenate([[0], np.cumsum(share)]), 1e-12, 1 - 1e-12))
    z = np.linspace(edges[1], edges[2], 20_001) if len(share) > 2 else None
    if z is not None:
        assert scores[1] == pytest.approx((z * stats.norm.pdf(z)).sum() / stats.norm.pdf(z).sum(), abs=1e-3)


def test_hermite_coefficients_are_projections() -> None:
    """Against numerical integration of the step function with the orthonormal polynomials."""
    share, scores = np.array([0.2, 0.5, 0.3]), np.array([-1.0, 0.2, 1.3])
    z = np.linspace(-9, 9, 400_001)
    steps = scores[np.searchsorted(ndtri(np.cumsum(share)[:-1]), z)]
    density = stats.norm.pdf(z) * (z[1] - z[0])
    previous, current = np.zeros_like(z), np.ones_like(z)
    for k, found in enumerate(hermite_coefficients(share, scores, 6), start=1):
        previous, current = current, (z * current - np.sqrt(k - 1) * previous) / np.sqrt(k)
        assert found == pytest.approx((steps * current * density).sum(), abs=1e-4)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 12), st.integers(0, 2**32))
def test_nearest_correlation_is_positive_definite_and_stays(size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = np.clip(rng.normal(0, 0.7, (size, size)), -0.99, 0.99)
    matrix = np.tril(matrix, -1) + np.tril(matrix, -1).T + np.eye(size)
    near = nearest_correlation(matrix)
    np.testing.assert_allclose(np.diag(near), 1)
    np.testing.assert_allclose(near, near.T)
    assert np.linalg.eigvalsh(near)[0] > 1e-5
    np.linalg.cholesky(near)
    np.testing.assert_allclose(nearest_correlation(near), near, atol=1e-3)


def test_a_correlation_matrix_is_left_as_it_is() -> None:
    matrix = np.array([[1, 0.5, 0.2], [0.5, 1, -0.3], [0.2, -0.3, 1]])
    np.testing.assert_allclose(nearest_correlation(matrix), matrix, atol=1e-12)


def test_unseen_correlation_is_the_implied_one() -> None:
    """A chain 0 - 1 - 2: the correlation of its ends is the product. The ridge of 0.01 shrinks it by 1 %."""
    matrix = np.array([[1, 0.9, 0.0], [0.9, 1, -0.6], [0.0, -0.6, 1]])
    found = with_implied(matrix, [(0, 2)])
    assert found[0, 2] == found[2, 0] == pytest.approx(-0.54, rel=0.02)
    np.testing.assert_array_equal(found[[0, 1], [1, 2]], [0.9, -0.6])
    assert np.linalg.eigvalsh(found)[0] > 0 > np.linalg.eigvalsh(matrix)[0]
    np.testing.assert_array_equal(with_implied(matrix[:2, :2], [(0, 1)]), matrix[:2, :2])


def test_nearest_is_nearer_than_clipped_eigenvalues() -> None:
    """Higham's example: the published nearest matrix to this one is 0.7607 and 0.1573 off the diagonal."""
    near = nearest_correlation(np.array([[1, 1, 0], [1, 1, 1], [0, 1, 1.0]]), floor=1e-8)
    np.testing.assert_allclose(near, [[1, 0.7607, 0.1573], [0.7607, 1, 0.7607], [0.1573, 0.7607, 1]], atol=1e-3)


@pytest.mark.parametrize("seed", range(4))
def test_planted_order_of_categories_is_recovered(seed: int) -> None:
    """Shuffled codes of a latent scale, beside a number: the order is the planted one or its reverse."""
    rng = np.random.default_rng(seed)
    x, y = pair(0.6, seed=seed)
    shuffled = rng.permutation(8)
    a, b = shuffled[cut(x, 8)], cut(y, 10)
    table = table_of(a, b, (8, 10))
    orders = latent_orders({(0, 1): table, (1, 0): table.T}, [False, True])
    places = np.argsort(orders[0])[shuffled]
    assert abs(stats.spearmanr(places, np.arange(8)).statistic) == 1
    assert orders[1].tolist() == list(range(10))
    first = np.argsort(category_order([table]))[shuffled]
    assert abs(stats.spearmanr(first, np.arange(8)).statistic) == 1


def test_codes_without_rows_do_not_disturb_the_order() -> None:
    table = np.zeros((5, 4))
    table[[1, 3, 4]] = [[9, 5, 1, 0], [0, 1, 5, 9], [3, 4, 4, 3]]
    order = latent_orders({(0, 1): table, (1, 0): table.T}, [False, True])[0]
    assert sorted(order) == list(range(5))
    among = [c for c in order if c in (1, 3, 4)]
    assert among in ([1, 4, 3], [3, 4, 1])


@pytest.fixture(scope="module")
def copula() -> Copula:
    """A number that may be missing (5 codes), four categories in an order of their own, a flag, a number."""
    shares = [
        np.array([0.1, 0.2, 0.4, 0.2, 0.1]),
        np.array([0.4, 0.3, 0.2, 0.1]),
        np.array([0.7, 0.3]),
        np.full(8, 1 / 8),
    ]
    orders = [np.arange(5), np.array([2, 0, 3, 1]), np.arange(2), np.arange(8)]
    correlation = np.eye(5)
    for i, j, rho in ((0, 1, 0.6), (0, 3, -0.5), (1, 2, 0.4), (1, 3, -0.3), (3, 4, 0.7), (2, 4, 0.2)):
        correlation[i, j] = correlation[j, i] = rho
    missing = ((5, 4, float(ndtri(0.75))), None, None, None)
    margins = tuple(Margin(o, s) for o, s in zip(orders, shares, strict=True))
    return Copula(margins, missing, nearest_correlation(correlation))


@pytest.mark.statistical
def test_margins_and_missingness_are_sampled(copula: Copula) -> None:
    """200,000 rows: each share within 5 standard deviations (false alarm 6e-7 each)."""
    codes = sample_codes(copula, N, np.random.default_rng(1))
    assert codes.dtype == np.uint16
    for i, margin in enumerate(copula.margins):
        present = codes[:, i] < len(margin.order)
        found = np.bincount(codes[present, i], minlength=len(margin.order))[margin.order] / present.sum()
        assert (np.abs(found - margin.share) < 5 * np.sqrt(margin.share / present.sum())).all()
    assert (codes[:, 0] == 5).mean() == pytest.approx(0.25, abs=0.005)
    by_code = [(codes[codes[:, 3] == c, 0] == 5).mean() for c in range(8)]
    assert (np.diff(by_code) > 0).all()  # what is missing depends on the fourth column, rho = 0.7
    x = ndtr(copula.missing[0][2])  # type: ignore[index]
    assert x == pytest.approx(0.75)


def test_sampled_pair_tables_have_the_planted_correlations(copula: Copula) -> None:
    codes = sample_codes(copula, N, np.random.default_rng(2))
    places = [np.append(np.argsort(m.order), -1)[codes[:, i]] for i, m in enumerate(copula.margins)]
    for i, j in ((0, 1), (0, 3), (1, 2), (1, 3)):
        both = (places[i] >= 0) & (places[j] >= 0)
        if i == 0:  # a number is seen only where it is there, which the fourth column decides with it
            continue
        shape = (len(copula.margins[i].order), len(copula.margins[j].order))
        found = latent_correlation(table_of(places[i][both], places[j][both], shape))
        assert found == pytest.approx(copula.correlation[i, j], abs=0.02)


EVIDENCE = {
    "one code": {1: [0, 1, 0, 0]},
    "some codes": {1: [1, 0, 1, 0], 2: [0, 1]},
    "part of a code": {3: [0, 0, 0.3, 1, 1, 0.6, 0, 0]},
    "missing": {0: [0, 0, 0, 0, 0, 1]},
    "not missing": {0: [1, 1, 1, 0.5, 0, 0], 3: [0, 1, 1, 1, 1, 0.2, 0, 0]},
    "all columns": {0: [0, 0, 1, 1, 1, 0], 1: [1, 1, 0, 1], 2: [0.5, 1], 3: [1, 1, 1, 1, 0, 0, 0, 1]},
    "a rare corner": {0: [1, 0, 0, 0, 0, 0], 1: [0, 1, 0, 0]},
}


@pytest.mark.statistical
@pytest.mark.parametrize("name", EVIDENCE)
def test_conditional_sampling_equals_rejection(copula: Copula, name: str) -> None:
    """Chi-square of each column and each pair of columns at level 1e-5: 7 x 10 tests, false alarm below 0.1 %."""
    weights = {c: np.array(w, float) for c, w in EVIDENCE[name].items()}
    direct = sample_conditional(copula, 20_000, np.random.default_rng(3), weights)
    free, rng = sample_codes(copula, 600_000, np.random.default_rng(4)), np.random.default_rng(5)
    keep = np.prod([w[free[:, c]] for c, w in weights.items()], axis=0) > rng.random(len(free))
    rejected = free[keep]
    assert len(rejected) > 100
    assert all((w[direct[:, c]] > 0).all() for c, w in weights.items())
    for i in range(4):
        for j in range(i, 4):
            a, b = (rows[:, i].astype(int) * 9 + rows[:, j] for rows in (direct, rejected))
            counts = np.stack([np.bincount(v, minlength=81) for v in (a, b)])
            expected = counts.sum(0) * len(b) / (len(a) + len(b))
            pooled = np.column_stack([counts[:, expected >= 5], counts[:, expected < 5].sum(1)])
            pooled = pooled[:, pooled.sum(0) > 0]
            if pooled.shape[1] > 1:
                assert stats.chi2_contingency(pooled).pvalue > 1e-5, (i, j)


def test_evidence_of_no_probability_is_an_error(copula: Copula) -> None:
    with pytest.raises(ValueError, match="probability 0"):
        sample_conditional(copula, 10, np.random.default_rng(0), {1: np.zeros(4)})


def test_deep_tails_are_drawn_without_losing_their_digits() -> None:
    """A code of share 1e-12 on either side of a strongly correlated pair."""
    share = np.array([1e-12, 1 - 2e-12, 1e-12])
    margin = Margin(np.arange(3), share)
    copula = Copula((margin, Margin(np.arange(2), np.full(2, 0.5))), (None, None), np.array([[1, 0.9], [0.9, 1]]))
    for code in (0, 2):
        weights = {0: np.eye(3)[code]}
        codes = sample_conditional(copula, 1000, np.random.default_rng(0), weights)
        assert (codes[:, 0] == code).all()
        assert (codes[:, 1] == code // 2).mean() > 0.99


@pytest.mark.parametrize(
    "change",
    [
        {"correlation": np.eye(4)},
        {"missing": (None,) * 3},
        {"missing": ((5, 0, 0.1), None, None, None)},
        {"missing": ((5, 4, np.nan), None, None, None)},
        {"margins": "short order"},
        {"margins": "repeated code"},
        {"margins": "negative share"},
    ],
    ids=str,
)
def test_parts_that_do_not_fit_are_refused(copula: Copula, change: dict[str, object]) -> None:
    parts: dict[str, object] = {"margins": copula.margins, "missing": copula.missing, "correlation": copula.correlation}
    wrong = {
        "short order": Margin(np.arange(4), copula.margins[0].share),
        "repeated code": Margin(np.array([0, 1, 2, 3, 3]), copula.margins[0].share),
        "negative share": Margin(np.arange(5), -copula.margins[0].share),
    }
    if "margins" in change:
        change = {"margins": (wrong[str(change["margins"])], *copula.margins[1:])}
    with pytest.raises(ValueError):
        Copula(**{**parts, **change})  # type: ignore[arg-type]
