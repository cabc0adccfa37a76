"""The noised gradient over two real processes (gloo): the same variance as of one worker, on both the same numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from scipy import stats

from raysynth.dp.gradients.release import DpSgdPlan, GradientRelease
from raysynth.dp.gradients.uses import OffsetUse
from raysynth.dp.mechanisms.noise import OsNoise

PLAN = DpSgdPlan(clip=0.5, noise_multiplier=1.5, sampling_rate=0.1, expected_batch=20.0, steps=10)
NUMBERS, DRAWS = 200, 200
FALSE_ALARM = 1e-6


class Silent(OsNoise):
    """A worker that forgets its noise."""

    def normal(self, shape: int | tuple[int, ...]) -> np.ndarray:
        return np.zeros(shape)


def worker(rank: int, size: int, folder: str, silent: bool) -> None:
    import torch.distributed as dist

    from raysynth.training.distributed import average_over_workers

    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=size)
    noise = Silent() if silent and rank == 1 else OsNoise()
    use = OffsetUse(torch.full((3, NUMBERS), 0.01), 0, torch.Size([NUMBERS]))
    drawn = []
    for _ in range(DRAWS):
        release = GradientRelease(
            PLAN, n_workers=average_over_workers.n_workers, sum_over_workers=average_over_workers.total, noise=noise
        )
        release.add_uses([use], [torch.zeros(NUMBERS)])
        drawn.append(release.noised_mean()[0])
    np.save(Path(folder) / f"{rank}.npy", torch.stack(drawn).numpy())
    dist.destroy_process_group()


def statistic(folder: Path, size: int, silent: bool = False) -> float:
    """Sum of squared standardised noise over all draws: chi-squared with DRAWS * NUMBERS degrees of freedom."""
    mp.spawn(worker, args=(size, str(folder), silent), nprocs=size)
    found = [np.load(folder / f"{rank}.npy").astype(float) for rank in range(size)]
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)
    exact = size * 3 * 0.01 / PLAN.expected_batch
    return float((((found[0] - exact) / (PLAN.noise_multiplier * PLAN.clip / PLAN.expected_batch)) ** 2).sum())


@pytest.mark.statistical
@pytest.mark.parametrize("silent", [False, True], ids=["both draw noise", "one forgets"])
def test_noise_over_two_processes(tmp_path: Path, silent: bool) -> None:
    low, high = stats.chi2.ppf([FALSE_ALARM / 2, 1 - FALSE_ALARM / 2], DRAWS * NUMBERS)
    found = statistic(tmp_path, 2, silent)
    assert bool(low < found < high) is not silent  # a bool of NumPy is no other one
