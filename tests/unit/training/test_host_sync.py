"""No step of any learner makes the host wait for the device, nor copies from the host.

The learners run on torch's 'meta' device, whose tensors have shapes and no numbers: whatever asks for a number
(`.item()`, `float(...)`, a boolean mask, `nonzero`, `bincount`) has nothing to answer with and fails, on any machine,
as it would make a GPU's host wait. Copies from the host, which 'meta' would swallow, are watched for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from raysynth.methods.autoregressive.network import CodeLayout, NetworkSettings
from raysynth.methods.autoregressive.recipe import AnyOrderJob, AnyOrderSettings
from raysynth.methods.gan.network import Conditions
from raysynth.methods.gan.recipe import GanJob
from raysynth.methods.gan.training import GanSettings
from raysynth.methods.shared.spans import Spans
from raysynth.methods.timegan.network import SequenceLayout, VectorLayout
from raysynth.methods.timegan.recipe import TimeGanJob, TimeGanSettings
from raysynth.methods.vae.network import VaeNetworks
from raysynth.methods.vae.recipe import VaeJob, VaeSettings
from raysynth.training.batches import Batch, ValidationBatch
from raysynth.training.job import Job, average_alone
from raysynth.training.learner import Learner
from raysynth.training.loop import TrainSettings

META = torch.device("meta")
CARDINALITIES, N_VALUES, ROWS = (5, 3, 4), 1, 20
SPANS = Spans(CARDINALITIES, (1,))
GAN = GanSettings(8, (16,), (16, 16), pac=5)
SEQUENCES = SequenceLayout(4, VectorLayout((1, 2), (0,), (0,), (0, -1)), VectorLayout((), (), (), ()))


class HostCopy(AssertionError):
    """A step copied from the host or to it."""


class NoHostCopies(TorchDispatchMode):
    """Fails where a tensor goes from one device to another."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = [a.device for a in (*args, *(kwargs or {}).values()) if isinstance(a, torch.Tensor) and a.ndim]
        result = func(*args, **(kwargs or {}))
        for made in result if isinstance(result, tuple | list) else [result]:
            if isinstance(made, torch.Tensor) and any(device != made.device for device in given):
                raise HostCopy(f"{func} copies from {given[0]} to {made.device}")
        return result


class NoTensorsOfLists(TorchFunctionMode):
    """Fails where Python's numbers or NumPy's become a tensor: on a GPU that is a copy which the host waits for."""

    REFUSED = (torch.tensor, torch.as_tensor, torch.asarray, torch.from_numpy, torch.Tensor.new_tensor)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in self.REFUSED and result.device == META:
            raise HostCopy(f"{func.__name__} makes a tensor on {META}")
        return result


class MetaGenerator(torch.Generator):
    """Stands for the generator of a device that this machine lacks."""

    def __new__(cls, device: Any = None) -> MetaGenerator:
        return super().__new__(cls)

    @property
    def device(self) -> torch.device:
        return META


@pytest.fixture(autouse=True)
def like_a_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What 'meta' lacks of a GPU: generators, and fused optimisers (torch's others launch the same arithmetic)."""
    for name in ("Adam", "AdamW"):
        original = getattr(torch.optim, name)
        monkeypatch.setattr(torch.optim, name, lambda *a, original=original, fused=None, **k: original(*a, **k))
    yield


def settings(accumulation: int = 1) -> TrainSettings:
    return TrainSettings(4, ROWS, 0, accumulation=accumulation)


def vae(accumulation: int = 1, components: int = 4) -> Job:
    networks = VaeNetworks(4, (8,), (8,), components)
    return VaeJob(SPANS, (True, True, False), networks, VaeSettings(), settings=settings(accumulation))


def gan(columns: tuple[int, ...] = (), all_given: bool = False, accumulation: int = 1) -> Job:
    return GanJob(SPANS, Conditions.on(SPANS, columns), GAN, all_given, settings=settings(accumulation))


def any_order() -> Job:
    frequencies = tuple(np.full(k, 1 / k) for k in CARDINALITIES)
    layout = CodeLayout(CARDINALITIES, (0, 0, 0))
    return AnyOrderJob(layout, NetworkSettings(8, 8, 1), AnyOrderSettings(groups=4), frequencies, settings=settings())


def time_gan() -> Job:
    return TimeGanJob(SEQUENCES, TimeGanSettings(hidden=4, projections=8), settings=settings())


JOBS: dict[str, Callable[[], Job]] = {
    "vae": vae,
    "vae with the paper's prior": partial(vae, components=0),
    "vae in parts": partial(vae, accumulation=2),
    "gan": gan,
    "gan in parts": partial(gan, accumulation=2),
    "ctgan": partial(gan, (0, 2)),
    "conditional gan": partial(gan, (0, 2), all_given=True),
    "any order": any_order,
    "time gan": time_gan,
}


def rows(job: Job, kind: type[Batch] = Batch) -> Batch:
    """A batch on the device, of the width that a job takes."""
    widths = (1 + 2 * SEQUENCES.steps, SEQUENCES.steps) if isinstance(job, TimeGanJob) else (3, N_VALUES)
    codes, values = (torch.zeros(ROWS, width, device=META) for width in widths)
    condition = torch.zeros(ROWS, dtype=torch.long, device=META) if isinstance(job, GanJob) else None
    if kind is ValidationBatch or condition is None or job.all_given or not job.conditions.columns:
        return kind(codes.long(), values)
    return kind(codes.long(), values, condition, condition)


def step(learner: Learner, batch: Batch) -> dict[str, torch.Tensor]:
    with NoHostCopies(), NoTensorsOfLists():
        return dict(learner.step(batch, MetaGenerator()))


@pytest.mark.parametrize("name", JOBS)
def test_a_step_never_waits_for_the_device(name: str) -> None:
    job = JOBS[name]()
    learner = job.learner(META, average_alone)
    for _ in range(3):  # the first makes the optimisers' state
        losses = step(learner, rows(job))
    assert losses and all(loss.device == META and loss.ndim == 0 for loss in losses.values())


def test_the_second_phase_of_time_gan_does_not_wait_either() -> None:
    job = time_gan()
    learner = job.learner(META, average_alone)
    learner.epochs = 3
    assert "distance" in step(learner, rows(job))


@pytest.mark.parametrize("name", ["vae", "gan", "ctgan", "conditional gan", "any order"])
def test_scoring_rows_held_back_does_not_wait_either(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    job = JOBS[name]()
    learner = job.learner(META, average_alone)
    monkeypatch.setattr(torch, "Generator", MetaGenerator)
    assert step(learner, rows(job, ValidationBatch))["validation"].device == META


PLANTED: dict[str, Callable[[torch.Tensor], Any]] = {
    "item": lambda x: x.sum().item(),
    "float": lambda x: float(x.sum()),
    "truth": lambda x: bool(x.sum() > 0),
    "tolist": lambda x: x.tolist(),
    "numpy": lambda x: x.cpu().numpy(),
    "nonzero": lambda x: x.nonzero(),
    "mask": lambda x: x[x > 0],
    "bincount": lambda x: torch.bincount(x.long().flatten()),
    "copy to the host": lambda x: x.to("cpu"),
    "copy from the host": lambda x: torch.zeros(3).to(x.device),
    "copy into": lambda x: x[0].copy_(torch.zeros(x.shape[1])),
    "list": lambda x: torch.tensor([1.0, 2.0], device=x.device),
    "new": lambda x: x.new_tensor([1.0, 2.0]),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_wait_is_found(planted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of these makes a GPU's host wait, in the middle of a step whose numbers stay right."""
    from raysynth.methods.vae.network import TabularVae

    plain = TabularVae.posterior

    def posterior(self: TabularVae, rows_NW: torch.Tensor) -> Any:
        PLANTED[planted](rows_NW.detach())
        return plain(self, rows_NW)

    monkeypatch.setattr(TabularVae, "posterior", posterior)
    job = vae()
    with pytest.raises((HostCopy, RuntimeError, NotImplementedError)):
        step(job.learner(META, average_alone), rows(job))
