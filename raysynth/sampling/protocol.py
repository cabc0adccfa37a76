"""What sampling asks of a model: encoded rows for a random stream and conditions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from raysynth.encoding.block import EncodedBlock


class Generator(Protocol):
    """Anything that makes encoded rows. It is pickled once for each worker and holds no private rows.

    `exact_conditions = True` on a generator promises exact conditions on all columns, `exact_columns`, a set of indices
    of the layout, on these only.

    Determinism: the same rng state, n and weights give the same block in any process. Chunks run with one torch thread.
    """

    def generate(
        self, n: int, rng: np.random.Generator, weights: Mapping[int, np.ndarray] | None = None
    ) -> EncodedBlock:
        """n encoded rows.

        Args:
            n: rows.
            rng: the only source of randomness (a torch generator is seeded from it).
            weights: for some column indices of the layout, an array (cardinality,) in [0, 1]: the probability that a
                row with this code satisfies the conditions. A generator that can condition exactly draws from
                p(row) * prod(weights[c][code_c]); one that cannot may ignore any of it (the sampling layer checks the
                decoded rows and rejects), or use it as a guide.
        """
        ...
