"""The adversary of a membership game: reads every number and word of a model file, and learns which ones give it away.

It knows the algorithm, all rows but the canary and the canary itself, so it can fit models of its own with and without
it. On these it looks at each number of the file by itself, at the presence of each entry (a category, a bin), and at a
matched filter: the sum of all numbers, each weighted by how far the canary moves it over its variance, which is the
likelihood ratio where noise is Gaussian. What separates its own models best it uses on the others, with direction and
threshold fixed.

Shape legend: T trials, F features.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from raysynth.files.model_file import ModelContent

Features = Mapping[str, float]

MOST_NUMBERS = 50_000  # of one array; of a larger one some are read, evenly spaced
FEW = 12  # numbers of an array whose ratios are looked at, too


def features_of(content: ModelContent) -> dict[str, float]:
    """All that a model file holds as named numbers: arrays, JSON numbers, and 1 for each text at its place."""
    found: dict[str, float] = {}
    _walk("", content.meta, found)
    for name, array in content.arrays.items():
        found[f"{name} size"] = float(array.size)
        flat = np.asarray(array, dtype=np.float64).reshape(-1)
        stride = -(-flat.size // MOST_NUMBERS) if flat.size else 1
        read = flat[::stride]
        found.update((f"{name}[{i * stride}]", float(x)) for i, x in enumerate(read))
        if 3 <= read.size <= FEW:
            found.update(_invariant(name, read))
    return found


def _invariant(name: str, x: np.ndarray) -> Iterator[tuple[str, float]]:
    """Ratios of differences: a noised total shifts and scales all counts of a column, and leaves these as they are."""
    for i, j, k in combinations(range(len(x)), 3):
        if np.isfinite(x[[i, j, k]]).all() and abs(x[i] - x[k]) > 1e-12 * np.abs(x).max():
            yield f"{name}: ({i} - {j}) / ({i} - {k})", float((x[i] - x[j]) / (x[i] - x[k]))


def _walk(path: str, value: Any, found: dict[str, float]) -> None:
    if isinstance(value, Mapping):
        for key, own in value.items():
            found[f"{path}/{key} present"] = 1.0
            _walk(f"{path}/{key}", own, found)
    elif isinstance(value, (list, tuple)):
        found[f"{path} length"] = float(len(value))
        for i, own in enumerate(value):
            _walk(f"{path}/*" if isinstance(own, str) else f"{path}/{i}", own, found)
    elif isinstance(value, str):
        found[f"{path} = {value}"] = 1.0
    elif value is not None:
        found[path] = float(value)


@dataclass(frozen=True)
class Decision:
    """How a file is told to come from a fit with the canary.

    Args:
        looks_at: a feature's name, or 'matched filter'.
        features: those it needs; the weight of each, and its value half-way between the worlds.
        threshold: above it the canary was in.
        separation: TPR - FPR on the adversary's own trials.
    """

    looks_at: str
    features: tuple[str, ...]
    weights: np.ndarray
    middle: np.ndarray
    absent: np.ndarray
    threshold: float
    separation: float

    def score(self, features: Features) -> float:
        """Higher: rather with the canary."""
        x = np.array([features.get(n, a) for n, a in zip(self.features, self.absent, strict=True)])
        return float(_bounded(x - self.middle) @ self.weights)

    def says_in(self, features: Features) -> bool:
        """Whether the adversary takes the canary to have been in."""
        return self.score(features) > self.threshold


def learned(inside: Sequence[Features], outside: Sequence[Features]) -> Decision:
    """The decision that separates the adversary's own trials best.

    Args:
        inside, outside: features of files of fits with and without the canary, at least two of each.
    """
    names, x_TF, absent_F = _aligned([*inside, *outside])
    is_in_T = np.arange(len(x_TF)) < len(inside)
    best = _best_single(names, x_TF, absent_F, is_in_T)
    crossed_T = _crossed_filter(x_TF, is_in_T)
    separation, threshold, gap = _separated(crossed_T[:, None], is_in_T)
    # a number by itself wins ties: what one number shows, a sum of all shows less clearly
    if separation[0] > best.separation and threshold[0] is not None:
        weights, middle = _filter(x_TF, is_in_T)
        kept = np.flatnonzero(weights)
        return Decision(
            "matched filter",
            tuple(names[i] for i in kept),
            weights[kept],
            middle[kept],
            absent_F[kept],
            float(threshold[0]),
            float(separation[0]),
        )
    return best


def _aligned(trials: Sequence[Features]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names of the features that differ between trials, their values (T, F), and what stands for an absent one.

    An absent one gets a value below all others, so that presence counts too.
    """
    names = list(dict.fromkeys(name for t in trials for name in t))
    x_TF = np.array([[t.get(n, np.nan) for n in names] for t in trials])
    x_TF = np.where(np.isinf(x_TF), np.sign(x_TF) * 1e300, x_TF)
    with np.errstate(all="ignore"):
        lowest = np.nanmin(x_TF, axis=0)
        spread = np.nanmax(x_TF, axis=0) - lowest
    absent_F = lowest - np.maximum(np.minimum(spread, 1e300), 1.0)
    x_TF = np.where(np.isnan(x_TF), absent_F, x_TF)
    differs = x_TF.min(axis=0) < x_TF.max(axis=0)
    if not differs.any():
        differs[0] = True  # nothing differs: whatever is looked at says nothing
    kept = np.flatnonzero(differs)
    return [names[i] for i in kept], x_TF[:, kept], absent_F[kept]


def _best_single(names: Sequence[str], x_TF: np.ndarray, absent_F: np.ndarray, is_in_T: np.ndarray) -> Decision:
    """The one feature, direction and threshold with the largest TPR - FPR; of equal ones that with the widest gap.

    Of those still equal one of the file's shape (an entry that is there, a length): noise moves none of these, while a
    ratio of two shares that are mostly zero is the same number until one of them is not.
    """
    is_shape_F = np.array([name.endswith((" present", " length", " size")) or " = " in name for name in names])
    best: tuple[float, float, bool, float, int, float] = (-1.0, 0.0, False, 0.0, 0, 1.0)
    for sign in (1.0, -1.0):
        separation_F, threshold_F, gap_F = _separated(sign * x_TF, is_in_T)
        i = int(np.lexsort((is_shape_F, gap_F, separation_F))[-1])
        found = float(separation_F[i]), float(gap_F[i]), bool(is_shape_F[i]), float(threshold_F[i]), i, sign
        best = max(best, found)
    separation, _, _, threshold, i, sign = best
    return Decision(
        names[i], (names[i],), np.array([sign]), np.zeros(1), absent_F[[i]], threshold, max(separation, 0.0)
    )


def _separated(x_TF: np.ndarray, is_in_T: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each feature: the largest TPR - FPR of 'above a threshold', the threshold, and its gap over the spread."""
    order_TF = np.argsort(x_TF, axis=0, kind="stable")
    sorted_TF = np.take_along_axis(x_TF, order_TF, axis=0)
    inside_TF = is_in_T[order_TF]
    n_in, n_out = int(is_in_T.sum()), int((~is_in_T).sum())
    below_in, below_out = inside_TF.cumsum(axis=0)[:-1], (~inside_TF).cumsum(axis=0)[:-1]
    gap_TF = sorted_TF[1:] - sorted_TF[:-1]
    advantage_TF = np.where(gap_TF > 0, below_out / n_out - below_in / n_in, -1.0)
    spread_F = sorted_TF[-1] - sorted_TF[0]
    relative_TF = gap_TF / np.where(spread_F > 0, spread_F, 1.0)
    cut_F = np.argmax(advantage_TF + 1e-6 * relative_TF, axis=0)
    at = (cut_F, np.arange(x_TF.shape[1]))
    # half-way in orders of magnitude where the gap spans some: a bound that the canary widens may lie anywhere above
    threshold_F = np.sinh((np.arcsinh(sorted_TF[:-1][at]) + np.arcsinh(sorted_TF[1:][at])) / 2)
    return advantage_TF[at], threshold_F, relative_TF[at]


def _filter(x_TF: np.ndarray, is_in_T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights (F) of a matched filter and the features half-way between the worlds; scores are -1/2 out, +1/2 in."""
    inside, outside = x_TF[is_in_T], x_TF[~is_in_T]
    middle = inside.mean(axis=0) / 2 + outside.mean(axis=0) / 2
    difference = inside.mean(axis=0) - outside.mean(axis=0)
    within = np.concatenate([inside - inside.mean(axis=0), outside - outside.mean(axis=0)])
    variance = (within**2).sum(axis=0) / max(len(within) - 2, 1)
    floor = 1e-6 * np.abs(difference) + 1e-12 * np.abs(middle) + 1e-150
    weights = difference / (variance + floor**2)
    usable = np.isfinite(weights) & (np.abs(middle) < 1e100)
    weights = np.where(usable, weights, 0.0)
    scale = float(weights @ np.where(usable, difference, 0.0))
    return (weights / scale if scale > 0 else np.zeros_like(weights)), np.where(usable, middle, 0.0)


def _crossed_filter(x_TF: np.ndarray, is_in_T: np.ndarray) -> np.ndarray:
    """Each half's scores by the filter of the other half (T): a filter separates what it was learned on, whatever."""
    half_T = np.zeros(len(x_TF), bool)
    for world in (True, False):
        half_T[np.flatnonzero(is_in_T == world)[::2]] = True
    scores_T = np.empty(len(x_TF))
    for own in (half_T, ~half_T):
        weights, middle = _filter(x_TF[~own], is_in_T[~own])
        scores_T[own] = _bounded(x_TF[own] - middle) @ weights
    return scores_T


def _bounded(x: np.ndarray) -> np.ndarray:
    return np.clip(x, -1e150, 1e150)
