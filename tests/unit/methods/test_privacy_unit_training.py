"""A guarantee by person of the methods that train by DP-SGD: one row of each person at most is in any step."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tiny import BY_SGD, tiny

from raysynth.api import new_synthesizer
from raysynth.data.fragments import Table
from raysynth.data.table import as_table
from raysynth.dp.gradients.release import GradientRelease
from raysynth.errors import ParameterError
from raysynth.files.storage import place
from raysynth.fitting.opening import privacy_scope
from raysynth.fitting.private_run import resumed_run
from raysynth.methods.base import Synthesizer
from raysynth.methods.shared import neural
from raysynth.privacy import audit_epsilon
from raysynth.schema import ColumnSchema, Kind, TableSchema
from raysynth.statistics import units
from raysynth.training.kept_releases import RELEASES
from raysynth.training.private_batches import PrivatePart
from raysynth.training.private_steps import PrivateSteps

DELTA, PERSONS, OF_NOBODY, MANY = 1e-5, 900, 60, 500
SAYS = "value of 'person_id' with all its rows (at most 1 of which count)"
PAC: dict[str, Any] = {"pac": 1}
SMALL = tiny(BY_SGD, gan=PAC, ctgan=PAC, conditional_gan={**PAC, "conditional_columns": ["ward", "urgent"]})
SCHEMA = TableSchema(
    (
        ColumnSchema("ward", Kind.CATEGORICAL, "string", categories=("x", "y", "z"), nullable=False),
        ColumnSchema("urgent", Kind.CATEGORICAL, "string", categories=("yes", "no"), nullable=False),
        ColumnSchema("again", Kind.CATEGORICAL, "string", categories=("yes", "no"), nullable=False),
    )
)


def visits() -> pd.DataFrame:
    """900 persons of one or two rows, 60 rows of nobody, and one person with all 500 rows of ward z."""
    rng = np.random.default_rng(0)
    who = [*range(PERSONS), *range(0, PERSONS, 2), *[np.nan] * OF_NOBODY, *[-1] * MANY]
    ward = np.where(np.array(who) == -1, "z", rng.choice(["x", "y"], len(who)))
    others = {name: rng.choice(["yes", "no"], len(who)) for name in ("urgent", "again")}
    frame = pd.DataFrame({"person_id": who, "ward": ward, **others})
    return frame.sample(frac=1, random_state=0, ignore_index=True)


def model_of(method: str, **parameters: Any) -> Any:
    given = {"epsilon": 3.0, "delta": DELTA, "privacy_unit": "person_id", "schema": SCHEMA, "verbose": False}
    return new_synthesizer(method, **{**given, "epochs": 2, "batch_size": 400, **SMALL[method], **parameters})


@dataclass
class Seen:
    """The rows that count in each step, as they reach the release: their codes, and which rows they are."""

    parts: list[list[np.ndarray]] = field(default_factory=lambda: [[]])

    def steps(self, model: Synthesizer) -> list[tuple[int, list[int]]]:
        """For each step how many rows it has, and which of them are of ward z, by the model's own codes."""
        of_z = as_table(
            pd.DataFrame({"person_id": [0.0], "ward": ["z"], "urgent": ["no"], "again": ["no"]}), min_rows=1
        )
        column = model.encoder_.names.index("ward")
        (code,) = model.encoder_.encode(next(iter(of_z.blocks()))).codes_NC[:, column]
        steps = [np.concatenate(parts) for parts in self.parts if parts]
        return [(len(found), found[found[:, column] == code, -1].tolist()) for found in steps]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    found = Seen()
    add, release = PrivateSteps._add, GradientRelease.noised_mean

    def spied(own: GradientRelease, part: PrivatePart, *others: Any) -> None:
        codes, counted = part.batch.codes_NC.cpu().numpy(), part.counted_N.cpu().numpy()
        found.parts[-1].append(np.column_stack([codes, part.rows_N])[counted])
        add(own, part, *others)

    def ended(own: GradientRelease) -> Any:
        found.parts.append([])
        return release(own)

    monkeypatch.setattr(PrivateSteps, "_add", staticmethod(spied))
    monkeypatch.setattr(GradientRelease, "noised_mean", ended)
    return found


def most_of_one(steps: list[tuple[int, list[int]]]) -> int:
    """Most rows of one person in any step: ward z is one person's."""
    return max(len(rows) for _, rows in steps)


def unbounded(table: Table, *others: Any) -> Table:
    return table


# ---- every network: what reaches a step, and what the ledger says --------------------------------------------------


@pytest.mark.parametrize("method", SMALL)
def test_one_row_of_a_person_at_most_is_in_any_step(
    method: str, seen: Seen, recomputed: Callable[[Any], tuple[float, float]]
) -> None:
    """The accountant of the tests is slow, and asked once: `test_recomputed_epsilon.py` asks it of every method."""
    model = model_of(method).fit(visits())
    steps = seen.steps(model)
    event = next(e for e in model.privacy_spent_.ledger if e.sampling_rate < 1)
    assert len(steps) == event.steps >= 4
    assert most_of_one(steps) <= 1 < max(rows for rows, _ in steps)
    everybody = PERSONS + OF_NOBODY + 1
    assert model.n_rows_ == pytest.approx(everybody, abs=250), "units are counted, with noise of scale 17"
    assert event.sampling_rate == pytest.approx(400 / model.n_rows_)
    drawn = sum(rows for rows, _ in steps)
    assert drawn == pytest.approx(event.sampling_rate * everybody * len(steps), rel=0.3)
    assert {e.unit for e in model.privacy_spent_.ledger} == {SAYS} and event.sensitivity == 1
    assert 0.9 * 3 < model.privacy_spent_.epsilon <= 3
    if method == "dp_tvae":
        found, error = recomputed(model)
        assert 0.9 * 3 < found <= model.privacy_spent_.epsilon * 1.01 + error
    assert "person_id" not in model.encoder_.names and len(model.sample(20, seed=0)) == 20


def test_the_rows_of_a_person_reach_a_step_where_they_are_not_bounded(
    seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "bounded", unbounded)
    model = model_of("dp_tvae").fit(visits())
    assert most_of_one(seen.steps(model)) > 50


def test_delta_is_compared_with_the_number_of_persons() -> None:
    """Below one over 41 persons (noise of scale 1.7) it is no reason to warn, though above one over 560 rows."""
    few = visits()[lambda v: v["person_id"] < 40]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of so large an epsilon
        warnings.filterwarnings("error", message=".*delta")
        model_of("dp_tvae", delta=0.005, epsilon=30.0).fit(few)


def test_a_dataset_is_refused() -> None:
    with pytest.raises(ParameterError, match="Ray Dataset"):
        model_of("dp_tvae").fit(replace(as_table(visits()), dataset=object()))


# ---- several rows of a person: persons are drawn, and one row of each ----------------------------------------------


@pytest.mark.parametrize("method", ["autoregressive", "conditional_gan"])
def test_one_of_several_rows_of_a_person_is_in_a_step_and_not_always_the_same(method: str, seen: Seen) -> None:
    """The accountant sees persons; statistics see up to four rows of each, and have four times the noise."""
    k = 4
    model = model_of(method, max_rows_per_unit=k, epochs=25).fit(visits())
    ledger, everybody = model.privacy_spent_.ledger, PERSONS + OF_NOBODY + 1
    (event,) = [e for e in ledger if e.sampling_rate < 1]
    assert 0.9 * 3 < model.privacy_spent_.epsilon <= 3
    assert {e.unit for e in ledger} == {SAYS.replace("most 1", f"most {k}")}
    sensitivities = {e.released: e.sensitivity for e in ledger}
    assert sensitivities["number of rows"] == sensitivities["counts of 'ward'"] == k
    assert sensitivities["number of units"] == sensitivities[event.released] == 1
    assert method == "autoregressive" or sensitivities["table of a column with its parents"] == k
    assert event.sampling_rate == pytest.approx(400 / everybody, rel=1), "noise of scale 33"
    steps = seen.steps(model)
    assert len(steps) == event.steps and most_of_one(steps) == 1
    of_one = {row for _, rows in steps for row in rows}
    assert 1 < len(of_one) <= k, "of some 25 draws of one of four rows all are the same less than once in 10^7"
    drawn = sum(rows for rows, _ in steps)
    assert drawn == pytest.approx(event.sampling_rate * everybody * len(steps), rel=0.2)


def test_several_rows_of_a_person_reach_a_step_where_rows_are_drawn(
    seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neural, "_with_owners", lambda rows, prepared: rows)
    assert most_of_one(seen.steps(model_of("dp_tvae", max_rows_per_unit=50).fit(visits()))) > 5


# ---- fits that share releases: each drew its own rows of a person --------------------------------------------------


@pytest.mark.parametrize("k", [1, 3, None])
def test_a_fit_that_goes_on_draws_persons_anew_and_keeps_to_the_ledger(
    k: int | None, seen: Seen, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    says = SAYS.replace("at most 1 of which", f"at most {k} of which")
    says = says if k else SAYS.replace("at most 1 of which count", "of which so many count as were chosen")
    run_config = SimpleNamespace(storage_path=str(tmp_path), name="run")
    inner, left = GradientRelease.noised_mean, iter([False] * 4 + [True] + [False] * 99)

    def stopped(own: GradientRelease) -> Any:
        if next(left):
            seen.parts.append([])
            raise KeyboardInterrupt
        return inner(own)

    monkeypatch.setattr(GradientRelease, "noised_mean", stopped)
    with pytest.raises(KeyboardInterrupt):
        model_of("dp_tvae", epochs=4, run_config=run_config, max_rows_per_unit=k).fit(visits())
    again = model_of("dp_tvae", epochs=4, run_config=run_config, max_rows_per_unit=k)
    scope = resumed_run(again, place(tmp_path / "run"), privacy_scope(again)).scope
    assert scope.unit == says and (scope.rows_per_unit == k or (k is None and scope.rows_per_unit in units.CHOICES))
    resumed = again.fit(visits(), resume=tmp_path / "run")
    assert {e.unit for e in resumed.privacy_spent_.ledger} == {says}
    event = next(e for e in resumed.privacy_spent_.ledger if e.sampling_rate < 1)
    steps = seen.steps(resumed)
    assert 5 < len(steps) <= event.steps + 1, "the one that was interrupted released nothing"
    assert most_of_one(steps) <= 1
    with pytest.raises(ParameterError, match="with privacy_unit='person_id'; found 'ward'"):
        model_of("dp_tvae", epochs=4, run_config=run_config, max_rows_per_unit=k, privacy_unit="ward").fit(
            visits(), resume=tmp_path / "run"
        )


@pytest.mark.parametrize("method", ["dp_tvae", "copula", "bayesian_network"])
def test_how_many_rows_count_is_chosen_with_noise_and_paid_for(
    method: str, recomputed: Callable[[Any], tuple[float, float]]
) -> None:
    given = {"epsilon": 3.0, "delta": DELTA, "privacy_unit": "person_id", "schema": SCHEMA, "verbose": False}
    own = {"epochs": 1, **SMALL[method]} if method in SMALL else {}
    model = new_synthesizer(method, max_rows_per_unit=None, **given, **own).fit(visits())
    spent = model.privacy_spent_
    (first, *others), says = (
        spent.ledger.events,
        SAYS.replace("at most 1 of which count", "of which so many count as were chosen"),
    )
    assert (first.released, first.sensitivity) == ("persons by their number of rows", 1.0)
    assert {e.unit for e in spent.ledger} == {says} and 0.9 * 3.0 < spent.epsilon <= 3.0
    (k,) = {e.sensitivity for e in others if e.released.startswith("counts of")}
    assert k in units.CHOICES
    found, error = recomputed(model)
    assert found <= spent.epsilon * 1.01 + error


@pytest.mark.parametrize("k", [1, 3])
def test_kept_shards_are_found_again_by_the_same_persons_alone(k: int, seen: Seen, tmp_path: Path) -> None:
    """Each fit would draw other rows of a person; rows of other persons must not pass for these.

    Their fit takes the same releases, so that no ledger tells that they are others, and encodes rows of its own.
    """
    data = visits()
    first, second = (
        model_of("dp_tvae", keep_shards=tmp_path, epochs=1, max_rows_per_unit=k).fit(data) for _ in range(2)
    )
    assert len(list(tmp_path.glob(f"*/{RELEASES}"))) == 1 and second.privacy_spent_.joint is not None
    assert second.encoder_.to_state()[1].keys() == first.encoder_.to_state()[1].keys()
    assert most_of_one(seen.steps(second)) <= 1
    owners = list(tmp_path.glob("*/*.owners.npy"))
    assert bool(owners) == (k > 1), "where units are drawn, their rows are kept with whose they are"
    numbers = [np.load(path) for path in owners]
    assert not numbers or np.unique(np.concatenate(numbers), return_counts=True)[1].max() == k
    others = data.assign(person_id=data["person_id"].sample(frac=1, random_state=1).to_numpy())
    (key,) = tmp_path.glob("*/key.json")
    before = json.loads(key.read_text(encoding="utf-8"))
    third = model_of("dp_tvae", keep_shards=tmp_path, epochs=1, max_rows_per_unit=k).fit(others)
    after = json.loads(key.read_text(encoding="utf-8"))
    assert third.privacy_spent_.ledger.events == second.privacy_spent_.ledger.events
    assert before["data"] != after["data"] and {**before, "data": ""} == {**after, "data": ""}
    assert len(list(tmp_path.glob(f"*/{RELEASES}"))) == 1


def test_kept_shards_need_to_know_how_many_rows_of_a_person_count(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="with keep_shards give it a number"):
        model_of("dp_tvae", keep_shards=tmp_path, max_rows_per_unit=None).fit("no-such-file.csv")


# ---- an audit --------------------------------------------------------------------------------------------------------


def audited(**parameters: Any) -> Any:
    given = {"epsilon": 0.5, "delta": 1e-8, "epochs": 2, "batch_size": 5000, "encoder_layers": (16,)}
    model = model_of("dp_tvae", **{**given, **parameters})
    return audit_epsilon(model, visits(), attacks=["gradients"], n_canaries=100, confidence=1 - 1e-4)


@pytest.mark.parametrize("k", [1, 3])
def test_gradient_canaries_are_persons_of_their_own(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not refuted as it is; without noise they are told apart, so that they are where the audit looks."""
    assert not audited(max_rows_per_unit=k).refuted
    monkeypatch.setattr(PrivateSteps, "_release", _without_noise)
    assert audited(max_rows_per_unit=k).refuted


def _without_noise(own: PrivateSteps) -> GradientRelease:
    silent = SimpleNamespace(normal=np.zeros)
    average = own._average
    return GradientRelease(
        own.plan,
        n_workers=average.n_workers,
        sum_over_workers=average.total,
        noise=silent,  # type: ignore[arg-type]
    )
