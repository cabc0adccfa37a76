"""Gaussian mixture of one number, fitted by EM to a distribution (weighted cells), never to rows.

Source: mode-specific normalisation, Xu et al. 2019, section 4.2; annihilation of weak components after
Figueiredo and Jain 2002, eq. 17 (a component must explain more points than it has parameters).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from raysynth.encoding.distribution import SmoothDistribution

ATOM_MODE_SHARE = 0.04  # a single value of this share of the rows is a mode of width 0
MAX_ATOM_MODES = 20
MIN_WEIGHT = 0.005
EMPTY_WEIGHT = 1e-12  # of a place that no row is counted in


@dataclass(frozen=True)
class Mixture:
    """Modes of one number, and which one each value belongs to.

    Args:
        weight, mean, std: of each mode, shape (modes,); std 0 is an atom.
        boundaries: ascending values where the most probable mode changes, shape (intervals - 1,).
        interval_mode: the mode of each interval, shape (intervals,).
    """

    weight: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    boundaries: np.ndarray
    interval_mode: np.ndarray


def fit_mixture(distribution: SmoothDistribution, n_modes: int) -> Mixture:
    """Modes of the distribution: heavy atoms as they are, at most `n_modes` Gaussians for the rest."""
    atom = (distribution.low == distribution.high) & (distribution.share >= ATOM_MODE_SHARE)
    if (distribution.low == distribution.high).all() and len(distribution.low) <= MAX_ATOM_MODES:
        atom[:] = True
    if atom.sum() > MAX_ATOM_MODES:
        heaviest = np.argsort(np.where(atom, -distribution.share, 0.0), kind="stable")[:MAX_ATOM_MODES]
        atom = np.isin(np.arange(len(atom)), heaviest)
    rest = ~atom
    weight, mean, std = distribution.share[atom], distribution.low[atom], np.zeros(atom.sum())
    if rest.any():
        points, masses = _points(distribution, rest)
        total = masses.sum()
        if total <= 0:  # noised counts can all be 0 there; a value may still fall between the atoms
            masses, total = np.ones(len(points)), EMPTY_WEIGHT * len(points)
        g_weight, g_mean, g_std = _em(points, masses / masses.sum(), n_modes)
        weight = np.concatenate([weight, g_weight * total])
        mean, std = np.concatenate([mean, g_mean]), np.concatenate([std, g_std])
    boundaries, interval_mode = _intervals(distribution, weight, mean, std)
    return Mixture(weight, mean, std, boundaries, interval_mode)


def _points(distribution: SmoothDistribution, rest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Three points a smooth cell (so that its width counts), one an atom."""
    low, high, share = distribution.low[rest], distribution.high[rest], distribution.share[rest]
    fractions = np.array([1 / 6, 1 / 2, 5 / 6])
    points = (low[:, None] + (high - low)[:, None] * fractions).ravel()
    return points, np.repeat(share / 3, 3)


def _em(x: np.ndarray, mass: np.ndarray, n_modes: int, steps: int = 150) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, means, stds (K,) of a mixture fitted to weighted points; starts at the quantiles, drops weak ones."""
    center = mass @ x
    reach = np.abs(x - center).max()
    if reach == 0:
        return np.ones(1), np.array([center]), np.zeros(1)
    scale = reach * np.sqrt(mass @ ((x - center) / reach) ** 2)  # squares of the numbers themselves may overflow
    z = (x - center) / scale
    k = min(n_modes, len(np.unique(z)))
    mean = np.interp((np.arange(k) + 0.5) / k, np.cumsum(mass) - mass / 2, z)
    weight, std = np.full(k, 1 / k), np.full(k, 1 / k)
    for _ in range(steps):
        log_density = np.log(weight) - np.log(std) - 0.5 * ((z[:, None] - mean) / std) ** 2
        log_density -= log_density.max(1, keepdims=True)
        share = np.exp(log_density)
        share *= (mass / share.sum(1))[:, None]
        found = share.sum(0)
        keep = found > MIN_WEIGHT
        share, weight = share[:, keep], found[keep] / found[keep].sum()
        new_mean = (z @ share) / found[keep]
        std = np.sqrt(((z[:, None] - new_mean) ** 2 * share).sum(0) / found[keep] + 1e-6)
        done = keep.all() and np.abs(new_mean - mean).max() < 1e-4
        mean = new_mean
        if done:
            break
    return weight, center + scale * mean, scale * std


def _intervals(
    distribution: SmoothDistribution, weight: np.ndarray, mean: np.ndarray, std: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where the most probable mode changes: atoms own exactly their cell, Gaussians what lies between."""
    gaussian = np.flatnonzero(std > 0)
    owner = np.full(len(distribution.low), -1)
    for mode in np.flatnonzero(std == 0):
        owner[distribution.cell_of(mean[mode : mode + 1])] = mode
    cell_starts = np.concatenate([distribution.low[:1], distribution.boundaries])
    starts: list[float] = []
    modes: list[int] = []
    for cell, (low, high) in enumerate(zip(distribution.low, distribution.high, strict=True)):
        grid = np.linspace(low, high, 3 if high > low else 1, endpoint=False)
        grid[0] = cell_starts[cell]
        if owner[cell] >= 0 or not len(gaussian):
            starts.append(grid[0])
            modes.append(max(owner[cell], 0))
            continue
        away = (grid[:, None] - mean[gaussian]) / std[gaussian]
        log_density = np.log(weight[gaussian]) - np.log(std[gaussian]) - 0.5 * away**2
        starts.extend(np.maximum.accumulate(grid))
        modes.extend(gaussian[log_density.argmax(1)])
    changes = np.flatnonzero(np.diff(modes)) + 1
    return np.array(starts)[changes], np.array(modes)[np.concatenate([[0], changes])].astype(np.int64)
