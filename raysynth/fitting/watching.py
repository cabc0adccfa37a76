"""A look at a model while it trains: the model that it would be if training ended now.

What is seen is a copy that samples as any fitted model does; the training does not notice. Under a privacy budget the
copy comes from noised gradients like the model itself, but whatever is then computed from it and real rows is a release
of its own, which no ledger holds: such figures are for the data's holder.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from raysynth.training.loop import TrainResult, Watch


@dataclass(frozen=True)
class Watcher:
    """Who looks, and when.

    Args:
        shares: of the training, after which the model is looked at; before its end.
        look: called with the model so far, and the share of the training that is done.
    """

    shares: tuple[Fraction, ...]
    look: Callable[[Any, Fraction], None]

    def epochs(self, total: int) -> set[int]:
        """After which epochs the model is looked at: the first that reach a share."""
        return {math.ceil(total * share) for share in self.shares} - {total}


class Watched(Protocol):
    """A model that may be looked at while it trains."""

    _state: Any
    _watcher: Watcher | None


def watching(model: Watched, epochs: int, fitted: Callable[[TrainResult], Any]) -> Watch | None:
    """What a training in this process calls after each epoch; None where nobody looks.

    Args:
        model: in the middle of its fit.
        epochs: of the whole training.
        fitted: what a training that ended with this result would have fitted.
    """
    from raysynth.training.loop import TrainResult

    watcher = model._watcher
    if watcher is None:
        return None
    due = watcher.epochs(epochs)

    def watch(epoch: int, state: Callable[[], dict[str, Any]]) -> None:
        if epoch in due:
            seen = copy.copy(model)
            seen._state = fitted(TrainResult(state(), []))
            watcher.look(seen, Fraction(epoch, epochs))

    return watch
