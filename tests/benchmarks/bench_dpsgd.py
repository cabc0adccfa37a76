"""What a DP-SGD step costs: of the autoencoder and of the discriminator, beside the plain step and Opacus' default.

    OMP_NUM_THREADS=1 python tests/benchmarks/bench_dpsgd.py --data ../shared/data/adult.csv [--seconds 4]

The same networks (default sizes under a budget, encoded as the fit encodes the table), the same batch in each. Plain:
gradients of the mean loss, and the optimiser's step; no gradient penalty. DP: clipped row by row, noised, the same
optimiser; the discriminator's projection counts. Opacus: `GradSampleModule` with its default (materialised) per-example
gradients, clipped and summed, without noise and without the optimiser's step, which favours it. The discriminator's
generated rows are clipped like its real ones, by ours as by Opacus. Prints medians in milliseconds, measured in turns,
and the ratios; wanted: at most 1.7 times the plain step, at most a twentieth of Opacus'.
"""

from __future__ import annotations

import argparse
import copy
import os
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from raysynth.methods.gan.discriminator import Discriminator, Rows
from raysynth.methods.gan.recipe import critic_weights, project
from raysynth.methods.registry import synthesizer_class
from raysynth.methods.shared import neural
from raysynth.methods.vae.network import TabularVae
from raysynth.training.batches import Batch
from raysynth.training.job import average_alone
from raysynth.training.learner import Learner
from raysynth.training.private_batches import PrivateBatch, PrivatePart

CPU = torch.device("cpu")


class _Prepared(Exception):
    """Carries a job and its rows out of a fit, before the training."""


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="a CSV")
    parser.add_argument("--epsilon", type=float, default=3.0)
    parser.add_argument("--seconds", type=float, default=4.0, help="for each network")
    parser.add_argument("--skip-opacus", action="store_true")
    options = parser.parse_args()
    os.environ["RAYSYNTH_QUIET"] = "1"
    torch.set_num_threads(1)
    data = pd.read_csv(options.data)
    for method, steps in (("dp_tvae", autoencoder), ("ctgan", discriminator)):
        job, batch = captured(method, data, options.epsilon)
        found = in_turns(steps(job, batch, not options.skip_opacus), options.seconds)
        plain, private = found["plain"], found["dp"]
        print(f"{method}, batch {len(batch.codes_NC)}: " + ", ".join(f"{k} {v:.2f} ms" for k, v in found.items()))
        print(f"  dp / plain {private / plain:.2f}; secure / dp {found['dp, secure_mode'] / private:.2f}", end="")
        print(f"; opacus / dp {found['opacus'] / private:.1f}" if "opacus" in found else "", flush=True)


def captured(method: str, data: pd.DataFrame, epsilon: float) -> tuple[Any, Batch]:
    """A fit's job, and a batch of the size that it expects."""

    def stop(job: Any, prepared: Any, **_: Any) -> Any:
        raise _Prepared(job, prepared)

    inner, neural.train_prepared = neural.train_prepared, stop
    try:
        synthesizer_class(method)(epsilon=epsilon, delta=1e-5, seed=0, verbose=False).fit(data)
        raise AssertionError("the fit trained nothing")
    except _Prepared as found:
        job, prepared = found.args
    finally:
        neural.train_prepared = inner
    rows = prepared.encoded().take(np.arange(round(job.plan.expected_batch)))
    return job, Batch(torch.from_numpy(rows.codes_NC.astype(np.int64)), torch.from_numpy(rows.values_NV))


def in_turns(steps: dict[str, Callable[[], Any]], seconds: float) -> dict[str, float]:
    """Median milliseconds of each step, one after the other again and again."""
    taken: dict[str, list[float]] = {name: [] for name in steps}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or min(map(len, taken.values())) < 4:
        for name, step in steps.items():
            begun = time.perf_counter()
            step()
            taken[name].append(1000 * (time.perf_counter() - begun))
    return {name: median(t[1:]) for name, t in taken.items()}


def private(batch: Batch) -> PrivateBatch:
    """The batch as the sampler gives it."""
    n = len(batch.codes_NC)
    return PrivateBatch((PrivatePart(batch, torch.ones(n, dtype=torch.bool), np.arange(n)),))


def autoencoder(job: Any, batch: Batch, with_opacus: bool) -> dict[str, Callable[[], Any]]:
    """Steps of the VAE."""
    rng = torch.Generator().manual_seed(0)
    plain = replace(job, plan=None).learner(CPU, average_alone)
    ours = job.learner(CPU, average_alone)
    secure = replace(job, plan=replace(job.plan, secure_mode=True)).learner(CPU, average_alone)
    rows = private(batch)
    steps: dict[str, Callable[[], Any]] = {
        "plain": lambda: plain.step(batch, rng),
        "dp": lambda: ours.step(rows, rng),
        "dp, secure_mode": lambda: secure.step(rows, rng),
    }
    if with_opacus:
        model, index, factor = ours.networks.model, ours.networks.index, job.training.loss_factor

        class Losses(nn.Module):
            def __init__(self, vae: TabularVae) -> None:
                super().__init__()
                self.vae = vae

            def forward(self, codes: Tensor, values: Tensor, noise: Tensor) -> Tensor:
                reconstruction, divergence = self.vae.example_losses(codes, values, noise, index)
                return factor * reconstruction + divergence

        noise = torch.randn(len(batch.codes_NC), model.latent_dim)
        own = Losses(copy.deepcopy(model))  # hooks of Opacus stay out of our step
        steps["opacus"] = opacus_step(own, job.plan.clip, batch.codes_NC, batch.values_NV, noise)
    return steps


def discriminator(job: Any, batch: Batch, with_opacus: bool) -> dict[str, Callable[[], Any]]:
    """Steps of the discriminator against one batch of generated rows."""
    rng = torch.Generator().manual_seed(0)
    plain, ours = job.learner(CPU, average_alone), job.learner(CPU, average_alone)
    secure = replace(job, plan=replace(job.plan, secure_mode=True)).learner(CPU, average_alone)
    with torch.no_grad():
        _, fake = ours.networks._generate(ours.networks._asked(job.settings.batch_size, rng), rng)
    rows = private(batch)

    def plain_step() -> None:
        gan = plain.networks
        model, condition = gan.discriminator, gan._read_conditions(batch.codes_NC, rng)
        real = Rows(gan.index.rows(batch.codes_NC, batch.values_NV), condition)
        of_real = mean_gradients(model, real, model.keep(len(batch.codes_NC), rng))
        of_fake = mean_gradients(model, fake, model.keep(len(fake.vectors_NW), rng))
        for weight, a, b in zip(critic_weights(model), of_real, of_fake, strict=True):
            weight.grad = b - a
        plain.optimisers["discriminator"].adam.step()

    def dp_step(learner: Learner) -> Callable[[], Any]:
        def step() -> None:
            learner._move(learner.networks._taught_critic(rows, learner.private, fake, rng))
            project(learner.networks.discriminator, learner.networks.directions)

        return step

    steps = {"plain": plain_step, "dp": dp_step(ours), "dp, secure_mode": dp_step(secure)}
    if with_opacus:
        model = ours.networks.discriminator
        widths = [len(model.row_weight) + model.n_conditions, *model.hidden, 1]
        layers: list[nn.Module] = []
        for n_in, n_out in zip(widths, widths[1:], strict=False):
            layers += [nn.Linear(n_in, n_out), nn.LeakyReLU(0.2)]
        condition = ours.networks._read_conditions(batch.codes_NC, rng)
        given = [] if condition is None else [nn.functional.one_hot(condition, model.n_conditions).float()]
        real = torch.cat([ours.networks.index.rows(batch.codes_NC, batch.values_NV), *given], 1)
        asked = [] if fake.condition_N is None else [nn.functional.one_hot(fake.condition_N, model.n_conditions)]
        x = torch.cat([real, torch.cat([fake.vectors_NW, *asked], 1)])  # generated rows are clipped, too
        steps["opacus"] = opacus_step(nn.Sequential(*layers[:-1]), job.plan.clip, x)
    return steps


@torch.no_grad()
def mean_gradients(model: Discriminator, rows: Rows, keep: list[Tensor]) -> list[Tensor]:
    """Of the mean score by `critic_weights`, not clipped."""
    done = model.forward_from(model.first_of_vectors(rows), keep)
    d = model.backward_from(torch.full_like(done.score, 1 / len(done.score)), done)
    gradients = [rows.vectors_NW.T @ d[0], d[0].sum(0, keepdim=True)]
    for i in range(1, len(d)):
        gradients += [done.hidden[i - 1].T @ d[i], d[i].sum(0, keepdim=True)]
    gradients.append(done.hidden[-1].mean(0)[:, None])
    if rows.condition_N is not None:
        gradients.append(torch.zeros_like(model.condition_weight).index_add_(0, rows.condition_N, d[0]))
    return gradients


def opacus_step(network: nn.Module, clip: float, *inputs: Tensor) -> Callable[[], Any]:
    """Per-example gradients by Opacus' default, clipped and summed."""
    from opacus.grad_sample import GradSampleModule

    wrapped = GradSampleModule(network, loss_reduction="sum")

    def step() -> None:
        for parameter in wrapped.parameters():
            parameter.grad_sample = None  # type: ignore[attr-defined]
            parameter.grad = None
        wrapped(*inputs).sum().backward()
        grads = [p.grad_sample for p in wrapped.parameters()]  # type: ignore[attr-defined]
        norms = torch.stack([g.flatten(1).norm(dim=1) for g in grads]).norm(dim=0)
        factors = (clip / norms.clamp(min=1e-6)).clamp(max=1.0)
        for parameter, grad in zip(wrapped.parameters(), grads, strict=True):
            parameter.grad = torch.einsum("n,n...->...", factors, grad)

    return step


if __name__ == "__main__":
    main()
