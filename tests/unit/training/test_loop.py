"""The training loop with a learner of one number: resume, interruption, failure, history."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from raysynth.errors import ParameterError, StorageError, TrainingError
from raysynth.training.batches import epoch_seed
from raysynth.training.checkpoints import FILE_NAME, FolderStore
from raysynth.training.loop import TrainResult, TrainSettings, train


class Walk:
    """Adds noise to a number: any lost, repeated or differently seeded step shows in it."""

    device = torch.device("cpu")
    finished = False

    def __init__(self, stop_at: int | None = None, loss_at: dict[int, float] | None = None) -> None:
        self.position = torch.zeros(())
        self.steps = 0
        self.stop_at, self.loss_at = stop_at, loss_at or {}
        self.factors: list[float] = []

    def step(self, batch: Any, rng: torch.Generator) -> dict[str, Tensor]:
        if self.steps == self.stop_at:
            raise KeyboardInterrupt
        self.position = self.position * 0.9 + torch.randn((), generator=rng) + batch
        self.steps += 1
        return {"walk": torch.tensor(self.loss_at.get(self.steps, float(self.position)))}

    def set_learning_rate(self, factor: float) -> None:
        self.factors.append(factor)

    def end_epoch(self) -> None:
        pass

    def average(self, tensors: Iterable[Tensor]) -> None:
        pass

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position.clone(), "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.position, self.steps = state["position"].clone(), state["steps"]


class ThreeBatches:
    steps = 3

    def seed_of(self, number: int) -> int:
        return epoch_seed(7, number, 0)

    def epoch(self, number: int) -> Iterator[float]:
        return iter([number + 0.1, number + 0.2, number + 0.3])


def run(epochs: int, folder: Path | None = None, learner: Walk | None = None, **settings: Any) -> TrainResult:
    store = None if folder is None else FolderStore(folder)
    made = TrainSettings(epochs, batch_size=1, seed=7, **settings)
    return train(learner or Walk(), ThreeBatches(), made, signature="walk", store=store)


def losses(result: TrainResult) -> list[float]:
    return [entry["walk"] for entry in result.history]


def test_history_has_one_entry_an_epoch_with_mean_losses_and_seconds() -> None:
    result = run(4, learner=Walk(loss_at={1: 1.0, 2: 2.0, 3: 6.0}))
    assert [entry["epoch"] for entry in result.history] == [1, 2, 3, 4]
    assert result.history[0]["walk"] == pytest.approx(3.0)
    assert all(entry["seconds"] >= 0 for entry in result.history)


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = run(6)
    run(4, tmp_path, checkpoint_every=2)
    resumed = run(6, tmp_path, checkpoint_every=2)
    assert losses(resumed) == losses(whole)
    assert torch.equal(resumed.state["position"], whole.state["position"])


def test_ctrl_c_keeps_the_last_finished_epoch_and_says_where(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt) as stopped:
        run(6, tmp_path, Walk(stop_at=7), checkpoint_every=100)
    assert "epoch 2 of 6" in stopped.value.__notes__[0]
    assert str(tmp_path) in stopped.value.__notes__[0]
    assert len(FolderStore(tmp_path).load().history) == 2  # type: ignore[union-attr]
    assert losses(run(6, tmp_path)) == losses(run(6))


def test_a_loss_that_is_not_finite_stops_with_the_cure() -> None:
    with pytest.raises(TrainingError, match=r"walk loss is not finite in epoch 2.*learning rate"):
        run(4, learner=Walk(loss_at={5: float("nan")}))


def test_another_models_checkpoint_is_refused(tmp_path: Path) -> None:
    run(1, tmp_path)
    with pytest.raises(ParameterError, match="belongs to another"):
        train(Walk(), ThreeBatches(), TrainSettings(2, 1, 7), signature="other", store=FolderStore(tmp_path))


def test_a_damaged_checkpoint_is_refused_without_running_it(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(StorageError, match="damaged"):
        run(1, tmp_path)


def test_the_cosine_schedule_falls_to_a_twentieth() -> None:
    learner = Walk()
    run(50, learner=learner, schedule="cosine")
    assert learner.factors[0] == 1.0
    assert learner.factors == sorted(learner.factors, reverse=True)
    assert 0.05 <= learner.factors[-1] < 0.06


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"epochs": 1.5}, {"batch_size": -1}, {"schedule": "step"}])
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ParameterError, match=next(iter(wrong))):
        TrainSettings(**{"epochs": 1, "batch_size": 1, "seed": 0, **wrong}).validate()
