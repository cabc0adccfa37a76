"""A condition on one column: which values keep it, what share of each code does, and what a user's words become."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from outcome import value_of

from raysynth import GaussianCopula
from raysynth.encoding.numeric import build_bins
from raysynth.errors import ConditionError
from raysynth.sampling.conditions import ColumnCondition, Segment, _nearest, parse_conditions
from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.statistics.numeric import NumericSummary


def _encoder(model: GaussianCopula, name: str) -> Any:
    return {c.name: c for c in model._fitted().encoder.columns}[name]


HELD = [
    (ColumnCondition("x", low=2.0, high=4.0), [False, True, True, True, False, False, False]),
    (ColumnCondition("x", low=2.0), [False, True, True, True, True, False, False]),
    (ColumnCondition("x", high=2.0), [True, True, False, False, False, False, False]),
    (ColumnCondition("x", low=1.0, high=5.0, points=(1.0, 4.0, 5.0)), [True, False, False, True, True, False, False]),
    (ColumnCondition("x", spans=((1.0, 2.0), (4.0, 4.0))), [True, True, False, True, False, False, False]),
    (ColumnCondition("x", missing=True), [False] * 5 + [True] * 2),
]


@pytest.mark.parametrize(("condition", "held"), HELD)
def test_a_number_keeps_a_closed_range_points_or_spans(condition: ColumnCondition, held: list[bool]) -> None:
    """Ends belong to it; what is missing keeps none but that."""
    x = pa.array([1.0, 2.0, 3.0, 4.0, 5.0, None, None])
    for array in (x, pa.chunked_array([x[:3], x[3:]]), x.cast(pa.int64())):
        assert value_of(lambda array=array: condition.holds(array)).tolist() == held


@pytest.mark.parametrize("coded", [True, False])
def test_a_category_keeps_a_list_of_values(coded: bool) -> None:
    array = pa.array(["a", "b", None, "c"])
    array = array.dictionary_encode() if coded else array
    some, none = ColumnCondition("x", values=("a", "c")), ColumnCondition("x", values=("b", None), missing=True)
    assert value_of(lambda: some.holds(array)).tolist() == [True, False, False, True]
    assert value_of(lambda: none.holds(array)).tolist() == [False, True, True, False]


@pytest.mark.parametrize("name", ["age", "income", "weight", "price"])
def test_weights_of_codes_are_the_share_of_their_values_that_a_condition_has(copula: GaussianCopula, name: str) -> None:
    """Against decoded values of each code; all codes have the whole line, none but the last what is missing."""
    encoder, rng = _encoder(copula, name), np.random.default_rng(0)
    low, middle, high = (float(encoder.distribution.quantile(np.array([r]))[0]) for r in (0.21, 0.5, 0.64))
    codes = np.repeat(np.arange(encoder.cardinality), 300).astype(np.uint16)
    drawn = encoder.decode(codes, np.zeros(len(codes), np.float32), rng)
    point = float(pa.array(drawn).cast(pa.float64()).to_pylist()[len(codes) // 2])
    for condition in (
        ColumnCondition(name, low=low, high=high),
        ColumnCondition(name, high=middle),
        ColumnCondition(name, spans=((low, middle), (high, 1e9))),
        ColumnCondition(name, missing=True),
    ):
        found = value_of(lambda condition=condition: condition.weights(encoder))
        shares = condition.holds(drawn).reshape(encoder.cardinality, 300).mean(1)
        if condition.missing:
            shares = np.append(np.zeros(encoder.cardinality - 1), float(encoder.shares[-1] > 0))
        assert found.shape == (encoder.cardinality,) and (found <= 1).all()
        np.testing.assert_allclose(found, shares, atol=0.12)
    twice = ColumnCondition(name, spans=((-1e9, 1e9), (-1e9, 1e9))).weights(encoder)
    assert twice.tolist() == [1.0] * (encoder.cardinality - 1) + [0.0]
    points = ColumnCondition(name, low=point, high=point, points=(point,)).weights(encoder)
    assert points.sum() > 0 and np.count_nonzero(points) == 1
    assert not ColumnCondition(name, low=-1e9, high=-1e9, points=(-1e9,)).weights(encoder).any()


def test_rejection_looks_within_half_a_percent_of_ranks_on_either_side(copula: GaussianCopula) -> None:
    """Of a number with a value to each row; not where many rows share the value, nor beyond the ends."""
    income, age = _encoder(copula, "income"), _encoder(copula, "age")
    distribution = income.distribution
    points = [float(v) for v in distribution.quantile(np.array([0.0005, 0.4, 1.0]))]
    ((low, high), around, top) = (
        value_of(lambda p=p: ColumnCondition("income", points=(p,)).windows(income)).spans[0] for p in points
    )
    assert low == distribution.low[0] <= points[0] < high
    ranks = distribution.rank(np.array([*around, points[1]]))
    np.testing.assert_allclose(ranks[:2] - ranks[2], [-0.005, 0.005], atol=1e-9)
    assert top[1] == distribution.high[-1] > top[0]
    both = ColumnCondition("age", low=30.0, high=40.0, points=(30.0, 40.0))
    widened = both.windows(age)
    assert widened.spans == ((30.0, 30.0), (40.0, 40.0)) and not widened.points
    town = ColumnCondition("town", values=("Bonn",))
    assert town.windows(_encoder(copula, "town")) is town
    span = ColumnCondition("age", low=3.0, high=40.0)
    assert span.windows(age) is span


@pytest.mark.parametrize(("rows", "is_point"), [(14, True), (24, True), (8, False)])
def test_a_value_of_more_rows_than_half_a_percent_is_met_as_it_is(rows: int, is_point: bool) -> None:
    """Of 2,000, the others spread around it; a range of ranks as wide on either side would take in others, too."""
    x = np.concatenate(
        [np.linspace(0, 50, 1000 - rows // 2), np.full(rows, 55.0), np.linspace(60, 99, 1000 - rows // 2)]
    )
    summary = NumericSummary(pa.float64())
    summary.update(pa.array(x))
    column = ColumnSchema("x", Kind.CONTINUOUS, "double")
    encoder = build_bins(column, summary.distribution(), rare_threshold=5, n_bins=20)
    ((low, high),) = value_of(lambda: ColumnCondition("x", points=(55.0,)).windows(encoder)).spans
    assert ((low, high) == (55.0, 55.0)) == is_point and low <= 55.0 <= high


PARSED: list[tuple[dict[str, Any], ColumnCondition]] = [
    ({"age": [60, 20, 60]}, ColumnCondition("age", low=20, high=60, points=(20, 60))),
    ({"age": 30}, ColumnCondition("age", low=30, high=30, points=(30,))),
    ({"age": (30, 30)}, ColumnCondition("age", low=30, high=30, points=(30,))),
    ({"age": (30, 31)}, ColumnCondition("age", low=30, high=31)),
    ({"age": (None, 31)}, ColumnCondition("age", high=31)),
    ({"age": (30, np.nan)}, ColumnCondition("age", low=30)),
    ({"weight": None}, ColumnCondition("weight", missing=True)),
    ({"weight": [None, np.nan]}, ColumnCondition("weight", missing=True)),
    ({"town": ["Celle", "Bonn", "Bonn"]}, ColumnCondition("town", values=("Bonn", "Celle"))),
    ({"smoker": np.True_}, ColumnCondition("smoker", values=(True,))),
]


@pytest.mark.parametrize(("wanted", "expected"), PARSED, ids=[str(w) for w, _ in PARSED])
def test_what_is_wanted_is_one_condition(
    copula: GaussianCopula, wanted: dict[str, Any], expected: ColumnCondition
) -> None:
    (segment,) = value_of(lambda: parse_conditions(wanted, 5, copula.schema_, copula.encoder_))
    assert segment == Segment((expected,), 5)
    assert value_of(lambda: parse_conditions({"land": "DE"}, 5, copula.schema_, copula.encoder_)) == (Segment((), 5),)


def test_a_missing_category_is_one_of_the_values() -> None:
    table = pd.DataFrame({"a": ["x", "y", None] * 100, "b": np.arange(300.0), "c": range(300)})
    model = value_of(lambda: GaussianCopula(seed=1, verbose=False).fit(table))
    (segment,) = parse_conditions({"a": ["y", None]}, 5, model.schema_, model.encoder_)
    assert segment.conditions == (ColumnCondition("a", values=("y", None), missing=True),)
    weights = segment.conditions[0].weights(_encoder(model, "a"))
    assert sorted(weights.tolist()) == [0.0, 1.0, 1.0]
    assert set(model.sample(60, {"a": ["y", None]}, seed=1).a.fillna("none")) == {"y", "none"}


@pytest.mark.parametrize(
    ("asked", "known", "said"),
    [
        ("Bon", ["Aachen", "Bonn"], "did you mean 'Bonn'?"),
        (" bonn", ["Bonn", "bon", "bonne", "bonnet", "z"], "did you mean 'bonne', 'bon', 'bonnet'?"),
        ("?", ["a", "b"], "it has: 'a', 'b'"),
        ("?", [str(i) for i in range(12)], "it has: " + ", ".join(f"'{i}'" for i in range(12))),
        ("?", [str(i) for i in range(13)], "it has: " + ", ".join(f"'{i}'" for i in range(12)) + " ..."),
    ],
)
def test_the_nearest_names_are_given_else_some(asked: str, known: list[str], said: str) -> None:
    assert value_of(lambda: _nearest(asked, known)) == said


def test_one_known_value_as_another_type_is_told_by_its_type(copula: GaussianCopula) -> None:
    with pytest.raises(ConditionError, match=r"can have 'True', a text; it has: .*False"):
        copula.sample(3, {"smoker": "True"})
    with pytest.raises(ConditionError, match=r"'1/1/2031'; its values lie between 2015-0.* and 2020-0"):
        copula.sample(3, {"since": "1/1/2031"})
