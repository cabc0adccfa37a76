"""The training loop under Ray Train: two CPU workers, the same result contract, and the loss of a worker."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from raysynth import TabularVAE
from raysynth.data import fragments as table_module
from raysynth.errors import ParameterError
from raysynth.methods.gan.network import Conditions
from raysynth.methods.gan.recipe import GanJob
from raysynth.methods.gan.training import GanSettings, TrainableGan
from raysynth.methods.shared import neural
from raysynth.methods.shared.spans import Spans
from raysynth.training.batches import Batch
from raysynth.training.distributed import train_on_ray
from raysynth.training.job import Place, train_worker
from raysynth.training.learner import At, Update
from raysynth.training.loop import TrainResult, TrainSettings
from raysynth.training.scratch import handing
from raysynth.training.shards import ShardSet

pytest.importorskip("ray")
pytestmark = pytest.mark.usefixtures("two_cpus")

SPANS = Spans((3, 3, 2), (2,))
NETWORKS = GanSettings(16, (32, 32), (32, 32), generator_lr=2e-3, discriminator_lr=2e-3, pac=5)


@pytest.fixture(scope="module")
def shards(planted_shards: Callable[[int, int], ShardSet]) -> ShardSet:
    return planted_shards(4, 250)


@dataclass(frozen=True)
class FragileJob(GanJob):
    """A GAN whose worker ends its process without a word in epoch 3 (10 steps an epoch), once; it notes at each start
    what lies on its machine's scratch disk."""

    die: Path | None = field(default=None, repr=False)

    def trainable(self, device: torch.device) -> TrainableGan:
        made = super().trainable(device)
        inner, die = made.updates, self.die if self.die is not None and _rank() == 1 else None
        if die is not None:
            own = Path(tempfile.gettempdir()).glob("encoded-rows-*/planted-[13].*")
            with die.with_suffix(".laid").open("a") as note:
                note.write(json.dumps({str(p): p.stat().st_mtime_ns for p in own}) + "\n")

        def updates(batch: Batch, at: At, rng: torch.Generator) -> Iterator[Update]:
            if at.step == 25 and die is not None and not die.exists():
                die.touch()
                os._exit(1)
            return inner(batch, at, rng)

        made.updates = updates
        return made


def _rank() -> int:
    from ray import train

    return int(train.get_context().get_world_rank())


def job(epochs: int, **fragile: object) -> FragileJob:
    settings = TrainSettings(epochs, batch_size=100, seed=1, checkpoint_every=1, ema_decay=0.99)
    return FragileJob(SPANS, Conditions.on(SPANS, (0, 1)), NETWORKS, settings=settings, **fragile)  # type: ignore[arg-type]


def run_config(folder: Path, name: str, retries: int) -> object:
    from ray.train import CheckpointConfig, FailureConfig, RunConfig

    return RunConfig(
        name=name,
        storage_path=str(folder),
        failure_config=FailureConfig(max_failures=retries),
        checkpoint_config=CheckpointConfig(num_to_keep=2),
    )


def scaling() -> object:
    from ray.train import ScalingConfig

    return ScalingConfig(num_workers=2)


class OverThreads:
    """Averages and sums over two threads, each a rank (an `Average`)."""

    n_workers = 2

    def __init__(self) -> None:
        self.held: list[list[Tensor]] = []
        self.all_there, self.all_read = Barrier(2, timeout=60), Barrier(2, self._done, timeout=60)

    def __call__(self, tensors: Iterable[Tensor]) -> None:
        """The mean, in place."""
        self.total(tensors, 1 / 2)

    def total(self, tensors: Iterable[Tensor], factor: float = 1.0) -> None:
        """The sum, in place."""
        own = list(tensors)
        self.held.append(own)
        self.all_there.wait()
        sums = [(a + b) * factor for a, b in zip(*self.held, strict=True)]
        self.all_read.wait()
        for tensor, found in zip(own, sums, strict=True):
            tensor.copy_(found)

    def _done(self) -> None:
        self.held = []


def undisturbed_training(of: FragileJob, shards: ShardSet) -> TrainResult:
    """Both ranks in threads of this process; nothing of a learner is global."""
    average, cpu = OverThreads(), torch.device("cpu")

    def rank(number: int) -> TrainResult:
        place = Place(number, 2, cpu, average)
        return train_worker(of, shards.share(number, 2), place, n_rows=shards.n_rows, store=None, label="rank")

    with ThreadPoolExecutor(2) as both:
        return next(both.map(rank, range(2)))


def test_a_lost_worker_costs_no_epoch(shards: ShardSet, tmp_path: Path) -> None:
    """Rank 1 ends in epoch 3 of 6: the fit goes on from the checkpoint of epoch 2 and equals an undisturbed one; what
    it had laid on its disk lies there, is not laid again, and is gone in the end."""
    mark = tmp_path / "died"
    with handing() as out:
        out.put_folder(shards.folder)
        handed = ShardSet(Path(), shards.shards, out.files)
        lost = train_on_ray(job(6, die=mark), handed, scaling(), run_config(tmp_path, "lost", 1))  # type: ignore[arg-type]
    first, again = map(json.loads, mark.with_suffix(".laid").read_text().splitlines())
    assert first == again and len(first) == 4, "two files of each of two shards"
    assert not any(Path(p).exists() for p in first)
    undisturbed = undisturbed_training(job(6), shards)
    assert mark.exists()
    assert [entry["epoch"] for entry in lost.history] == [1, 2, 3, 4, 5, 6]
    assert lost.state["weights"]["steps"] == 6 * 10
    for a, b in zip(lost.state["weights"]["best"], undisturbed.state["weights"]["best"], strict=True):
        torch.testing.assert_close(a, b)
    losses = [[entry["discriminator"] for entry in r.history] for r in (lost, undisturbed)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


@pytest.mark.slow  # two fits of two workers; in one process it is `test_kept_releases.py`'s and `test_kept_shards.py`'s
def test_a_second_private_fit_over_two_workers_encodes_nothing_and_pays_for_the_first_one_s_releases(
    tmp_path: Path,
) -> None:
    from ray.train import RunConfig, ScalingConfig

    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"a": rng.choice(list("xyz"), 9000), "b": rng.normal(size=9000)})
    rows["person_id"] = np.arange(9000) % 3000
    small = {"latent_dim": 2, "encoder_layers": (8,), "decoder_layers": (8,), "prior_components": 2, "epochs": 2}
    written, models = [], []
    for name in ("first", "second"):
        model = TabularVAE(
            **small,  # type: ignore[arg-type]
            batch_size=1000,
            epsilon=2.0,
            delta=1e-4,
            privacy_unit="person_id",
            verbose=False,
            keep_shards=True,
            scaling_config=ScalingConfig(num_workers=2),
            run_config=RunConfig(name=name, storage_path=str(tmp_path)),
        )
        models.append(model.fit(rows).privacy_spent_)
        written.append({p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.npy")})
    assert written[0] == written[1] and len(written[0]) >= 4  # two files for each of two shards
    assert sum(len(np.load(p)) for p in written[0] if p.name.endswith("codes.npy")) == 3000, "one row of each person"
    first, second = models
    assert first is not None and second is not None and second.joint is not None
    assert second.ledger.events == first.ledger.events and second.epsilon <= 2.0 < second.joint.epsilon


def test_several_rows_of_each_person_over_as_many_workers_as_there_are_processors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to four workers of a processor each, on two: two run, and nobody waits for ever. Statistics and encoding are
    passes of Ray Data over six fragments, over before the first worker starts; a person's rows are one worker's."""
    from ray.train import ScalingConfig

    monkeypatch.setattr(table_module, "_BLOCK_ROWS", 1500)
    monkeypatch.setattr(table_module, "_FEWEST_ROWS", 1500)
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"a": rng.choice(list("xyz"), 9000), "person_id": np.arange(9000) % 3001})
    rows.to_parquet(tmp_path / "rows.parquet")
    dealt: list[Any] = []
    made = neural.OwnedShards
    monkeypatch.setattr(neural, "OwnedShards", lambda *given: dealt.append(made(*given)) or dealt[-1])
    model = TabularVAE(
        latent_dim=2,
        encoder_layers=(8,),
        decoder_layers=(8,),
        prior_components=2,
        epochs=2,
        batch_size=1000,
        epsilon=2.0,
        delta=1e-4,
        privacy_unit="person_id",
        max_rows_per_unit=3,
        public_types=True,
        verbose=False,
        scaling_config=ScalingConfig(num_workers=(1, 4), resources_per_worker={"CPU": 1}),
    ).fit(tmp_path / "rows.parquet")
    assert [e["epoch"] for e in model.history_] == [1, 2] and all(np.isfinite(e["loss"]) for e in model.history_)
    spent = model.privacy_spent_
    assert spent is not None and spent.epsilon <= 2.0 and spent.ledger.events[-1].steps >= 2
    assert dealt[0].are_units and dealt[0].n_rows == 9000 and len(dealt[0].shards.shards) == 32


def test_a_batch_that_cannot_be_divided_is_refused_before_anything_starts(shards: ShardSet) -> None:
    from ray.train import ScalingConfig

    with pytest.raises(ParameterError, match="multiple of 15"):
        train_on_ray(job(1), shards, ScalingConfig(num_workers=3))


def test_averaging_is_the_mean_over_workers() -> None:
    """The process group itself is tested above; here that one flat reduction gives every tensor back its part."""
    import torch.distributed as dist

    from raysynth.training.distributed import average_over_workers

    store = dist.HashStore()
    dist.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        tensors: Iterable[Tensor] = [torch.ones(2, 3), torch.arange(4.0)]
        average_over_workers(tensors)
        assert [t.sum().item() for t in tensors] == [6, 6]
    finally:
        dist.destroy_process_group()
