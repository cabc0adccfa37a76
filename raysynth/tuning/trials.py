"""What a sweep tries: domains of parameters, trials as values, their figures, and the file that keeps each result."""

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
from raysynth.files.private_folder import make_folder
from raysynth.files.storage import Folder, place, write_atomically
from raysynth.methods.parameters import declared, search_space
from raysynth.methods.registry import METHODS, synthesizer_class

Space = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Domain:
    """The values of one parameter.

    Args:
        values: all of them; or the smallest and the largest number.
        is_range: whether they are bounds; whole numbers between whole ones.
    """

    values: tuple[Any, ...]
    is_range: bool

    @classmethod
    def of(cls, name: str, given: Any) -> Domain:
        """From a list of values, or a pair (low, high); raises `ParameterError` for anything else."""
        if isinstance(given, list) and given:
            return cls(tuple(dict.fromkeys(hashable(v) for v in given)), is_range=False)
        if isinstance(given, tuple) and len(given) == 2 and given[0] < given[1]:
            return cls(given, is_range=True)
        raise ParameterError(
            f"search_space: '{name}' must be a list of values, or a pair (low, high) of numbers; found {given!r}"
        )

    @property
    def is_whole(self) -> bool:
        """Whether it is a range of whole numbers."""
        return self.is_range and all(isinstance(v, int) for v in self.values)

    @property
    def size(self) -> float:
        """How many different values there are."""
        if not self.is_range:
            return len(self.values)
        return self.values[1] - self.values[0] + 1 if self.is_whole else math.inf

    def draw(self, rng: np.random.Generator) -> Any:
        """One value, all equally likely."""
        if not self.is_range:
            return self.values[int(rng.integers(len(self.values)))]
        low, high = self.values
        return int(rng.integers(low, high + 1)) if self.is_whole else round(float(low + (high - low) * rng.random()), 6)


def checked_space(given: Mapping[str, Mapping[str, Any] | None]) -> Space:
    """A search space whose values lie in the ranges that the methods declare.

    Args:
        given: {method: {parameter: [values] or (low, high)}}; None for a method: the values that it declares itself.

    Raises:
        ParameterError: a method has no such parameter, or a value is out of its range.
    """
    return {method: _checked(method, values) if method in METHODS else values or {} for method, values in given.items()}


def _checked(method: str, values: Mapping[str, Any] | None) -> Mapping[str, Any]:
    cls = synthesizer_class(method)
    known = declared(cls)
    if values is None:
        values = search_space(cls)
        if not values:
            raise ParameterError(f"search_space: '{method}' declares no values to try; name a parameter and its values")
    for name, domain in values.items():
        if name not in known:
            raise ParameterError(f"search_space: '{method}' has no parameter '{name}'; it has: {', '.join(known)}")
        for value in Domain.of(name, domain).values:
            known[name].check(value)
    return values


def hashable(value: Any) -> Any:
    """A value of a setting, lists (units of hidden layers) as tuples."""
    return tuple(hashable(v) for v in value) if isinstance(value, list | tuple) else value


FINISHED, FAILED, STOPPED, STARTED = "finished", "failed", "stopped", "started"


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

    @property
    def budget(self) -> str:
        """Its epsilon in words."""
        return "no epsilon" if math.isinf(self.epsilon) else f"epsilon {self.epsilon:g}"


@dataclass(frozen=True)
class Trial:
    """One fit of `setting` with `seed`; several seeds show how much of a difference is chance."""

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
    """Status and figures of one trial.

    Args:
        trial: what was tried.
        status: 'finished', 'failed', 'stopped' (early, by a scheduler) or 'started' (and not ended).
        utility: the objective; NaN where it did not finish.
        figures: everything measured, by name.
        attack: advantage of the membership attack (2 * AUC - 1: 0 guessing, 1 everybody known), with its interval.
        seconds: of 'fit', 'sample', 'evaluate' and 'attack'.
        error: why it failed.
        course: (share of the training that was done, objective then), where a scheduler looked.
    """

    trial: Trial
    status: str
    utility: float = math.nan
    figures: Mapping[str, float] = field(default_factory=dict)
    attack: Estimate = field(default_factory=lambda: Estimate(math.nan))
    seconds: Mapping[str, float] = field(default_factory=dict)
    error: str = ""
    course: tuple[tuple[float, float], ...] = ()

    @property
    def finished(self) -> bool:
        """Whether it has figures."""
        return self.status == FINISHED

    @property
    def settled(self) -> bool:
        """Whether it is not run again: a failed trial is, and one that was cut short with its process."""
        return self.status in (FINISHED, STOPPED)

    def write(self, path: Folder) -> None:
        """Keep it as a JSON file, `path`, whole or not at all; the user's alone (0600)."""
        write_atomically(path, json.dumps(_encoded(asdict(self)), indent=1, allow_nan=False).encode(), private=True)

    @classmethod
    def read(cls, path: Folder) -> TrialResult:
        """Read from `path` what `write` wrote; raises `StorageError` for anything else."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            setting = content["trial"]["setting"]
            setting["parameters"] = tuple((k, hashable(v)) for k, v in setting["parameters"])
            trial = Trial(Setting(**{**setting, "epsilon": float(setting["epsilon"])}), content["trial"]["seed"])
            attack = Estimate(**{k: float(v) for k, v in content["attack"].items()})
            figures = {k: float(v) for k, v in content["figures"].items()}
            values = {"figures": figures, "utility": float(content["utility"])}
            values["course"] = tuple((float(share), float(u)) for share, u in content.get("course", ()))
            return cls(**{**content, "trial": trial, "attack": attack, **values})
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise StorageError(f"'{path}' is no result of a trial ({error}); delete it, and it is run again") from error


def result_path(folder: Folder, trial: Trial) -> Folder:
    """Where in the folder of a sweep the result of a trial is."""
    return folder / "trials" / f"{trial.key}.json"


def result_at(path: Folder) -> TrialResult | None:
    """The result that is kept there; None where there is none."""
    return TrialResult.read(path) if path.exists() else None


def has_ended(path: Folder) -> bool:
    """Whether there is a result, of a trial that was not cut short with its process."""
    kept = result_at(path)
    return kept is not None and kept.status != STARTED


def kept_results(folder: Folder) -> list[TrialResult]:
    """All results in the folder of a sweep, in the order of their names."""
    at = place(folder) / "trials"
    names = (name for name in sorted(at.sizes()) if name.endswith(".json") and not name.startswith("."))
    return [TrialResult.read(folder / "trials" / name) for name in names]


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
        drawn.setdefault(tuple((name, Domain.of(name, values[name]).draw(rng)) for name in sorted(values)))
        if len(drawn) == n:
            break
    return list(drawn)


def _encoded(value: Any) -> Any:
    """Nested values with infinities and NaN as text, which JSON lacks."""
    if isinstance(value, Mapping):
        return {k: _encoded(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_encoded(v) for v in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


_NOTE_FILE = "sweep.json"


def note_of(trials: Sequence[Trial], *rest: Any) -> str:
    """What is swept, as text: two sweeps are the same where their notes are."""
    return json.dumps({"trials": [t.key for t in trials], "rest": [str(r) for r in rest]}, indent=1)


def require_same_sweep(folder: Folder, note: str) -> None:
    """Raise `StorageError` where the folder belongs to another sweep."""
    path = folder / _NOTE_FILE
    if path.exists() and path.read_text(encoding="utf-8") != note:
        raise StorageError(
            f"'{folder}' holds another sweep (other methods, epsilons, seeds or options); choose a new folder, or call "
            "it as it was called"
        )


def claim(folder: Folder, note: str, parts: Sequence[str] = ("trials", "models")) -> None:
    """Make the folder and its parts, for the user alone, and say which sweep they belong to; raises `StorageError`."""
    if isinstance(folder, Path):  # of a store there are objects alone
        for name in parts:
            make_folder(folder / name, private=True)
    write_atomically(folder / _NOTE_FILE, note.encode(), private=True)
