"""Where the trials of one run of Ray Tune come from: a list, or Optuna, which draws each from what others gave."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from raysynth.errors import ParameterError
from raysynth.tuning.trials import Domain, Setting, Trial

if TYPE_CHECKING:
    from ray.tune.search import Searcher

MISSING_OPTUNA = "search='optuna' needs Optuna, which is not installed: pip install 'raysynth[tune]'"


class Choices(Protocol):
    """Trials of one run of Tune; it pickles."""

    @property
    def number(self) -> int:
        """How many there are."""
        ...

    def trial(self, config: Mapping[str, Any]) -> Trial:
        """The trial that a configuration of Tune's stands for."""
        ...

    @property
    def typical(self) -> tuple[Trial, ...]:
        """For each trial itself or, where it is not known yet, one that takes about as long."""
        ...


@dataclass(frozen=True)
class Listed:
    """Trials that are known beforehand."""

    trials: tuple[Trial, ...]

    @property
    def method(self) -> str:
        """Of the first trial."""
        return self.trials[0].setting.method

    @property
    def key(self) -> str:
        """The name in files of a list of one method at one epsilon."""
        return study_key(self.method, self.trials[0].setting.epsilon)

    def holds(self, trial: Trial) -> bool:
        """Whether a trial is among them."""
        return trial in self.trials

    @property
    def number(self) -> int:
        """How many there are."""
        return len(self.trials)

    def trial(self, config: Mapping[str, Any]) -> Trial:
        """By its position in the list."""
        return self.trials[config["position"]]

    @property
    def typical(self) -> tuple[Trial, ...]:
        """The trials."""
        return self.trials


@dataclass(frozen=True)
class Study:
    """Settings of one method at one epsilon that Optuna draws, each with one seed.

    One method, since parameters of several have nothing in common; one epsilon, or a search would leave the small ones.

    Args:
        method, epsilon, seed: of every trial.
        space: parameters by name, in their order.
        number: of settings to draw.
    """

    method: str
    epsilon: float
    seed: int
    space: tuple[tuple[str, Domain], ...]
    number: int

    @classmethod
    def of(cls, method: str, epsilon: float, seed: int, values: Mapping[str, Any], n_trials: int) -> Study:
        """Of a method's part of a search space; no more trials than there are different settings."""
        space = tuple((name, Domain.of(name, values[name])) for name in sorted(values))
        return cls(method, epsilon, seed, space, int(min(n_trials, math.prod(d.size for _, d in space))))

    @property
    def key(self) -> str:
        """Its name in files."""
        return study_key(self.method, self.epsilon)

    @property
    def corner(self) -> Trial:
        """A trial of the first value of every list, and the smallest number of every range."""
        return self.trial({n: d.values[0] if d.is_range else 0 for n, d in self.space})

    @property
    def typical(self) -> tuple[Trial, ...]:
        """All like one of them."""
        return (self.corner,) * self.number

    def trial(self, config: Mapping[str, Any]) -> Trial:
        """A suggestion as a trial: of a list the value at the suggested position."""
        drawn = tuple((n, config[n] if d.is_range else d.values[config[n]]) for n, d in self.space)
        return Trial(Setting(self.method, self.epsilon, drawn), self.seed)

    def point(self, trial: Trial) -> dict[str, Any]:
        """The inverse of `trial`."""
        drawn = dict(trial.setting.parameters)
        return {n: drawn[n] if d.is_range else d.values.index(drawn[n]) for n, d in self.space}

    def holds(self, trial: Trial) -> bool:
        """Whether a trial is one of this study's."""
        setting, names = trial.setting, [name for name, _ in self.space]
        mine = (self.method, self.epsilon, self.seed, names)
        return (setting.method, setting.epsilon, trial.seed, [name for name, _ in setting.parameters]) == mine

    def searcher(self, known: Sequence[Trial]) -> Searcher:
        """Optuna's search (tree-structured Parzen estimator), which suggests first what is known, in this order.

        Raises `ParameterError` where Optuna is not installed.
        """
        optuna = installed_optuna()
        from ray.tune.search.optuna import OptunaSearch

        return OptunaSearch(
            {name: _distribution(optuna, domain) for name, domain in self.space},
            metric="utility",
            mode="max",
            points_to_evaluate=[self.point(t) for t in known] or None,
            seed=self.seed + len(known),  # a sampler that starts anew with its old seed would draw the same again
        )


def study_key(method: str, epsilon: float) -> str:
    """What settings of one method at one epsilon are called in files."""
    return f"{method}-eps{epsilon:g}"


def installed_optuna() -> Any:
    """The module; raises `ParameterError` with the cure where it is not there."""
    try:
        import optuna
    except ImportError:
        raise ParameterError(MISSING_OPTUNA) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _distribution(optuna: Any, domain: Domain) -> Any:
    """Of a list, the position; a value may be anything."""
    if not domain.is_range:
        return optuna.distributions.CategoricalDistribution(tuple(range(len(domain.values))))
    kind = "IntDistribution" if domain.is_whole else "FloatDistribution"
    return getattr(optuna.distributions, kind)(*domain.values)
