"""Membership by the synthetic rows near a target: how near they are, how many, and what they are likelier under.

Shape legend: N targets, K neighbours, U synthetic rows that are a neighbour of any target.

Where the synthetic rows lie denser than the population, the synthesizer has learned by heart. DOMIAS (van Breugel et
al. 2023, equation 2) scores a row by the ratio of two densities, of the synthetic rows and of a reference sample. Here
both are kernel densities on mixed types: a product of a Laplace kernel for each number and of Aitchison and Aitken's
(1976) for each category, with one bandwidth: half the one under which the reference rows are likeliest when each is
left out, since a ratio shows in sharp peaks more than by a smooth fit.

Most at risk are records far from all others (`vulnerable_records`).
"""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import numpy as np

from raysynth.attacks.attack import Attack, MembershipAttack, Outcome, Records, Scene, ThreatModel, View
from raysynth.comparison.kept_results import KeptResults, content_key
from raysynth.comparison.neighbours import Metric, gower_metric, nearest, ranges
from raysynth.comparison.rows import Rows

_FLOOR = 1e-3  # of the median distance in the reference: nearer is all the same


class DistanceAttack(MembershipAttack):
    """Distance to the nearest synthetic row, calibrated by the distance to the nearest row of a reference sample.

    A row in a crowd is near to everything; what counts is whether it is nearer to the synthetic rows than to as
    unrelated rows (calibration: Watson et al. 2022; distance: Chen et al. 2020, GAN-Leaks, equation 4).
    """

    name: ClassVar[str] = "distance"
    title: ClassVar[str] = "Nearest record, calibrated"
    threat: ClassVar[ThreatModel] = ThreatModel(reference=True)

    def score(self, targets: Records, view: View, rng: np.random.Generator) -> np.ndarray:
        """Log of the distance to the reference over the distance to the synthetic rows."""
        assert view.reference is not None
        metric = gower_metric(view.reference.rows)
        to_synthetic = nearest(targets.rows, view.synthetic.rows, metric).distances_QK[:, 0]
        to_reference = nearest(targets.rows, view.reference.rows, metric).distances_QK[:, 0]
        floor = max(_FLOOR * float(np.median(to_reference)), 1e-9)
        return np.log(to_reference + floor) - np.log(to_synthetic + floor)


class NearestAttack(MembershipAttack):
    """Distance to the nearest synthetic row as it is (GAN-Leaks, equation 4), which asks for no reference.

    Of rows that were moved a little it tells more than the calibrated distance, to which the reference adds noise of
    its own; where crowds differ, less. Among the figures of an evaluation it stands as 'membership by distance'.
    """

    name: ClassVar[str] = "nearest"
    title: ClassVar[str] = "Nearest record"

    def score(self, targets: Records, view: View, rng: np.random.Generator) -> np.ndarray:
        """Less the distance to the synthetic rows (N,)."""
        metric = gower_metric(view.synthetic.rows)
        return -nearest(targets.rows, view.synthetic.rows, metric).distances_QK[:, 0]


class ProximityAttack(Attack):
    """Share of real rows nearer to the synthetic table than to equally many other real rows.

    Not membership: without rows that the synthesizer never saw, there is nobody to tell members from. 0.5 is what
    rows of people in neither table give; more says that the synthetic table lies too near to the real rows. Keep a
    holdout to measure membership.
    """

    name: ClassVar[str] = "proximity"
    title: ClassVar[str] = "Proximity (no holdout, so no membership)"
    family: ClassVar[str] = "membership_inference"
    threat: ClassVar[ThreatModel] = ThreatModel()

    def run(self, scene: Scene, rng: np.random.Generator) -> Outcome:
        """1 where the synthetic side is nearer, 0.5 for a tie, 0 else; the nearest row of both sides is the cluster."""
        assert scene.stand_in is not None
        metric = gower_metric(scene.training.rows)
        n = min(len(scene.view.synthetic), len(scene.stand_in))
        sides = [records.sample(n, rng).rows for records in (scene.view.synthetic, scene.stand_in)]
        found = [nearest(scene.members.rows, side, metric) for side in sides]
        gap = np.round(found[1].distances_QK[:, 0] - found[0].distances_QK[:, 0], 6)
        clusters = np.where(gap >= 0, found[0].rows_QK[:, 0], n + found[1].rows_QK[:, 0])
        return Outcome((np.sign(gap) + 1) / 2, np.zeros(0), clusters, known_baseline=0.5)

    def baseline(self, has_holdout: bool) -> str:
        """Rows that are in neither table are as near to one as to the other."""
        return "rows of people in neither table, by symmetry"


LOCAL = 10  # synthetic rows around a target
AROUND = 20  # rows of both tables together, at most
MOST_PARTS = 10  # of a synthetic table, each as large as the reference sample


class LocalLikelihoodAttack(MembershipAttack):
    """Gen-LRA (Ward et al. 2025, "Privacy auditing synthetic data release through local likelihood attacks"): how much
    likelier the synthetic rows around a target are when it joins the reference sample.

    A target far from the reference and near to synthetic rows explains what nobody else does. Densities are this
    file's: with the target as one row more, each of the K synthetic rows s has a ratio of
    (n p(s) + kernel(s, target)) / ((n + 1) p(s)).
    """

    name: ClassVar[str] = "local_likelihood"
    title: ClassVar[str] = "Local likelihood ratio (Gen-LRA)"
    threat: ClassVar[ThreatModel] = ThreatModel(reference=True)

    def score(self, targets: Records, view: View, rng: np.random.Generator) -> np.ndarray:
        """Sum of the log ratios over the synthetic rows nearest to each target (N,)."""
        assert view.reference is not None
        reference, synthetic = view.reference.rows, view.synthetic.rows
        metric, n = gower_metric(reference), len(reference)
        bandwidth = sharp_bandwidth(reference, metric, rng)
        near = nearest(targets.rows, synthetic, metric, min(LOCAL, len(synthetic)))
        rows_U, place = np.unique(near.rows_QK, return_inverse=True)
        found = nearest(synthetic.take(rows_U), reference, metric, min(NEIGHBOURS, n)).distances_QK
        log_p_U = log_mean_kernel(found, bandwidth, n)
        log_share_NK = -near.distances_QK / bandwidth - np.log(n) - log_p_U[place].reshape(near.rows_QK.shape)
        result: np.ndarray = np.logaddexp(0.0, log_share_NK).sum(axis=1)  # log (n + 1) / n is the same for all
        return result


class PlagiarismAttack(MembershipAttack):
    """Data plagiarism index (Ward et al. 2024, "Data plagiarism index: characterizing the privacy risk of data-copying
    in tabular generative models"): how many of the rows nearest to a target are synthetic rather than of the
    reference sample. Both sides are given as many rows; a larger synthetic table is asked part by part.

    How many are nearest is an average here, over 1, 2, ... K of them with weight 1 / k, so that each scale counts
    alike: one number alone sees copies of one density. It counts, and knows no distances: of a person with one copy
    the nearest row is synthetic, of others one in two, so that single copies give an AUC of 3/4 at most.
    """

    name: ClassVar[str] = "plagiarism"
    title: ClassVar[str] = "Data plagiarism index"
    threat: ClassVar[ThreatModel] = ThreatModel(reference=True)

    def score(self, targets: Records, view: View, rng: np.random.Generator) -> np.ndarray:
        """Mean log of synthetic over reference rows among the nearest of both, one added to each (N,)."""
        assert view.reference is not None
        n = min(len(view.synthetic), len(view.reference))
        metric, k = gower_metric(view.reference.rows), min(AROUND, n)
        other_NK = nearest(targets.rows, view.reference.sample(n, rng).rows, metric, k).distances_QK
        order, score_N = rng.permutation(len(view.synthetic)), np.zeros(len(targets))
        n_parts = min(len(order) // n, MOST_PARTS)
        for part in range(n_parts):
            rows = view.synthetic.rows.take(order[part * n : (part + 1) * n])
            own_NK = nearest(targets.rows, rows, metric, k).distances_QK
            both_NK = np.sort(np.hstack([own_NK, other_NK]), axis=1)[:, :k] + 1e-9
            for near in range(k):
                own_N, other_N = ((d <= both_NK[:, near : near + 1]).sum(axis=1) + 1 for d in (own_NK, other_NK))
                score_N += np.log(own_N / other_N) / (near + 1) / n_parts
        return score_N


NEIGHBOURS = 16  # farther rows add next to nothing to a density
_CHOSEN_BY = 1_000  # reference rows that choose the bandwidth
_SHARPER = 0.5
_BANDWIDTHS = np.geomspace(1 / 32, 2, 13)  # in median distances to the nearest row
_bandwidths: KeptResults[float] = KeptResults()


class DensityRatioAttack(MembershipAttack):
    """DOMIAS (van Breugel et al. 2023): log density of the synthetic rows minus that of the reference."""

    name: ClassVar[str] = "density_ratio"
    title: ClassVar[str] = "Density ratio (DOMIAS)"
    threat: ClassVar[ThreatModel] = ThreatModel(reference=True)

    def score(self, targets: Records, view: View, rng: np.random.Generator) -> np.ndarray:
        """Log of the ratio of both kernel densities at each target."""
        assert view.reference is not None
        reference, metric = view.reference.rows, gower_metric(view.reference.rows)
        bandwidth = sharp_bandwidth(reference, metric, rng)
        densities = []
        for rows in (view.synthetic.rows, reference):
            found = nearest(targets.rows, rows, metric, min(NEIGHBOURS, len(rows))).distances_QK
            densities.append(log_mean_kernel(found, bandwidth, len(rows)))
        return densities[0] - densities[1]


def sharp_bandwidth(reference: Rows, metric: Metric, rng: np.random.Generator) -> float:
    """Half the bandwidth under which the reference rows are likeliest; see the module."""
    return _SHARPER * _best_bandwidth(reference.sample(_CHOSEN_BY, rng), metric)


def _best_bandwidth(reference: Rows, metric: Metric) -> float:
    """The bandwidth with the largest leave-one-out likelihood of the reference rows; the same rows are asked once.

    It depends on which categories are equal, not on their codes, which follow the synthetic rows: the key numbers them
    as they are met.
    """
    levels = [c.cardinality for c in reference.space.coders]
    met = [np.unique(codes, return_index=True, return_inverse=True)[1:] for codes in reference.codes_NC.T]
    categories = [np.argsort(np.argsort(first))[inverse] for first, inverse in met]
    key = content_key(reference.numbers_NV, *categories, metric.scale, metric.weights, metric.origin, levels)
    return _bandwidths.get(key, partial(_likeliest_bandwidth, reference, metric))


def _likeliest_bandwidth(reference: Rows, metric: Metric) -> float:
    k = min(NEIGHBOURS, len(reference) - 1)
    distances = nearest(reference, reference, metric, k, same_rows=True).distances_QK
    unit = float(np.median(distances[:, 0])) or float(distances.mean()) or 1.0
    candidates = unit * _BANDWIDTHS
    likelihoods = [
        float(log_mean_kernel(distances, h, len(reference) - 1).mean()) - _log_volume(reference, metric, h)
        for h in candidates
    ]
    return float(candidates[int(np.argmax(likelihoods))])


def log_mean_kernel(distances_QK: np.ndarray, bandwidth: float, n: int) -> np.ndarray:
    """Log of the mean kernel over n rows, of which only the K nearest count (Q,)."""
    nearest_Q1 = distances_QK[:, :1]
    tail = np.exp(-(distances_QK - nearest_Q1) / bandwidth).sum(axis=1)
    result: np.ndarray = np.log(tail) - nearest_Q1[:, 0] / bandwidth - np.log(n)
    return result


def _log_volume(rows: Rows, metric: Metric, bandwidth: float) -> float:
    """Log of the integral of the kernel over all rows that there can be."""
    n_numbers = rows.numbers_NV.shape[1]
    numbers = np.log(2 * bandwidth / metric.weights[:n_numbers]).sum()
    levels = np.array([c.cardinality for c in rows.space.coders])
    categories = np.log1p((levels - 1) * np.exp(-metric.weights[n_numbers:] / bandwidth)).sum()
    return float(numbers + categories)


_BLOCK = 1024


def vulnerable_records(records: Records | Any, n: int, k: int = 5) -> np.ndarray:
    """Row numbers of the n most vulnerable records, the most vulnerable first.

    Meeus et al. (2023, section 4): a record's vulnerability is its mean distance to its k nearest others, with a
    distance of 1 - (share of columns that are categories * cosine of the one-hot categories + share of numbers * cosine
    of the numbers, each scaled to [0, 1]).

    Args:
        records: rows, as `Records`, or any table that `fit` takes.
        n: how many; all where there are no more.
        k: neighbours.
    """
    rows = records.rows if isinstance(records, Records) else _rows_of(records)
    order = np.argsort(-vulnerability(rows, k), kind="stable")
    return order[:n]


def vulnerability(rows: Rows, k: int = 5) -> np.ndarray:
    """Mean distance of each row to its k nearest others (N,)."""
    numbers_NV, codes_NC = _unit_numbers(rows), rows.codes_NC
    n_numbers, n_codes = numbers_NV.shape[1], codes_NC.shape[1]
    share = n_codes / max(n_numbers + n_codes, 1)
    k = min(k, len(rows) - 1)
    found = np.empty(len(rows))
    for start in range(0, len(rows), _BLOCK):
        part = slice(start, start + _BLOCK)
        alike = np.zeros((len(numbers_NV[part]), len(rows)))
        for column in codes_NC.T:
            alike += share / max(n_codes, 1) * (column[part, None] == column[None, :])
        alike += (1 - share) * (numbers_NV[part] @ numbers_NV.T)
        own = np.arange(len(alike))
        alike[own, start + own] = -np.inf
        found[part] = 1 - np.partition(alike, -k, axis=1)[:, -k:].mean(axis=1)
    return found


def _unit_numbers(rows: Rows) -> np.ndarray:
    """Numbers scaled to [0, 1] (missing: 0), each row of length 1."""
    low, high = ranges(rows.numbers_NV)
    scaled = np.nan_to_num((rows.numbers_NV - low) / np.where(high > low, high - low, 1.0))
    return scaled / np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), 1e-12)


def _rows_of(data: Any) -> Rows:
    from raysynth.attacks.run import read_records
    from raysynth.comparison.pairing import pair_tables

    return read_records(pair_tables(data, data), np.random.default_rng(0))["real"].rows
