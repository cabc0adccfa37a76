"""Tests of shared prefixes: whatever is shared, each row has the context of its own codes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from raysynth.methods.autoregressive.prefixes import Prefixes, slices

CARDINALITIES = (2, 5, 40, 300)


def embeddings(width: int = 3) -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    return [torch.randn(k, width, generator=rng) for k in CARDINALITIES]


def drawn(rows: int, seed: int = 0) -> list[torch.Tensor]:
    rng = np.random.default_rng(seed)
    return [torch.from_numpy(rng.integers(0, k, rows)) for k in CARDINALITIES]


@pytest.mark.parametrize("rows", [1, 7, 3000])  # few rows: no sharing; many: in a table first, then by sorting
def test_each_row_has_the_sum_of_its_own_codes(rows: int) -> None:
    prefixes, total_NH = Prefixes.empty(rows, 3), torch.zeros(rows, 3)
    for count, (table, codes_N) in enumerate(zip(embeddings(), drawn(rows), strict=True), 1):
        prefixes.extend(table, codes_N)
        total_NH += table[codes_N]
        torch.testing.assert_close(prefixes.spread(prefixes.context.sum_NH), total_NH)
        assert prefixes.context.scale() == pytest.approx(count**-0.5)


def test_equal_rows_share_a_prefix_until_most_rows_differ() -> None:
    prefixes, known = Prefixes.empty(3000, 3), []
    for table, codes_N in zip(embeddings()[:3], drawn(3000), strict=False):
        prefixes.extend(table, codes_N)
        known.append(codes_N)
        assert len(prefixes.context.sum_NH) == len(torch.stack(known, 1).unique(dim=0))
    prefixes.extend(embeddings()[3], drawn(3000)[3])
    assert prefixes.of_row_N is None and len(prefixes.context.sum_NH) == 3000


@pytest.mark.parametrize("known", [0, 2, 4])
def test_a_part_goes_on_by_itself(known: int) -> None:
    whole, tables, codes = Prefixes.empty(3000, 3), embeddings(), drawn(3000)
    for table, codes_N in list(zip(tables, codes, strict=False))[:known]:
        whole.extend(table, codes_N)
    before, rows = whole.spread(whole.context.sum_NH).clone(), slice(700, 956)
    part = whole.part(rows)
    torch.testing.assert_close(part.spread(part.context.sum_NH), before[rows])
    assert part.rows == 256 and len(part.context.sum_NH) <= 256
    part.extend(tables[1], codes[1][rows])
    torch.testing.assert_close(part.spread(part.context.sum_NH), before[rows] + tables[1][codes[1][rows]])
    torch.testing.assert_close(whole.spread(whole.context.sum_NH), before)


def test_slices_cover_all_rows_once() -> None:
    assert [list(range(10))[s] for s in slices(10, 4)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert list(slices(0)) == []
