"""Rows held back: which they are, and that no training batch has one."""

from __future__ import annotations

import numpy as np
import torch

from raysynth.encoding.block import EncodedBlock
from raysynth.training.batches import MemoryRows
from raysynth.training.held_out import HeldOut, ValidationBatch


def numbered(n: int) -> MemoryRows:
    """Row i has code i."""
    return MemoryRows(EncodedBlock(np.arange(n, dtype=np.uint16)[:, None], np.arange(n, dtype=np.float32)[:, None]))


def test_every_row_is_trained_on_or_held_back() -> None:
    made = HeldOut.split(numbered(100), 0.2, batch_size=16, steps=5, seed=3, rank=0, device=torch.device("cpu"))
    for epoch in range(2):
        batches = list(made.epoch(epoch))
        held = torch.cat([b.codes_NC for b in batches if isinstance(b, ValidationBatch)]).ravel().tolist()
        trained = torch.cat([b.codes_NC for b in batches if not isinstance(b, ValidationBatch)]).ravel().tolist()
        assert len(held) == 20
        assert sorted(held + trained) == list(range(100))  # 5 batches of 16: each of the 80 others once


def test_no_share_holds_nothing_back() -> None:
    made = HeldOut.split(numbered(32), 0.0, batch_size=16, steps=2, seed=3, rank=0, device=torch.device("cpu"))
    assert [isinstance(b, ValidationBatch) for b in made.epoch(0)] == [False, False]


def test_given_rows_are_held_back_and_others_left_out() -> None:
    held, left_out = np.array([7, 8, 9]), np.array([5, 6, 10])
    made = HeldOut.split(
        numbered(30),
        0.5,
        batch_size=8,
        steps=3,
        seed=3,
        rank=0,
        device=torch.device("cpu"),
        held=held,
        left_out=left_out,
    )
    assert made.validation is not None and made.validation.codes_NC.ravel().tolist() == [7, 8, 9]
    trained = torch.cat([b.codes_NC for b in made.epoch(0) if not isinstance(b, ValidationBatch)]).ravel().tolist()
    assert sorted(trained) == [*range(5), *range(11, 30)]
