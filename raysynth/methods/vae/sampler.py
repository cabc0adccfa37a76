"""Rows from a trained variational autoencoder: a place from the prior, then codes and values from the decoder.

Shape legend: N rows, L latent dimensions, K components, V values, S codes, M codes of the value columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from raysynth.methods.shared.inversion import Decoded
from raysynth.methods.shared.row_sampler import RowSampler, read_arrays, read_spans, read_value_maps
from raysynth.methods.vae.network import TabularVae, n_value_codes, value_log_std, value_places, value_std


@dataclass(frozen=True, kw_only=True)
class VaeSampler(RowSampler):
    """A trained decoder and prior; the encoder, which only looks at real rows, stays behind.

    Args:
        arrays: 'weight.i' (outputs, inputs) and 'bias.i' of the decoder's layers; of a learned prior 'prior.mean' and
            'prior.std' (K, L) and 'prior.share' (K).
        latent_dim: L.
    """

    latent_dim: int

    @property
    def n_layers(self) -> int:
        """Layers of the decoder."""
        return sum(name.startswith("weight.") for name in self.arrays)

    def outputs(self, n: int, rng: torch.Generator, fixed: Any = None) -> tuple[Tensor, Tensor]:
        """Logits (n, S), and for each code of a value column the value that it would come with (n, M)."""
        hidden = self._decoder(self.draw_inputs(n, rng))
        m = n_value_codes(self.spans)
        noise_NV = torch.empty(n, self.spans.n_values).normal_(generator=rng)
        values_NM = torch.tanh(hidden[:, :m]) + value_std(hidden[:, m : 2 * m]) * noise_NV[:, self._value_of_code()]
        return hidden[:, 2 * m :], values_NM.clamp_(-1, 1)

    def values_of(self, values: Tensor, codes_NC: Tensor) -> Tensor:
        """Of each value column the value (n, V) of the code that was drawn."""
        if not self.spans.n_values:
            return values
        columns = torch.tensor(self.spans.value_columns, dtype=torch.long)
        return values.gather(1, value_places(self.spans) + codes_NC[:, columns])

    # ---- what inversion asks for (`methods/shared/inversion.py`) -----------------------------------------------------

    def draw_inputs(self, n: int, rng: torch.Generator) -> Tensor:
        """Places (n, L) from the prior."""
        net = self._net
        noise_NL = torch.empty(n, self.latent_dim).normal_(generator=rng)
        if "prior.mean" not in net:
            return noise_NL
        at = torch.empty(n).uniform_(generator=rng)
        component_N = torch.searchsorted(net["prior.share"].cumsum(0), at, right=True)
        component_N.clamp_(max=len(net["prior.share"]) - 1)
        return torch.addcmul(net["prior.mean"][component_N], noise_NL, net["prior.std"][component_N])

    def minus_log_prior(self, input_NI: Tensor) -> Tensor:
        """-log p(place) of each place (N), up to a constant."""
        net = self._net
        if "prior.mean" not in net:
            return 0.5 * input_NI.square().sum(1)
        away_NK = (input_NI[:, None, :] - net["prior.mean"]) / net["prior.std"]
        log_NK = (
            net["prior.share"].clamp(min=1e-30).log() - net["prior.std"].log().sum(1) - 0.5 * away_NK.square().sum(2)
        )
        return -log_NK.logsumexp(1)

    def condition_for(self, codes_NC: Tensor, known_C: Sequence[bool], rng: torch.Generator) -> None:
        """Nothing: the decoder has no input for conditions."""

    def decoded(self, input_NI: Tensor, condition_N: Tensor | None) -> Decoded:
        """Logits, and mean and width of the value that each code would come with."""
        out, m = self._decoder(input_NI), n_value_codes(self.spans)
        return Decoded(out[:, 2 * m :], torch.tanh(out[:, :m]), value_log_std(out[:, m : 2 * m]))

    @property
    def _net(self) -> Mapping[str, Tensor]:
        return self.tensors(f"bias.{self.n_layers - 1}")

    def _decoder(self, place_NL: Tensor) -> Tensor:
        """The decoder's output (N, 2M + S), the code bias included."""
        net, hidden = self._net, place_NL
        for i in range(self.n_layers):
            hidden = torch.addmm(net[f"bias.{i}"], hidden, net[f"weight.{i}"].T)
            if i + 1 < self.n_layers:
                hidden = hidden.relu_()
        return hidden

    def _value_of_code(self) -> Tensor:
        """The value column (M) that each code of a value column belongs to."""
        if "value_of_code" not in self._made:
            sizes = torch.tensor([self.spans.cardinalities[c] for c in self.spans.value_columns], dtype=torch.long)
            self._made["value_of_code"] = torch.repeat_interleave(torch.arange(len(sizes)), sizes)
        made: Tensor = self._made["value_of_code"]
        return made

    def to_state(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """JSON values and arrays that `from_state` reads."""
        meta, arrays = self.shared_state()
        return {**meta, "latent_dim": self.latent_dim, "layers": self.n_layers}, arrays

    @classmethod
    def from_state(cls, meta: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> VaeSampler:
        """The inverse of `to_state`; raises `KeyError` or `ValueError` where parts are missing or do not fit."""
        spans, latent_dim, n_layers = read_spans(meta), int(meta["latent_dim"]), int(meta["layers"])
        shapes: dict[str, tuple[int, ...]] = {}
        n_in = latent_dim
        for i in range(n_layers):
            n_out = len(arrays[f"bias.{i}"]) if i + 1 < n_layers else 2 * n_value_codes(spans) + spans.n_codes
            shapes[f"weight.{i}"], shapes[f"bias.{i}"], n_in = (n_out, n_in), (n_out,), n_out
        if "prior.share" in arrays:
            k = len(arrays["prior.share"])
            shapes |= {"prior.mean": (k, latent_dim), "prior.std": (k, latent_dim), "prior.share": (k,)}
        return cls(
            spans=spans,
            arrays=read_arrays(arrays, shapes),
            code_bias_S=read_arrays(arrays, {"code_bias": (spans.n_codes,)})["code_bias"],
            value_maps=read_value_maps(meta, arrays, spans),
            latent_dim=latent_dim,
        )


@torch.no_grad()
def decoder_arrays(model: TabularVae) -> dict[str, np.ndarray]:
    """The arrays of a `VaeSampler`."""
    layers = [layer for layer in model.decoder if isinstance(layer, torch.nn.Linear)]
    tensors = {f"weight.{i}": layer.weight for i, layer in enumerate(layers)}
    tensors |= {f"bias.{i}": layer.bias for i, layer in enumerate(layers)}
    if model.prior is not None:
        tensors["prior.mean"] = model.prior.mean_KL
        tensors["prior.std"] = model.prior.log_std_KL.exp()
        tensors["prior.share"] = model.prior.log_weight_K.softmax(0)
    return {name: np.ascontiguousarray(t.detach().cpu().float().numpy()) for name, t in tensors.items()}
