"""What several modules start from: a Ray of two processors, encoded shards to train on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from faults import QUICK_TRAIN

from raysynth.encoding.block import EncodedBlock
from raysynth.training.shards import ShardSet, write_block


@pytest.fixture(scope="session")
def _ray_at_the_end(own_home: None) -> Iterator[None]:
    yield
    import ray

    ray.shutdown()


@pytest.fixture(scope="module")
def two_cpus(_ray_at_the_end: None) -> Any:
    """The one Ray of the modules that lose no node and no driver and run no trials; they come last."""
    return _started()


@pytest.fixture(scope="module")
def fresh_two_cpus() -> Iterator[Any]:
    """A Ray of the module's own: Ray Tune may leave workers of its trials behind."""
    import ray

    ray.shutdown()
    yield _started()
    ray.shutdown()


def _started() -> Any:
    import ray

    if not ray.is_initialized():
        with pytest.MonkeyPatch.context() as patch:
            patch.delenv("RAY_ADDRESS", raising=False)
            ray.init(
                num_cpus=2,
                object_store_memory=2 * 10**8,
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
                runtime_env={"env_vars": QUICK_TRAIN},
            )
    return ray


@pytest.fixture(scope="module")
def planted_shards(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, int], ShardSet]:
    """So many shards of so many rows each: columns 0 and 1 agree in 93 of 100, and the value is near -0.5, 0 or 0.5 by
    column 0."""

    def made(n_shards: int, rows: int) -> ShardSet:
        folder = tmp_path_factory.mktemp("shards")
        rng = np.random.default_rng(0)
        written = []
        for i in range(n_shards):
            a = rng.integers(0, 3, rows)
            b = np.where(rng.random(rows) < 0.9, a, rng.integers(0, 3, rows))
            values = (0.5 * (a - 1) + rng.normal(0, 0.05, rows)).astype(np.float32)
            block = EncodedBlock(np.stack([a, b, 0 * a], 1).astype(np.uint16), values[:, None])
            written.append(write_block(folder, f"planted-{i}", block, 2))
        shards = ShardSet(folder, tuple(written))
        shards.write_manifest()
        return shards

    return made
