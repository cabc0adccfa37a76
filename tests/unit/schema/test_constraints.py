"""Constraints: what holds, what is met by construction, what missing values do, and what errors say."""

import datetime as dt

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.api import datasets

import raysynth as rs
from raysynth.constraints import (
    ConstraintSet,
    FixedCombinations,
    FixedIncrements,
    Inequality,
    OneHotGroup,
    Positive,
    Range,
    Unique,
    constraint_from_dict,
)
from raysynth.data.table import as_table
from raysynth.errors import ConstraintError
from raysynth.fitting.prepared import check_constraints
from raysynth.schema import ColumnSchema, Kind, TableSchema

RNG = np.random.default_rng
_KINDS = {
    "string": Kind.CATEGORICAL,
    "bool": Kind.BOOLEAN,
    "timestamp": Kind.DATETIME,
    "date32": Kind.DATETIME,
    "duration": Kind.TIMEDELTA,
}


def column(name, dtype="double", kind=None, **more):
    if kind is None:
        kind = _KINDS.get(dtype.split("[")[0], Kind.CONTINUOUS)
    return ColumnSchema(name, kind, dtype, **more)


def rules(constraints, *columns):
    schema = TableSchema(tuple(columns))
    bound = ConstraintSet(tuple(constraints), schema)
    bound.validate()
    return bound


def texts(values):
    return pa.array(values, pa.string()).dictionary_encode()


# --- inequality


def test_inequality_holds_with_missing_values_and_nan():
    table = pa.table({"a": [1.0, 2.0, None, 5.0, float("nan")], "b": [1.0, 1.0, 0.0, None, 0.0]})
    assert Inequality("a", "b").holds(table).tolist() == [True, False, True, True, True]
    assert Inequality("a", "b", strict=True).holds(table).tolist() == [False, False, True, True, True]


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(
    ("low", "high"),
    [
        (column("a", "int64", decimals=0), column("b", "int64", decimals=0)),
        (column("a", "int8", decimals=0), column("b", "int32", decimals=0)),
        (column("a", decimals=2), column("b", decimals=2)),
        (column("a", decimals=2), column("b", decimals=1)),
        (column("a", "int64", decimals=0), column("b", decimals=3)),
        (column("a"), column("b")),
        (column("a", "timestamp[us, tz=UTC]"), column("b", "timestamp[us, tz=UTC]")),
        (column("a", "date32[day]"), column("b", "date32[day]")),
        (column("a", "duration[s]"), column("b", "duration[s]")),
    ],
)
def test_inequality_holds_by_construction_whatever_the_model_makes(low, high, strict):
    bound = rules([Inequality("a", "b", strict)], low, high, column("c", "string"))
    modelled = bound.forward_schema()
    assert "b" not in modelled.names
    rng = RNG(1)
    n = 500
    made = {"c": texts(["x"] * n)}
    for c in modelled.columns:
        if c.kind is Kind.CATEGORICAL and c.categories:
            made[c.name] = texts(rng.choice([*c.categories, "(rare)"], n))
        elif c.name != "c":
            made[c.name] = random_values(c, n, rng)
    rows = bound.inverse(pa.table(made), rng)
    assert rows.column_names == ["a", "b", "c"]
    assert rows.schema.field("a").type == low.arrow_type
    assert rows.schema.field("b").type == high.arrow_type
    assert bound.holds(rows).all()


def random_values(c, n, rng):
    """Anything that a model could decode to, a tenth missing, gaps below zero among it."""
    numbers = np.round(rng.normal(0, 50, n), 15 if c.decimals is None else c.decimals)
    mask = rng.random(n) < 0.1
    kind = c.arrow_type
    if pa.types.is_floating(kind):
        return pa.array(numbers, kind, mask=mask)
    whole = pa.array(np.clip(numbers, -100, 100).astype(np.int64), mask=mask)
    return whole.cast(pa.int32()).cast(kind) if pa.types.is_date32(kind) else whole.cast(kind)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([1, 5, None, None, -7], [1, 9, 4, None, None]),
        ([0.5, 1.25, None, None, 3.75], [0.75, 1.25, 2.5, None, None]),
        (
            [dt.datetime(2024, 1, 1), dt.datetime(2024, 2, 1), None, None, dt.datetime(2020, 1, 1)],
            [dt.datetime(2024, 1, 1), dt.datetime(2024, 3, 1), dt.datetime(2023, 1, 1), None, None],
        ),
    ],
)
def test_inequality_comes_back_with_its_pattern_of_missing_values(a, b):
    table = pa.table({"a": a, "x": texts(list("vwxyz")), "b": b})
    types = [str(t) for t in table.schema.types]
    bound = rules([Inequality("a", "b")], column("a", types[0]), column("x", "string"), column("b", types[2]))
    forward = bound.forward(table)
    assert forward.column_names == list(bound.forward_schema().names)
    assert bound.inverse(forward, RNG(0)).equals(table.cast(table.schema))


def test_inequality_without_missing_values_needs_no_third_column():
    bound = rules([Inequality("a", "b")], column("a", nullable=False), column("b", nullable=True))
    assert bound.forward_schema().names == ("a", "b - a")
    table = pa.table({"a": [1.0, 2.0], "b": [3.0, None]})
    assert bound.inverse(bound.forward(table), RNG(0)).equals(table)


def test_declared_bounds_of_the_high_column_are_kept():
    bound = rules(
        [Inequality("a", "b")],
        column("a", "int64", nullable=False, bounds=(0, 10)),
        column("b", "int64", nullable=False, bounds=(0, 12)),
    )
    rows = bound.inverse(pa.table({"a": [0, 5, 10], "b - a": [5, 12, 12]}), RNG(0))
    assert rows.to_pydict() == {"a": [0, 5, 10], "b": [5, 12, 12]}


def test_extremes_of_64_bits_do_not_wrap():
    bound = rules([Inequality("a", "b")], column("a", "int64", nullable=False), column("b", "int64", nullable=False))
    table = pa.table({"a": pa.array([-(2**63), 2**62]), "b": pa.array([2**63 - 1, 2**63 - 1])})
    forward = bound.forward(table)
    assert min(forward["b - a"].to_pylist()) >= 0
    assert bound.holds(bound.inverse(forward, RNG(0))).all()
    beyond = bound.inverse(pa.table({"a": [2**62], "b - a": [2**63 - 1]}), RNG(0))
    assert bound.holds(beyond).all()


def test_a_chain_is_met_by_construction():
    bound = rules(
        [Inequality("a", "b"), Inequality("b", "c", strict=True)],
        *(column(n, "int64", nullable=False) for n in "abc"),
    )
    assert set(bound.forward_schema().names) == {"a", "b - a", "c - b"}
    table = pa.table({"a": [1, 2, 3], "b": [1, 5, 9], "c": [2, 6, 99]})
    assert bound.inverse(bound.forward(table), RNG(0)).equals(table)
    made = pa.table({"a": [1, 2], "b - a": [-3, 4], "c - b": [0, -5]})
    assert bound.holds(bound.inverse(made, RNG(0))).all()


def test_a_range_between_columns_is_a_chain():
    bound = rules([Range("b", "a", "c")], *(column(n, "int64", nullable=False) for n in "abc"))
    assert set(bound.forward_schema().names) == {"a", "b - a", "c - b"}
    assert Range("b", "a", "c").holds(pa.table({"a": [1, 1], "b": [2, 3], "c": [2, 2]})).tolist() == [True, False]


def test_a_chain_with_missing_values_falls_back_to_rejection_for_one_part():
    bound = rules([Inequality("a", "b"), Inequality("b", "c")], *(column(n, "int64") for n in "abc"))
    assert len(bound.replacements) == 1
    table = pa.table({"a": [1, None, 3, None], "b": [None, 5, 9, None], "c": [0, 6, 99, 1]})
    assert bound.inverse(bound.forward(table), RNG(0)).equals(table)


def test_two_constraints_on_one_column_keep_the_first():
    bound = rules([Inequality("a", "c"), Inequality("b", "c")], *(column(n, "int64", nullable=False) for n in "abc"))
    assert bound.forward_schema().names == ("a", "b", "c - a")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.none() | st.integers(-1000, 1000), st.none() | st.integers(0, 1000)), min_size=0, max_size=30)
)
def test_forward_and_inverse_are_exact_on_any_rows_that_keep_the_rule(rows):
    low = [a for a, _ in rows]
    high = [g if a is None or g is None else a + g for a, g in rows]
    table = pa.table({"a": pa.array(low, pa.int64()), "b": pa.array(high, pa.int64())})
    bound = rules([Inequality("a", "b")], column("a", "int64"), column("b", "int64"))
    assert bound.inverse(bound.forward(table), RNG(0)).equals(table)


# --- range, positive, fixed increments


def test_range_clips_to_constants():
    bound = rules([Range("x", 0.5, 9.5)], column("x", "int64"))
    rows = bound.inverse(pa.table({"x": [-3, 5, 30, None]}), RNG(0))
    assert rows["x"].to_pylist() == [1, 5, 9, None]
    assert Range("x", 0, 9).holds(pa.table({"x": [-3, 5, 30, None]})).tolist() == [False, True, False, True]


@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_range_of_times(zone):
    moments = pd.to_datetime(["2019-12-31 23:59", "2020-01-01 00:00", "2020-06-01 00:00", None]).tz_localize(zone)
    table = pa.table({"t": pa.array(moments).cast(pa.timestamp("ms", zone))})
    rule = Range("t", "2020-01-01", dt.datetime(2020, 5, 1, 12))
    assert rule.holds(table).tolist() == [False, True, False, True]
    bound = rules([rule], column("t", str(table.schema.types[0])))
    assert bound.holds(bound.inverse(table, RNG(0))).all()


def test_range_of_durations():
    table = pa.table({"d": pa.array([1, 40, None], pa.duration("s"))})
    assert Range("d", None, dt.timedelta(seconds=30)).holds(table).tolist() == [True, False, True]
    assert Range("d", None, "PT30S").holds(table).tolist() == [True, False, True]


def test_positive():
    table = pa.table({"x": [-0.5, 0.0, 2.0, None]})
    assert Positive("x").holds(table).tolist() == [False, True, True, True]
    assert Positive("x", strict=True).holds(table).tolist() == [False, False, True, True]
    bound = rules([Positive("x", strict=True)], column("x", decimals=2))
    assert bound.inverse(table, RNG(0))["x"].to_pylist() == [0.01, 0.01, 2.0, None]


@pytest.mark.parametrize(
    ("rule", "dtype", "values", "held", "mended"),
    [
        (FixedIncrements("x", 5), "int64", [0, 7, -13, None], [True, False, False, True], [0, 5, -15, None]),
        (FixedIncrements("x", 5, 2), "int64", [2, 7, 8, -3], [True, True, False, True], [2, 7, 7, -3]),
        (FixedIncrements("x", 0.1), "double", [0.3, 0.30001, 1e6 + 0.1], [True, False, True], [0.3, 0.3, 1000000.1]),
        (FixedIncrements("x", 0.25, 0.1), "double", [0.35, 0.4], [True, False], [0.35, 0.35]),
    ],
)
def test_fixed_increments(rule, dtype, values, held, mended):
    table = pa.table({"x": pa.array(values, pa.type_for_alias(dtype))})
    assert rule.holds(table).tolist() == held
    bound = rules([rule], column("x", dtype, decimals=2 if dtype == "double" else 0))
    rows = bound.inverse(table, RNG(0))
    assert rows["x"].to_pylist() == pytest.approx(mended)
    assert bound.holds(rows).all()


def test_fixed_increments_stay_in_declared_bounds():
    bound = rules([FixedIncrements("x", 10)], column("x", "int64", bounds=(3, 18)))
    assert bound.inverse(pa.table({"x": [3, 18]}), RNG(0))["x"].to_pylist() == [10, 10]


# --- combinations


def places():
    return pa.table(
        {
            "city": texts(["Ulm", "Bonn", "Nice", None, "Bonn"]),
            "n": [1, 2, 3, 4, 5],
            "country": texts(["DE", "DE", "FR", "FR", None]),
            "capital": [False, True, False, None, True],
            "zip": [89073.0, 53111.0, 6000.0, None, 53111.5],
        }
    )


PLACES = (
    column("city", "string"),
    column("n", "int64"),
    column("country", "string"),
    column("capital", "bool"),
    column("zip", "double", kind=Kind.CATEGORICAL),
)


def test_fixed_combinations_are_one_column_and_come_back():
    bound = rules([FixedCombinations(("city", "country", "capital", "zip"))], *PLACES)
    assert bound.forward_schema().names == ("city|country|capital|zip", "n")
    forward = bound.forward(places())
    assert forward.column(0).type == pa.dictionary(pa.int32(), pa.string())
    assert forward.column(0).null_count == 0
    back = bound.inverse(forward, RNG(0))
    assert back.to_pydict() == places().to_pydict()
    assert back.schema == places().schema


def test_what_is_no_combination_is_drawn_from_the_others():
    bound = rules([FixedCombinations(("city", "country"))], *PLACES[:3])
    made = texts(['["Ulm", "DE"]', "(rare)", None, '["Ulm"]', '{"a": 1}', '["Nice", "FR"]'])
    rows = bound.inverse(pa.table({"city|country": made, "n": range(6)}), RNG(0))
    assert set(zip(*rows.select(["city", "country"]).to_pydict().values(), strict=True)) == {
        ("Ulm", "DE"),
        ("Nice", "FR"),
    }
    nothing = bound.inverse(pa.table({"city|country": texts(["(rare)"]), "n": [1]}), RNG(0))
    assert nothing.to_pylist() == [{"city": "(rare)", "n": 1, "country": "(rare)"}]


def test_beside_a_joint_column_a_row_of_no_combination_keeps_its_own_values():
    rule = FixedCombinations(("city", "country", "zip"), beside=True)
    bound = rules([rule], PLACES[0], PLACES[2], column("zip", "int64"))
    real = pa.table({"city": ["Ulm", "Nice", None], "country": ["DE", "FR", "FR"], "zip": [89073, 6000, None]})
    modelled = bound.forward(real)
    assert modelled.column_names == list(bound.forward_schema().names) == ["city|country|zip", "country", "zip"]
    assert bound.inverse(modelled, RNG(0)).to_pylist() == real.to_pylist()
    texts = pa.array(['["Ulm", "DE", 89073]', "(rare)", "(rare)"]).dictionary_encode()
    drawn = pa.table({"city|country|zip": texts, "country": ["FR", "FR", None], "zip": [6000, 6100, 6200]})
    assert bound.inverse(drawn, RNG(0)).to_pylist() == [
        {"city": "Ulm", "country": "DE", "zip": 89073},
        {"city": "(rare)", "country": "FR", "zip": 6100},
        {"city": "(rare)", "country": None, "zip": 6200},
    ]
    assert constraint_from_dict(rule.to_dict()) == rule


def test_declared_combinations_are_checked():
    rule = FixedCombinations(("city", "country"), (("Ulm", "DE"), ("Nice", "FR")))
    assert rule.holds(places()).tolist() == [True, False, True, True, True]
    exact = [column("city", "string", nullable=False), column("country", "string", nullable=False)]
    assert rules([rule], *exact).forward_schema()["city|country"].categories == ('["Ulm", "DE"]', '["Nice", "FR"]')


def test_dictionaries_with_repeats_and_unused_values():
    coded = pa.DictionaryArray.from_arrays(pa.array([0, 2, 2, None], pa.int32()), pa.array(["a", "z", "a"]))
    table = pa.table({"x": coded, "y": [1, 1, 2, 1]})
    assert Unique(("x", "y")).holds(table).tolist() == [True, False, True, True]


@pytest.mark.parametrize("type_", [pa.int64(), pa.bool_(), pa.float64()])
def test_one_hot_group(type_):
    names = ("a", "b", "c")
    values = [[1, 0, 0], [0, 1, 0], [0, 0, 0], [1, 1, 0], [None, 0, 1], [None, 0, 0], [None, 1, 1]]
    table = pa.table({n: pa.array([v[i] for v in values]).cast(type_) for i, n in enumerate(names)})
    rule = OneHotGroup(names)
    assert rule.holds(table).tolist() == [True, True, False, False, True, True, False]
    bound = rules([rule], *(column(n, str(type_)) for n in names))
    kept = table.filter(pa.array(rule.holds(table)))
    assert bound.inverse(bound.forward(kept), RNG(0)).equals(kept)
    exact = rules([rule], *(column(n, str(type_), nullable=False) for n in names))
    categories = exact.forward_schema()["a|b|c"].categories
    made = pa.table({"a|b|c": texts(list(categories))})
    rows = exact.inverse(made, RNG(0))
    assert exact.holds(rows).all()
    assert set(exact.forward(rows)["a|b|c"].to_pylist()) == set(categories)


# --- uniqueness


def test_unique_marks_the_later_of_equal_rows():
    table = pa.table({"a": texts(["x", "x", "y", "x", None, None]), "b": [1, 2, 1, 1, 1, 1]})
    assert Unique(("a", "b")).holds(table).tolist() == [True, True, True, False, True, True]


def test_hashes_of_rows_compare_tables():
    bound = rules([Unique(("a", "b"))], column("a", "string"), column("b", "double"))
    one = pa.table({"a": texts(["x", "y", None]), "b": [1.0, 2.0, 0.0]})
    two = pa.table({"a": pa.array(["z", "y", "y"]), "b": [1.0, 2.0, -0.0]})
    (first,), (second,) = bound.hashes(one), bound.hashes(two)
    assert first[2] == 0
    assert set(first[first > 0]) & set(second) == {second[1]}


def test_a_single_key_is_an_identifier():
    with pytest.raises(ConstraintError, match="identifier"):
        rules([Unique("a")], column("a", "string"))
    bound = rules([Unique("a")], column("a", "string", kind=Kind.IDENTIFIER), column("b"))
    assert bound.holds(pa.table({"a": [True, True], "b": [1.0, 1.0]})).all()


def test_a_key_that_repeats_makes_no_combination_unique():
    """Else visits 1, 2, 3 of each clinic, made anew, met the rule in words alone."""
    repeated = column("number", "int64", kind=Kind.IDENTIFIER, pattern="[0-9]{4}", rows_each=((30, 1.0),))
    with pytest.raises(ConstraintError, match="column 'number' is identifier: its values are made anew"):
        rules([Unique(("clinic", "number"))], column("clinic"), repeated)
    frame = pd.DataFrame([(a, b) for a in range(30) for b in range(25)], columns=["clinic", "number"])
    schema = TableSchema(constraints=(Unique(("clinic", "number")),))
    with pytest.raises(ConstraintError, match="'number'.*declare another kind"):
        rs.GaussianCopula(schema=schema, verbose=False).fit(frame)
    model = rs.GaussianCopula(schema=schema, continuous_columns=["number"], seed=0, verbose=False).fit(frame)
    assert not model.sample(300, seed=1).duplicated(["clinic", "number"]).any()


# --- the set, on a real table


@pytest.fixture(scope="module")
def randhie():
    return datasets.randhie.load_pandas().data


def test_check_real_passes_streams_and_counts(randhie):
    frame = randhie.assign(total=randhie["mdvis"] + 2)
    schema = (column("mdvis", "int64"), column("total", "int64"))
    check_constraints(rules([Inequality("mdvis", "total", strict=True)], *schema), as_table(frame))
    broken = int((frame["mdvis"] > 20).sum())
    with pytest.raises(ConstraintError, match=rf"high=20.*broken by {broken} of 20,190 rows"):
        check_constraints(rules([Range("mdvis", 0, 20)], *schema), as_table(frame))


def test_check_real_of_uniqueness_counts_over_fragments(randhie):
    from raysynth.schema.constraints.rules import BrokenRows

    table = pa.Table.from_pandas(randhie, preserve_index=False)
    summary = BrokenRows((Unique(("mdvis", "physlm")),))
    for start in range(0, len(randhie), 7000):
        part = BrokenRows(summary.constraints)
        part.update(table.slice(start, 7000).combine_chunks().to_batches()[0])
        summary.merge(part)
    assert summary.counts() == [int(randhie.duplicated(["mdvis", "physlm"]).sum())]


def test_forward_of_a_batch_and_of_no_rows(randhie):
    bound = rules(
        [Inequality("a", "b"), FixedCombinations(("s", "t"))],
        *(column("a", "int64"), column("b", "int64"), column("s", "string"), column("t", "string")),
    )
    types = {"a": pa.int64(), "b": pa.int64(), "s": texts([]).type, "t": texts([]).type}
    empty = pa.schema(types).empty_table()
    forward = bound.forward(empty)
    assert forward.column_names == list(bound.forward_schema().names)
    assert bound.inverse(forward, RNG(0)).schema == empty.schema
    batch = pa.RecordBatch.from_pydict({"a": [1], "b": [2], "s": texts(["x"]), "t": texts(["y"])})
    assert bound.forward(batch).schema == forward.schema


def test_holds_knows_constants():
    bound = rules([Inequality("a", "c")], column("a"), column("c", "double", kind=Kind.CONSTANT, value=2.0))
    assert bound.holds(pa.table({"a": [1.0, 3.0]})).tolist() == [True, False]


# --- JSON and errors

ALL = (
    Inequality("a", "b", strict=True),
    Range("a", 0, None),
    Range("a", "b", 10.5),
    FixedCombinations(("s", "t"), (("x", 1), ("y", None))),
    FixedIncrements("a", 0.5, 1),
    OneHotGroup(("p", "q")),
    Unique(("a", "s")),
    Positive("a", strict=True),
)


@pytest.mark.parametrize("rule", ALL, ids=lambda r: r.kind)
def test_json_round_trip(rule):
    import json

    assert constraint_from_dict(json.loads(json.dumps(rule.to_dict()))) == rule


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"kind": "nope"}, "inequality"),
        ([], "kind"),
        ({"kind": "inequality", "low": "a"}, "missing.*high"),
        ({"kind": "inequality", "low": "a", "high": "b", "strct": True}, "strct"),
        ({"kind": "inequality", "low": 3, "high": "b"}, "low"),
        ({"kind": "fixed_increments", "column": "a", "step": "x"}, "step"),
        ({"kind": "unique", "columns": [1]}, "columns"),
    ],
)
def test_bad_json_says_what_is_valid(content, message):
    with pytest.raises(ConstraintError, match=message):
        constraint_from_dict(content)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (Inequality("a", "zz"), "no column 'zz'"),
        (Inequality("a", "a"), "itself"),
        (Inequality("a", "s"), "'s' is string"),
        (Inequality("a", "when"), "cannot be compared"),
        (Inequality("a", "key"), "identifier"),
        (Range("a"), "low, high or both"),
        (Range("a", 5, 1), "above"),
        (Range("a", "2020-01-01"), "neither a column nor a value"),
        (Range("s", 0, 1), "'s' is string"),
        (FixedIncrements("a", 0), "above 0"),
        (FixedIncrements("i", 0.5), "whole"),
        (FixedIncrements("s", 1), "number"),
        (FixedCombinations(("when", "s")), "declare it categorical"),
        (FixedCombinations(("s",)), "2 or more"),
        (FixedCombinations(("i", "s"), beside=True), "the first column is text"),
        (FixedCombinations(("s", "t"), (("x",),)), "every column"),
        (OneHotGroup(("s", "t")), "booleans"),
        (Positive("when"), "must be a number"),
        (Unique(("s",)), "identifier"),
    ],
)
def test_validation_names_the_column(rule, message):
    columns = (
        *(column("a"), column("i", "int64"), column("s", "string"), column("t", "string")),
        *(column("when", "timestamp[us]"), column("key", "string", kind=Kind.IDENTIFIER)),
    )
    with pytest.raises(ConstraintError, match=message):
        rules([rule], *columns)


def test_a_name_that_is_taken_is_an_error():
    with pytest.raises(ConstraintError, match="b - a"):
        rules([Inequality("a", "b")], column("a"), column("b"), column("b - a")).forward_schema()


def test_constraints_live_in_the_schema_file(tmp_path):
    schema = TableSchema((column("a"), column("b")), constraints=(Inequality("a", "b"),)).validate()
    schema.save(tmp_path / "schema.json")
    assert TableSchema.load(tmp_path / "schema.json") == schema
