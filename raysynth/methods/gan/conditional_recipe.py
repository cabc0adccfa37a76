"""What a conditional GAN is trained from: as `recipe.py`, with all condition columns given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from raysynth.methods.gan.conditional_learner import ConditionalGanLearner
from raysynth.methods.gan.learner import GanLearner
from raysynth.methods.gan.recipe import GanJob
from raysynth.training.batches import RowSource


@dataclass(frozen=True)
class ConditionalGanJob(GanJob):
    """A GAN whose condition columns are all given, together (a `Job`).

    Args:
        given_SQ: under a privacy budget: codes of the given columns, drawn from a network that was released.
    """

    given_SQ: np.ndarray | None = field(default=None, repr=False)

    def _learner_class(self) -> type[ConditionalGanLearner]:
        """The one that is given all condition columns."""
        return ConditionalGanLearner

    def _private_learner_class(self) -> Callable[..., GanLearner]:
        """The same from what was released."""
        from raysynth.methods.gan.private_learner import PrivateConditionalGanLearner

        assert self.given_SQ is not None
        return partial(PrivateConditionalGanLearner, given_SQ=self.given_SQ)

    def _tables(self, rows: RowSource) -> None:
        """Rows are shuffled; what is given is read from them."""
