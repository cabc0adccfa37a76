"""The conditional GAN's learner: some columns are given, the generator makes the others (Mirza and Osindero 2014).

The given columns of a generated row are those of a real row of the same batch, so both kinds of rows have them in the
same joint distribution, and the discriminator can only tell the kinds apart by how the other columns go with them. The
given codes are part of the row vectors, which is all the discriminator needs to see of them.

Shape legend: N rows, Q given columns, W = length of a row vector, S codes.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from raysynth.methods.gan.discriminator import Rows
from raysynth.methods.gan.learner import GanLearner, Noise
from raysynth.methods.gan.network import TEMPERATURE
from raysynth.methods.shared.spans import activate
from raysynth.training.batches import Batch


class ConditionalGanLearner(GanLearner):
    """As `GanLearner`, with the codes of all condition columns given."""

    conditions_in_rows: ClassVar[bool] = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        given_S = torch.isin(self.index.column_S, self.columns_Q)
        self.given_W = torch.cat([given_S.new_zeros(self.spans.n_values), given_S]).float()

    def made(self, noise: Noise, batch: Batch, *, count: bool = True) -> tuple[Tensor, Rows]:
        """As of `GanLearner`; the given columns are those of the batch's rows."""
        raw = self.generator(noise[0], self.first_Q + batch.codes_NC[:, self.columns_Q], count=count)
        made = activate(raw, noise[1], TEMPERATURE, self.index)
        given = self.index.rows(batch.codes_NC, torch.zeros_like(batch.values_NV)) * self.given_W
        return raw, Rows(torch.addcmul(given, made, 1 - self.given_W), None)
