"""A whole table to blocks and back: layout, state through JSON, chunked and sliced input, which columns are coded."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from outcome import value_of

from raysynth.data.table import as_table
from raysynth.encoding.block import EncodedBlock, PresenceEncoder, concat_blocks
from raysynth.encoding.numeric import BinEncoder, ModeEncoder
from raysynth.encoding.table_encoder import NumericForm, TableEncoder, build_encoder
from raysynth.errors import ModelFileError
from raysynth.schema import ColumnSchema, Kind, TableSchema
from raysynth.statistics.inference import infer_schema
from raysynth.statistics.table_statistics import TableStatistics, collect

N = 2000
FORMS: list[NumericForm] = ["bins", "modes"]


@pytest.fixture(scope="module")
def learned() -> tuple[pa.Table, TableSchema, TableStatistics]:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "key": np.arange(N) + 100,
            "mail": [None if i % 4 == 0 else f"user{i}@site.org" for i in range(N)],
            "town": pd.Series(rng.choice(["Aachen", "Bonn", "Celle"], N)).where(rng.random(N) < 0.9),
            "x": np.where(rng.random(N) < 0.2, np.nan, rng.normal(size=N)),
            "flag": rng.random(N) < 0.5,
            "land": "DE",
            "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 500, N), unit="D"),
        }
    )
    table = as_table(frame)
    statistics = collect(table)
    assert table.memory is not None
    return table.memory, infer_schema(table, statistics), statistics


def encoder_of(learned: Any, numeric: NumericForm) -> TableEncoder:
    return build_encoder(learned[1], learned[2].columns, numeric=numeric)


@pytest.mark.parametrize("numeric", FORMS)
def test_layout_names_columns_codes_and_values(learned: Any, numeric: NumericForm) -> None:
    """Keys and constants are not coded; personal data has a code for whether it is there."""
    encoder = encoder_of(learned, numeric)
    assert encoder.names == ("mail", "town", "x", "flag", "day")
    assert isinstance(encoder.columns[0], PresenceEncoder)
    assert encoder.cardinalities == tuple(place.cardinality for place in encoder.layout)
    assert [place.missing_code for place in encoder.layout] == [c - 1 for c in encoder.cardinalities]
    places = [place.value_index for place in encoder.layout]
    assert places == ([None] * 5 if numeric == "bins" else [None, None, 0, None, 1])
    assert encoder.n_values == (0 if numeric == "bins" else 2)
    assert [place.ordered for place in encoder.layout] == [False, False, numeric == "bins", False, numeric == "bins"]


@pytest.mark.parametrize("numeric", FORMS)
def test_state_comes_back_through_json(learned: Any, numeric: NumericForm) -> None:
    table, schema, _ = learned
    encoder = encoder_of(learned, numeric)
    meta, arrays = encoder.to_state()
    again = TableEncoder.from_state(schema, json.loads(json.dumps(meta)), arrays)
    block, block_again = encoder.encode(table), again.encode(table)
    np.testing.assert_array_equal(block.codes_NC, block_again.codes_NC)
    np.testing.assert_array_equal(block.values_NV, block_again.values_NV)
    decoded = [e.decode(block, np.random.default_rng(3)) for e in (encoder, again)]
    assert decoded[0].equals(decoded[1])
    assert again.layout == encoder.layout
    for a, b in zip(encoder.frequencies(), again.frequencies(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("numeric", FORMS)
def test_frequencies_are_counted_ones(learned: Any, numeric: NumericForm) -> None:
    encoder = encoder_of(learned, numeric)
    codes = encoder.encode(learned[0]).codes_NC
    for i, share in enumerate(encoder.frequencies()):
        assert share.sum() == pytest.approx(1)
        np.testing.assert_allclose(share, np.bincount(codes[:, i], minlength=len(share)) / N, atol=0.004)


@pytest.mark.parametrize("numeric", FORMS)
def test_codes_come_back_and_missing_stays_missing(learned: Any, numeric: NumericForm) -> None:
    table = learned[0]
    encoder = encoder_of(learned, numeric)
    block = encoder.encode(table)
    decoded = encoder.decode(block, np.random.default_rng(3))
    assert decoded.column_names == list(encoder.names)
    for name in ("town", "x", "flag", "day"):
        assert decoded.column(name).null_count == table.column(name).null_count
        assert decoded.column(name).type == table.column(name).type
    assert decoded.column("mail").to_pylist() == table.column("mail").is_valid().to_pylist()
    assert decoded.column("town").to_pylist() == table.column("town").to_pylist()
    again = encoder.encode(decoded.set_column(0, "mail", table.column("mail")))
    np.testing.assert_array_equal(again.codes_NC, block.codes_NC)


def test_pieces_and_chunks_encode_as_the_whole(learned: Any) -> None:
    """Slices, chunked columns with dictionaries of their own, other columns around, another order of columns."""
    table = learned[0]
    encoder = encoder_of(learned, "modes")
    whole = value_of(lambda: encoder.encode(table))
    parts = [encoder.encode(b) for b in table.to_batches(max_chunksize=300)]
    np.testing.assert_array_equal(concat_blocks(parts).codes_NC, whole.codes_NC)
    np.testing.assert_array_equal(concat_blocks(parts).values_NV, whole.values_NV)
    town = [pa.array(p, pa.string()).dictionary_encode() for p in np.array_split(table["town"].to_pylist(), 7)]
    mixed = table.set_column(2, "town", pa.chunked_array(town)).select(table.column_names[::-1])
    np.testing.assert_array_equal(value_of(lambda: encoder.encode(mixed)).codes_NC, whole.codes_NC)
    assert len(encoder.encode(table.slice(0, 0))) == 0
    assert encoder.decode(encoder.encode(table.slice(0, 0)), np.random.default_rng(0)).num_rows == 0
    picked = whole.take(np.array([5, 3]))
    np.testing.assert_array_equal(picked.codes_NC, whole.codes_NC[[5, 3]])


def test_nothing_is_drawn_from_elsewhere(learned: Any) -> None:
    encoder = encoder_of(learned, "bins")
    block = encoder.encode(learned[0])
    same = [encoder.decode(block, np.random.default_rng(7)) for _ in range(2)]
    assert same[0].equals(same[1])
    assert not same[0].equals(encoder.decode(block, np.random.default_rng(8)))


def test_limits_reach_the_columns(learned: Any) -> None:
    encoder = encoder_of(learned, "bins")
    codes = np.zeros((500, 5), np.uint16)
    codes[:, 2] = encoder.cardinalities[2] // 2
    block = EncodedBlock(codes, np.empty((500, 0), np.float32))
    low, high = np.quantile(encoder.decode(block, np.random.default_rng(0))["x"].to_numpy(), [0.2, 0.4])
    limited = encoder.decode(block, np.random.default_rng(0), {"x": (low, high)})
    assert ((limited["x"].to_numpy() >= low) & (limited["x"].to_numpy() <= high)).all()


@pytest.mark.parametrize("change", [{"class": "Popen"}, {"name": "other"}])
def test_unknown_state_is_refused(learned: Any, change: dict[str, str]) -> None:
    meta, arrays = encoder_of(learned, "bins").to_state()
    meta["columns"][1].update(change)
    with pytest.raises(ModelFileError):
        TableEncoder.from_state(learned[1], meta, arrays)


def test_only_statistics_are_asked_for_never_rows(learned: Any) -> None:
    """A declared domain is taken from the schema: values of the data that it lacks cannot come back."""
    schema = learned[1].with_column("town", kind=Kind.CATEGORICAL, categories=("Bonn", "Ulm"))
    encoder = build_encoder(schema, learned[2].columns, numeric="bins")
    town = encoder.columns[1]
    assert town.values == ("Bonn", "Ulm")  # type: ignore[union-attr]
    assert set(town.tail_values) <= {"Bonn", "Ulm"}  # type: ignore[union-attr]


@pytest.mark.parametrize("numeric", ["bins", "modes", "scaled"])
@pytest.mark.filterwarnings("error")
def test_no_value_makes_itself_heard(learned: Any, numeric: NumericForm) -> None:
    """The largest doubles, over scales as small as the column's: no warning, and numbers that training can take."""
    encoder = encoder_of(learned, numeric)
    hostile = [1.7e308, -1.7e308, np.inf, -np.inf, np.nan, 5e-324, -0.0, None]
    rows = learned[0].slice(0, len(hostile))
    rows = rows.set_column(rows.column_names.index("x"), "x", pa.array(hostile, pa.float64(), from_pandas=False))
    narrow = learned[0].set_column(rows.column_names.index("x"), "x", pa.array(np.linspace(0, 1e-12, N)))
    statistics = collect(as_table(narrow))
    for made in (encoder, build_encoder(learned[1], statistics.columns, numeric=numeric)):
        block = made.encode(rows)
        assert np.isfinite(block.values_NV).all()


@pytest.mark.parametrize(("n_missing", "shares"), [(0, None), (N // 5, [0.8, 0.2]), (N, None)])
def test_of_what_is_made_anew_the_share_that_is_missing_is_coded(n_missing: int, shares: list[float] | None) -> None:
    mail = [None if i < n_missing else f"user{i}@site.org" for i in range(N)]
    table = as_table(pd.DataFrame({"mail": pd.Series(mail, dtype="string"), "flag": np.arange(N) % 2 == 0}))
    declared = TableSchema((ColumnSchema("mail", Kind.PERSONAL, "string", personal="email"),))
    statistics = collect(table)
    schema = infer_schema(table, statistics, declared, check_rows=False)
    encoder = value_of(lambda: build_encoder(schema, statistics.columns, numeric="bins"))
    found = dict(zip(encoder.names, encoder.frequencies(), strict=True))
    assert list(found) == (["flag"] if shares is None else ["mail", "flag"])
    assert shares is None or found["mail"].tolist() == pytest.approx(shares)


def test_of_keys_alone_a_code_says_that_each_row_has_one() -> None:
    table = as_table(pd.DataFrame({"key": np.arange(N) + 100}))
    statistics = collect(table)
    encoder = value_of(lambda: build_encoder(infer_schema(table, statistics), statistics.columns, numeric="bins"))
    (share,) = encoder.frequencies()
    assert encoder.names == ("key",) and share.tolist() == [1.0, 0.0] and encoder.n_values == 0
    assert not encoder.encode(table.memory).codes_NC.any()  # type: ignore[arg-type]


def test_the_form_of_numbers_is_chosen_by_column_and_no_batch_gives_no_rows(learned: Any) -> None:
    columns = {"numeric": "modes", "n_bins": 7, "n_modes": 2}
    encoder = build_encoder(learned[1], learned[2].columns, binned={"x"}, **columns)
    by_name = dict(zip(encoder.names, encoder.columns, strict=True))
    assert (type(by_name["x"]), type(by_name["day"])) == (BinEncoder, ModeEncoder)
    assert by_name["x"].cardinality <= 8 and by_name["day"].cardinality <= 3
    assert [p.value_index for p in encoder.layout] == [None, None, None, None, 0] and encoder.n_values == 1
    empty, whole = encoder.encode_all([]), encoder.encode_all(learned[0].to_batches(max_chunksize=700))
    assert (empty.codes_NC.shape, empty.values_NV.shape) == ((0, 5), (0, 1))
    np.testing.assert_array_equal(whole.codes_NC, encoder.encode(learned[0]).codes_NC)
