"""How alike two sets of sequences are: distinguishable, useful for prediction, alike along time and across features.

Sources: discriminative and predictive score: Yoon, Jarrett, van der Schaar 2019, section 5, with the details of its
published code: a post-hoc GRU of `features // 2` units, 2,000 (5,000) updates of 128 sequences, Adam at 0.001, features
scaled to [0, 1] by the real range. As in the paper's text the GRU has two layers.

Shape legend: N sequences, T steps, F features, L lags.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from raysynth.arguments import check_whole
from raysynth.comparison.intervals import Estimate, share
from raysynth.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor, nn

BATCH = 128
TEST_SHARE = 0.2
LAGS = 10
FEWEST_SEQUENCES = 10  # that a classifier is trained and tested on


@dataclass(frozen=True)
class PaddedSequences:
    """Sequences of different lengths in one array.

    Args:
        values_NTF: numbers; 0 beyond a sequence's end.
        length_N: steps of each sequence, 1 .. T.
    """

    values_NTF: np.ndarray
    length_N: np.ndarray

    def __len__(self) -> int:
        return len(self.length_N)

    @property
    def mask_NT(self) -> np.ndarray:
        """True for the steps that a sequence has."""
        return np.arange(self.values_NTF.shape[1]) < self.length_N[:, None]

    def take(self, rows: np.ndarray) -> PaddedSequences:
        """Some of the sequences."""
        return PaddedSequences(self.values_NTF[rows], self.length_N[rows])


def pair_arrays(real: Any, synthetic: Any) -> tuple[PaddedSequences, PaddedSequences]:
    """Two arrays (sequences, steps, features), scaled by the range of the real one's features to [0, 1].

    Raises:
        DataError: an array of another shape, or of other steps or features than the other's, or with missing numbers.
    """
    from raysynth.data.sequences import array_of

    first = array_of(real, length=None, features=None)
    second = array_of(synthetic, length=first.shape[1], features=first.shape[2])
    low, high = first.min((0, 1)), first.max((0, 1))
    scale = np.where(high > low, high - low, 1.0)
    scaled = [((x - low) / scale).astype(np.float32) for x in (first, second)]
    padded = [PaddedSequences(x, np.full(len(x), x.shape[1])) for x in scaled]
    return padded[0], padded[1]


def discriminative_score(
    real: Any, synthetic: Any, *, seed: int = 0, updates: int = 2000, hidden: int | None = None
) -> float:
    """How well a classifier tells synthetic sequences from real ones: how far its accuracy is from 0.5, 0 to 0.5.

    A two-layer GRU is trained on 80 % of the sequences of each and tested on the others. Its accuracy varies by some
    hundredths with the seed: report the mean of several.

    Args:
        real, synthetic: arrays (sequences, steps, features), or `PaddedSequences` on one scale.
        seed: of split, weights and batches.
        updates: of the classifier.
        hidden: units of each layer; None: `features // 2`, as published. A larger one tells more.

    Raises:
        DataError: the arrays cannot be compared. ParameterError: a number out of range.
    """
    return abs(told_apart(*_pair(real, synthetic), seed=seed, updates=updates, hidden=hidden).value - 0.5)


def predictive_score(
    real: Any, synthetic: Any, *, seed: int = 0, updates: int = 5000, hidden: int | None = None
) -> float:
    """Mean absolute error, on real sequences, of a predictor that was trained on synthetic ones; lower is better.

    The predictor, a two-layer GRU, tells the last feature one step ahead from the others (from itself where it is the
    only one), all scaled to [0, 1]. Compare with `predictive_score(real, real)`: what real sequences teach.

    Args:
        real, synthetic, seed, updates, hidden: as in `discriminative_score`.

    Raises:
        DataError: the arrays cannot be compared, or have one step. ParameterError: a number out of range.
    """
    _check_numbers(updates, hidden)
    real, synthetic = _pair(real, synthetic)
    if real.values_NTF.shape[1] < 2 or not (real.length_N > 1).any() or not (synthetic.length_N > 1).any():
        raise DataError("no sequence has a second step to predict; the predictive score needs at least 2 steps")
    from torch import no_grad

    n_features = real.values_NTF.shape[2]
    network, optimiser = _post_hoc(max(1, n_features - 1), hidden or max(1, n_features // 2), seed)
    rng = np.random.default_rng(seed)
    for _ in range(updates):
        rows = rng.integers(0, len(synthetic), min(BATCH, len(synthetic)))
        _update(optimiser, _prediction_error(network, synthetic.take(rows)))
    with no_grad():
        return float(_prediction_error(network, real))


def told_apart(
    real: PaddedSequences, synthetic: PaddedSequences, *, seed: int = 0, updates: int = 2000, hidden: int | None = None
) -> Estimate:
    """Accuracy of the classifier of `discriminative_score` on sequences it was not trained on, with its interval."""
    _check_numbers(updates, hidden)
    if (n := min(len(real), len(synthetic))) < FEWEST_SEQUENCES:
        raise DataError(
            f"{n} sequences are too few to train and test a classifier on; give {FEWEST_SEQUENCES} or longer ones"
        )
    import torch

    rng = np.random.default_rng(seed)
    (real_train, real_test), (made_train, made_test) = (_split(s, rng) for s in (real, synthetic))
    n_features = real.values_NTF.shape[2]
    network, optimiser = _post_hoc(n_features, hidden or max(1, n_features // 2), seed)
    for _ in range(updates):
        batches = [s.take(rng.integers(0, len(s), min(BATCH, len(s)))) for s in (real_train, made_train)]
        of_real, of_made = (_last_logits(network, b) for b in batches)
        softplus = torch.nn.functional.softplus
        _update(optimiser, softplus(-of_real).mean() + softplus(of_made).mean())
    with torch.no_grad():
        right = int((_last_logits(network, real_test) > 0).sum()) + int((_last_logits(network, made_test) <= 0).sum())
    return share(right, len(real_test) + len(made_test))


def autocorrelations(sequences: PaddedSequences, lags: int = LAGS) -> np.ndarray:
    """Correlation of each feature with itself some steps later, within sequences (L, F); lag 1 first, NaN if constant.

    Each sequence is taken about its own mean, and products are summed over all sequences before they are divided.
    """
    centred_NTF = _centred(sequences)
    spread_F = (centred_NTF**2).sum((0, 1))
    products = [(centred_NTF[:, k:] * centred_NTF[:, :-k]).sum((0, 1)) for k in range(1, lags + 1)]
    with np.errstate(invalid="ignore", divide="ignore"):
        result: np.ndarray = np.where(spread_F > 1e-12, np.array(products) / spread_F, np.nan)
    return result


def cross_correlations(sequences: PaddedSequences) -> np.ndarray:
    """Pearson's coefficient of each pair of features over all steps of all sequences (F, F); NaN if constant."""
    steps = sequences.values_NTF[sequences.mask_NT].astype(np.float64)
    centred = steps - steps.mean(0)
    spread = np.sqrt((centred**2).sum(0))
    with np.errstate(invalid="ignore", divide="ignore"):
        result: np.ndarray = centred.T @ centred / np.where(spread > 1e-9, spread, np.nan) / spread[:, None]
    return result


def autocorrelation_difference(real: Any, synthetic: Any, *, lags: int = LAGS) -> float:
    """Mean absolute difference of `autocorrelations` over features and lags, 0 (alike) to 2; NaN if none is defined.

    Args:
        real, synthetic: as in `discriminative_score`.
        lags: steps apart, from 1 to so many.
    """
    first, second = _pair(real, synthetic)
    lags = min(lags, first.values_NTF.shape[1] - 1)
    return _mean_difference(autocorrelations(first, lags), autocorrelations(second, lags))


def cross_correlation_difference(real: Any, synthetic: Any) -> float:
    """Mean absolute difference of `cross_correlations` over pairs of features, 0 (alike) to 2; NaN for one feature.

    Args:
        real, synthetic: as in `discriminative_score`.
    """
    first, second = _pair(real, synthetic)
    pairs = np.triu_indices(first.values_NTF.shape[2], 1)
    return _mean_difference(cross_correlations(first)[pairs], cross_correlations(second)[pairs])


def _pair(real: Any, synthetic: Any) -> tuple[PaddedSequences, PaddedSequences]:
    if isinstance(real, PaddedSequences) and isinstance(synthetic, PaddedSequences):
        return real, synthetic
    return pair_arrays(real, synthetic)


def _mean_difference(first: np.ndarray, second: np.ndarray) -> float:
    """Over what is defined in the first; what only the second leaves undefined counts as 0."""
    defined = ~np.isnan(first)
    if not defined.any():
        return float("nan")
    return float(np.abs(first[defined] - np.nan_to_num(second[defined])).mean())


def _centred(sequences: PaddedSequences) -> np.ndarray:
    mask = sequences.mask_NT[..., None]
    values = sequences.values_NTF.astype(np.float64) * mask
    means = values.sum(1, keepdims=True) / sequences.length_N[:, None, None]
    centred: np.ndarray = (values - means) * mask
    return centred


def _split(sequences: PaddedSequences, rng: np.random.Generator) -> tuple[PaddedSequences, PaddedSequences]:
    order = rng.permutation(len(sequences))
    n_test = max(1, round(TEST_SHARE * len(sequences)))
    return sequences.take(order[n_test:]), sequences.take(order[:n_test])


def _post_hoc(n_inputs: int, hidden: int, seed: int) -> tuple[nn.Module, Any]:
    """A two-layer GRU with one output, and its Adam."""
    import torch

    from raysynth.methods.shared.gru import GRU
    from raysynth.methods.timegan.network import linear

    rng = torch.Generator().manual_seed(seed)
    network = torch.nn.Sequential(GRU(n_inputs, hidden, 2, rng), linear(hidden, 1, rng))
    return network, torch.optim.Adam(network.parameters(), lr=1e-3)


def _update(optimiser: Any, loss: Tensor) -> None:
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def _inputs(values_NTF: np.ndarray) -> Tensor:
    """Steps first, as the GRU takes them."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(values_NTF.transpose(1, 0, 2)))


def _last_logits(network: nn.Module, sequences: PaddedSequences) -> Tensor:
    """The classifier's output at the last step of each sequence (N)."""
    import torch

    logits: Tensor = network(_inputs(sequences.values_NTF))[..., 0]
    return logits[torch.from_numpy(sequences.length_N - 1), torch.arange(len(sequences))]


def _prediction_error(network: nn.Module, sequences: PaddedSequences) -> Tensor:
    """Mean absolute error of the last feature, one step ahead, over the steps that have a next one."""
    import torch

    values = sequences.values_NTF
    known = values[:, :-1, : max(1, values.shape[2] - 1)]
    told_TN = torch.sigmoid(network(_inputs(known))[..., 0])
    wanted_TN = torch.from_numpy(np.ascontiguousarray(values[:, 1:, -1].T))
    there_TN = torch.from_numpy(np.ascontiguousarray(sequences.mask_NT[:, 1:].T))
    return ((told_TN - wanted_TN).abs() * there_TN).sum() / there_TN.sum().clamp(min=1)


def _check_numbers(updates: int, hidden: int | None) -> None:
    for name, value in (("updates", updates), ("hidden", 1 if hidden is None else hidden)):
        check_whole(name, value)
