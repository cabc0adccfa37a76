"""One door to the private data, by running: two tables that release the same give the same model, byte for byte.

A first fit is written down: what each mechanism was given, with which noise, and what it released. A second fit, of a
table that differs, is handed the same releases, whatever it would have released itself. Then
- its model must be the first one's: whatever a model learns of rows past the mechanisms shows;
- what one unit changed in the mechanisms' inputs must be covered by their noise, and that by the charge: the sum of
  squared changes over twice the squared noise is the concentrated privacy (rho) of all Gaussian releases together,
  given those before (Bun and Steinke 2016), and the ledger says what it may be.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tiny import BY_SGD as TABLES
from tiny import tiny

from raysynth.api import new_synthesizer
from raysynth.dp import InsecureSeededNoise, Mechanism
from raysynth.dp.accounting import accountant
from raysynth.dp.accounting.ledger import Event
from raysynth.dp.gradients.release import GradientRelease
from raysynth.dp.mechanisms import counts as mechanisms
from raysynth.methods.base import Synthesizer
from raysynth.methods.registry import METHODS, synthesizer_class
from raysynth.schema import ColumnSchema, Kind, TableSchema
from raysynth.training import private_batches
from raysynth.training.averaging import BestAverage

PACKAGE = Path(__file__).parent.parent.parent / "raysynth"
ROWS, DRAWN = 600, 64  # the first rows are in every batch
K = 3  # rows of a person, steps of a sequence

SCHEMA = TableSchema(
    (
        ColumnSchema("sort", Kind.CATEGORICAL, "string", categories=("x", "y", "never")),
        ColumnSchema("level", Kind.CONTINUOUS, "int64", bounds=(0, 4999)),
        ColumnSchema("gap", Kind.CONTINUOUS, "double", bounds=(-1, 1)),
    )
)
OF_SEQUENCES = ("timegan", "autoregressive_sequences")
OF_PERSONS: dict[str, Any] = {"sequence_key": "who", "sequence_length": K, "static_columns": ["sort"]}
BY_SGD = tiny(
    (*TABLES, *OF_SEQUENCES),
    conditional_gan={"conditional_columns": ["sort", "word"]},
    **dict.fromkeys(OF_SEQUENCES, OF_PERSONS),
)
COUNTED = ("bayesian_network", "copula")

# ---- the transcript of a fit -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Release:
    """One call of a mechanism.

    Args:
        mechanism: 'gaussian', 'counts', 'stable', 'laplace', 'exponential' or 'gradient'.
        exact: its input, private.
        scale: standard deviation of its noise; epsilon where there is no such thing.
        most: sensitivity, or clip, that it was called with.
        delta: of naming a value.
        released: its output.
    """

    mechanism: str
    exact: np.ndarray
    scale: float
    most: float
    delta: float
    released: Any


@dataclass
class Transcript:
    """The releases of one fit; those of `earlier` are handed out again, in their order."""

    earlier: list[Release] | None = None
    releases: list[Release] = field(default_factory=list)

    def hand_out(
        self,
        mechanism: str,
        exact: Any,
        scale: float,
        draw: Callable[[], Any],
        *,
        most: float = 1.0,
        delta: float = 0.0,
    ) -> Any:
        if self.earlier is None:
            released = draw()
        else:
            before = self.earlier[len(self.releases)]
            assert before.mechanism == mechanism, "the same releases lead to the same next question"
            released = before.released
        exact = np.array(exact, dtype=np.float64).reshape(-1)
        self.releases.append(Release(mechanism, exact, scale, most, delta, released))
        return [r.clone() for r in released] if mechanism == "gradient" else released

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """In place of the mechanisms, wherever the package has them at hand."""
        for path in PACKAGE.rglob("*.py"):
            if "dp.mechanisms.counts import" in path.read_text(encoding="utf-8"):
                importlib.import_module(".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts))
        users = [m for name, m in sorted(sys.modules.items()) if name.startswith("raysynth.") and m is not mechanisms]
        for name, wrapped in self._mechanisms().items():
            having = [m for m in users if getattr(m, name, None) is getattr(mechanisms, name)]
            assert having
            for module in having:
                patch.setattr(module, name, wrapped)
        patch.setattr(GradientRelease, "noised_mean", self._gradient())

    def _mechanisms(self) -> dict[str, Callable[..., Any]]:
        def gaussian(values: Any, multiplier: float, noise: Any, *, sensitivity: float = 1.0) -> Any:
            draw = partial(mechanisms.gaussian_vector, values, multiplier, noise, sensitivity=sensitivity)
            return self.hand_out("gaussian", values, multiplier * sensitivity, draw)

        def counts(values: Any, multiplier: float, noise: Any, *, sensitivity: float = 1.0) -> Any:
            draw = partial(mechanisms.noised_counts, values, multiplier, noise, sensitivity=sensitivity)
            return self.hand_out("counts", values, multiplier * sensitivity, draw)

        def stable(values: Any, multiplier: float, delta: float, noise: Any, *, sensitivity: float = 1.0) -> Any:
            draw = partial(mechanisms.stable_counts, values, multiplier, delta, noise, sensitivity=sensitivity)
            return self.hand_out("stable", values, multiplier * sensitivity, draw, most=sensitivity, delta=delta)

        def count(n: int, epsilon: float, noise: Any, *, sensitivity: float = 1.0) -> Any:
            draw = partial(mechanisms.noised_count, n, epsilon, noise, sensitivity=sensitivity)
            return self.hand_out("laplace", [n], epsilon, draw, most=sensitivity)

        def choice(scores: Any, epsilon: float, noise: Any, *, sensitivity: float = 1.0) -> Any:
            draw = partial(mechanisms.chosen, scores, epsilon, noise, sensitivity=sensitivity)
            return self.hand_out("exponential", scores, epsilon, draw, most=sensitivity)

        both = {"gaussian_vector": gaussian, "noised_counts": counts}
        return {**both, "stable_counts": stable, "noised_count": count, "chosen": choice}

    def _gradient(self) -> Callable[[GradientRelease], Any]:
        draw, transcript = GradientRelease.noised_mean, self

        def noised_mean(release: GradientRelease) -> Any:
            plan, exact = release.plan, release.exact_sum
            assert exact is not None
            scale = plan.noise_multiplier * plan.clip
            made = transcript.hand_out("gradient", exact.cpu(), scale, lambda: draw(release), most=plan.clip)
            release._sums = []
            return made

        return noised_mean

    def of(self, mechanism: str) -> list[Release]:
        return [r for r in self.releases if r.mechanism == mechanism]


def refused(*_: Any) -> None:
    raise AssertionError("under a budget no weights are chosen by a loss of real rows")


def quick_epsilon(events: tuple[Event, ...], delta: float, coarseness: float) -> float:
    """By concentrated privacy; the accountant has tests of its own, and every second of these would be its."""
    rho = sum(
        e.steps * (0.5 / e.noise_multiplier**2 if e.noise_multiplier else (e.epsilon or 0) ** 2 / 2) for e in events
    )
    return float(rho + 2 * np.sqrt(rho * np.log(1 / delta)))


def fit(
    method: str, data: pd.DataFrame, patch: pytest.MonkeyPatch, earlier: list[Release] | None = None, **parameters: Any
) -> tuple[Synthesizer, list[Release]]:
    """A fit with the same draws of rows as any other one: who is in a batch does not depend on who is in the table."""

    def the_first(places: int, q: float, noise: Any) -> np.ndarray:
        n = data["who"].nunique() if "who" in data else len(data)
        return (n * np.arange(places // n)[:, None] + np.arange(DRAWN)).reshape(-1)

    given = {"epsilon": 2.0, "delta": 1e-5, "seed": 0, "verbose": False, "schema": SCHEMA}
    if method in BY_SGD:
        given |= {"epochs": 3, "batch_size": 1000}  # all rows in each step: quickly accounted for
    if method == "bayesian_network":
        given["private_rounds"] = 3  # so that there are edges for all of them
    model = new_synthesizer(method, **{**given, **BY_SGD.get(method, {}), **parameters})
    model._noise = InsecureSeededNoise(5)
    transcript = Transcript(earlier)
    with patch.context() as own, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # delta over one over so few rows
        transcript.install(own)
        own.setattr(private_batches, "bernoulli_places", the_first)
        own.setattr(accountant, "_composed_epsilon", quick_epsilon)
        own.setattr(BestAverage, "add_held", refused)
        model.fit(data)
    assert earlier is None or len(earlier) == len(transcript.releases)
    return model, transcript.releases


def table(persons: bool = False) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "who": np.repeat(np.arange(ROWS // K), K),
            "sort": rng.choice(["x", "y"], ROWS),
            "word": rng.choice(["one", "two", "three"], ROWS),
            "town": rng.choice(["east", "west"], ROWS),
            "job": rng.choice(["baker", "nurse"], ROWS),
            "note": rng.choice(["a", "b"], ROWS),
            "level": rng.integers(0, 900, ROWS),
            "gap": rng.normal(0, 0.2, ROWS).clip(-1, 1),
            "size": rng.normal(50, 5, ROWS),
        }
    )
    return frame if persons else frame.drop(columns="who")


def strange(n: int, who: int | None) -> pd.DataFrame:
    """Rows that nothing in the table prepares for: rare, missing, far out; new words, common and shared ones, none."""
    words = {"sort": "never", "word": [f"zz{i}" for i in range(n)], "town": "east", "job": "zz", "note": None}
    frame = pd.DataFrame({"who": who, **words, "level": 4999, "gap": np.nan, "size": -1e9}, index=range(n))
    return frame if who is not None else frame.drop(columns="who")


def same(one: Synthesizer, two: Synthesizer) -> None:
    """All that a file would hold."""
    first, second = one._content(), two._content()
    assert first.meta == second.meta
    assert first.arrays.keys() == second.arrays.keys()
    for name, array in first.arrays.items():
        np.testing.assert_array_equal(array, second.arrays[name], err_msg=name)
    assert first.digest() == second.digest()


# ---- what one unit changes is covered by the noise, and the noise by the charge --------------------------------------


def assert_covered(events: tuple[Event, ...], first: list[Release], second: list[Release], new_words: int) -> None:
    by = {m: [e for e in events if e.mechanism is m] for m in Mechanism}
    pairs = list(zip(first, second, strict=True))
    rho = sum(
        _squared_change(a, b) / (2 * a.scale**2) for a, b in pairs if a.mechanism in ("gaussian", "counts", "stable")
    )
    counted = [
        e for e in by[Mechanism.GAUSSIAN] + by[Mechanism.DISCRETE_GAUSSIAN] if not e.released.startswith("gradients")
    ]
    charged = sum(e.steps / (2 * (e.noise_multiplier or 0) ** 2) for e in counted)
    assert 0.4 * charged < rho <= charged * (1 + 1e-6), "the noise hides one unit, and nothing is released without"
    for mechanism, own in (("laplace", by[Mechanism.LAPLACE]), ("exponential", by[Mechanism.EXPONENTIAL])):
        drawn = [(a, b) for a, b in pairs if a.mechanism == mechanism]
        charged_for = [event for event in own for _ in range(event.steps)]
        for (a, b), event in zip(drawn, charged_for, strict=True):
            assert np.abs(a.exact - b.exact).max() <= a.most + 1e-9
            assert a.scale == event.epsilon and a.most == event.sensitivity
    named = [(a, b, b.exact[len(a.exact) :]) for a, b in pairs if a.mechanism == "stable"]
    lengths, each = Counter(len(own) for _, _, own in named), Counter((new_words, 0, 1, 0))
    assert not each - lengths and set(lengths - each) <= set(each), "one column of each table gets a second look"
    for (_, b, own), event in zip(named, by[Mechanism.APPROXIMATE], strict=True):
        assert own.sum() <= b.most, "so much of new words one unit can bring"
        assert b.delta * len(own) <= event.delta * (1 + 1e-9), "each of its words may be named by mistake"


def _squared_change(a: Release, b: Release) -> float:
    """Of what both tables have; new words come last, and their own rule covers them."""
    return float(((b.exact[: len(a.exact)] - a.exact) ** 2).sum())


@pytest.mark.parametrize("method", COUNTED)
def test_a_row_is_hidden_by_the_noise_that_is_charged(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = table()
    one, first = fit(method, data, monkeypatch)
    two, second = fit(method, pd.concat([data, strange(1, None)], ignore_index=True), monkeypatch, first)
    assert one.privacy_spent_ is not None
    assert_covered(one.privacy_spent_.ledger.events, first, second, new_words=1)
    same(one, two)


@pytest.mark.parametrize("method", COUNTED)
def test_so_are_all_rows_of_a_person(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty rows, of which K count."""
    data = table(persons=True)
    unit = {"privacy_unit": "who", "max_rows_per_unit": K}
    one, first = fit(method, data, monkeypatch, **unit)
    two, second = fit(method, pd.concat([data, strange(50, 10**6)], ignore_index=True), monkeypatch, first, **unit)
    assert one.privacy_spent_ is not None
    assert_covered(one.privacy_spent_.ledger.events, first, second, new_words=K)
    same(one, two)


@pytest.mark.parametrize("method", ["autoregressive", "gan", "conditional_gan"])
def test_so_are_they_where_training_draws_persons(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person more is covered by the counts' noise; all rows of one that is drawn change one gradient of a step."""
    data, unit = table(persons=True), {"privacy_unit": "who", "max_rows_per_unit": K}
    one, first = fit(method, data, monkeypatch, **unit)
    two, second = fit(method, pd.concat([data, strange(50, 10**6)], ignore_index=True), monkeypatch, first, **unit)
    assert one.privacy_spent_ is not None
    assert_covered(one.privacy_spent_.ledger.events, first, second, new_words=K)
    same(one, two)
    changed = pd.concat([strange(K, 0), data.iloc[K:]], ignore_index=True).astype(data.dtypes.to_dict())
    three, third = fit(method, changed, monkeypatch, first, **unit)
    same(one, three)
    steps = [(a, b) for a, b in zip(first, third, strict=True) if a.mechanism == "gradient"]
    assert steps and all(0 < np.linalg.norm(b.exact - a.exact) <= 2 * a.most for a, b in steps)


@pytest.mark.parametrize("method", OF_SEQUENCES)
def test_so_is_a_sequence(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = table(persons=True)
    one, first = fit(method, data, monkeypatch)
    two, second = fit(method, pd.concat([data, strange(50, 10**6)], ignore_index=True), monkeypatch, first)
    assert one.privacy_spent_ is not None
    assert_covered(one.privacy_spent_.ledger.events, first, second, new_words=K)
    same(one, two)


# ---- no method learns past the mechanisms ----------------------------------------------------------------------------


def test_no_private_method_is_left_out() -> None:
    assert {m for m in METHODS if synthesizer_class(m).has_differential_privacy} == {*COUNTED, *BY_SGD}


@pytest.mark.parametrize("method", BY_SGD)
def test_the_same_releases_give_the_same_model(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows in every batch are changed, and one more is never drawn: only the released gradients may know of either."""
    persons = method in OF_SEQUENCES
    data = table(persons)
    other = pd.concat([data, strange(1, 10**6 if persons else None)], ignore_index=True)
    other.loc[0 : 4 * K - 1, other.columns != "who"] = strange(4 * K, 0).drop(columns="who").to_numpy()
    other = other.astype(data.drop(columns="level").dtypes.to_dict())
    one, first = fit(method, data, monkeypatch)
    two, second = fit(method, other, monkeypatch, first)
    same(one, two)
    assert one.privacy_spent_ is not None
    (event,) = [e for e in one.privacy_spent_.ledger if e.released.startswith("gradients")]
    steps = [(a, b) for a, b in zip(first, second, strict=True) if a.mechanism == "gradient"]
    assert len(steps) == event.steps, "no training ends before all that was charged"
    for a, b in steps:
        assert a.scale == pytest.approx((event.noise_multiplier or 0) * event.sensitivity)
        assert a.most == event.sensitivity
        assert np.linalg.norm(b.exact - a.exact) <= 2 * 4 * K * event.sensitivity
    assert any((a.exact != b.exact).any() for a, b in steps), "the changed rows did reach the clipped sums"
