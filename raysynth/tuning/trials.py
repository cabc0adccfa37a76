"""What a sweep tries: trials as values, their figures, and the file that each result is kept in."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from raysynth.comparison.intervals import Estimate
from raysynth.errors import ParameterError, StorageError
from raysynth.storage import write_atomically

FINISHED, FAILED = "finished", "failed"
Space = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Setting:
    """What is chosen between: a method, its hyper-parameters and its privacy budget.

    Args:
        method: its name.
        epsilon: of the fit; infinity: without differential privacy.
        parameters: hyper-parameters other than the defaults, as sorted (name, value) pairs of JSON values.
    """

    method: str
    epsilon: float
    parameters: tuple[tuple[str, Any], ...] = ()

    @property
    def label(self) -> str:
        """Method and parameters, for people."""
        shown = ", ".join(f"{k}={v}" for k, v in self.parameters)
        return f"{self.method} ({shown})" if shown else self.method


@dataclass(frozen=True)
class Trial:
    """One fit of a setting; trials of several seeds show how much chance there is in it."""

    setting: Setting
    seed: int

    @property
    def key(self) -> str:
        """Its name in files: the same trial has the same name in every run."""
        content = json.dumps([self.setting.method, str(self.setting.epsilon), self.setting.parameters, self.seed])
        digest = hashlib.sha256(content.encode()).hexdigest()[:8]
        return f"{self.setting.method}-eps{self.setting.epsilon:g}-seed{self.seed}-{digest}"


@dataclass(frozen=True)
class TrialResult:
    """What one trial gave.

    Args:
        trial: what was tried.
        status: 'finished' or 'failed'.
        utility: the objective; NaN where it failed.
        figures: everything measured, by name.
        attack: advantage of the membership attack (2 * AUC - 1: 0 guessing, 1 everybody known), with its interval.
        seconds: of 'fit', 'sample', 'evaluate' and 'attack'.
        error: why it failed.
    """

    trial: Trial
    status: str
    utility: float = math.nan
    figures: Mapping[str, float] = field(default_factory=dict)
    attack: Estimate = field(default_factory=lambda: Estimate(math.nan))
    seconds: Mapping[str, float] = field(default_factory=dict)
    error: str = ""

    @property
    def finished(self) -> bool:
        """Whether it has figures."""
        return self.status == FINISHED

    def write(self, path: Path) -> None:
        """Keep it as a JSON file, whole or not at all."""
        write_atomically(path, json.dumps(_encoded(asdict(self)), indent=1, allow_nan=False).encode())

    @classmethod
    def read(cls, path: Path) -> TrialResult:
        """The inverse of `write`; raises `StorageError` for anything else."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            setting = content["trial"]["setting"]
            setting["parameters"] = tuple((k, hashable(v)) for k, v in setting["parameters"])
            trial = Trial(Setting(**{**setting, "epsilon": float(setting["epsilon"])}), content["trial"]["seed"])
            attack = Estimate(**{k: float(v) for k, v in content["attack"].items()})
            figures = {k: float(v) for k, v in content["figures"].items()}
            utility = float(content["utility"])
            return cls(**{**content, "trial": trial, "attack": attack, "figures": figures, "utility": utility})
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise StorageError(f"'{path}' is no result of a trial ({error}); delete it, and it is run again") from error


def all_trials(
    methods: Sequence[str], epsilons: Sequence[float], n_seeds: int, space: Space, n_trials: int, seed: int
) -> list[Trial]:
    """Every setting with every seed; of the methods in `space`, `n_trials` random settings each instead of the default.

    The same arguments give the same trials, so that a sweep that was stopped goes on.
    """
    if unknown := [m for m in space if m not in methods]:
        raise ParameterError(f"search_space names method '{unknown[0]}', which is not among: {', '.join(methods)}")
    rng = np.random.default_rng(seed)
    settings = [
        Setting(method, epsilon, parameters)
        for method in methods
        for parameters in (_drawn(space[method], n_trials, rng) if method in space else [()])
        for epsilon in epsilons
    ]
    return [Trial(setting, seed + i) for setting, i in itertools.product(settings, range(n_seeds))]


def _drawn(values: Mapping[str, Any], n: int, rng: np.random.Generator) -> list[tuple[tuple[str, Any], ...]]:
    """Up to n different random choices: of a list one of its values, of a pair of numbers one between them."""
    drawn: dict[tuple[tuple[str, Any], ...], None] = {}
    for _ in range(20 * n):  # a small space has fewer different choices than asked for
        drawn.setdefault(tuple((name, _choice(name, values[name], rng)) for name in sorted(values)))
        if len(drawn) == n:
            break
    return list(drawn)


def _choice(name: str, values: Any, rng: np.random.Generator) -> Any:
    if isinstance(values, list) and values:
        return hashable(values[int(rng.integers(len(values)))])
    if isinstance(values, tuple) and len(values) == 2 and values[0] < values[1]:
        low, high = values
        if isinstance(low, int) and isinstance(high, int):
            return int(rng.integers(low, high + 1))
        return round(float(low + (high - low) * rng.random()), 6)
    raise ParameterError(
        f"search_space: '{name}' must be a list of values, or a pair (low, high) of numbers; found {values!r}"
    )


def hashable(value: Any) -> Any:
    """A value of a setting, lists (units of hidden layers) as tuples."""
    return tuple(hashable(v) for v in value) if isinstance(value, list | tuple) else value


def _encoded(value: Any) -> Any:
    """Nested values with infinities and NaN as text, which JSON lacks."""
    if isinstance(value, Mapping):
        return {k: _encoded(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_encoded(v) for v in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
