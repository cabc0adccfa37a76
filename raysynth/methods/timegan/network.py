"""TimeGAN's five networks: embedder, recovery, supervisor, generator and discriminator, and what they are taught.

Source: Yoon, Jarrett, van der Schaar: Time-series Generative Adversarial Networks, NeurIPS 2019, section 4. The
embedder turns each step of a sequence into a latent state that depends on the past, the recovery turns a state back
into the step; the generator makes states from noise, the supervisor says which state follows, and the discriminator
tells real states from made ones. All but the recovery, which looks at one state, are recurrent.

Here a static context (the entity's own columns, and the length) is an input of all of them, and the moments that the
paper matches (its code: means and variances of each feature) are the whole distributions of random projections of
whole sequences; see `sliced_distance`.

Shape legend: T steps, N sequences, W numbers of a step's vector, K of the context's, H hidden units, Z noise numbers,
V values, S codes' places, C columns, P projections.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from raysynth.methods.shared.gru import GRU
from raysynth.methods.shared.spans import SpanIndex, Spans


@dataclass(frozen=True)
class VectorLayout:
    """How codes and values become a vector [values | one-hot codes].

    Args:
        cardinalities: number of codes of each column (C).
        value_columns: the column of each value (V).
        value_codes: the code with which the value counts, one for each value; with other codes it is 0.
        fixed_codes: for each column the code that it always has, or -1 where it varies; only those take places (S).
        dead_places: the places of codes that no row has; they are never drawn.
    """

    cardinalities: tuple[int, ...]
    value_columns: tuple[int, ...]
    value_codes: tuple[int, ...]
    fixed_codes: tuple[int, ...]
    dead_places: tuple[int, ...] = ()

    @property
    def coded(self) -> tuple[int, ...]:
        """The columns whose code varies."""
        return tuple(c for c, fixed in enumerate(self.fixed_codes) if fixed < 0)

    @property
    def n_values(self) -> int:
        """Columns that carry a value, V."""
        return len(self.value_columns)

    @property
    def spans(self) -> Spans:
        """The places of the varying codes."""
        return Spans(tuple(self.cardinalities[c] for c in self.coded), ())

    @property
    def width(self) -> int:
        """W (or K): values and places."""
        return self.n_values + self.spans.n_codes


class Vectors(nn.Module):
    """Codes and values to vectors, and the loss of vectors that should give them back."""

    def __init__(self, layout: VectorLayout) -> None:
        super().__init__()
        self.layout = layout
        self.index = SpanIndex(layout.spans) if layout.coded else None
        self.register_buffer("coded", torch.tensor(layout.coded, dtype=torch.long), persistent=False)
        self.register_buffer("value_columns", torch.tensor(layout.value_columns, dtype=torch.long), persistent=False)
        self.register_buffer("value_codes", torch.tensor(layout.value_codes, dtype=torch.long), persistent=False)

        dead_S = torch.zeros(layout.spans.n_codes)
        dead_S[list(layout.dead_places)] = -torch.inf
        self.register_buffer("dead_S", dead_S, persistent=False)
        self.register_buffer("counting_V", torch.tensor(_counting_places(layout), dtype=torch.long), persistent=False)

    counting_V: Tensor
    coded: Tensor
    value_columns: Tensor
    value_codes: Tensor
    dead_S: Tensor

    def forward(self, codes_NC: Tensor, values_NV: Tensor) -> Tensor:
        """Rows of codes and values as the vectors that the networks read, (N, W)."""
        if self.index is None:
            return values_NV
        empty = values_NV.new_empty(len(values_NV), 0)
        return torch.cat([values_NV, self.index.rows(codes_NC[:, self.coded], empty)], 1)

    def loss(self, raw_NW: Tensor, codes_NC: Tensor, values_NV: Tensor) -> Tensor:
        """For each row (N) the squared errors of the values that count, and the cross-entropies of the codes."""
        n_values = self.layout.n_values
        counts_NV = codes_NC[:, self.value_columns] == self.value_codes
        loss_N = ((raw_NW[:, :n_values] - values_NV) ** 2 * counts_NV).sum(1)
        if self.index is not None:
            logits = raw_NW[:, n_values:].split(self.layout.spans.cardinalities, 1)
            for c, logits_NS in zip(self.layout.coded, logits, strict=True):
                loss_N = loss_N + nn.functional.cross_entropy(logits_NS, codes_NC[:, c], reduction="none")
        return loss_N

    def soft(self, raw_NW: Tensor) -> Tensor:
        """The vectors that raw outputs stand for: values, and probabilities in place of one-hot codes."""
        if self.index is None:
            return raw_NW
        n_values = self.layout.n_values
        logits = (raw_NW[:, n_values:] + self.dead_S).split(self.layout.spans.cardinalities, 1)
        return torch.cat([raw_NW[:, :n_values], *(part.softmax(1) for part in logits)], 1)

    def relaxed(self, raw_NW: Tensor, noise_NS: Tensor, temperature: float) -> Tensor:
        """Vectors as real rows have them, in a form with gradients: Gumbel-softmax codes, and values beside their code.

        The cooler, the nearer to what `draw` gives with the same noise (Jang et al. 2017, eq. 2).
        """
        n_values = self.layout.n_values
        if self.index is None:
            return raw_NW
        scores = (raw_NW[:, n_values:] + self.dead_S + noise_NS) / temperature
        shares_NS = torch.cat([part.softmax(1) for part in scores.split(self.layout.spans.cardinalities, 1)], 1)
        counts_NS = nn.functional.pad(nn.functional.pad(shares_NS, (0, 1), value=0.0), (0, 1), value=1.0)
        return torch.cat([raw_NW[:, :n_values] * counts_NS[:, self.counting_V], shares_NS], 1)

    def draw(self, raw_NW: Tensor, noise_NS: Tensor) -> tuple[Tensor, Tensor]:
        """Codes (N, C), drawn with Gumbel noise, and values (N, V) of raw outputs."""
        codes_NC = torch.tensor(self.layout.fixed_codes).repeat(len(raw_NW), 1)
        if self.index is not None:
            codes_NC[:, self.coded] = self.index.draw(raw_NW[:, self.layout.n_values :] + self.dead_S, noise_NS)
        return codes_NC, raw_NW[:, : self.layout.n_values]


def _counting_places(layout: VectorLayout) -> list[int]:
    """For each value the place of the code with which it counts; S: it never does, S + 1: it always does."""
    n_codes, places = layout.spans.n_codes, []
    offsets = dict(zip(layout.coded, layout.spans.offsets, strict=True))
    for column, code in zip(layout.value_columns, layout.value_codes, strict=True):
        if column not in offsets:
            places.append(n_codes + 1 if code == layout.fixed_codes[column] else n_codes)
        else:
            places.append(offsets[column] + code if code < layout.cardinalities[column] else n_codes)
    return places


@dataclass(frozen=True)
class SequenceLayout:
    """How a wide encoded row is divided: codes [length | context | steps], values [context | steps].

    Args:
        steps: T, the most a sequence has.
        step: vectors of the steps.
        context: vectors of the static context, without the length.
    """

    steps: int
    step: VectorLayout
    context: VectorLayout

    @property
    def context_width(self) -> int:
        """K: the context's vector, and the length."""
        return self.context.width + 1


@dataclass(frozen=True)
class Sequences:
    """Real sequences on the device; M = T * N, step after step.

    Args:
        x_TNW: vectors, 0 beyond a sequence's end.
        codes_MC, values_MV: what they were made from.
        context_NK: context and length.
        mask_TN: 1 where a sequence has a step.
    """

    x_TNW: Tensor
    codes_MC: Tensor
    values_MV: Tensor
    context_NK: Tensor
    mask_TN: Tensor


class SequenceVectors(nn.Module):
    """Wide encoded rows to sequences."""

    def __init__(self, layout: SequenceLayout) -> None:
        super().__init__()
        self.layout = layout
        self.step, self.context = Vectors(layout.step), Vectors(layout.context)

    def context_of(self, length_N: Tensor, codes_NC: Tensor, values_NV: Tensor) -> Tensor:
        """Length, scaled to at most 1, and context as vectors (N, K)."""
        share = length_N[:, None].float() / self.layout.steps
        return torch.cat([2 * share - 1, self.context(codes_NC, values_NV)], 1)

    def forward(self, codes_NC: Tensor, values_NV: Tensor) -> Sequences:
        """Sequences of wide rows."""
        layout, n = self.layout, len(codes_NC)
        n_context, v_context = len(layout.context.cardinalities), layout.context.n_values
        length_N = codes_NC[:, 0]
        context_NK = self.context_of(length_N, codes_NC[:, 1 : 1 + n_context], values_NV[:, :v_context])
        shape = n, layout.steps, len(layout.step.cardinalities)
        codes_MC = codes_NC[:, 1 + n_context :].reshape(shape).transpose(0, 1).flatten(0, 1)
        shape = n, layout.steps, layout.step.n_values
        values_MV = values_NV[:, v_context:].reshape(shape).transpose(0, 1).flatten(0, 1)
        mask_TN = step_mask(length_N, layout.steps)
        x_TNW = self.step(codes_MC, values_MV).view(layout.steps, n, layout.step.width) * mask_TN[..., None]
        return Sequences(x_TNW, codes_MC, values_MV, context_NK, mask_TN)


@dataclass(frozen=True)
class TimeGanSizes:
    """Sizes of the networks.

    Args:
        width: W. context: K (at least 0). hidden: H. layers: of each recurrent network. noise: Z of each step, and of a
            whole sequence.
    """

    width: int
    n_values: int
    context: int
    hidden: int
    layers: int
    noise: int


class Recurrent(nn.Module):
    """A GRU over [inputs | context], and a linear layer on its states: what four of the five networks are."""

    def __init__(self, n_inputs: int, sizes: TimeGanSizes, n_outputs: int, rng: torch.Generator) -> None:
        super().__init__()
        self.gru = GRU(n_inputs + sizes.context, sizes.hidden, sizes.layers, rng)
        self.output = linear(sizes.hidden, n_outputs, rng)

    def forward(self, x_TNI: Tensor, context_NK: Tensor, first_NH: Tensor | None = None) -> Tensor:
        """Outputs of each step (T, N, outputs)."""
        steps = len(x_TNI)
        if context_NK.shape[1]:
            x_TNI = torch.cat([x_TNI, context_NK.expand(steps, -1, -1)], 2)
        states: Tensor = self.output(self.gru(x_TNI, first_NH))
        return states


class Autoencoder(nn.Module):
    """Embedder and recovery.

    Args:
        sizes: of the networks.
        rng: draws the initial weights.
    """

    def __init__(self, sizes: TimeGanSizes, rng: torch.Generator) -> None:
        super().__init__()
        self.n_values = sizes.n_values
        self.embedder = Recurrent(sizes.width, sizes, sizes.hidden, rng)
        self.recovery = nn.Sequential(
            linear(sizes.hidden, 2 * sizes.hidden, rng), nn.ReLU(), linear(2 * sizes.hidden, sizes.width, rng)
        )

    def embed(self, x_TNW: Tensor, context_NK: Tensor) -> Tensor:
        """Latent states (T, N, H) in (-1, 1)."""
        return torch.tanh(self.embedder(x_TNW, context_NK))

    def recover(self, h_TNH: Tensor) -> Tensor:
        """Raw step vectors (T, N, W): values in (-1, 1), logits of codes."""
        raw_TNW: Tensor = self.recovery(h_TNH)
        values, logits = raw_TNW[..., : self.n_values], raw_TNW[..., self.n_values :]
        return torch.cat([torch.tanh(values), logits], 2)


class LatentGenerator(nn.Module):
    """Generator and supervisor: noise to latent states.

    A sequence's own noise z_S sets the generator's first state (the paper's static generator), each step adds its own
    z_t, and the supervisor makes of each state the one that follows.
    """

    def __init__(self, sizes: TimeGanSizes, rng: torch.Generator) -> None:
        super().__init__()
        self.sizes = sizes
        self.first = linear(sizes.noise + sizes.context, sizes.hidden, rng)
        self.generator = Recurrent(2 * sizes.noise, sizes, sizes.hidden, rng)
        self.supervisor = Recurrent(sizes.hidden, sizes, sizes.hidden, rng)

    def noise(self, steps: int, n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Standard normal z_S (N, Z) and z_t (T, N, Z)."""
        z = self.sizes.noise
        of_sequence = torch.empty(n, z, device=rng.device).normal_(generator=rng)
        return of_sequence, torch.empty(steps, n, z, device=rng.device).normal_(generator=rng)

    def forward(self, noise: tuple[Tensor, Tensor], context_NK: Tensor) -> tuple[Tensor, Tensor]:
        """The generator's states and the supervisor's (T, N, H) in (-1, 1)."""
        z_NZ, z_TNZ = noise
        first_NH = torch.tanh(self.first(torch.cat([z_NZ, context_NK], 1)))
        inputs = torch.cat([z_TNZ, z_NZ.expand(len(z_TNZ), -1, -1)], 2)
        made_TNH = torch.tanh(self.generator(inputs, context_NK, first_NH))
        return made_TNH, self.supervise(made_TNH, context_NK)

    def supervise(self, h_TNH: Tensor, context_NK: Tensor) -> Tensor:
        """For each state the one that should follow (T, N, H)."""
        return torch.tanh(self.supervisor(h_TNH, context_NK))


class LatentDiscriminator(nn.Module):
    """A logit for each step: whether the states so far are real."""

    def __init__(self, sizes: TimeGanSizes, rng: torch.Generator) -> None:
        super().__init__()
        self.network = Recurrent(sizes.hidden, sizes, 1, rng)

    def forward(self, h_TNH: Tensor, context_NK: Tensor) -> Tensor:
        """Logit of each state being real, (T, N)."""
        return self.network(h_TNH, context_NK)[..., 0]


def linear(n_inputs: int, n_outputs: int, rng: torch.Generator) -> nn.Linear:
    """A linear layer with Xavier-uniform weights and no bias at first."""
    layer = nn.Linear(n_inputs, n_outputs)
    with torch.no_grad():
        nn.init.xavier_uniform_(layer.weight, generator=rng)
        layer.bias.zero_()
    return layer


def step_mask(length_N: Tensor, steps: int) -> Tensor:
    """1 for the steps that a sequence has, else 0 (T, N)."""
    return (torch.arange(steps, device=length_N.device)[:, None] < length_N).float()


def masked_mean(x_TN: Tensor, mask_TN: Tensor) -> Tensor:
    """Mean over the steps that exist."""
    return (x_TN * mask_TN).sum() / mask_TN.sum().clamp(min=1)


def supervised_loss(next_TNH: Tensor, h_TNH: Tensor, mask_TN: Tensor) -> Tensor:
    """Mean squared error of what the supervisor says follows (section 4.2, eq. 9)."""
    return masked_mean(((next_TNH[:-1] - h_TNH[1:]) ** 2).mean(2), mask_TN[1:])


def sliced_distance(real_ND: Tensor, made_ND: Tensor, directions_DP: Tensor) -> Tensor:
    """Mean squared difference of equal ranks over projections: the sliced Wasserstein distance (Rabin et al. 2011).

    Args:
        real_ND, made_ND: as many flattened sequences of each.
        directions_DP: random directions, whitened so that small but regular differences count as much as large ones.
    """
    real_NP, made_NP = (real_ND @ directions_DP).sort(0).values, (made_ND @ directions_DP).sort(0).values
    return ((real_NP - made_NP) ** 2).mean()


def whitening(covariance_DD: Tensor, floor: float) -> tuple[Tensor, Tensor]:
    """The directions in which sequences differ (D, R), and those in which they hardly do (D, D - R), as columns.

    x @ columns are uncorrelated numbers: of variance 1, the one of the largest variance last; or, where the standard
    deviation is below `floor`, in units of it. At least one direction is of the first kind.
    """
    variance_D, axes_DD = torch.linalg.eigh(covariance_DD.double())
    varied = variance_D > min(floor**2, 0.5 * float(variance_D[-1]))
    return (axes_DD[:, varied] / variance_D[varied].sqrt()).float(), (axes_DD[:, ~varied] / floor).float()
