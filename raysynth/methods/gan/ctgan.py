"""CTGAN: a conditional WGAN-GP that learns rare categories as often as their logarithm (Xu et al. 2019)."""

from __future__ import annotations

from typing import ClassVar

from raysynth.encoding.table_encoder import TableEncoder
from raysynth.methods.gan.synthesizer import GanSynthesizer


class CTGAN(GanSynthesizer):
    """Conditional tabular GAN (Xu, Skoularidou, Cuesta-Infante, Veeramachaneni, NeurIPS 2019, arXiv 1907.00503).

    Numbers are modes of a mixture with a place inside the mode, categories are one-hot. Every generated row is asked
    for one category of one column, and training draws these by the logarithm of their frequency. Networks, batch and
    optimiser are the paper's; rows are sampled with averaged weights, and marginals are calibrated after training.
    """

    has_differential_privacy: ClassVar[bool] = True
    method: ClassVar[str] = "ctgan"

    def _condition_columns(self, encoder: TableEncoder) -> tuple[int, ...]:
        return tuple(i for i, place in enumerate(encoder.layout) if place.value_index is None)
