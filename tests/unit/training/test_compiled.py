"""Compiled steps: the same losses and gradients as plain ones, the same randomness, and a way back from every failure.

One test goes through inductor and a C++ compiler, where there is one; the others through 'aot_eager', which traces and
differentiates in the same way and makes no machine code.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from raysynth.encoding.block import EncodedBlock
from raysynth.methods.autoregressive.network import CodeLayout, NetworkSettings
from raysynth.methods.autoregressive.recipe import AnyOrderJob, AnyOrderSettings
from raysynth.methods.gan.network import Conditions
from raysynth.methods.gan.recipe import GanJob
from raysynth.methods.gan.training import GanSettings
from raysynth.methods.shared.spans import Spans
from raysynth.methods.vae.network import VaeNetworks
from raysynth.methods.vae.recipe import VaeJob, VaeSettings
from raysynth.training import compiled as module
from raysynth.training.batches import MemoryRows, ValidationBatch
from raysynth.training.compiled import compiled
from raysynth.training.job import Job, average_alone, train_here
from raysynth.training.loop import TrainSettings

CPU = torch.device("cpu")
SPANS = Spans((3, 3, 2), (2,))
NETWORKS = GanSettings(8, (16,), (16, 16), generator_lr=2e-3, discriminator_lr=2e-3, pac=5)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Warnings of a failed compilation are errors, unless a test expects them."""
    monkeypatch.setattr(module, "BACKEND", "aot_eager")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="compile_step")
        yield


def rows(n: int = 400) -> MemoryRows:
    """Columns 0 and 1 agree in most rows; the value follows column 0."""
    rng = np.random.default_rng(0)
    a = rng.integers(0, 3, n)
    b = np.where(rng.random(n) < 0.9, a, rng.integers(0, 3, n))
    values = (0.5 * (a - 1) + rng.normal(0, 0.05, n)).astype(np.float32)
    return MemoryRows(EncodedBlock(np.stack([a, b, np.zeros(n)], 1).astype(np.uint16), values[:, None]))


def settings(accumulation: int = 1) -> TrainSettings:
    return TrainSettings(2, 100, 1, accumulation=accumulation, ema_decay=0.9)


def vae(accumulation: int = 1, components: int = 4) -> Job:
    networks = VaeNetworks(4, (16,), (16,), components)
    return VaeJob(SPANS, (True, False), networks, VaeSettings(warm_up_steps=6), settings=settings(accumulation))


def gan(
    columns: tuple[int, ...] = (), all_given: bool = False, accumulation: int = 1, discriminator_steps: int = 1
) -> Job:
    networks = replace(NETWORKS, discriminator_steps=discriminator_steps)
    return GanJob(SPANS, Conditions.on(SPANS, columns), networks, all_given, settings=settings(accumulation))


def any_order(dropout: float = 0.2, rate: float = 6e-3) -> Job:
    frequencies = tuple(np.full(k, 1 / k) for k in SPANS.cardinalities)
    network = NetworkSettings(8, 8, 2, dropout)
    layout, training = CodeLayout(SPANS.cardinalities, (0, 0, 0)), AnyOrderSettings(rate, groups=4)
    return AnyOrderJob(layout, network, training, frequencies, settings=settings())


JOBS: dict[str, Callable[[], Job]] = {
    "vae": vae,
    "vae in parts, the paper's prior": partial(vae, accumulation=2, components=0),
    "gan": gan,
    "ctgan": partial(gan, (0, 1)),
    "ctgan in parts, two critic steps": partial(gan, (0, 1), accumulation=2, discriminator_steps=2),
    "conditional gan": partial(gan, (0, 1), all_given=True),
    "any order": partial(any_order, rate=0.0),
    "any order without dropout": partial(any_order, dropout=0.0, rate=0.0),
}


USUAL = ("vae", "ctgan", "conditional gan", "any order")  # a recipe each; their variants are `slow`
EACH_RECIPE = [pytest.param(name, marks=() if name in USUAL else pytest.mark.slow) for name in JOBS]


def with_compiled(job: Any, wanted: bool = True, seed: int = 1) -> Job:
    return replace(job, settings=replace(job.settings, compile_step=wanted, seed=seed))


def after_steps(job: Job) -> list[torch.Tensor]:
    """Losses of four steps at the same weights, the moments of their gradients, running statistics; all that is kept.

    The weights stand still: Adam's first steps go by the sign of a gradient, also where it is nothing but rounding.
    """
    learner = job.learner(CPU, average_alone)
    rng = torch.Generator().manual_seed(0)
    learner.set_learning_rate(0)
    batches = job.batches(rows(), batch_size=100, steps=4, rank=0, device=CPU)
    losses = [learner.step(b, rng) for b in batches.epoch(0) if not isinstance(b, ValidationBatch)]
    return [*tensors([list(loss.values()) for loss in losses]), *tensors(learner.state_dict())]


def close(one: list[torch.Tensor], other: list[torch.Tensor]) -> None:
    """The same but for rounding."""
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def tensors(state: Any) -> list[torch.Tensor]:
    if isinstance(state, torch.Tensor):
        return [state]
    if isinstance(state, dict):
        state = list(state.values())
    return [t for part in state for t in tensors(part)] if isinstance(state, list | tuple) else []


@pytest.mark.parametrize("name", EACH_RECIPE)
def test_a_compiled_step_does_what_a_plain_one_does(name: str) -> None:
    job = JOBS[name]()
    close(after_steps(job), after_steps(with_compiled(job)))


@pytest.mark.skipif(not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="there is no C++ compiler")
def test_machine_code_does_what_a_plain_step_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKEND", "inductor")
    job = vae(components=0)
    close(after_steps(job), after_steps(with_compiled(job)))


@pytest.mark.parametrize("name", ["vae", pytest.param("any order", marks=pytest.mark.slow)])
def test_one_seed_gives_one_model_and_another_one_another(name: str) -> None:
    job = any_order() if name == "any order" else JOBS[name]()
    first, again, other = (train_here(with_compiled(job, seed=s), rows(), device=CPU) for s in (1, 1, 2))
    assert all(map(torch.equal, tensors(first.state), tensors(again.state)))
    assert not all(map(torch.equal, tensors(first.state), tensors(other.state)))


@pytest.mark.parametrize("name", ["vae", "ctgan", "any order"])
def test_every_step_has_noise_of_its_own(name: str) -> None:
    """The same batch and the same weights: only the noise differs, and with it the loss."""
    job = with_compiled(JOBS[name]())
    learner = job.learner(CPU, average_alone)
    batch = next(iter(job.batches(rows(), batch_size=100, steps=1, rank=0, device=CPU).epoch(0)))
    learner.set_learning_rate(0)
    rng = torch.Generator().manual_seed(0)
    losses = {tuple(loss.item() for loss in learner.step(batch, rng).values()) for _ in range(4)}
    assert len(losses) == 4


def test_the_checkpoint_of_a_plain_run_serves_a_compiled_one() -> None:
    for make in JOBS.values():
        assert with_compiled(make()).signature == with_compiled(make(), False).signature


# ---- the way back ----------------------------------------------------------------------------------------------------


def refusing(graph: Any, inputs: Any) -> Any:
    raise OSError("there is no compiler here")


@pytest.mark.parametrize("name", ["vae", "ctgan", "any order"])
def test_without_a_compiler_training_goes_on_plainly_and_says_so(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKEND", refusing)
    job = JOBS[name]()
    with pytest.warns(RuntimeWarning, match=r"compile_step: .* goes on without: .*there is no compiler here"):
        fast = train_here(with_compiled(job), rows(), device=CPU)
    plain = train_here(job, rows(), device=CPU)
    assert all(map(torch.equal, tensors(plain.state), tensors(fast.state)))


def test_an_operation_that_cannot_be_compiled_is_named() -> None:
    def fn(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (x[: int(np.random.default_rng(0).integers(1, 3))] + 0 * len(str(x.data_ptr())),)

    step = compiled(fn, CPU, wanted=True, name="a function")
    with pytest.warns(RuntimeWarning, match="a function is not compiled"):
        assert torch.equal(step(torch.ones(3))[0], fn(torch.ones(3))[0])
    assert torch.equal(step(torch.ones(3))[0], fn(torch.ones(3))[0])  # and not tried, or warned of, again


def wrong_by(error: float, from_call: int = 0) -> Callable[..., Any]:
    """A backend whose code is wrong, or fails, from some call on."""
    calls = [0]

    def backend(graph: Any, inputs: Any) -> Any:
        def run(*args: Any) -> Any:
            calls[0] += 1
            if calls[0] > from_call and np.isinf(error):
                raise RuntimeError("a graph could not be replayed")
            return [t if np.isinf(error) else t * (1 + error) for t in graph(*args)]

        return run

    return backend


def double(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return (2 * x,)


def test_results_that_differ_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKEND", wrong_by(0.1))
    step = compiled(double, CPU, wanted=True, name="a function")
    with pytest.warns(RuntimeWarning, match="differ from the plain ones by 0.1 of their length"):
        assert torch.equal(step(torch.ones(3))[0], torch.full((3,), 2.0))
    assert torch.equal(step(torch.ones(3))[0], torch.full((3,), 2.0))


def test_results_that_differ_by_rounding_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKEND", wrong_by(1e-3))
    step = compiled(double, CPU, wanted=True, name="a function")
    step(torch.ones(3))
    assert torch.equal(step(torch.ones(3))[0], torch.full((3,), 2.0) * (1 + 1e-3))


def test_a_failure_in_the_middle_of_a_training_is_no_failure_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKEND", wrong_by(np.inf, from_call=2))
    step = compiled(double, CPU, wanted=True, name="a function")
    step(torch.ones(3)), step(torch.ones(3))
    with pytest.warns(RuntimeWarning, match="RuntimeError: a graph could not be replayed"):
        assert torch.equal(step(torch.ones(3))[0], torch.full((3,), 2.0))


def test_what_fails_plainly_fails() -> None:
    def fn(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (x @ torch.ones(5),)

    with pytest.raises(RuntimeError, match="tensor size"):
        compiled(fn, CPU, wanted=True, name="a function")(torch.ones(3))


def test_batches_of_other_sizes_go_plainly_and_nothing_is_compiled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    forms: list[Any] = []

    def backend(graph: Any, inputs: Any) -> Any:
        forms.append([tuple(t.shape) for t in inputs])
        return graph.forward

    monkeypatch.setattr(module, "BACKEND", backend)
    step = compiled(double, CPU, wanted=True, name="a function")
    for n in (3, 4, 5, 3, 6, 7, 3, 8, 9, 10, 11, 12, 3):
        assert torch.equal(step(torch.ones(n))[0], torch.full((n,), 2.0))
    assert forms == [[(3,)]]


def test_many_models_in_one_process_are_all_compiled() -> None:
    """torch gives up on a function of which it has eight forms, and every model has its own."""

    def multiplied(weight: torch.Tensor) -> Callable[..., tuple[torch.Tensor, ...]]:
        return lambda x: (x @ weight,)

    for units in range(2, 14):
        step = compiled(multiplied(torch.ones(3, units)), CPU, wanted=True, name="a function")
        for _ in range(2):
            assert torch.equal(step(torch.ones(1, 3))[0], torch.full((1, units), 3.0))


def test_buffers_that_a_function_changes_are_changed_once() -> None:
    count = torch.zeros(())

    def fn(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        count.add_(1)
        return (x * count,)

    step = compiled(fn, CPU, wanted=True, name="a function", changed=[count])
    assert [float(step(torch.ones(1))[0]) for _ in range(3)] == [1.0, 2.0, 3.0]


def test_on_a_gpu_results_leave_the_graph_as_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replay writes to the same memory; losses and gradients of the step before must not change under it."""
    place = torch.zeros(1)

    def replayed(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (place.copy_(2 * x),)

    monkeypatch.setattr(module, "_as_graph", lambda device: True)
    monkeypatch.setattr(module, "_compile", lambda fn, device: replayed)
    step = compiled(double, CPU, wanted=True, name="a function")
    results = [step(torch.full((1,), float(i)))[0] for i in range(6)]
    assert [float(r) for r in results] == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]


def test_on_a_gpu_a_function_is_captured_in_the_main_thread_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    monkeypatch.setattr(module, "BACKEND", "inductor")
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(torch, "compile", lambda fn, **how: asked.append(how) or fn)
    compile_for_gpu = partial(module._compile, double, torch.device("cuda"))
    compile_for_gpu()
    thread = threading.Thread(target=compile_for_gpu)
    thread.start()
    thread.join()
    module._compile(double, CPU)
    assert [how["mode"] for how in asked] == ["reduce-overhead", None, None]
    assert all(how["fullgraph"] and how["dynamic"] is False for how in asked)
