"""How well a trained autoencoder rebuilds single rows: what an attacker with the whole model looks at.

Shape legend: N rows, L latent dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from raysynth.encoding.block import EncodedBlock
from raysynth.methods.shared.spans import SpanIndex
from raysynth.methods.vae.network import TabularVae

_BLOCK = 4096
_DRAWS = 16  # places of a row that its error is averaged over


@dataclass(frozen=True)
class Rebuilder:
    """Encoder and decoder after training.

    Args:
        model: on the CPU.
    """

    model: TabularVae

    @torch.no_grad()
    def errors(self, block: EncodedBlock, seed: int = 0) -> np.ndarray:
        """Mean of -log p(row | place) over places drawn from the row's own posterior (N,), in nats.

        Args:
            block: encoded rows.
            seed: of the draws.
        """
        index = SpanIndex(self.model.spans)
        rng = torch.Generator().manual_seed(seed)
        parts = []
        for start in range(0, len(block), _BLOCK):
            codes = torch.from_numpy(block.codes_NC[start : start + _BLOCK].astype(np.int64))
            values = torch.from_numpy(block.values_NV[start : start + _BLOCK].astype(np.float32))
            mean, log_variance = self.model.posterior(index.rows(codes, values))
            total = torch.zeros(len(codes))
            for _ in range(_DRAWS):
                noise_NL = torch.empty_like(mean).normal_(generator=rng)
                place = torch.addcmul(mean, noise_NL, (0.5 * log_variance).exp())
                total += self.model.reconstruction(self.model.decoder(place), codes, values, index)
            parts.append(total / _DRAWS)
        return torch.cat(parts).double().numpy() if parts else np.zeros(0)
