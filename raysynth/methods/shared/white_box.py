"""What attackers with the whole model ask of a neural synthesizer: partly known rows completed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from raysynth.encoding.block import concat_blocks
from raysynth.errors import ParameterError
from raysynth.fitting.encoded_rows import encoded_blocks

if TYPE_CHECKING:
    import pyarrow as pa

    from raysynth.methods.base import Synthesizer
    from raysynth.methods.shared.inversion import InvertibleNetwork


def completed_by_inversion(
    model: Synthesizer, network: InvertibleNetwork, data: Any, unknown: Sequence[str], seed: int
) -> pa.Table:
    """The modelled columns of rows with some of them as the network answers (`methods/shared/inversion.py`).

    Args:
        model: a fitted neural synthesizer.
        network: its generator.
        data: rows in any form that `fit` takes; cells of unknown columns are not looked at.
        unknown: columns to find out; at least one other column must be known.
        seed: of the search.

    Raises:
        ParameterError: a column is not modelled, none is left, or the schema has constraints.
    """
    from raysynth.methods.shared.inversion import Search
    from raysynth.methods.shared.neural import released_quantiles

    names = model.encoder_.names
    if wrong := [c for c in unknown if c not in names]:
        raise ParameterError(f"the model has no modelled column '{wrong[0]}'; it has: {', '.join(names)}")
    known_C = tuple(name not in unknown for name in names)
    if all(known_C) or not any(known_C):
        raise ParameterError("inversion needs at least one column that is known and one that is not")
    if model.rules_ is not None:
        raise ParameterError("inversion cannot complete rows under constraints; fit without them")
    quantiles = released_quantiles(model.encoder_)
    spread_M = np.concatenate([~np.isnan(q[:, 0]) for q in quantiles]) if quantiles else np.zeros(0, bool)
    block = concat_blocks(list(encoded_blocks(model, data, min_rows=1)))
    found = Search(network, known_C, spread_M).completed(block, seed)
    return model.encoder_.decode(found, np.random.default_rng(seed))
