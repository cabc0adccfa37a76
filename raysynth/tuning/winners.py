"""The model of a sweep's winner, and the proxy rows: where a sweep opens the private rows, and what that costs."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from raysynth.dp.accounting.calibration import PrivacyBudget
from raysynth.dp.accounting.ledger import Ledger
from raysynth.errors import ParameterError
from raysynth.files.storage import Folder, write_atomically
from raysynth.methods.registry import load_synthetic_model, synthesizer_class, with_ledger
from raysynth.schema.table import TableSchema
from raysynth.tuning.front import Candidate
from raysynth.tuning.one_trial import Task, synthesizer
from raysynth.tuning.results import SELECTION_NOTE
from raysynth.tuning.trials import Setting

if TYPE_CHECKING:
    from raysynth.methods.base import Synthesizer

PROXY_METHOD = "bayesian_network"
_PROXY_FILE, _WINNER_FILE, _WINNER_NOTE = "proxy.raysynth", "winner.raysynth", "winner.json"


@dataclass(frozen=True)
class Budget:
    """What fits to the private rows are given: delta, the declared schema, and constructor arguments."""

    delta: float | None
    schema: TableSchema | None
    fixed: dict[str, Any] = field(default_factory=dict)


def check_setting(setting: Setting, budget: Budget) -> None:
    """Raise `ParameterError` where a method refuses what a trial would give it."""
    synthesizer(setting, 0, budget.delta, schema=budget.schema, **budget.fixed)._check_parameters()


def trial_winner(candidate: Candidate, task: Task) -> Synthesizer:
    """'internal': the model of the candidate's best seed; its ledger says that the choice is not covered."""
    model = load_synthetic_model(task.model_path(candidate.best_result.trial))
    spent = model.privacy_spent_
    return model if spent is None else with_ledger(model, spent.with_note(SELECTION_NOTE))


def proxy_rows(data: Any, public: Any, epsilon: float, budget: Budget, folder: Folder, seed: int) -> Any:
    """'proxy': the public table, or rows of a Bayesian network that is fitted to the private rows once and kept."""
    if public is not None:
        return public
    path = folder / _PROXY_FILE
    if path.exists():  # a second fit would be a second release
        model = load_synthetic_model(path)
    else:
        setting = Setting(PROXY_METHOD, epsilon)
        model = synthesizer(setting, seed, budget.delta, schema=budget.schema, **_accepted(setting, budget.fixed))
        model.fit(data).save(path)
    return model.sample_arrow(model.n_rows_, seed=seed)


def fitted_winner(candidate: Candidate, data: Any, budget: Budget, folder: Folder) -> Synthesizer:
    """'proxy': the candidate fitted to the private rows, once; its ledger holds the proxy's fit, too.

    Raises:
        ParameterError: another winner was fitted already: each is a release of its own.
    """
    setting, proxy = candidate.setting, folder / _PROXY_FILE
    note = json.dumps([setting.method, str(setting.epsilon), setting.parameters])
    if (folder / _WINNER_NOTE).exists():
        if (folder / _WINNER_NOTE).read_text(encoding="utf-8") != note:
            raise ParameterError(
                "another winner of this sweep was fitted to the private rows already, and a second one would be a "
                f"second release: use '{folder / _WINNER_FILE}', or fit a model yourself and add up the ledgers"
            )
        if (folder / _WINNER_FILE).exists():
            return load_synthetic_model(folder / _WINNER_FILE)
    write_atomically(folder / _WINNER_NOTE, note.encode())  # before the rows are opened
    model = synthesizer(setting, None, budget.delta, schema=budget.schema, **budget.fixed).fit(data)
    if proxy.exists():
        model = with_joint_ledger(model, load_synthetic_model(proxy))
    model.save(folder / _WINNER_FILE)
    return model


def with_joint_ledger(model: Synthesizer, proxy: Synthesizer) -> Synthesizer:
    """The model with a ledger of both fits; as it is where one of them has no epsilon."""
    first, second = (getattr(m, "privacy_spent_", None) for m in (proxy, model))
    if first is None or second is None:
        return model
    ledger = Ledger((*(replace(e, released=f"proxy: {e.released}") for e in first.ledger), *second.ledger))
    both = PrivacyBudget(first.budget.epsilon + second.budget.epsilon, first.budget.delta + second.budget.delta)
    return with_ledger(model, type(second).of(ledger, both))


def _accepted(setting: Setting, fixed: dict[str, Any]) -> dict[str, Any]:
    names = synthesizer_class(setting.method)._parameter_names()
    return {k: v for k, v in fixed.items() if k in names}
