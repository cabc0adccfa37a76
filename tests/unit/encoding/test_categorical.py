"""Categories to codes and back: every type, rare values protected, the tail, conditions, bounded cost."""

from __future__ import annotations

import datetime
import json
import time
import tracemalloc
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from outcome import value_of

from raysynth.encoding.categorical import (
    MOST_VALUES,
    RARE_LABEL,
    CategoricalEncoder,
    _tail,
    build_categorical,
)
from raysynth.errors import DataError, ModelFileError, SchemaError
from raysynth.schema import ColumnSchema, Kind
from raysynth.statistics.released import CategoryCounts

RNG = np.random.default_rng(0)


def counted(values: list[Any], missing: int = 0) -> CategoryCounts:
    rows: dict[Any, int] = {}
    for v in values:
        rows[v] = rows.get(v, 0) + 1
    order = sorted(rows, key=lambda v: (-rows[v], str(v)))
    return CategoryCounts(tuple(order), np.array([rows[v] for v in order], dtype=np.int64), float(missing), len(order))


def encoder_of(
    counts: CategoryCounts,
    dtype: str = "string",
    kind: Kind = Kind.CATEGORICAL,
    rare: int = 5,
    most: int = 1000,
    **more: Any,
) -> CategoricalEncoder:
    column = ColumnSchema("x", kind, dtype, **more)
    return build_categorical(column, counts, rare_threshold=rare, max_categories=most)


def texts(values: list[str | None]) -> pa.DictionaryArray:
    return pa.array(values, pa.string()).dictionary_encode()


TYPES: dict[str, list[Any]] = {
    "string": ["a", "b", "nan", "None", "", "ü€"],
    "int8": [-128, 0, 127],
    "int64": [-(2**62), 0, 2**62],
    "uint64": [0, 2**64 - 1],
    "float": [0.5, -1.25, 3.0],
    "double": [0.1, 1e300, -1e-300],
    "bool": [True, False],
    "date32[day]": [datetime.date(2020, 2, 29), datetime.date(1900, 1, 1)],
    "timestamp[us]": [datetime.datetime(2020, 2, 29, 12, 30), datetime.datetime(1900, 1, 1)],
    "timestamp[s, tz=Europe/Berlin]": pa.array([0, 10**9]).cast(pa.timestamp("s", "Europe/Berlin")).to_pylist(),
    "duration[ms]": [datetime.timedelta(milliseconds=5), datetime.timedelta(days=3)],
    "decimal128(9, 2)": [Decimal("1.50"), Decimal("-3.25")],
}


@pytest.mark.parametrize("dtype", TYPES)
def test_values_and_state_of_every_type_come_back(dtype: str) -> None:
    column = ColumnSchema("x", Kind.BOOLEAN if dtype == "bool" else Kind.CATEGORICAL, dtype)
    values = [v for v in TYPES[dtype] for _ in range(7)] + [None] * 3
    array = pa.array(values, column.arrow_type)
    array = array.dictionary_encode() if dtype == "string" else array
    encoder = encoder_of(counted(values[:-3], 3), dtype, column.kind)
    meta, arrays = json.loads(json.dumps(encoder.to_state()[0])), encoder.to_state()[1]
    again = value_of(lambda: CategoricalEncoder.from_state(column, meta, arrays))
    for e in (encoder, again):
        codes, _ = e.encode(array)
        decoded = e.decode(codes, None, np.random.default_rng(0))
        assert decoded.to_pylist() == values
        assert decoded.type == (pa.dictionary(pa.int32(), pa.string()) if dtype == "string" else column.arrow_type)
        np.testing.assert_allclose(e.shares, np.bincount(codes, minlength=e.cardinality) / len(values))
    assert again.values == encoder.values


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.none() | st.text(max_size=3) | st.sampled_from(["nan", "NaN", "None", "null"]), min_size=1, max_size=60)
)
def test_codes_come_back_from_values(values: list[str | None]) -> None:
    """Without protection every text comes back as itself; missing is never the category 'nan'."""
    encoder = encoder_of(counted([v for v in values if v is not None], values.count(None)), rare=1)
    codes, _ = encoder.encode(texts(values))
    decoded = encoder.decode(codes, None, np.random.default_rng(0))
    assert decoded.to_pylist() == values
    np.testing.assert_array_equal(encoder.encode(decoded)[0], codes)
    assert encoder.shares.sum() == pytest.approx(1)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from("abcdefghij"), min_size=1, max_size=120),
    st.integers(2, 9),
    st.integers(2, 6),
    st.integers(0, 9),
)
def test_rare_categories_never_leave(values: list[str], rare: int, most: int, seed: int) -> None:
    counts = counted(values, 1)
    encoder = encoder_of(counts, rare=rare, most=most)
    allowed = {v for v, n in zip(counts.values, counts.counts, strict=True) if n >= rare} | {RARE_LABEL, None}
    rng = np.random.default_rng(seed)
    decoded = encoder.decode(rng.integers(0, encoder.cardinality, 300).astype(np.uint16), None, rng)
    assert set(decoded.to_pylist()) <= allowed
    assert set(decoded.dictionary.to_pylist()) <= allowed
    assert set(encoder.to_state()[0]["values"]) <= allowed and set(encoder.to_state()[0]["tail_values"]) <= allowed
    assert encoder.shares.sum() == pytest.approx(1)


def test_threshold_of_one_switches_protection_off() -> None:
    encoder = encoder_of(counted(["a"] * 100 + ["once"]), rare=1)
    assert encoder.values == ("a", "once") and not encoder.has_tail


class TestTail:
    """What the code behind the kept values stands for."""

    def test_values_beyond_the_most_are_drawn_by_frequency(self) -> None:
        values = ["a"] * 500 + ["b"] * 300 + ["c"] * 120 + ["d"] * 60 + ["e"] * 20
        encoder = encoder_of(counted(values), most=2)
        assert encoder.values == ("a", "b") and encoder.tail_values == ("c", "d", "e")
        assert encoder.shares[2] == pytest.approx(0.2)
        codes = np.full(20_000, 2, np.uint16)
        drawn = encoder.decode(codes, None, np.random.default_rng(0)).to_pylist()
        for value, share in (("c", 0.6), ("d", 0.3), ("e", 0.1)):  # 5 deviations: false alarm 6e-7 each
            assert abs(drawn.count(value) / 20_000 - share) < 5 * np.sqrt(share * (1 - share) / 20_000)

    def test_few_rare_rows_become_kept_values_by_frequency(self) -> None:
        encoder = encoder_of(counted(["a"] * 750 + ["b"] * 250 + ["x", "y", "z"]))
        assert encoder.tail_values == ("a", "b")
        np.testing.assert_allclose(encoder.tail_shares, [0.75, 0.25])
        assert encoder.encode(texts(["x", "never seen", "a", None]))[0].tolist() == [2, 2, 0, 3]

    def test_many_rare_rows_of_text_are_labelled(self) -> None:
        encoder = encoder_of(counted(["a"] * 50 + [f"once {i}" for i in range(50)]))
        assert encoder.tail_values == (RARE_LABEL,)
        assert encoder.shares.tolist() == [0.5, 0.5, 0.0]

    def test_many_rare_whole_numbers_become_kept_ones(self) -> None:
        encoder = encoder_of(counted([7] * 50 + list(range(100, 150))), "int64")
        assert encoder.tail_values == (7,)

    def test_only_rare_whole_numbers_are_an_error_that_says_so(self) -> None:
        with pytest.raises(DataError, match="'x'.*no value stands in 5 rows.*continuous"):
            encoder_of(counted(list(range(50))), "int64")

    def test_unknown_values_are_missing_where_there_is_no_tail(self) -> None:
        encoder = encoder_of(counted(["a"] * 10 + ["b"] * 10))
        assert encoder.encode(texts(["never seen", "b", None]))[0].tolist() == [2, 1, 2]

    def test_counts_that_overflowed_go_to_the_tail(self) -> None:
        counts = CategoryCounts(("a", "b"), np.array([60, 20]), 0.0, 1000, complete=False, other=20.0, count_error=3.0)
        encoder = encoder_of(counts)
        assert encoder.shares.tolist() == [0.6, 0.2, 0.2, 0.0]


def test_declared_categories_are_public_and_in_order() -> None:
    encoder = encoder_of(counted(["b"] * 3 + ["a"]), categories=("a", "b", "never"))
    assert encoder.values == ("a", "b", "never") and not encoder.has_tail
    assert encoder.shares.tolist() == [0.25, 0.75, 0.0, 0.0]


def test_both_values_of_a_boolean_are_public() -> None:
    encoder = encoder_of(counted([True] * 99 + [False]), "bool", Kind.BOOLEAN)
    assert encoder.values == (False, True)
    assert encoder.shares.tolist() == [0.01, 0.99, 0.0]


def test_no_value_at_all() -> None:
    encoder = encoder_of(counted([], missing=9))
    assert encoder.cardinality == 1 and encoder.shares.tolist() == [1.0]
    assert encoder.decode(encoder.encode(texts([None, None]))[0], None, RNG).to_pylist() == [None, None]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), None])
def test_numbers_that_are_none_are_missing_even_beside_a_tail(value: float | None) -> None:
    encoder = encoder_of(counted([1.0] * 60 + [2.0] * 2), "double")
    assert encoder.has_tail
    codes = encoder.encode(pa.array([1.0, value, 5.0]))[0]
    assert codes.tolist() == [0, encoder.cardinality - 1, 1]


class TestConditions:
    def test_weights_are_the_share_of_each_code_that_is_allowed(self) -> None:
        encoder = encoder_of(counted(["a"] * 50 + ["b"] * 30 + ["c"] * 15 + ["d"] * 5), most=2)
        assert encoder.condition_weights({"b", "c"}.__contains__).tolist() == [0, 1, 0.75, 0]

    def test_tail_is_drawn_from_what_is_allowed(self) -> None:
        encoder = encoder_of(counted(["a"] * 50 + ["c"] * 30 + ["d"] * 15 + ["e"] * 5), most=1)
        codes = np.ones(4000, np.uint16)
        drawn = encoder.decode(codes, None, np.random.default_rng(0), frozenset({"d", "e", "a"})).to_pylist()
        assert set(drawn) == {"d", "e"}
        assert abs(drawn.count("d") / 4000 - 0.75) < 5 * np.sqrt(0.75 * 0.25 / 4000)  # false alarm 6e-7
        free = encoder.decode(codes, None, np.random.default_rng(0), frozenset({"a"})).to_pylist()
        assert set(free) == {"c", "d", "e"}


def test_a_hundred_thousand_categories_cost_little() -> None:
    """Codes stay few; a chunk decodes in milliseconds and in memory of the order of the dictionary."""
    names = [f"value number {i:06d}" for i in range(100_000)]
    counts = CategoryCounts(tuple(names), np.full(100_000, 10), 0.0, 100_000)
    encoder = encoder_of(counts)
    assert encoder.cardinality == 1002
    codes = np.random.default_rng(0).integers(0, 1001, 65_536).astype(np.uint16)
    encoder.decode(codes[:1], None, np.random.default_rng(0))  # builds the dictionary once
    tracemalloc.start()
    begun = time.perf_counter()
    decoded = encoder.decode(codes, None, np.random.default_rng(0))
    seconds, peak = time.perf_counter() - begun, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(decoded) == 65_536
    assert peak < 20e6
    assert seconds < 2  # it took 0.03 s; looking up each tail value in a new set took over 5 s


def test_codes_fit_in_16_bits() -> None:
    names = tuple(f"v{i}" for i in range(70_000))
    encoder = encoder_of(CategoryCounts(names, np.full(70_000, 10), 0.0, 70_000), most=10**6)
    assert len(encoder.values) == MOST_VALUES
    codes = encoder.encode(texts(list(names)))[0]
    assert codes.max() == MOST_VALUES
    with pytest.raises(SchemaError, match="'x'.*70,000 categories"):
        encoder_of(CategoryCounts(names, np.full(70_000, 10), 0.0, 70_000), categories=names)


@pytest.mark.parametrize("change", [{"shares": np.ones(2) / 2}, {"shares": -np.ones(4)}, {"tail_shares": np.ones(9)}])
def test_inconsistent_state_is_refused(change: dict[str, np.ndarray]) -> None:
    encoder = encoder_of(counted(["a"] * 50 + ["b"] * 40 + ["x"]))
    meta, arrays = encoder.to_state()
    with pytest.raises(ModelFileError, match="'x'"):
        CategoricalEncoder.from_state(ColumnSchema("x", Kind.CATEGORICAL, "string"), meta, {**arrays, **change})


@pytest.mark.parametrize(("rows", "weights"), [([0.5, 0.25], [0.5, 0.25]), ([0.0, 0.0], [1.0, 1.0])])
def test_other_values_of_a_declared_list_are_of_it_by_its_rows(rows: list[float], weights: list[float]) -> None:
    """However few the noise left; evenly where it left none."""
    column = ColumnSchema("c", Kind.CATEGORICAL, "string", categories=("a", "b"))
    values, found = _tail(column, ["a", "b"], np.array(rows), [], {}, 3.0, 1)
    assert values == ["a", "b"] and found.tolist() == weights


@pytest.mark.parametrize(("rare", "tail"), [(5, ("a", "b")), (6, ("(rare)",))])
def test_rare_texts_become_others_while_they_are_a_twentieth_of_the_rows(rare: int, tail: tuple[str, ...]) -> None:
    """Of 95 others; more of them are a value of their own."""
    values = [*["a"] * 60, *["b"] * 35, *(f"x{i}" for i in range(rare))]
    encoder = value_of(lambda: encoder_of(counted(values), rare=5))
    assert encoder.tail_values == tail and encoder.values == ("a", "b")


@pytest.mark.parametrize(("rare", "missing", "share"), [(12, 0, 12 / 107), (12, 60, 12 / 107), (5, 0, 0.0)])
def test_the_share_of_others_is_of_the_rows_with_a_value(rare: int, missing: int, share: float) -> None:
    """None where rare values are drawn as frequent ones are, or have a list of their own."""
    values = [*["a"] * 60, *["b"] * 35, *(f"x{i}" for i in range(rare))]
    assert value_of(lambda: encoder_of(counted(values, missing)).rare_share) == pytest.approx(share)
    assert encoder_of(counted(values), categories=("a", "b")).rare_share == 0.0
    assert encoder_of(counted([1] * 60 + [2] * 35 + [3] * 4), "int64").rare_share == 0.0
