"""Distance of generated rows from held ones: by hand, and blind to nothing that pairs show."""

from __future__ import annotations

import pytest
import torch

from raysynth.methods.gan.training import pair_distance, scored_pairs


def test_by_hand() -> None:
    real = torch.tensor([[0, 0], [0, 0], [1, 1], [1, 1]])
    made = torch.tensor([[0, 1], [1, 0], [1, 1], [0, 0]])
    assert pair_distance(real, made, (2, 2), [(0, 1)]).item() == pytest.approx(0.5)  # equal columns, other pairs
    assert pair_distance(real, made, (2, 2), [(0, 0), (1, 1)]).item() == pytest.approx(0.0)
    assert pair_distance(real, real + 2, (4, 4), [(0, 1)]).item() == pytest.approx(1.0)


def test_pairs_of_many_cells_are_left_out_and_a_single_column_is_scored_alone() -> None:
    assert scored_pairs((3, 2, 10_000)) == ((0, 1),)
    assert scored_pairs((7,)) == ((0, 0),)
    assert scored_pairs((10_000, 10_000)) == ((0, 0), (1, 1))
    assert len(scored_pairs((2,) * 40)) == 200
