"""How a sweep looks for settings where it does not try them all alike: Optuna's search, and early stopping by ASHA.

Settings are looked for with one seed each, apart for every method and epsilon, so that no small epsilon and no method
is left out for another. Then those that were not stopped are fitted with the other seeds: to its end each, since means
over only the seeds that survived would be too good.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from raysynth.errors import ParameterError
from raysynth.files.storage import write_atomically
from raysynth.tuning.choices import Listed, Study, installed_optuna
from raysynth.tuning.on_ray import Room, run_choices, run_trials
from raysynth.tuning.one_trial import Task, results_of
from raysynth.tuning.preparation import with_shared_table
from raysynth.tuning.trials import Space, Trial, TrialResult, all_trials, kept_results

SEARCHES, SCHEDULERS = ("optuna",), ("asha",)
_SEARCHED = "searched"  # folder of notes, each of a study that has drawn all its settings


@dataclass(frozen=True)
class Search:
    """What is looked for, and how.

    Args:
        methods, epsilons, space, n_trials, n_seeds, seed: as in `sweep`.
        search: 'optuna', or None: `n_trials` random settings.
        scheduler: 'asha', or None: every trial runs to its end.
    """

    methods: tuple[str, ...]
    epsilons: tuple[float, ...]
    space: Space
    n_trials: int
    n_seeds: int
    seed: int
    search: str | None = None
    scheduler: str | None = None

    def check(self, given: Mapping[str, Any]) -> None:
        """Raise `ParameterError` for what cannot be searched or stopped.

        Args:
            given: `scaling_config` of trials, None where left out.
        """
        for name, value, valid in (("search", self.search, SEARCHES), ("scheduler", self.scheduler, SCHEDULERS)):
            if value is not None and value not in valid:
                raise ParameterError(f"{name} must be None or one of {', '.join(map(repr, valid))}; found {value!r}")
        _ = self.trials  # raises for what is no space
        if (self.search or self.scheduler) and not self.space:
            name = "search='optuna'" if self.search else "scheduler='asha'"
            raise ParameterError(
                f"{name} compares settings of a method, and there is one of each; give a search_space, for example "
                "{'tvae': {'latent_dim': (8, 64)}}"
            )
        if self.search is not None:
            installed_optuna()
        if self.scheduler is None:
            return
        if not any(self.stops(m) for m in self.space):
            raise ParameterError(
                f"scheduler='asha' stops trainings in epochs, and {', '.join(self.space)} has none; leave it out, or "
                "search a neural method"
            )
        if given.get("scaling_config") is not None:
            raise ParameterError(
                "scheduler='asha' looks at a training in the trial's own process; leave out scaling_config, or train "
                "every trial to its end"
            )

    def stops(self, method: str) -> bool:
        """Whether trials of a method can be stopped: it has settings to compare, and trains in epochs."""
        from raysynth.methods.registry import synthesizer_class

        return self.scheduler is not None and method in self.space and synthesizer_class(method).can_resume

    @property
    def trials(self) -> list[Trial]:
        """All trials where nothing is searched by what trials give."""
        return all_trials(self.methods, list(self.epsilons), self.n_seeds, self.space, self.n_trials, self.seed)

    @property
    def note(self) -> tuple[list[Trial], *tuple[str, ...]]:
        """What identifies this search, for `note_of`."""
        if self.search is None and self.scheduler is None:
            return (self.trials,)
        return [], str(self)

    @property
    def groups(self) -> list[Study | Listed]:
        """What is looked for with the first seed, one method at one epsilon each."""
        if self.search is not None:
            return [
                Study.of(m, e, self.seed, self.space[m], self.n_trials)
                for m in self.methods
                if m in self.space
                for e in self.epsilons
            ]
        first = [t for t in self.trials if t.seed == self.seed and self.stops(t.setting.method)]
        keys = dict.fromkeys((t.setting.method, t.setting.epsilon) for t in first)
        return [Listed(tuple(t for t in first if (t.setting.method, t.setting.epsilon) == key)) for key in keys]

    @property
    def plain(self) -> list[Trial]:
        """The trials that no search draws and no scheduler stops."""
        if self.search is not None:
            others = [m for m in self.methods if m not in self.space]
            return all_trials(others, list(self.epsilons), self.n_seeds, {}, self.n_trials, self.seed)
        return [t for t in self.trials if not self.stops(t.setting.method)]

    def with_other_seeds(self, first: Iterable[TrialResult]) -> list[Trial]:
        """The trials of the settings that were found; those that were stopped, or failed, have no others."""
        found = []
        for result in first:
            n = self.n_seeds if result.finished else 1
            found += [replace(result.trial, seed=self.seed + i) for i in range(n)]
        return found


def run_search(search: Search, task: Task, room: Room) -> tuple[list[Trial], int]:
    """Look for settings, then fit what was found with all seeds; goes on where an earlier call was stopped.

    Returns:
        All trials, of which each has a result, and how many were settled before.
    """
    before = {r.trial for r in kept_results(task.folder) if r.settled}
    groups, plain = search.groups, search.plain
    likely = [t.setting for g in groups for t in (g.trials if isinstance(g, Listed) else [g.corner])]
    shared = cache(lambda: with_shared_table(task, [*likely, *(t.setting for t in plain)]))
    first: list[TrialResult] = []
    tried: set[Trial] = set()
    for group in groups:
        found, now = _run_group(group, task, shared, room, search.stops(group.method))
        first += found
        tried |= {r.trial for r in found} if now else set()
    trials = [*plain, *search.with_other_seeds(first)]
    done = results_of(trials, task)
    missing = [t for t in trials if t not in done and t not in tried]
    run_trials(missing, shared() if missing else task, room, task.expected_seconds)
    return trials, sum(t in before for t in trials)


def _run_group(
    group: Study | Listed, task: Task, shared: Callable[[], Task], room: Room, stops_early: bool
) -> tuple[list[TrialResult], bool]:
    """Results of a group, and whether it was run now.

    Where something is missing all run: those that are settled report their figures again, so that search and scheduler
    know what they knew.
    """
    note = task.folder / _SEARCHED / f"{group.key}.json"
    if not (is_done := note.exists()):
        known = [r.trial for r in kept_results(task.folder) if group.holds(r.trial)]
        searcher = group.searcher(known) if isinstance(group, Study) else None
        run_choices(
            group,
            shared(),
            room,
            searcher=searcher,
            stops_early=stops_early,
            expected=task.expected_seconds,
        )
        write_atomically(note, json.dumps({"settings": group.number}).encode())
    return [r for r in kept_results(task.folder) if group.holds(r.trial)], not is_done
