"""method='auto': which method learns a table, from what is declared alone, and why.

No row is read and nothing is fitted on trial, so the choice and what it says are the same for every table, under a
privacy budget too. The rule rests on `tests/benchmarks/bench_trees.py` and on the README's table of methods.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

AUTO = "auto"
OF_SEQUENCES = ("sequence_key", "time_column", "sequence_length", "static_columns", "features", "window_step")
OF_TRAINING = ("scaling_config", "run_config", "keep_shards", "epochs", "batch_size", "learning_rate")


@dataclass(frozen=True)
class Choice:
    """A method and the reason for it, as one line for the user."""

    method: str
    reason: str

    def __str__(self) -> str:
        return f"method 'auto' takes '{self.method}': {self.reason}"


def choose(parameters: Mapping[str, Any]) -> Choice:
    """The method for a table, from the parameters that the user gave.

    Args:
        parameters: constructor arguments by name; None and False count as left out.
    """
    given = {name for name, value in parameters.items() if value is not None and value is not False}
    is_private = bool({"epsilon", "differential_privacy"} & given)
    if of_sequences := [name for name in OF_SEQUENCES if name in given]:
        if is_private:
            return Choice("timegan", "the method of sequences that keeps a privacy budget")
        return Choice(
            "autoregressive_sequences", f"{', '.join(of_sequences)} speak of sequences, which it is closest on"
        )
    if of_training := [name for name in OF_TRAINING if name in given]:
        return Choice("autoregressive", f"{', '.join(of_training)} belong to a network, and of these it is the closest")
    if is_private:
        return Choice("bayesian_network", "the closest to the real table within a privacy budget")
    return Choice("trees", "the closest to the real table on most tables, and learned in seconds")
