"""Tables of every kind of column, drawn afresh: samples of one population that have nothing to do with each other.

Where real, synthetic and holdout rows are three such samples, nothing can leak, and whatever an attack or a distance
finds is a false alarm.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

Rng = np.random.Generator


def numbers(n: int, rng: Rng) -> pd.DataFrame:
    """Numbers of light and heavy tails that go together."""
    age = rng.gamma(9, 5, n)
    income = np.exp(rng.normal(10 + 0.01 * age, 0.8))
    return pd.DataFrame({"age": age, "income": income, "claim": rng.pareto(1.2, n), "height": rng.normal(170, 9, n)})


def whole_numbers(n: int, rng: Rng) -> pd.DataFrame:
    """Counts, numbers with a spike at zero, and rounded ones: distances tie."""
    visits = rng.poisson(2, n)
    gain = np.where(rng.random(n) < 0.8, 0, np.round(rng.exponential(4000, n), -2))
    return pd.DataFrame({"visits": visits, "gain": gain, "age": rng.integers(18, 90, n), "hours": 40 + 5 * visits})


def categories(n: int, rng: Rng) -> pd.DataFrame:
    """A few values each: most rows have equals."""
    group = rng.choice(list("abcd"), n, p=[0.4, 0.3, 0.2, 0.1])
    other = np.where(rng.random(n) < 0.6, group, rng.choice(list("abcd"), n))
    return pd.DataFrame({"group": group, "other": other, "member": rng.random(n) < 0.3, "size": rng.choice(5, n)})


def text_of_many_values(n: int, rng: Rng) -> pd.DataFrame:
    """Two columns of text in which most values are rare: of three samples each has values that no other has."""
    district = [f"D{k}" for k in rng.integers(0, 2000, n)]
    reason = [f"R{k}" for k in np.minimum(rng.zipf(1.3, n), 3000)]
    party, kind = rng.choice(["D", "R"], n), rng.choice(list("ABCDEFGH"), n)
    return pd.DataFrame({"district": district, "reason": reason, "party": party, "kind": kind})


def times(n: int, rng: Rng) -> pd.DataFrame:
    """Days, moments and durations."""
    start = pd.Timestamp("2015-01-01")
    admitted = start + pd.to_timedelta(rng.integers(0, 3000, n), unit="D")
    stay = pd.to_timedelta(rng.integers(1, 400, n), unit="h")
    seen = admitted + pd.to_timedelta(rng.integers(0, 86_400, n), unit="s")
    return pd.DataFrame({"admitted": admitted, "seen": seen, "stay": stay, "ward": rng.choice(list("ABC"), n)})


def gaps(n: int, rng: Rng) -> pd.DataFrame:
    """Every kind with missing values, one column that is nearly empty, one that is empty, and a constant."""
    parts = [draw(n, rng).iloc[:, :2] for draw in (numbers, whole_numbers, categories, text_of_many_values)]
    table = pd.concat([p.add_suffix(f" {i}") for i, p in enumerate(parts)], axis=1).astype(object)
    for j, share in enumerate(np.linspace(0.02, 0.9, table.shape[1])):
        table.iloc[rng.random(n) < share, j] = None
    return table.infer_objects().assign(empty=np.nan, constant=1)


def mixed(n: int, rng: Rng) -> pd.DataFrame:
    """All kinds side by side."""
    parts = [draw(n, rng) for draw in (numbers, whole_numbers, categories, text_of_many_values, times)]
    return pd.concat([part.add_suffix(f" {i}") for i, part in enumerate(parts)], axis=1).iloc[:, ::2]


KINDS: dict[str, Callable[[int, Rng], pd.DataFrame]] = {
    draw.__name__: draw for draw in (numbers, whole_numbers, categories, text_of_many_values, times, gaps, mixed)
}


def three_samples(kind: str, sizes: tuple[int, int, int], seed: int) -> list[pd.DataFrame]:
    """Real, synthetic and holdout rows that know nothing of each other."""
    rng = np.random.default_rng(seed)
    return [KINDS[kind](n, rng) for n in sizes]


def with_copies(synthetic: pd.DataFrame, real: pd.DataFrame, share: float, seed: int) -> pd.DataFrame:
    """The synthetic rows, of which a share is replaced by real rows."""
    n = round(share * len(synthetic))
    copied = real.sample(n, random_state=seed)
    return pd.concat([synthetic.iloc[n:], copied], ignore_index=True).sample(frac=1, random_state=seed)
