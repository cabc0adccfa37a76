"""GaussianCopula: marginals of any shape from the statistics, dependence by latent normals, fitted from pair counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar

import numpy as np
from scipy.special import ndtr, ndtri

from raysynth.encoding.block import EncodedBlock
from raysynth.encoding.numeric import BinEncoder
from raysynth.encoding.table_encoder import NumericForm, TableEncoder, build_encoder
from raysynth.errors import ConditionError, ModelFileError
from raysynth.fitting.prepared import Prepared
from raysynth.methods.base import Synthesizer
from raysynth.methods.copula.gaussian_copula import (
    Copula,
    Margin,
    evidence,
    latent_correlation,
    latent_orders,
    nearest_correlation,
    sample_codes,
    sample_conditional,
    with_implied,
)
from raysynth.methods.fitted import Fitted
from raysynth.methods.parameters import Parameter

FINE_BINS = 1024
COLUMNS_BY_PAIR = 64  # of more, correlations come from moments of scores (see `wide.py`), not from tables of pairs


@dataclass(frozen=True)
class CopulaGenerator:
    """Draws codes from a fitted copula; conditions are exact (see `methods/copula/gaussian_copula.py`)."""

    copula: Copula
    exact_conditions: ClassVar[bool] = True

    def generate(
        self, n: int, rng: np.random.Generator, weights: Mapping[int, np.ndarray] | None = None
    ) -> EncodedBlock:
        """n encoded rows; raises `ConditionError` where the conditions are impossible."""
        if not weights:
            codes = sample_codes(self.copula, n, rng)
        else:
            try:
                codes = sample_given(self.copula, n, rng, weights)
            except ValueError as error:
                raise ConditionError(f"{error}; widen them") from None
        return EncodedBlock(codes, np.empty((n, 0), np.float32))


@dataclass(frozen=True)
class Learned:
    """The copula, and the names of fitted families by column."""

    copula: Copula
    families: dict[str, str]


def sample_given(copula: Copula, n: int, rng: np.random.Generator, weights: Mapping[int, np.ndarray]) -> np.ndarray:
    """Codes (N, columns) given evidence; raises `ValueError` where it has probability 0 (see `sample_conditional`)."""
    for column, weight in weights.items():
        missing = copula.missing[column]
        if missing is not None and weight[missing[0]] > 0 and weight[: missing[0]].any():
            return _either(copula, n, rng, weights, column)
    return sample_conditional(copula, n, rng, weights)


def _either(
    copula: Copula, n: int, rng: np.random.Generator, weights: Mapping[int, np.ndarray], column: int
) -> np.ndarray:
    """As `sample_given`, where a column with a latent for what is missing may be missing or have a value.

    Of both, as many rows as the column's own margin has: exact where no other condition bears on it.
    """
    code, _, threshold = copula.missing[column] or (0, 0, 0.0)
    weight, margin = weights[column], copula.margins[column]
    without, alone = weight.copy(), np.zeros_like(weight)
    without[code], alone[code] = 0.0, weight[code]
    cases = [{**weights, column: w} for w in (without, alone)]
    present = float(weight[margin.order] @ margin.share / margin.share.sum()) * ndtr(threshold)
    mass = np.array([present, weight[code] * ndtr(-threshold)])
    mass *= [all(p.weight.any() for p in evidence(copula, case).values()) for case in cases]
    if not mass.any():
        raise ValueError("the conditions have probability 0 under the copula")
    counts = rng.multinomial(n, mass / mass.sum())
    parts = [sample_given(copula, m, rng, case) for m, case in zip(counts, cases, strict=True) if m]
    return rng.permutation(np.concatenate(parts)) if n else np.zeros((0, len(copula.margins)), np.uint16)


class GaussianCopula(Synthesizer):
    """A Gaussian copula of numbers and categories, fitted from counts in two passes over the table.

    Categories are put in the order that optimal scaling gives them; latent correlations are polychoric (by moments);
    gaps have a latent of their own, so that missingness depends on the other columns.
    """

    method: ClassVar[str] = "copula"
    numeric_encoding: ClassVar[NumericForm] = "bins"
    has_differential_privacy: ClassVar[bool] = True
    has_privacy_unit: ClassVar[bool] = True

    marginals: Annotated[
        str,
        Parameter(
            "'empirical': any shape, from the statistics; 'parametric': each number's smooth part by the best of a "
            "family of scipy.stats (see `encoding/distribution.py`; `families_` names them)",
            one_of=("empirical", "parametric"),
            tried=("empirical", "parametric"),
        ),
    ] = "empirical"
    n_bins: Annotated[
        int,
        Parameter(
            "bins of a number in the pair tables that the correlations come from",
            at_least=4,
            at_most=200,
            tried=(12, 24, 48),
        ),
    ] = 24

    copula_: Copula = field(init=False)
    families_: dict[str, str] = field(init=False)

    def _encoder_options(self) -> dict[str, Any]:
        return {"n_bins": FINE_BINS}

    def _fit_encoded(self, prepared: Prepared, begun: Fitted) -> Fitted:
        families: dict[str, str] = {}
        if self.marginals == "parametric":
            encoder, families = with_parametric_marginals(prepared.encoder)
            prepared = replace(prepared, encoder=encoder)
        return begun.with_learned(Learned(self._copula(prepared), families), prepared.encoder)

    def _copula(self, prepared: Prepared) -> Copula:
        if prepared.privacy is not None:
            from raysynth.methods.copula.private import learn_privately

            return learn_privately(prepared, prepared.privacy)
        if len(prepared.encoder.columns) > COLUMNS_BY_PAIR:
            from raysynth.methods.copula.wide import learn_wide

            return learn_wide(prepared)
        coarse = build_encoder(prepared.schema, prepared.statistics.columns, numeric="bins", n_bins=self.n_bins)
        width = len(coarse.columns)
        pairs = [(i, j) for i in range(width) for j in range(i + 1, width)]
        tables = prepared.count(pairs, encoder=coarse, label="counting pairs")
        return fit_copula(prepared.encoder, coarse, tables)

    def _generator(self) -> CopulaGenerator:
        return CopulaGenerator(self.copula_)

    def _model_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        arrays = {"correlation": self.copula_.correlation}
        for i, margin in enumerate(self.copula_.margins):
            arrays[f"order.{i}"], arrays[f"share.{i}"] = margin.order, margin.share
        return {
            "families": self.families_,
            "missing": [None if m is None else list(m) for m in self.copula_.missing],
            "cut_where_present": self.copula_.cut_where_present,
        }, arrays

    def _from_state(self, meta: dict[str, Any], arrays: dict[str, np.ndarray], begun: Fitted) -> Fitted:
        missing = tuple(None if m is None else (int(m[0]), int(m[1]), float(m[2])) for m in meta["missing"])
        margins = tuple(Margin(arrays[f"order.{i}"], arrays[f"share.{i}"]) for i in range(len(missing)))
        copula = Copula(margins, missing, arrays["correlation"], meta.get("cut_where_present") is True)
        known = begun.encoder.cardinalities
        if len(known) != len(margins) or any(a > b for a, b in zip(copula.cardinalities, known, strict=True)):
            raise ModelFileError("the copula and the encoder in the file do not fit together; refit the model")
        return begun.with_learned(Learned(copula, dict(meta["families"])))


def with_parametric_marginals(encoder: TableEncoder) -> tuple[TableEncoder, dict[str, str]]:
    """The encoder with parametric distributions of its numbers, and the family of each."""
    from raysynth.encoding.distribution import parametric

    columns, families = [], {}
    for column in encoder.columns:
        if isinstance(column, BinEncoder):
            distribution, families[column.name] = parametric(column.distribution)
            column = replace(column, distribution=distribution, first_cell=np.arange(len(distribution.share)))
        columns.append(column)
    return TableEncoder(tuple(columns)), families


LEAST_PRESENT = 1e-12  # share of present values of a column that has none: its threshold stays finite


@dataclass(frozen=True)
class _Axis:
    """One latent axis as a pair table sees it: which column, and which code stands in which place (-1: not on it)."""

    column: int
    places: np.ndarray
    n_places: int


def fit_copula(fine: TableEncoder, coarse: TableEncoder, tables: Mapping[tuple[int, ...], np.ndarray]) -> Copula:
    """The copula of a table.

    Args:
        fine: encoder whose codes are sampled.
        coarse: encoder that the tables were counted with; the same columns in the same order.
        tables: counts (cardinality_i, cardinality_j) of every pair i < j of coarse columns.
    """
    width = len(coarse.columns)
    both_ways = {(i, j): t for (i, j), t in tables.items()} | {(j, i): t.T for (i, j), t in tables.items()}
    ordered = [isinstance(c, BinEncoder) for c in coarse.columns]
    orders = latent_orders(both_ways, ordered) if width > 1 else [np.arange(c.cardinality) for c in coarse.columns]
    margins: list[Margin] = []
    missing: list[tuple[int, int, float] | None] = []
    axes: list[_Axis] = []
    missing_axes: list[_Axis] = []
    leaders = missing_together(both_ways, width)
    for i, (column, shares) in enumerate(zip(coarse.columns, fine.frequencies(), strict=True)):
        last = column.cardinality - 1
        if last == 0:  # nothing but gaps
            margins.append(Margin(np.zeros(1, int), np.ones(1)))
            missing.append(None)
            axes.append(_Axis(i, np.zeros(1, int), 1))
            continue
        present = shares[:-1] if shares[:-1].any() else np.ones(len(shares) - 1)  # of a column without a value: any do
        is_number = isinstance(column, BinEncoder)
        order = np.arange(len(shares) - 1) if is_number else orders[i][orders[i] != last]
        margins.append(Margin(order, present[order]))
        axes.append(_Axis(i, np.append(np.arange(last) if is_number else np.argsort(order), -1), last))
        leader = missing[leaders[i]] if leaders.get(i, i) != i else None
        if shares[-1] <= 0 or leader is not None:
            missing.append(None if leader is None else (len(shares) - 1, *leader[1:]))
            continue
        missing.append((len(shares) - 1, width + len(missing_axes), float(ndtri(max(1 - shares[-1], LEAST_PRESENT)))))
        missing_axes.append(_Axis(i, np.append(np.zeros(last, int), 1), 2))
    axes += missing_axes
    correlation = np.eye(len(axes))
    for a in range(len(axes)):
        for b in range(a + 1, len(axes)):
            if axes[a].column != axes[b].column:
                correlation[a, b] = correlation[b, a] = _correlation(both_ways, axes[a], axes[b])
    unseen = [(i, m[1]) for i, m in enumerate(missing) if m is not None]  # a number and whether it is missing
    return Copula(tuple(margins), tuple(missing), nearest_correlation(with_implied(correlation, unseen)))


def missing_together(tables: Mapping[tuple[int, int], np.ndarray], width: int) -> dict[int, int]:
    """For each column that is missing in just the rows in which others are, the first of them: they share a latent.

    Args:
        tables: counts (K_i, K_j) of every pair of columns i != j, both ways round; the last code is 'missing'.
        width: number of columns.
    """
    leaders: dict[int, int] = {}
    for j in range(1, width):
        for i in range(j):
            table = tables[i, j]
            if leaders.get(i, i) == i and 0 < table[-1, -1] == table[-1].sum() == table[:, -1].sum() < table.sum():
                leaders[i] = leaders[j] = i
                break
    return leaders


def _correlation(tables: Mapping[tuple[int, int], np.ndarray], a: _Axis, b: _Axis) -> float:
    """Latent correlation of two axes of different columns."""
    table = tables[a.column, b.column]
    on_a, on_b = a.places >= 0, b.places >= 0
    placed = np.zeros((a.n_places, b.n_places))
    np.add.at(placed, np.ix_(a.places[on_a], b.places[on_b]), table[np.ix_(on_a, on_b)])
    return latent_correlation(placed)
