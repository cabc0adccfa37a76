"""Identifiers: unique in any cut of the rows, in the declared or inferred pattern, never out of type."""

import re
import uuid

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raysynth.errors import SchemaError
from raysynth.kinds.identifier.making import IdentifierEncoder
from raysynth.kinds.identifier.pattern import (
    IntegerPattern,
    infer_pattern,
    integer_pattern,
    parse_pattern,
    row_number_pattern,
    sparse_pattern,
)
from raysynth.kinds.permutation import permute
from raysynth.schema import ColumnSchema, Kind


def encoder(pattern, dtype="string"):
    return IdentifierEncoder.from_schema(ColumnSchema("id", Kind.IDENTIFIER, dtype, pattern=pattern))


@settings(max_examples=50, deadline=None)
@given(size=st.integers(1, 3000), key=st.integers(0, 2**128))
def test_permutation_of_a_small_domain_is_a_bijection(size, key):
    result = permute(np.arange(size, dtype=np.uint64), size, key, "x")
    assert np.array_equal(np.sort(result), np.arange(size, dtype=np.uint64))


@pytest.mark.parametrize("size", [2**62, 2**62 - 1, 10**12, 2**31 + 1])
def test_permutation_of_a_large_domain_stays_inside_without_repeats(size):
    index = np.concatenate([np.arange(5000), size - 1 - np.arange(5000)]).astype(np.uint64)
    result = permute(index, size, 3, "x")
    assert result.max() < size
    assert len(np.unique(result)) == len(index)


@pytest.mark.statistical
def test_permutation_spreads_neighbours_over_the_domain():
    # 100,000 neighbours over 16 cells: chi-square with 15 degrees of freedom, above 44.3 in 1 of 10,000 fair draws
    counts = np.bincount(
        (permute(np.arange(100_000, dtype=np.uint64), 10**9, 11, "x") // (10**9 // 16 + 1)).astype(int)
    )
    assert ((counts - 6250) ** 2 / 6250).sum() < 44.3


@pytest.mark.parametrize(
    ("pattern", "regex"),
    [
        ("uuid", r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"),
        ("UUID", r"[0-9A-F]{8}-[0-9A-F]{4}-4[0-9A-F]{3}-[89AB][0-9A-F]{3}-[0-9A-F]{12}"),
        ("[0-9a-f]{32}", r"[0-9a-f]{32}"),
        ("PAT-[0-9]{6}", r"PAT-[0-9]{6}"),
        ("P[1-9][0-9]{0,7}", r"P[1-9][0-9]{0,7}"),
        ("[A-Z]{12,40}/x", r"[A-Z]{12,40}/x"),
        ("é\\[[0-9]{5}\\]", r"é\[[0-9]{5}\]"),
        ("[\\-+_]{20}", r"[-+_]{20}"),
        ("integer(1000, 99999)", r"[1-9][0-9]{3,4}"),
    ],
)
def test_keys_follow_the_pattern_are_unique_and_independent_of_chunks(pattern, regex):
    ids = encoder(pattern)
    whole = ids.values(0, 70_000, key=5)
    assert len(whole) == 70_000
    assert whole.type == pa.string()
    whole.validate(full=True)
    assert len(whole.unique()) == 70_000
    assert all(re.fullmatch(regex, k) for k in whole[::7].to_pylist())
    parts = pa.concat_arrays([ids.values(s, n, 5) for s, n in [(0, 1), (1, 65_999), (66_000, 4000)]])
    assert parts.equals(whole)
    assert not ids.values(0, 10, key=6).equals(whole[:10])


def test_uuid_is_a_valid_version_4():
    parsed = [uuid.UUID(k) for k in encoder("uuid").values(10**12, 100, 1).to_pylist()]
    assert {p.version for p in parsed} == {4}


@pytest.mark.parametrize("pattern", ["[0-9]{2}", "A[0-9]{1,2}z", "[ab]", "fixed", "integer(5, 20)", "integer(-3, 3)"])
def test_a_domain_that_is_too_small_widens_and_stays_unique(pattern):
    ids = encoder(pattern)
    keys = ids.values(0, 5000, 1).to_pylist()
    assert len(set(keys)) == 5000
    assert ids.values(3000, 100, 1).to_pylist() == keys[3000:3100]


def test_widened_keys_grow_where_the_class_stands():
    keys = encoder("A[0-9]{2}z").values(0, 150, 1).to_pylist()
    assert all(re.fullmatch("A[0-9]{2}z", k) for k in keys[:100])
    assert all(re.fullmatch("A[0-9]{3}z", k) for k in keys[100:])


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8", "double", "decimal128(12, 2)", "large_string"])
def test_integers_come_in_the_columns_type(dtype):
    ids = encoder("integer(1, 200)", dtype).values(0, 200, 9)
    assert ids.type == ColumnSchema("id", Kind.IDENTIFIER, dtype).arrow_type
    assert sorted(int(v) for v in ids.to_pylist()) == list(range(1, 201))


def test_integers_of_the_whole_type():
    low, high = -(2**63), 2**63 - 1
    keys = encoder(f"integer({low}, {high})", "int64").values(0, 1000, 1).to_pylist()
    assert len(set(keys)) == 1000


def test_a_type_that_cannot_hold_the_rows_says_so():
    with pytest.raises(SchemaError, match=r"'id'.*int8.*wider dtype"):
        encoder("integer", "int8").values(0, 1000, 1)


@pytest.mark.parametrize(
    "pattern",
    ["", "[0-9", "a]", "[9-0]", "[0-9]{3,2}", "[0-9]{1,2}[a-z]{1,2}", "[é]", "integer(5, 1)", "x{3}", "[0-9]{999}"],
)
def test_an_invalid_pattern_names_the_column(pattern):
    with pytest.raises(SchemaError, match="'id'"):
        parse_pattern(pattern, "id")


@pytest.mark.parametrize(
    ("pattern", "dtype"),
    [("PAT-[0-9]{3}", "int64"), ("integer(0, 300)", "uint8"), ("integer", "bool"), ("uuid", "timestamp[us]")],
)
def test_a_pattern_that_does_not_fit_the_type_names_the_column(pattern, dtype):
    with pytest.raises(SchemaError, match="'id'"):
        encoder(pattern, dtype)


def test_json_round_trip():
    ids = encoder("PAT-[0-9]{6}")
    assert IdentifierEncoder.from_dict(ids.to_dict()) == ids


def test_defaults_without_a_pattern():
    assert encoder(None).pattern == "uuid"
    assert encoder(None, "int64").pattern == "integer"


@pytest.mark.parametrize(
    ("sample", "pattern"),
    [
        ([f"PAT-{i:06d}" for i in range(1, 800)], "PAT-[0-9]{6}"),
        ([f"P{i}" for i in range(1, 2000)], "P[1-9][0-9]{0,3}"),
        ([f"{i:05d}" for i in range(100)], "[0-9]{5}"),
        ([str(i) for i in range(1, 48_000)], "integer(1, 999999)"),
        ([str(i) for i in range(5000, 5100)], "integer(1000, 9999)"),
        (["-5", "7"], "integer(-9, 9)"),
        (["AB12", "CD34"], "[A-Z]{2}[0-9]{2}"),
        (["k-1"], "[a-z]-[0-9]"),
        ([], "uuid"),
        ([f"a[{i}]" for i in range(10, 20)], "a\\[[0-9]{2}\\]"),
    ],
)
def test_inferred_pattern(sample, pattern):
    assert infer_pattern(sample) == pattern


def test_inferred_pattern_of_random_keys():
    rng = np.random.default_rng(1)
    assert infer_pattern([str(uuid.UUID(bytes=rng.bytes(16))) for _ in range(50)]) == "uuid"
    assert infer_pattern([str(uuid.UUID(bytes=rng.bytes(16))).upper() for _ in range(50)]) == "UUID"
    assert infer_pattern([rng.bytes(16).hex() for _ in range(50)]) == "[0-9a-f]{32}"
    assert infer_pattern([f"cus_{rng.bytes(7).hex()}" for _ in range(50)]) == "cus_[0-9a-f]{14}"


def test_integers_leave_room_for_four_times_the_sample():
    parsed = parse_pattern(infer_pattern([str(i) for i in range(1, 101)], n_rows=900), "id")
    assert isinstance(parsed, IntegerPattern)
    assert parsed.size >= 3600


@pytest.mark.parametrize(
    ("low", "high", "n_rows", "largest", "pattern"),
    [
        (1, 900, 900, 2**63 - 1, "integer(1, 9999)"),
        (0, 900, 90, 2**63 - 1, "integer(0, 999)"),
        (1000, 9000, 100, 2**63 - 1, "integer(1000, 9999)"),
        (1000, 9000, 8000, 2**63 - 1, "integer(1000, 99999)"),
        (1, 30_000, 30_000, 2**15 - 1, "integer(1, 32767)"),
        (-50, -3, 10, 2**63 - 1, "integer(-99, -1)"),
        (1, 2**63 - 1, 10, 2**63 - 1, f"integer(1, {2**63 - 1})"),
        (8 * 10**17, 9 * 10**17, 900, 2**53 - 1, f"integer(1, {2**53 - 1})"),  # of doubles, beyond what they hold
    ],
)
def test_pattern_of_an_integer_column(low, high, n_rows, largest, pattern):
    assert integer_pattern(low, high, n_rows, largest) == pattern
    assert len(encoder(pattern, "int64").values(0, n_rows, 1).unique()) == n_rows


@pytest.mark.parametrize(
    ("low", "high", "n_rows", "largest", "pattern"),
    [
        (1, 30_000, 24_000, 2**63 - 1, "integer(1, 30000)"),
        (0, 899, 900, 2**63 - 1, "integer(0, 900)"),
        (1, 312, 305, 2**63 - 1, "integer(1, 320)"),
        (2_030, 2_955, 300, 2**63 - 1, "integer(2000, 3000)"),
        (3, 29_987, 12_000, 2**63 - 1, "integer(1, 30000)"),
        (1_000_017, 1_029_987, 12_000, 2**63 - 1, "integer(1000000, 1030000)"),
        (1, 30_000, 7_000, 2**63 - 1, None),
        (-5, 30_000, 24_000, 2**63 - 1, None),
        (1, 127, 120, 127, None),
        (1, 9, 9, 127, None),
    ],
)
def test_row_numbers_keep_their_range(low, high, n_rows, largest, pattern):
    assert row_number_pattern(low, high, n_rows, largest) == pattern


@pytest.mark.parametrize(
    ("low", "high", "n_keys", "largest", "pattern"),
    [
        (12_712_345, 15_066_780, 12_000, 2**63 - 1, "integer(12700000, 15100000)"),
        (7, 15_066_780, 12_000, 2**63 - 1, "integer(1, 15200000)"),
        (1_000, 9_000, 20, 2**63 - 1, "integer(1, 10000)"),  # of few keys a step holds ten of them still
        (1_000, 9_000, 500, 2**63 - 1, None),
        (-5, 9_000, 50, 2**63 - 1, None),
        (2_000_000_000, 2_147_000_000, 900, 2**31 - 1, None),
    ],
)
def test_sparse_keys_have_the_range_of_the_real_ones(low, high, n_keys, largest, pattern):
    assert sparse_pattern(low, high, n_keys, largest) == pattern


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(max_size=300), max_size=12))
def test_any_text_gives_a_valid_pattern_that_makes_keys(sample):
    ids = encoder(infer_pattern(sample))
    assert len(set(ids.values(0, 50, 1).to_pylist())) == 50


def test_keys_of_one_width_get_a_leading_zero_only_where_some_have_one() -> None:
    accounts = [f"{7 * 10**18 + 31_337 * i}" for i in range(200)]
    assert infer_pattern(accounts) == "[1-9][0-9]{18}"
    assert infer_pattern([*accounts, "0" + accounts[0][1:]]) == "[0-9]{19}"
    assert infer_pattern(accounts[:20]) == "[0-9]{19}"  # too few to tell
    assert infer_pattern([f"A-{1000 + i}-x" for i in range(150)]) == "A-[1-9][0-9]{3}-x"


def test_keys_of_several_shapes_are_made_in_the_usual_one() -> None:
    numbers = [f"{6 * 10**17 + 7_919 * i}" for i in range(90)]
    assert (
        infer_pattern([*numbers, *(f"{i}.25e+17" for i in range(10))])
        == "integer(100000000000000000, 999999999999999999)"
    )
    sites = [f"https://www.{w}{v}.org" for w in ("oak", "elm", "ash", "fir") for v in ("ville", "town", "wick", "ford")]
    assert infer_pattern([*sites, "http://plain.net", "ftp://x"]) == "https://www.[a-z]{7,8}.org"
    invoices = [f"INV-{i:05d}" for i in range(80)]
    assert infer_pattern([*invoices, *(f"CRN-{i:05d}" for i in range(30))]) == "INV-[0-9]{5}"
    assert infer_pattern([*invoices, *(f"CRN-{i:05d}" for i in range(80))]) == "[A-Z]{3}-[0-9]{5}"
    half = [f"a{i}" for i in range(50)] + [f"{i}/{i}/x" for i in range(50)]
    assert infer_pattern(half).endswith("{2,7}"), "no shape is the usual one"
