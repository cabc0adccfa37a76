"""TableSchema: JSON round trip, and errors that name the column of a file edited by hand."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import raysynth as rs
from raysynth.constraints import Expression, Inequality, Positive, Unique
from raysynth.errors import ConstraintError, InputError, SchemaError
from raysynth.kinds.arrow_text import parse_arrow_type
from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.schema.table import TableSchema, declared

PEOPLE = TableSchema(
    (
        ColumnSchema("key", Kind.IDENTIFIER, "string", pattern="PAT-[0-9]{6}"),
        ColumnSchema("name", Kind.PERSONAL, "string", personal="name"),
        ColumnSchema("age", Kind.CONTINUOUS, "int64", "Int64", bounds=(0, 120), decimals=0),
        ColumnSchema("worked", Kind.CONTINUOUS, "double", nullable=False, decimals=1),
        ColumnSchema("sex", Kind.CATEGORICAL, "string", "category", categories=("F", "M", "nan")),
        ColumnSchema("ok", Kind.BOOLEAN, "bool"),
        ColumnSchema("seen", Kind.DATETIME, "timestamp[us, tz=Europe/Berlin]"),
        ColumnSchema("took", Kind.TIMEDELTA, "duration[ns]"),
        ColumnSchema("site", Kind.CONSTANT, "string", value="Ulm"),
    ),
    constraints=(Inequality("worked", "age"), Unique(("key",)), Expression("age >= 18 or sex == 'F'")),
    rare_threshold=7,
    max_categories=50,
).validate()


def edited(**changes):
    """PEOPLE as a JSON object in which the column 'age' was changed by hand."""
    content = PEOPLE.to_dict()
    column = next(c for c in content["columns"] if c["name"] == "age")
    column.update(changes)
    return {**content, "columns": [{k: v for k, v in c.items() if v != "remove"} for c in content["columns"]]}


def test_json_round_trip(tmp_path):
    PEOPLE.save(tmp_path / "schema.json")
    assert TableSchema.load(tmp_path / "schema.json") == PEOPLE


def test_the_file_is_short_and_readable(tmp_path):
    PEOPLE.save(tmp_path / "schema.json")
    content = json.loads((tmp_path / "schema.json").read_text(encoding="utf-8"))
    assert content["columns"][0] == {
        "name": "key",
        "kind": "identifier",
        "dtype": "string",
        "pattern": "PAT-[0-9]{6}",
    }
    assert content["constraints"][0] == {"kind": "inequality", "low": "worked", "high": "age"}


_DTYPES = {
    Kind.CATEGORICAL: ("string", "int64", "large_string", "bool"),
    Kind.BOOLEAN: ("bool",),
    Kind.CONTINUOUS: ("int8", "uint64", "float", "double", "decimal128(10, 2)"),
    Kind.DATETIME: ("date32[day]", "timestamp[s]", "timestamp[ns, tz=+02:00]", "timestamp[us, tz=UTC]"),
    Kind.TIMEDELTA: ("duration[s]", "duration[us]"),
    Kind.IDENTIFIER: ("string", "int32"),
    Kind.CONSTANT: ("string", "double"),
}


@st.composite
def columns(draw, name):
    kind = draw(st.sampled_from(sorted(_DTYPES)))
    low = draw(st.floats(-1e9, 1e9))
    return ColumnSchema(
        name=name,
        kind=Kind(kind),
        dtype=draw(st.sampled_from(_DTYPES[kind])),
        pandas_dtype=draw(st.none() | st.sampled_from(["Int64", "category", "str"])),
        nullable=draw(st.booleans()),
        bounds=draw(st.none() | st.just((low, low + 1))) if kind.is_numeric else None,
        decimals=draw(st.none() | st.integers(0, 15)),
        categories=draw(st.none() | st.lists(st.text(), min_size=1, unique=True).map(tuple))
        if kind is Kind.CATEGORICAL
        else None,
        value=draw(st.none() | st.text() | st.floats(allow_nan=False)) if kind is Kind.CONSTANT else None,
        reason=draw(st.text(max_size=10)),
    )


@st.composite
def schemas(draw):
    names = draw(st.lists(st.text(min_size=1), min_size=1, max_size=5, unique=True))
    return TableSchema(
        tuple(draw(columns(n)) for n in names),
        rare_threshold=draw(st.integers(1, 100)),
        max_categories=draw(st.integers(2, 10_000)),
    )


@settings(max_examples=80, deadline=None)
@given(schemas())
def test_any_valid_schema_survives_json(schema):
    text = json.dumps(schema.validate().to_dict(), ensure_ascii=False)
    assert TableSchema.from_dict(json.loads(text)) == schema


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["kind", "dtype", "bounds", "categories", "decimals", "pattern", "personal", "extra"]), _JSON)
def test_whatever_is_written_into_a_column_gives_a_schema_or_an_error_that_names_it(entry, value):
    try:
        TableSchema.from_dict(edited(**{entry: value}))
    except InputError as error:
        assert "'age'" in str(error)


@settings(max_examples=100, deadline=None)
@given(_JSON)
def test_any_json_gives_a_schema_or_an_error(content):
    with pytest.raises(SchemaError):
        TableSchema.from_dict(content)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "contnuous"}, "'age'.*contnuous.*valid kinds.*continuous"),
        ({"dtype": "integer"}, "'age'.*'integer'.*int64"),
        ({"dtype": "timestamp[h]"}, "'age'.*timestamp"),
        ({"dtype": "decimal128(x, 2)"}, "'age'"),
        ({"bounds": [120, 0]}, "'age'.*low <= high"),
        ({"bounds": [0]}, "'age'.*two numbers"),
        ({"bounds": ["a", "b"]}, "'age'.*two numbers"),
        ({"decimals": 99}, "'age'.*0 to 15"),
        ({"categories": [1, 2]}, "'age'.*categories make no sense"),
        ({"kind": "categorical"}, "'age'.*bounds make no sense"),
        ({"kind": "personal", "bounds": "remove"}, "'age'.*needs `personal`"),
        ({"boundz": [0, 1]}, "'age'.*boundz"),
        ({"dtype": "remove"}, "'age'.*missing entries.*dtype"),
    ],
)
def test_an_edited_column_is_named(changes, message):
    with pytest.raises(SchemaError, match=message):
        TableSchema.from_dict(edited(**changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"columns": []}, "no columns"),
        ({"columns": "age"}, "list 'columns'"),
        ({"columns": [{"kind": "continuous"}]}, "'name'"),
        ({"format_version": 99}, "99"),
        ({"rare_treshold": 5}, "rare_treshold"),
        ({"rare_threshold": 0}, "rare_threshold"),
        ({"max_categories": 1}, "max_categories"),
        ({"constraints": [{"kind": "inequality", "low": "worked", "high": "agee"}]}, "'agee'"),
        ({"constraints": [{"kind": "expression", "text": "age.__class__"}]}, "not allowed"),
    ],
)
def test_an_edited_table_says_what_is_wrong(changes, message):
    with pytest.raises(InputError, match=message):
        TableSchema.from_dict({**PEOPLE.to_dict(), **changes})


def test_repeated_names_are_refused():
    content = PEOPLE.to_dict()
    content["columns"].append(content["columns"][2])
    with pytest.raises(SchemaError, match="repeated: age"):
        TableSchema.from_dict(content)


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(SchemaError, match="none.json"):
        TableSchema.load(tmp_path / "none.json")
    (tmp_path / "broken.json").write_text('{"columns": [')
    with pytest.raises(SchemaError, match="broken.json.*not valid JSON"):
        TableSchema.load(tmp_path / "broken.json")


def test_with_column():
    changed = PEOPLE.with_column("worked", kind="categorical", decimals=None)
    assert changed["worked"].kind is Kind.CATEGORICAL
    assert changed["worked"].reason == "declared"
    assert changed.names == PEOPLE.names
    with pytest.raises(SchemaError, match=r"'worked'.*bound"):
        PEOPLE.with_column("worked", bound=(0, 1))
    with pytest.raises(SchemaError, match="'wrked'"):
        PEOPLE.with_column("wrked", nullable=True)


def test_declared_lists():
    schema = declared(PEOPLE, {Kind.CATEGORICAL: ["ok"], Kind.CONTINUOUS: None})
    assert schema["ok"].kind is Kind.CATEGORICAL
    with pytest.raises(SchemaError, match="'ok' is listed both"):
        declared(PEOPLE, {Kind.CATEGORICAL: ["ok"], Kind.CONTINUOUS: ["ok"]})
    with pytest.raises(SchemaError, match="'okay'.*no such column"):
        declared(PEOPLE, {Kind.CATEGORICAL: ["okay"]})


@pytest.mark.parametrize(
    "type_",
    [
        *(pa.int8(), pa.uint64(), pa.float32(), pa.float64(), pa.bool_(), pa.string(), pa.large_string(), pa.date32()),
        *(pa.timestamp("ns"), pa.timestamp("s", "Asia/Tokyo"), pa.duration("ms"), pa.decimal128(38, 10)),
    ],
)
def test_arrow_types_and_their_text_are_inverse(type_):
    assert parse_arrow_type(str(type_), "x") == type_


def test_describe_has_a_line_for_each_column():
    lines = PEOPLE.describe().splitlines()
    assert [line.split()[:2] for line in lines] == [[c.name, str(c.kind)] for c in PEOPLE.columns]


def stays(seed: int, n: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"start": pd.Timestamp("2021-03-01") + pd.to_timedelta(rng.integers(0, 700, n), unit="D")})
    frame["end"] = frame.start + pd.to_timedelta(rng.integers(0, 20, n), unit="D")
    return frame.assign(low=rng.integers(0, 50, n), high=rng.integers(0, 9, n), ward=rng.choice(["a", "b"], n)).assign(
        high=lambda f: f.high + f.low
    )


PARTIAL = (
    TableSchema(constraints=[Inequality("start", "end"), Expression("low <= high")]),
    TableSchema(
        [ColumnSchema("low", Kind.CONTINUOUS, "int64", bounds=(0, 60))], constraints=(Inequality("low", "high"),)
    ),
)


@pytest.mark.parametrize("schema", PARTIAL)
def test_columns_that_a_schema_with_constraints_leaves_out_are_inferred(schema, tmp_path):
    data = stays(1)
    schema.save(tmp_path / "part.json")
    for asked in (schema, tmp_path / "part.json"):
        model = rs.GaussianCopula(seed=0, verbose=False, schema=asked).fit(data)
        made = model.sample(500, seed=1)
        assert model.schema_.constraints == schema.constraints and model.schema_.names == tuple(data)
        assert (made.low <= made.high).all()
        assert (made.start <= made.end).all() or schema is PARTIAL[1]


def test_a_constraint_on_a_column_that_is_nowhere_is_refused_by_name():
    schema = TableSchema(constraints=(Inequality("low", "hight"),))
    with pytest.raises(ConstraintError, match="no column 'hight'; it has: start, end, low, high, ward"):
        rs.GaussianCopula(verbose=False, schema=schema).fit(stays(1))


@pytest.mark.parametrize("schema", PARTIAL)
def test_under_a_budget_a_constraint_names_declared_columns_only(schema):
    with pytest.raises(InputError, match="has no column|has no columns"):
        rs.GaussianCopula(verbose=False, schema=schema, epsilon=1.0, differential_privacy=True).fit(stays(1))


def test_a_file_of_constraints_alone_is_a_schema(tmp_path):
    (tmp_path / "rules.json").write_text('{"constraints": [{"kind": "positive", "column": "a"}]}')
    assert TableSchema.load(tmp_path / "rules.json").constraints == (Positive("a"),)


@pytest.mark.parametrize(
    ("dtype", "date_format", "bounds", "ends"),
    [
        ("date32[day]", None, ["2009-03-01", "2020-12-31"], (14304, 18627)),
        ("timestamp[s]", None, ["2009-03-01 12:00", "2020-12-31"], (1235908800, 1609372800)),
        ("string", "%d.%m.%Y", ["01.03.2009", "2020-12-31"], (14304, 18627)),
        ("string", "%d/%m/%Y or %d/%m/%y", ["01/03/09", "31/12/2020"], (14304, 18627)),
    ],
)
def test_bounds_of_dates_are_dates(dtype, date_format, bounds, ends):
    content = {"name": "day", "kind": "datetime", "dtype": dtype, "bounds": bounds}
    if date_format is not None:
        content["date_format"] = date_format
    column = TableSchema.from_dict({"columns": [content]})["day"]
    assert column.bounds == ends
    assert TableSchema.from_dict(TableSchema((column,)).to_dict())["day"] == column
    with pytest.raises(SchemaError, match="'day': the bound 'spring' is no date"):
        TableSchema.from_dict({"columns": [{**content, "bounds": ["spring", bounds[1]]}]})
    with pytest.raises(SchemaError, match="'x': bounds must be two numbers"):
        ColumnSchema("x", Kind.CONTINUOUS, "double", bounds=("1", "2")).validate()
