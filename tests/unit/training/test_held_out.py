"""Rows held back: which they are, and that no training batch has one."""

from __future__ import annotations

import numpy as np
import torch

from raysynth.encoding.block import EncodedBlock
from raysynth.training.batches import Batches, HeldOut, MemoryRows, RowsOfPersons, ValidationBatch


def numbered(n: int) -> MemoryRows:
    """Row i has code i."""
    return MemoryRows(EncodedBlock(np.arange(n, dtype=np.uint16)[:, None], np.arange(n, dtype=np.float32)[:, None]))


def test_every_row_is_trained_on_or_held_back() -> None:
    made = HeldOut.split(Batches(numbered(100), 16, 5, seed=3), 0.2)
    for epoch in range(2):
        batches = list(made.epoch(epoch))
        held = torch.cat([b.codes_NC for b in batches if isinstance(b, ValidationBatch)]).ravel().tolist()
        trained = torch.cat([b.codes_NC for b in batches if not isinstance(b, ValidationBatch)]).ravel().tolist()
        assert len(held) == 20
        assert sorted(held + trained) == list(range(100))  # 5 batches of 16: each of the 80 others once


def test_no_share_holds_nothing_back() -> None:
    made = HeldOut.split(Batches(numbered(32), 16, 2, seed=3), 0.0)
    assert [isinstance(b, ValidationBatch) for b in made.epoch(0)] == [False, False]


def test_whole_persons_are_held_back() -> None:
    """Persons of 1 to 5 rows, in any order: none is on both sides, and about the share is held back."""
    persons_N = np.random.default_rng(0).permutation(np.repeat(np.arange(100), np.arange(100) % 5 + 1))
    rows = RowsOfPersons(numbered(len(persons_N)), persons_N)
    made = HeldOut.split(Batches(rows, 16, 20, seed=3), 0.2)
    batches = list(made.epoch(0))
    held = torch.cat([b.codes_NC for b in batches if isinstance(b, ValidationBatch)]).ravel().tolist()
    trained = torch.cat([b.codes_NC for b in batches if not isinstance(b, ValidationBatch)]).ravel().tolist()
    assert not set(persons_N[held]) & set(persons_N[trained]) and 50 <= len(held) <= 70
    assert set(held) | set(trained) <= set(range(300)) and set(persons_N[held]) and len(set(persons_N[trained])) > 60
    assert len(RowsOfPersons(numbered(4), np.zeros(4)).of_random_persons(2, np.random.default_rng(0))) == 0


def test_given_rows_are_held_back_and_others_left_out() -> None:
    held, left_out = np.array([7, 8, 9]), np.array([5, 6, 10])
    made = HeldOut.split(Batches(numbered(30), 8, 3, seed=3), 0.5, held=held, left_out=left_out)
    assert made.validation is not None and made.validation.codes_NC.ravel().tolist() == [7, 8, 9]
    trained = torch.cat([b.codes_NC for b in made.epoch(0) if not isinstance(b, ValidationBatch)]).ravel().tolist()
    assert sorted(trained) == [*range(5), *range(11, 30)]
