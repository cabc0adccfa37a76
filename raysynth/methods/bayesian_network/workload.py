"""What a private fit is for: columns and pairs whose relations get the budget first; names are public, so it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from raysynth.errors import ParameterError
from raysynth.methods.parameters import Parameter

Given = Sequence[str | Sequence[str]]
GivenWorkload = Annotated[
    Given | None,
    Parameter(
        "under a budget, what gets it first: columns (such as the target of a prediction: its pair with every other "
        "column) and pairs of columns, e.g. ['income', ['age', 'education']]; the ledger says so"
    ),
]


@dataclass(frozen=True)
class Workload:
    """The pairs that matter.

    Args:
        pairs: of positions, the smaller first.
        words: for the ledger.
    """

    pairs: frozenset[tuple[int, int]]
    words: str


def workload_of(given: Given | None, names: Sequence[str], *, is_private: bool) -> Workload | None:
    """The workload by positions of the modelled columns; None: everything matters alike.

    Raises:
        ParameterError: no budget, an unknown column, or an entry that is no column and no pair.
    """
    if given is None:
        return None
    if not is_private:
        raise ParameterError("workload says what a privacy budget goes to first: give epsilon, too, or leave it out")
    if isinstance(given, str) or not given:
        raise ParameterError(f"workload must be a list of columns and pairs of columns; found {given!r}")
    pairs: set[tuple[int, int]] = set()
    words = []
    for entry in given:
        pair = [entry] if isinstance(entry, str) else list(entry)
        if len(pair) not in (1, 2) or len(set(pair)) < len(pair):
            raise ParameterError(f"workload: give a column, or a pair of two columns; found {entry!r}")
        if unknown := [n for n in pair if n not in names]:
            raise ParameterError(f"workload: '{unknown[0]}' is no modelled column; these are: {', '.join(names)}")
        at = [names.index(n) for n in pair]
        others = [c for c in range(len(names)) if c != at[0]] if len(at) == 1 else at[1:]
        pairs |= {(min(at[0], c), max(at[0], c)) for c in others}
        words.append(" with ".join(f"'{n}'" for n in pair))
    return Workload(frozenset(pairs), f"first for {', '.join(words)}")
