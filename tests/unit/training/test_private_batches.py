"""Poisson batches: each row with the same chance, independently, none left out; no more steps than were charged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from raysynth.dp.gradients.release import DpSgdPlan
from raysynth.dp.mechanisms.noise import OsNoise
from raysynth.encoding.block import EncodedBlock
from raysynth.errors import TrainingError
from raysynth.statistics.units import UnitIndex
from raysynth.training import private_batches
from raysynth.training.batches import MemoryRows, epoch_seed
from raysynth.training.job import average_alone
from raysynth.training.loop import TrainSettings, train
from raysynth.training.private_batches import PoissonBatches, RowsOfUnits, bernoulli_places

FALSE_ALARM = 1e-6  # of each statistical test here


def plan(q: float, steps: int, **more: object) -> DpSgdPlan:
    return DpSgdPlan(clip=1.0, noise_multiplier=1.0, sampling_rate=q, expected_batch=1.0, steps=steps, **more)  # type: ignore[arg-type]


def rows(n: int) -> MemoryRows:
    """Row i has the codes (i, i)."""
    codes = np.repeat(np.arange(n, dtype=np.uint16)[:, None], 2, 1)
    return MemoryRows(EncodedBlock(codes, codes[:, :1].astype(np.float32)))


def inclusion(n: int, q: float, steps: int) -> np.ndarray:
    """0/1 (steps, rows): who was in which batch; a row twice in a batch fails."""
    batches = PoissonBatches(rows(n), plan(q, steps), multiple=4)
    found = np.zeros((steps, n), int)
    t = 0
    for epoch in range(steps):
        for batch in batches.epoch(epoch):
            for part in batch.parts:
                assert len(part.counted_N) % 4 == 0
                ids = part.batch.codes_NC[part.counted_N][:, 0].numpy()
                np.testing.assert_array_equal(part.batch.values_NV[part.counted_N][:, 0].numpy(), ids)
                np.add.at(found[t], ids, 1)
            t += 1
    assert t == steps
    assert found.max() <= 1
    return found


@pytest.mark.statistical
def test_every_row_is_drawn_with_chance_q_independently_of_the_others() -> None:
    n, q, steps = 40, 0.15, 4000
    found = inclusion(n, q, steps)
    bound = FALSE_ALARM / (2 * n)
    low, high = stats.binom.ppf([bound, 1 - bound], steps, q)
    assert (found.sum(0) >= low).all() and (found.sum(0) <= high).all()
    sizes = found.sum(1)  # binomial: shuffled or fixed-size batches would have no spread
    statistic = (steps - 1) * sizes.var(ddof=1) / (n * q * (1 - q))
    assert stats.chi2.ppf(FALSE_ALARM / 2, steps - 1) < statistic < stats.chi2.ppf(1 - FALSE_ALARM / 2, steps - 1)
    z = (found - q) / np.sqrt(q * (1 - q))
    together = (z.T @ z / np.sqrt(steps))[np.triu_indices(n, 1)]
    assert np.abs(together).max() < 7  # 780 pairs, each beyond 7 standard errors less than once in 10^9


@pytest.mark.statistical
@pytest.mark.parametrize("rank", [1, 3])
def test_every_worker_draws_from_its_share_with_the_same_chance(rank: int) -> None:
    n, q, steps = 50, 0.1, 2000
    batches = PoissonBatches(rows(n), plan(q, steps), rank=rank)
    drawn = sum(int(part.counted_N.sum()) for e in range(steps // 10) for b in batches.epoch(e) for part in b.parts)
    low, high = stats.binom.ppf([FALSE_ALARM / 2, 1 - FALSE_ALARM / 2], n * steps, q)
    assert low <= drawn <= high


def test_steps_are_independent_too() -> None:
    found = inclusion(30, 0.3, 3000)
    z = (found - 0.3) / np.sqrt(0.21)
    assert abs((z[1:] * z[:-1]).sum() / np.sqrt(z[1:].size)) < 5


def test_a_small_share_may_give_an_empty_batch_which_still_takes_a_step() -> None:
    batches = list(PoissonBatches(rows(3), plan(0.01, 100), multiple=8).epoch(0))
    assert len(batches) == 100
    assert any(not batch.parts[0].counted_N.any() for batch in batches)
    assert all(len(part.counted_N) >= 8 for batch in batches for part in batch.parts)


def test_a_batch_above_the_size_of_a_part_is_cut_and_nobody_is_left_out() -> None:
    (batch,) = PoissonBatches(rows(50), plan(1.0, 1), multiple=4, part_rows=16).epoch(0)
    assert len(batch.parts) == 4
    ids = torch.cat([p.batch.codes_NC[p.counted_N][:, 0] for p in batch.parts])
    assert sorted(ids.tolist()) == list(range(50))
    assert [sorted(p.rows_N[p.rows_N >= 0]) for p in batch.parts[:1]] == [list(range(16))]


def test_places_at_both_ends_of_the_range_of_chances() -> None:
    assert bernoulli_places(7, 1.0, OsNoise()).tolist() == list(range(7))
    assert len(bernoulli_places(10**9, 1e-9, OsNoise())) < 25
    assert len(bernoulli_places(0, 0.5, OsNoise())) == 0
    many = bernoulli_places(10**6, 0.9, OsNoise())
    assert abs(len(many) - 9e5) < 5 * 300
    assert (np.diff(many) >= 1).all()


@pytest.mark.statistical
def test_units_are_drawn_with_chance_q_by_one_row_each_whatever_they_have() -> None:
    """Unit u has u + 1 rows: drawn by row it would come u + 1 times as often, and with several rows."""
    n, q, steps = 12, 0.2, 4000
    unit_R = np.random.default_rng(0).permutation(np.repeat(np.arange(n), np.arange(n) + 1))
    order = np.argsort(unit_R, kind="stable")
    index = UnitIndex(order, np.searchsorted(unit_R[order], np.arange(n + 1)))
    source = RowsOfUnits(rows(len(unit_R)), index)
    batches = PoissonBatches(source, plan(q, steps), multiple=4)
    found, by_row = np.zeros((steps, n), int), np.zeros(len(unit_R), int)
    for t, batch in enumerate(b for e in range(steps) for b in batches.epoch(e)):
        for part in batch.parts:
            drawn = part.rows_N[part.rows_N >= 0]
            np.testing.assert_array_equal(part.batch.codes_NC[part.counted_N][:, 0].numpy(), drawn)
            np.add.at(found[t], unit_R[drawn], 1)
            by_row[drawn] += 1
    assert found.max() == 1
    low, high = stats.binom.ppf([FALSE_ALARM / (2 * n), 1 - FALSE_ALARM / (2 * n)], steps, q)
    assert (found.sum(0) >= low).all() and (found.sum(0) <= high).all()
    z = (found - q) / np.sqrt(q * (1 - q))
    assert np.abs((z.T @ z / np.sqrt(steps))[np.triu_indices(n, 1)]).max() < 7, "independently of each other"
    of_last = by_row[unit_R == n - 1]
    low, high = stats.binom.ppf([FALSE_ALARM / (2 * n), 1 - FALSE_ALARM / (2 * n)], of_last.sum(), 1 / n)
    assert (of_last >= low).all() and (of_last <= high).all(), "each of its rows, drawn anew in each step"
    with pytest.raises(ValueError, match="not of the same table"):
        RowsOfUnits(rows(5), index)


def test_two_passes_of_the_same_epoch_differ() -> None:
    """Draws come from the operating system: a repeated epoch does not draw the same rows again."""
    drawn = []
    for _ in range(2):
        (batch,) = PoissonBatches(rows(200), plan(0.5, 1)).epoch(0)
        drawn.append(batch.parts[0].batch.codes_NC[batch.parts[0].counted_N][:, 0].tolist())
    assert drawn[0] != drawn[1]


def test_steps_repeated_after_a_crash_come_out_of_the_charged_ones(tmp_path: Path) -> None:
    journal = str(tmp_path / "steps.json")
    charged = plan(0.25, 12, journal=journal)  # 3 epochs of 4 steps
    first = PoissonBatches(rows(20), charged)
    first.agree(average_alone)
    assert len(list(first.epoch(0))) == 4
    next(first.epoch(1))  # the second epoch was started when the worker was lost
    again = PoissonBatches(rows(20), charged)
    again.agree(average_alone)
    assert [len(list(again.epoch(e))) for e in (1, 2)] == [4, 0]
    assert private_batches.started_steps(Path(journal)) == 12


def test_two_processes_in_one_run_do_not_release_twice_what_was_charged_once(tmp_path: Path) -> None:
    charged = plan(0.25, 12, journal=str(tmp_path / "run" / "steps.json"))  # 3 epochs of 4 steps
    one, other = PoissonBatches(rows(20), charged), PoissonBatches(rows(20), charged)
    for batches in (one, other):
        batches.agree(average_alone)
    assert len(list(one.epoch(0))) == 4
    with pytest.raises(TrainingError, match="another process trains in .*run"):
        next(other.epoch(0))
    other.agree(average_alone)  # it resumes, knowing of the other's steps, and the one that still runs is stopped
    assert len(list(other.epoch(1))) == 4
    with pytest.raises(TrainingError, match="another process"):
        next(one.epoch(1))


@pytest.mark.statistical
def test_the_group_of_a_row_is_drawn_for_it_alone() -> None:
    """One row more must not move the others into other groups: which of them share one is independent of the number."""
    n, draws, groups = 12, 4000, 4
    groups_of = np.full((draws, n), -1)
    batches = PoissonBatches(rows(n), plan(0.5, draws), multiple=groups)
    steps = (batch for epoch in range(draws) for batch in batches.epoch(epoch))
    for t, batch in zip(range(draws), steps, strict=False):
        (part,) = batch.parts
        size = len(part.rows_N) // groups
        for place, row in enumerate(part.rows_N):
            if row >= 0:
                groups_of[t, row] = place // size
    drawn_with_1 = (groups_of[:, 0] >= 0) & (groups_of[:, 1] >= 0)
    alone = drawn_with_1 & ((groups_of >= 0).sum(1) <= 6)
    crowded = drawn_with_1 & ((groups_of >= 0).sum(1) > 6)
    for some in (alone, crowded):  # by position, rows 0 and 1 would nearly always share a group
        shared = int((groups_of[some, 0] == groups_of[some, 1]).sum())
        low, high = stats.binom.ppf([FALSE_ALARM / 4, 1 - FALSE_ALARM / 4], int(some.sum()), 1 / groups)
        assert low <= shared <= high
    counts = np.bincount(groups_of[groups_of[:, 5] >= 0, 5], minlength=groups)
    assert stats.chisquare(counts).pvalue > FALSE_ALARM


class Watching:
    """A learner that notes the seed of each epoch's generator."""

    device, finished = torch.device("cpu"), False

    def __init__(self) -> None:
        self.seeds: list[int] = []

    def step(self, batch: object, rng: torch.Generator) -> dict[str, torch.Tensor]:
        self.seeds.append(rng.initial_seed())
        return {}

    def set_learning_rate(self, factor: float) -> None: ...

    def end_epoch(self) -> None: ...

    def average(self, tensors: object) -> None: ...

    def state_dict(self) -> dict[str, object]:
        return {}

    def load_state_dict(self, state: dict[str, object]) -> None: ...


def test_what_is_drawn_for_single_rows_does_not_come_from_the_published_seed() -> None:
    """Latent noise is drawn row after row: who knew the seed would see one row more shift it for all that follow."""
    settings, seen = TrainSettings(3, 4, seed=7), []
    for _ in range(2):
        learner = Watching()
        train(learner, PoissonBatches(rows(8), plan(0.5, 6)), settings)
        assert len(set(learner.seeds)) == 3
        seen += learner.seeds
    published = {epoch_seed(7, epoch, 0) for epoch in range(3)}
    assert len(set(seen)) == 6 and not set(seen) & published


def test_all_workers_bring_numbers_of_one_type_to_the_agreement(tmp_path: Path) -> None:
    """An all-reduce of whole numbers on rank 0 and fractions elsewhere fails, or gives nonsense."""
    types: set[torch.dtype] = set()

    class Notes:
        n_workers = 2

        def __call__(self, tensors: object) -> None:
            raise AssertionError("a sum is wanted")

        def total(self, tensors: list[torch.Tensor]) -> None:
            types.update(t.dtype for t in tensors)

    journal = tmp_path / "steps.json"
    for content in (None, '{"started": 3}'):
        if content:
            journal.write_text(content)
        for rank in (0, 1):
            PoissonBatches(rows(40), plan(0.25, 12, journal=str(journal)), rank=rank).agree(Notes())
    assert types == {torch.float32}
