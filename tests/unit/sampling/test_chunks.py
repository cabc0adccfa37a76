"""Chunks: rows do not depend on who makes them; keys, uniqueness and constraints hold over all chunks."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from outcome import value_of

from raysynth import GaussianCopula, TableSchema
from raysynth.constraints import (
    Constraint,
    Expression,
    FixedCombinations,
    FixedIncrements,
    Inequality,
    OneHotGroup,
    Positive,
    Range,
    Unique,
)
from raysynth.data.table import as_table
from raysynth.encoding.block import EncodedBlock
from raysynth.errors import ConditionError, ConstraintError, NotFittedError, ParameterError
from raysynth.sampling import chunks, dataset, frame
from raysynth.sampling.chunks import DistinctRows, SamplingModel, chunk_count, chunk_stream, make_chunk
from raysynth.sampling.conditions import parse_conditions
from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.statistics.inference import infer_schema
from raysynth.statistics.table_statistics import collect


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_ROWS", 100)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("conditions", [None, {"age": (25, 40)}, [({"town": "Bonn"}, 250), ({"town": "Celle"}, 315)]])
def test_rows_do_not_depend_on_the_number_of_threads(
    copula: GaussianCopula, monkeypatch: pytest.MonkeyPatch, conditions: Any
) -> None:
    samples = []
    for threads in (1, 4):
        monkeypatch.setattr(frame, "worker_threads", lambda threads=threads: threads)
        samples.append(value_of(lambda: copula.sample(565, conditions, seed=9)))
    pd.testing.assert_frame_equal(samples[0], samples[1])
    assert not samples[0].equals(copula.sample(565, conditions, seed=10))


@pytest.mark.usefixtures("small_chunks")
def test_sample_to_writes_the_rows_of_sample(copula: GaussianCopula, tmp_path: Any) -> None:
    expected = copula.sample(565, {"town": ["Bonn", "Celle"]}, seed=9)
    copula.sample_to(tmp_path / "rows", 565, {"town": ["Bonn", "Celle"]}, seed=9, rows_per_file=200, where="local")
    written = pd.read_parquet(tmp_path / "rows")
    assert len(list((tmp_path / "rows").glob("*.parquet"))) == 3
    pd.testing.assert_frame_equal(written, expected, check_dtype=False, check_categorical=False)


@pytest.mark.usefixtures("small_chunks")
def test_a_chunk_can_be_made_alone(copula: GaussianCopula) -> None:
    model = copula._fitted()
    segments = parse_conditions(None, 350, model.schema, model.encoder)
    assert chunk_count(350) == 4
    whole = frame.sample_table(model, segments, 3)
    assert make_chunk(model, segments, 3, 2).to_pylist() == whole.slice(200, 100).to_pylist()
    assert make_chunk(model, segments, 3, 3).num_rows == 50


def test_streams_of_chunks_and_seeds_differ() -> None:
    first = {chunk_stream(seed, chunk).integers(0, 2**63) for seed in range(20) for chunk in range(20)}
    assert len(first) == 400


@pytest.mark.usefixtures("small_chunks")
def test_segments_cross_the_borders_of_chunks(copula: GaussianCopula) -> None:
    quotas = [
        ({"town": "Bonn"}, 130),
        ({"age": (20, 30)}, 5),
        ({"smoker": True}, 90),
        ({}, 17),
        ({"town": "Celle"}, 201),
    ]
    rows = value_of(lambda: copula.sample(conditions=quotas, seed=2))
    assert len(rows) == 443
    assert (rows.town[:130] == "Bonn").all()
    assert rows.age[130:135].between(20, 30).all()
    assert rows.smoker[135:225].all()
    assert (rows.town[242:] == "Celle").all()
    assert rows.person_id.is_unique


@pytest.mark.usefixtures("small_chunks")
def test_keys_are_unique_over_chunks_and_not_copied_in_order(copula: GaussianCopula, people: pd.DataFrame) -> None:
    keys = copula.sample(2000, seed=1).person_id
    assert keys.is_unique
    assert not (keys.to_numpy()[: len(people)] == people.person_id.to_numpy()[:2000]).all()
    assert keys.equals(copula.sample(2000, seed=2).person_id)  # keys belong to the row numbers


@pytest.mark.usefixtures("small_chunks")
def test_keys_in_order_have_the_row_numbers_of_their_piece_and_the_last_one_those_of_the_chunk(
    copula: GaussianCopula, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, assemble = [], chunks.assemble

    def noted(rows: pa.Table, *args: Any, **named: Any) -> pa.Table:
        own.append(args[3:5])
        return assemble(rows, *args, **named)

    monkeypatch.setattr(chunks, "assemble", noted)
    model = copula._fitted()
    segments = parse_conditions(
        [({"town": "Bonn"}, 150), ({"town": "Celle"}, 20)], None, model.schema, model.condition_encoder
    )
    assert [make_chunk(model, segments, 1, i).num_rows for i in (0, 1)] == [100, 70]
    assert own == [(0, 100), (100, 50), (150, 50)], "(first row, row numbers)"


def test_dates_are_written_in_their_own_form_and_other_columns_as_they_are() -> None:
    days = pa.array([datetime.date(2024, 2, 29), None])
    as_text = ColumnSchema("day", Kind.DATETIME, "date32[day]", date_format="%d/%m/%Y")
    assert chunks.written(days, as_text).to_pylist() == ["29/02/2024", None]
    as_dates = ColumnSchema("day", Kind.DATETIME, "date32[day]")
    assert value_of(lambda: chunks.written(days, as_dates)).to_pylist() == days.to_pylist()


@pytest.mark.parametrize(("n_rows", "expected"), [(0, (1, 1)), (1, (1, 1)), (chunks.CHUNK_ROWS + 1, (2, 2))])
def test_a_dataset_has_as_many_chunks_as_its_rows_and_one_of_none(n_rows: int, expected: tuple[int, int]) -> None:
    assert dataset.chunks_and_tasks(chunks.chunk_count(n_rows)) == expected


def test_a_long_dataset_has_tasks_of_many_chunks() -> None:
    """Each makes as many as a file holds, and no more than a thousand are planned."""
    assert dataset.chunks_and_tasks(1_000_000) == (1_000_000, 1_000)


def test_no_rows(copula: GaussianCopula) -> None:
    none = value_of(lambda: copula.sample(0))
    assert none.shape == (0, 10)
    assert list(none) == list(copula.schema_.names)


def with_rules(frame: pd.DataFrame, *rules: Constraint, **columns: dict[str, Any]) -> TableSchema:
    table = as_table(frame)
    schema = infer_schema(table, collect(table))
    for name, changes in columns.items():
        schema = schema.with_column(name, **changes)
    return TableSchema(schema.columns, rules)


def shop(n: int = 3000) -> pd.DataFrame:
    """Orders that keep a rule of every kind."""
    rng = np.random.default_rng(4)
    ordered = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 365, n), unit="D")
    city = rng.choice(4, n, p=[0.4, 0.3, 0.2, 0.1])
    kind = rng.choice(3, n, p=[0.5, 0.3, 0.2])
    net = rng.gamma(2, 50, n).round(2) + 0.01
    return pd.DataFrame(
        {
            "ordered": ordered,
            "sent": ordered + pd.to_timedelta(rng.integers(0, 20, n), unit="D"),
            "city": np.array(["Aachen", "Bonn", "Celle", "Dresden"])[city],
            "state": np.array(["NW", "NW", "NI", "SN"])[city],
            "score": rng.integers(0, 11, n) * 10,
            "net": net,
            "gross": (net * 1.19).round(2),
            "is_book": kind == 0,
            "is_film": kind == 1,
            "is_song": kind == 2,
            "table": rng.permutation(n) // 60,
            "seat": rng.permutation(n) % 60,
        }
    ).drop_duplicates(["table", "seat"])


RULES = (
    Inequality("ordered", "sent"),
    FixedCombinations(("city", "state")),
    FixedIncrements("score", 10),
    Range("score", 0, 100),
    Positive("net", strict=True),
    OneHotGroup(("is_book", "is_film", "is_song")),
    Expression("gross >= net"),
    Unique(("table", "seat")),
)


@pytest.fixture(scope="module")
def shop_model() -> tuple[pd.DataFrame, GaussianCopula]:
    frame = shop()
    return frame, value_of(lambda: GaussianCopula(seed=1, verbose=False, schema=with_rules(frame, *RULES)).fit(frame))


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize(
    "conditions", [None, {"city": "Bonn", "score": (20, 50)}, {"sent": ("2024-05-01", "2024-06-30")}]
)
def test_every_row_keeps_every_constraint(shop_model: tuple[pd.DataFrame, GaussianCopula], conditions: Any) -> None:
    real, model = shop_model
    rows = value_of(lambda: model.sample(350, conditions, seed=3))
    assert list(rows) == list(real)
    assert rows.dtypes.to_dict() == real.dtypes.to_dict()
    assert (rows.ordered <= rows.sent).all()
    assert (rows.ordered.dt.normalize() == rows.ordered).all()
    assert set(zip(rows.city, rows.state, strict=True)) <= set(zip(real.city, real.state, strict=True))
    assert ((rows.score % 10 == 0) & rows.score.between(0, 100)).all()
    assert (rows.net > 0).all()
    assert (rows[["is_book", "is_film", "is_song"]].sum(axis=1) == 1).all()
    assert (rows.gross >= rows.net).all()
    assert not rows.duplicated(["table", "seat"]).any()
    if conditions and "city" in conditions:
        assert (rows.city == "Bonn").all() and rows.score.between(20, 50).all()
    elif conditions:
        assert rows.sent.between("2024-05-01", "2024-06-30").all()


@pytest.mark.usefixtures("small_chunks")
def test_uniqueness_holds_over_chunks_in_files_too(
    shop_model: tuple[pd.DataFrame, GaussianCopula], tmp_path: Any
) -> None:
    model = shop_model[1]
    model.sample_to(tmp_path / "rows", 550, seed=4, rows_per_file=100, where="local")
    written = pd.read_parquet(tmp_path / "rows")
    assert len(written) == 550
    assert not written.duplicated(["table", "seat"]).any()
    pd.testing.assert_frame_equal(written, model.sample(550, seed=4), check_dtype=False, check_categorical=False)


def test_more_unique_rows_than_there_are_is_an_error_not_an_endless_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "MIN_EFFORT", 20_000)
    frame = pd.DataFrame({"a": np.repeat(np.arange(20), 20), "b": np.tile(np.arange(20), 20)})
    frame["x"] = np.random.default_rng(0).normal(size=400)
    schema = with_rules(frame, Unique(("a", "b")), a={"kind": "categorical"}, b={"kind": "categorical"})
    model = value_of(lambda: GaussianCopula(seed=1, verbose=False, schema=schema).fit(frame))
    assert not model.sample(300, seed=1).duplicated(["a", "b"]).any()
    with pytest.raises(ConstraintError, match="of 4.. generated rows|generated rows.*satisfy the schema's constraints"):
        model.sample(401, seed=1)


def test_impossible_combination_states_the_acceptance_rate(
    monkeypatch: pytest.MonkeyPatch, shop_model: tuple[pd.DataFrame, GaussianCopula]
) -> None:
    """Each condition is possible, but Bonn lies in NW: the pair is one modelled column, met by rejection."""
    monkeypatch.setattr(chunks, "MIN_EFFORT", 20_000)
    with pytest.raises(ConditionError, match=r"only 0 of .* generated rows \(0.00%\) .*'city', 'state'.*widen"):
        shop_model[1].sample(10, {"city": "Bonn", "state": "SN"}, seed=1)


def test_effort_is_bounded_by_what_is_accepted(
    monkeypatch: pytest.MonkeyPatch, sampling_model: Callable[[str], SamplingModel]
) -> None:
    """A rate below 1 in EFFORT_PER_ROW gives up soon, however many rows are asked for."""
    monkeypatch.setattr(chunks, "MIN_EFFORT", 5_000)
    monkeypatch.setattr(chunks, "EFFORT_PER_ROW", 100)
    model = sampling_model("blind")
    segments = parse_conditions({"town": "Dresden", "age": 30, "smoker": True}, 50_000, model.schema, model.encoder)
    with pytest.raises(ConditionError, match="generated rows"):
        frame.sample_table(model, segments, 0)


def test_distinct_rows_take_only_hashes_of_their_own_chunk() -> None:
    """Two rules at once, free rows (0), repeats within and between calls."""
    first, second = np.array([2, 4, 2, 0, 7, 0], np.uint64), np.array([6, 8, 10, 12, 14, 0], np.uint64)
    distinct = DistinctRows(0, 2)
    assert distinct.keep([first, second], 10).tolist() == [0, 1, 3, 5]  # 2 again; 7 belongs to chunk 1
    assert distinct.keep([np.array([2, 16, 0], np.uint64), np.array([18, 8, 20], np.uint64)], 10).tolist() == [2]
    assert distinct.keep([np.array([32, 34], np.uint64), np.array([40, 42], np.uint64)], 1).tolist() == [0]
    assert distinct.keep([np.array([34], np.uint64), np.array([42], np.uint64)], 1).tolist() == [0]
    assert DistinctRows(0, 1).keep([], 3).tolist() == [0, 1, 2]


@pytest.mark.parametrize("seed", [-1, 2**62, 1.5, "a", True])
def test_seeds_are_checked_in_sample_and_fit(copula: GaussianCopula, people: pd.DataFrame, seed: Any) -> None:
    with pytest.raises(ParameterError, match="seed"):
        copula.sample(3, seed=seed)
    with pytest.raises(ParameterError, match="seed"):
        GaussianCopula(seed=seed, verbose=False).fit(people)


def test_without_a_seed_rows_differ(people: pd.DataFrame) -> None:
    model = value_of(lambda: GaussianCopula(verbose=False).fit(people))
    assert not model.sample(50).equals(model.sample(50))


def test_unfitted_model_says_so(tmp_path: Any) -> None:
    model = GaussianCopula()
    for call in (
        lambda: model.sample(3),
        lambda: model.sample_to(tmp_path / "x", 3),
        lambda: model.save(tmp_path / "m"),
    ):
        with pytest.raises(NotFittedError, match="call fit"):
            call()
    assert list(tmp_path.iterdir()) == []


def test_rows_whose_code_cannot_satisfy_the_conditions_are_not_decoded() -> None:
    wanted = chunks._Wanted((), (), {1: np.array([0.0, 0.25, 1.0])}, {}, False)
    block = EncodedBlock(np.array([[0, 0], [0, 1], [0, 2]], np.uint16), np.empty((3, 0), np.float32))
    assert wanted._possible(block).tolist() == [False, True, True]


@pytest.mark.parametrize(("by_person", "expected"), [(True, {"who": 7, "row": 7}), (False, {"who": 0, "row": 7})])
def test_keys_of_persons_have_row_numbers_of_their_own_only_where_persons_came(
    by_person: bool, expected: dict[str, int]
) -> None:
    own: dict[str, int] = {}

    class Keys:
        def __init__(self, name: str) -> None:
            self.name = name

        def near(self, places: np.ndarray, first_row: int, reserved: int, key: int) -> pa.Array:
            own[self.name] = reserved
            return pa.array(places)

    columns = tuple(ColumnSchema(n, Kind.IDENTIFIER, "int64", in_order=True) for n in ("who", "row"))
    rows = pa.table({"who": [1.0, 2.0], "row": [3.0, 4.0]})
    keys = {n: Keys(n) for n in ("who", "row")}
    chunks.assemble(rows, TableSchema(columns, entity="who"), keys, 0, 0, 7, by_person=by_person)
    assert own == expected
