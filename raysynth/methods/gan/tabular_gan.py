"""TabularGAN: a WGAN-GP on mixed columns without a condition vector."""

from __future__ import annotations

from typing import ClassVar

from raysynth.encoding.table_encoder import TableEncoder
from raysynth.methods.gan.synthesizer import GanSynthesizer


class TabularGAN(GanSynthesizer):
    """Wasserstein GAN (WGAN-GP, Gulrajani et al. 2017) with CTGAN's encoding and networks, without its conditions.

    Training rows are drawn uniformly, so rare categories are seen rarely; `CTGAN` shows them more often.
    """

    has_differential_privacy: ClassVar[bool] = True
    method: ClassVar[str] = "gan"

    def _condition_columns(self, encoder: TableEncoder) -> tuple[int, ...]:
        return ()
