"""Encoded steps as an autoregressive model of sequences learns them: codes, and each number as the code of its change.

Shape legend: M rows of all entities, C columns of codes that vary, V numbers, Q knots.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from raysynth.encoding.block import EncodedBlock
from raysynth.encoding.numeric import ModeEncoder
from raysynth.encoding.shared_cells import coarse_quantiles
from raysynth.encoding.table_encoder import TableEncoder
from raysynth.methods.autoregressive_sequences.changes import Changes

if TYPE_CHECKING:
    from raysynth.methods.autoregressive.network import CodeLayout
    from raysynth.methods.autoregressive_sequences.sampler import StepForm
    from raysynth.methods.sequences.data import WindowRows

FEW_CELLS = 150  # numbers with at most so many values are codes, each value its own
SMALLEST_GAP = 1e-6  # between knots, of numbers scaled to [-1, 1]


@dataclass(frozen=True)
class CodedSteps:
    """What is learned from.

    Args:
        rows: wide rows; a step has the C codes, the changes as in a first row (V), as in a later row (V), V numbers.
        form: of an encoded step.
        changes: of first and of later rows.
        layout: of the codes of a row of the network: C, then V changes.
        frequencies: share of each code of each column of the network, in first and in later rows.
        knots_VQ: quantiles of each number.
    """

    rows: WindowRows
    form: StepForm
    changes: tuple[Changes, Changes]
    layout: CodeLayout
    frequencies: tuple[list[np.ndarray], list[np.ndarray]]
    knots_VQ: np.ndarray


def few_values(encoder: TableEncoder) -> list[str]:
    """Names of the numbers that few values make up; these become codes, one for each value."""
    result = []
    for column in encoder.columns:
        if isinstance(column, ModeEncoder):
            cells = column.distribution
            atoms = float(cells.share[cells.low == cells.high].sum())
            if len(cells.share) <= FEW_CELLS and atoms >= 0.5:
                result.append(column.name)
    return result


def step_form(encoder: TableEncoder) -> StepForm:
    """Which codes of an encoded step vary, and which numbers their codes stand for."""
    from raysynth.methods.autoregressive_sequences.sampler import StepForm

    fixed, number_columns, number_codes = fixed_codes(encoder), [], []
    for i, column in enumerate(encoder.columns):
        if isinstance(column, ModeEncoder):
            number_columns.append(i)
            number_codes.append(_numbers_of(column))
    if min(fixed, default=-1) >= 0:
        fixed = (-1, *fixed[1:])  # a network needs a column
    return StepForm(encoder.cardinalities, fixed, tuple(number_columns), tuple(number_codes))


def fixed_codes(encoder: TableEncoder) -> tuple[int, ...]:
    """For each column the one code that all steps have, -1 where several occur."""
    alive = [np.flatnonzero(column.shares > 0) for column in encoder.columns]
    return tuple(int(codes[0]) if len(codes) == 1 else -1 for codes in alive)


def _numbers_of(column: ModeEncoder) -> np.ndarray:
    """The scaled number of each code: NaN where it is given beside the code; 0 for 'missing', which has none."""
    low, high = column.distribution.low[0], column.distribution.high[-1]
    middle, half = low / 2 + high / 2, max(high / 2 - low / 2, 1e-300)
    own = np.clip((column.mixture.mean - middle) / half, -1, 1)
    return np.append(np.where(column.mixture.std > 0, np.nan, own), 0.0)


def coded_steps(rows: WindowRows, encoder: TableEncoder, starts: np.ndarray, n_bins: int, rare: int) -> CodedSteps:
    """The rows with changes for numbers.

    Args:
        rows: encoded.
        encoder: that encoded the steps.
        starts: first row of each entity, and the number of rows at the end.
        n_bins: bins of a change.
        rare: rows that a bin must have: of that many persons, so times the rows that a person has on average.
    """
    from raysynth.methods.autoregressive.network import CodeLayout

    form, codes_MC = step_form(encoder), rows.steps.codes_NC
    counts_MV = form.counts(codes_MC)
    numbers_MV = _settled(form, codes_MC, rows.steps.values_NV, starts)
    before_MV = np.concatenate([numbers_MV[:1], numbers_MV[:-1]])
    is_first, is_later = np.zeros(len(codes_MC), bool), np.ones(len(codes_MC), bool)
    is_first[rows.windows.start], is_later[starts[:-1]] = True, False
    varying = form.varying
    changes, change_codes, frequencies = [], [], []
    for chosen, before_MP in ((is_first, before_MV[:, :0]), (is_later, before_MV)):
        rows_of = (before_MP[chosen], numbers_MV[chosen], counts_MV[chosen])
        fitted = Changes.fit(*rows_of, n_bins=n_bins, rare=rare)
        changes.append(fitted)
        change_codes.append(fitted.encode(before_MP, numbers_MV, counts_MV))
        shares = [_shares(codes_MC[chosen, c], form.cardinalities[c]) for c in varying]
        frequencies.append([*shares, *fitted.frequency_VB])
    steps = EncodedBlock(
        np.concatenate([codes_MC[:, varying], *change_codes], 1).astype(np.uint16), numbers_MV.astype(np.float32)
    )
    own, change = CodeLayout.of([encoder.layout[c] for c in varying]), changes[0]
    layout = CodeLayout(
        own.cardinalities + (change.cardinality,) * form.n_numbers, own.ordered + (change.n_bins,) * form.n_numbers
    )
    return CodedSteps(
        replace(rows, steps=steps),
        form,
        (changes[0], changes[1]),
        layout,
        (frequencies[0], frequencies[1]),
        _knots(numbers_MV, rare),
    )


def steps_of_codes(rows: WindowRows, encoder: TableEncoder) -> CodedSteps:
    """The rows of an encoder that makes codes alone: what is known of them is what the encoder was built from.

    Under a budget nothing else is read from the rows: no predictions, no bins of changes, no shares of first rows.
    """
    from raysynth.methods.autoregressive.network import CodeLayout
    from raysynth.methods.autoregressive_sequences.network import KNOTS

    form, shares, codes_MC = step_form(encoder), encoder.frequencies(), rows.steps.codes_NC
    varying = form.varying
    own, none = [np.asarray(shares[c]) for c in varying], Changes(np.zeros((0, 1)), np.zeros((0, 2)), np.zeros((0, 3)))
    steps = EncodedBlock(codes_MC[:, varying], np.zeros((len(codes_MC), 0), np.float32))
    layout = CodeLayout.of([encoder.layout[c] for c in varying])
    return CodedSteps(replace(rows, steps=steps), form, (none, none), layout, (own, own), np.zeros((0, KNOTS)))


def _settled(form: StepForm, codes_MC: np.ndarray, values_MV: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The numbers (M, V) float64 of all rows: where one is missing, that of the entity's row before; 0 before any."""
    row_M = np.arange(len(codes_MC))
    first_M = np.repeat(starts[:-1], np.diff(starts))
    result = np.empty(values_MV.shape)
    for v, c in enumerate(form.number_columns):
        there_M = codes_MC[:, c] != form.cardinalities[c] - 1
        latest_M = np.maximum.accumulate(np.where(there_M, row_M, -1))
        beside_M = values_MV[:, v].astype(np.float64)
        own_M = form.settled(v, codes_MC[:, c], beside_M, np.zeros(len(row_M)))
        result[:, v] = np.where(latest_M >= first_M, own_M[np.maximum(latest_M, 0)], 0.0)
    return result


def _shares(codes_M: np.ndarray, cardinality: int) -> np.ndarray:
    return np.bincount(codes_M, minlength=cardinality) / max(1, len(codes_M))


def _knots(numbers_MV: np.ndarray, rare: int) -> np.ndarray:
    """Strictly ascending quantiles (V, Q), none of them a number of a row (see `coarse_quantiles`)."""
    from raysynth.methods.autoregressive_sequences.network import KNOTS

    levels = np.linspace(0, 1, KNOTS)
    quantiles_VQ = np.array([coarse_quantiles(x, levels, max(1, rare)) for x in np.sort(numbers_MV, axis=0).T])
    return np.maximum.accumulate(quantiles_VQ.reshape(-1, KNOTS), 1) + SMALLEST_GAP * np.arange(KNOTS)
