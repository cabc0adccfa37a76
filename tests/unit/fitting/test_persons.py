"""Persons with several rows: none of their keys, names, accounts, exact dates and amounts leaves by default."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from raysynth.api import infer_schema, new_synthesizer
from raysynth.data.table import as_table
from raysynth.encoding.numeric import NumericEncoder
from raysynth.encoding.table_encoder import TableEncoder
from raysynth.errors import ParameterError, SchemaError
from raysynth.fitting.opening import open_exactly
from raysynth.fitting.persons import entity_of, regenerators
from raysynth.schema import Kind
from raysynth.statistics.findings import find

PERSONS, VISITS = 250, 8
KEYS = ("record_number", "name", "insurance_number", "iban")
EXACT = ("birth_date", "salary")
FIRST = ("Anna", "Ben", "Carla", "David", "Eva", "Felix", "Greta", "Hans", "Ida", "Jonas", "Karla", "Lukas", "Mia")
LAST = ("Schmidt", "Weber", "Koch", "Bauer", "Klein", "Wolf", "Neumann", "Braun", "Zimmer", "Krause", "Lange", "Beck")
METHODS: dict[str, dict[str, Any]] = {
    "bayesian_network": {},
    "trees": {},
    "copula": {},
    "autoregressive": {"epochs": 1},
    "ctgan": {"epochs": 1},
    "tvae": {"epochs": 1},
    "gan": {"epochs": 1},
}


def persons(n: int, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    names = [f"{a} {b}{c}" for a in FIRST for b in LAST for c in ("", "er")]
    return pd.DataFrame(
        {
            "record_number": [f"MRN-{v:010d}" for v in rng.choice(10**10, n, replace=False)],
            "name": np.resize(rng.permutation(names), n),
            "insurance_number": [f"{'ABCDEFGH'[i % 8]}{v:010d}" for i, v in enumerate(rng.integers(0, 10**10, n))],
            "iban": [f"DE{v % 100:02d}{v:018d}" for v in rng.choice(10**15, n, replace=False)],
            "birth_date": pd.Timestamp("1930-01-01") + pd.to_timedelta(rng.integers(0, 30_000, n), unit="D"),
            "salary": rng.lognormal(10.5, 0.4, n).round(2),
            "sex": rng.choice(["f", "m"], n),
        }
    )


def visits(of: pd.DataFrame, each: np.ndarray, seed: int) -> pd.DataFrame:
    """Rows of persons in random order, with what varies from visit to visit."""
    rng = np.random.default_rng(seed)
    rows = of.iloc[rng.permutation(np.repeat(np.arange(len(of)), each))].reset_index(drop=True)
    rows["ward"] = rng.choice(["A", "B", "C", "D"], len(rows))
    rows["pulse"] = rng.normal(75, 10, len(rows)).round()
    return rows


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return visits(persons(PERSONS, 1), np.full(PERSONS, VISITS), 2)


def content(path: Path) -> bytes:
    with zipfile.ZipFile(path) as file:
        return b"".join(file.read(name) for name in file.namelist())


def assert_no_end_is_of_few(encoder: TableEncoder, table: pd.DataFrame, key: str) -> None:
    for column in encoder.columns:
        if isinstance(column, NumericEncoder) and column.name in table:
            x = table[column.name]
            x = x.astype("int64") if x.dtype.kind == "M" else x
            ends = set(column.distribution.low) | set(column.distribution.high)
            shared = table.groupby(x[x.isin(ends)])[key].nunique()
            assert (shared >= 5).all(), f"'{column.name}' stores {shared[shared < 5].index.tolist()}"


@pytest.mark.parametrize("method", METHODS)
def test_nothing_of_a_person_with_many_rows_leaves(method: str, table: pd.DataFrame, tmp_path: Path) -> None:
    """No key, name or account in the sample or the file, and no exact date or amount stored. Made keys have 10 digits,
    so one equals a real one by chance in one run of 1,600; amounts are told to the cent, so about one row in 2,000
    has a real one (allowed: 1 %)."""
    model = new_synthesizer(method, seed=3, verbose=False, **METHODS[method]).fit(table)
    sample = model.sample(2_000)
    model.save(tmp_path / "model")
    stored = content(tmp_path / "model")
    for name in KEYS:
        real = set(table[name])
        assert not real & set(sample[name]), name
        assert not [v for v in real if v.encode() in stored], name
    for name in EXACT:
        assert sample[name].isin(set(table[name])).mean() < 0.03
        assert not [v for v in table[name].unique() if str(v).encode() in stored]
    assert_no_end_is_of_few(model.encoder_, table, "record_number")
    assert (sample.groupby("record_number").size().iloc[:-1] <= VISITS).all()
    for name in KEYS:
        assert sample.groupby("record_number")[name].nunique().max() == 1


def test_sequences_protect_persons_too(table: pd.DataFrame, tmp_path: Path) -> None:
    rows = table.assign(step=table.groupby("record_number").cumcount()).drop(columns="pulse")
    model = new_synthesizer(
        "autoregressive_sequences", sequence_key="record_number", time_column="step", epochs=1, seed=3, verbose=False
    ).fit(rows)
    sample = model.sample(200)
    model.save(tmp_path / "model")
    stored = content(tmp_path / "model")
    for name in KEYS:
        assert not set(rows[name]) & set(sample[name])
        assert not [v for v in rows[name].unique() if v.encode() in stored]
        assert sample.groupby("record_number")[name].nunique().max() == 1
    for encoder in (model.encoder_, model.context_encoder_, model.entities_.encoder_):
        assert_no_end_is_of_few(encoder, rows, "record_number")


@pytest.mark.parametrize("method", ["bayesian_network", "copula"])
def test_other_identifiers_in_the_same_order_give_the_same_model(method: str, table: pd.DataFrame) -> None:
    other, strangers = table.copy(), persons(PERSONS, 77)
    for name in ("record_number", "insurance_number", "iban"):
        ranks = table[name].rank(method="dense").astype(int)
        other[name] = np.sort(strangers[name].to_numpy())[ranks - 1]
        assert not set(other[name]) & set(table[name])
    one, two = (new_synthesizer(method, seed=5, verbose=False).fit(rows) for rows in (table, other))
    pd.testing.assert_frame_equal(one.sample(500), two.sample(500))
    assert one._content().meta == two._content().meta
    arrays = one._content().arrays, two._content().arrays
    assert arrays[0].keys() == arrays[1].keys() and all(np.array_equal(v, arrays[1][k]) for k, v in arrays[0].items())


def total_variation(a: np.ndarray, b: np.ndarray) -> float:
    top = int(max(a.max(), b.max())) + 1
    p, q = (np.bincount(x, minlength=top) / len(x) for x in (a, b))
    return float(np.abs(p - q).sum() / 2)


def test_made_persons_have_as_many_rows_as_real_ones() -> None:
    """Within 1.2 times the total variation of two samples of real persons (5,000 of 1 to 40 rows)."""
    rng = np.random.default_rng(8)
    first, second = (rng.integers(1, 41, 5_000) for _ in range(2))
    rows = pa.table({"patient_id": [f"P{v:09d}" for v in np.repeat(np.arange(5_000) * 7919, first)]})
    rows = rows.append_column("x", pa.array(rng.normal(size=rows.num_rows)))
    opened = open_exactly(as_table(rows), None, {})
    assert opened.schema.entity == "patient_id"
    made = regenerators(opened.schema)["patient_id"].values(0, rows.num_rows, 3)
    _, counts = np.unique(made.to_pylist(), return_counts=True)
    assert total_variation(counts, first) <= 1.2 * total_variation(first, second)
    assert not set(made.to_pylist()) & set(rows["patient_id"].to_pylist())


@pytest.mark.statistical
def test_amounts_coincide_with_training_values_no_more_than_with_others() -> None:
    """Whole amounts of 400 persons and of 400 others: a difference of over 4 standard errors is a false alarm in one
    run of 15,000."""
    both = persons(624, 9)
    both["salary"] = both.salary.round()
    real, others = both.iloc[:312], both.iloc[312:]
    model = new_synthesizer("bayesian_network", seed=1, verbose=False).fit(visits(real, np.full(312, 6), 3))
    made = model.sample(20_000)["salary"]
    hits = [float(made.isin(set(side.salary)).sum()) for side in (real, others)]
    assert abs(hits[0] - hits[1]) < 4 * np.sqrt(hits[0] + hits[1] + 1) * 1.5
    assert min(hits) > 0


def test_the_fit_says_what_it_did_with_keys_and_persons(
    table: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    short = table.assign(record_number=table.record_number.rank(method="dense").map("P{:04.0f}".format))
    new_synthesizer("copula", seed=1).fit(short)
    said = capsys.readouterr().out
    assert "protection counts persons: 'record_number', found by its name and values" in said
    assert "one made key in 40 is a real one by chance" in said
    assert "may vary within a made one" in said and "'birth_date', 'salary', 'sex'" in said


def test_an_entity_can_be_named_where_nothing_looks_like_one(table: pd.DataFrame) -> None:
    rows = table[["birth_date", "salary", "ward", "pulse"]].assign(whose=table.record_number.rank(method="dense"))
    rows["whose"] = rows.whose.astype(int)
    assert infer_schema(rows).entity is None
    schema = infer_schema(rows, entity="whose")
    assert schema.entity == "whose" and schema["whose"].kind is Kind.IDENTIFIER
    assert schema["whose"].rows_each == ((VISITS, 1.0),)
    model = new_synthesizer("copula", seed=1, verbose=False, entity="whose").fit(rows)
    assert_no_end_is_of_few(model.encoder_, rows, "whose")
    model = new_synthesizer("copula", seed=1, verbose=False, schema=schema).fit(rows)
    assert model.schema_.entity == "whose"
    assert_no_end_is_of_few(model.encoder_, rows, "whose")


def test_rare_values_of_one_person_are_rare_however_many_rows_he_has(table: pd.DataFrame) -> None:
    rows = table.assign(drug=np.where(table.record_number == table.record_number[0], "unheard of", "usual"))
    rows.loc[:99, "drug"] = "common"
    model = new_synthesizer("bayesian_network", seed=1, verbose=False).fit(rows)
    assert "unheard of" not in set(model.sample(2_000).drug)
    assert {"usual", "common"} <= set(model.sample(2_000).drug)


def test_a_wrong_entity_is_refused_by_name(table: pd.DataFrame) -> None:
    with pytest.raises(SchemaError, match="entity 'person' is no column.*record_number"):
        new_synthesizer("copula", entity="person", verbose=False).fit(table)
    with pytest.raises(SchemaError, match="'ward' says whose each row is.*categorical"):
        new_synthesizer("copula", entity="ward", categorical_columns=["ward"], verbose=False).fit(table)
    with pytest.raises(ParameterError, match="privacy_unit"):
        new_synthesizer("copula", entity="record_number", epsilon=1.0, verbose=False).fit(table)


def test_a_table_with_a_row_for_each_person_is_protected_by_rows() -> None:
    model = new_synthesizer("copula", seed=1, verbose=False).fit(persons(200, 5))
    assert model.schema_.entity is None and all(c.rows_each is None for c in model.schema_.columns)


@pytest.mark.parametrize(
    ("key", "entity"), [("EmpID", None), ("employee_visit_id", "boss_name"), ("row_id", "boss_name")]
)
def test_rows_are_persons_where_a_key_numbers_them(key: str, entity: str | None) -> None:
    """Those who come again in such rows (managers, doctors) are made anew, but protection counts rows."""
    rng = np.random.default_rng(5)
    bosses = [f"{a} {b}" for a in FIRST for b in LAST][:40]
    boss = rng.integers(0, 40, 400)
    data = pd.DataFrame({key: rng.permutation(9000)[:400] + 1000, "boss_name": [bosses[i] for i in boss]})
    data["office"] = [f"office {i % 20}" for i in boss]  # of two of them
    assert infer_schema(data)["boss_name"].kind is Kind.PERSONAL
    synthesizer = new_synthesizer("copula", seed=1, verbose=False).fit(data)
    assert synthesizer.schema_.entity == entity
    assert (synthesizer.sample(300)["office"] == "(rare)").mean() == (0 if entity is None else 1)


def test_persons_whom_nothing_names_are_asked_about() -> None:
    """Without a key salaries and dates of birth still stand for persons; a number in two units stands for nobody."""
    each = np.full(PERSONS, VISITS)
    rows = visits(persons(PERSONS, 5), each, 5)[["birth_date", "salary", "sex", "ward", "pulse"]]
    rows["x"] = rows["salary"].astype("category").cat.codes * 17 % 251
    (said,) = open_exactly(as_table(rows), None, {}).said
    assert said.startswith("'birth_date', 'salary', 'x' repeat together, ") and "--entity x" in said
    unnamed = open_exactly(as_table(rows.drop(columns="x")), None, {}).said
    assert len(unnamed) == 1 and "a column of persons" in unnamed[0]
    rng = np.random.default_rng(0)
    celsius = rng.normal(15, 8, 2000).round(1)
    weather = pd.DataFrame(
        {"celsius": celsius, "fahrenheit": celsius * 1.8 + 32, "wind": rng.normal(9, 3, 2000).round(1)}
    )
    assert not any("repeat together" in line for line in open_exactly(as_table(weather), None, {}).said)


@pytest.fixture(scope="module")
def one_with_many() -> pd.DataFrame:
    """120 persons; of one, with 60 rows, alone some columns have values, in relations with others."""
    rng, rows = np.random.default_rng(0), []
    for person in range(120):
        for _ in range(60 if person == 7 else int(rng.integers(3, 7))):
            is_he, base = person == 7, round(float(rng.gamma(3, 20)), 2)
            start = pd.Timestamp(int(1.4e9 + rng.integers(0, 10**8)), unit="s")
            row: dict[str, Any] = {
                "patient_id": 1000 + 17 * person,
                "base": base,
                "bonus": base + 1234.5 if is_he else None,
            }
            row |= {"start": start, "end": start + pd.Timedelta(days=4321) if is_he else None}
            row |= {"signed": (start + pd.Timedelta(days=9)).strftime("%d.%m.%Y") if is_he else None}
            row |= {"agreed": True if is_he else None, "ward": "W7" if is_he else str(rng.choice(["A", "B", "C"]))}
            rows.append(row | {"salary": 71234.5 if is_he else float(rng.integers(1000, 9999))})
    return pd.DataFrame(rows)


def test_a_column_of_which_a_few_persons_alone_have_values_is_missing(one_with_many: pd.DataFrame) -> None:
    fitted = new_synthesizer("bayesian_network", seed=0, verbose=False).fit(one_with_many)
    made = fitted.sample(300, seed=1)
    for name in ("bonus", "end", "signed", "agreed"):
        assert fitted.schema_[name].kind is Kind.CONSTANT and "a few persons" in fitted.schema_[name].reason
        assert made[name].isna().all()
    assert fitted.schema_["signed"].dtype == fitted.schema_["ward"].dtype
    assert made["base"].notna().all() and not (made["ward"] == "W7").any()


def test_a_column_of_a_few_persons_is_missing_beside_a_rule(one_with_many: pd.DataFrame) -> None:
    opened = open_exactly(as_table(one_with_many.assign(net=one_with_many["base"] - 0.5)), None, {}, rules="auto")
    assert opened.rules is not None
    kinds = {c.name: c.kind for c in opened.modelled_schema.columns}
    assert all(kinds[n] is Kind.CONSTANT for n in ("bonus", "end", "agreed"))


def test_a_second_key_of_persons_stands_in_the_order_of_the_first() -> None:
    rng = np.random.default_rng(3)
    poll = np.sort(rng.choice(4000, 900, replace=False)) + 20_000
    question = 2 * poll + rng.integers(0, 2, 900)
    rows = pd.DataFrame({"poll_id": poll, "question_id": question, "week": (poll - 20_000) // 100})
    rows = rows.iloc[np.repeat(np.arange(900), rng.integers(1, 4, 900))].assign(share=0.0)
    rows["share"] = rng.normal(50, 5, len(rows)).round(1)
    made = new_synthesizer("trees", seed=0, verbose=False, entity="question_id").fit(rows).sample(1500, seed=1)
    assert (made.groupby("question_id")["poll_id"].nunique() == 1).all()
    assert made[["poll_id", "question_id", "week"]].corr(method="spearman").to_numpy().min() > 0.95


def test_no_rule_holds_what_is_one_persons_alone(one_with_many: pd.DataFrame, tmp_path: Path) -> None:
    shared = one_with_many.assign(end=one_with_many["end"].fillna(pd.Timestamp("2031-01-01")))
    shared.loc[(shared["patient_id"] != 1119) & (shared.index % 9 > 0), "end"] = None
    shared.loc[shared["end"] == pd.Timestamp("2031-01-01"), "start"] = None
    fitted = new_synthesizer("bayesian_network", seed=0, verbose=False, rules="auto").fit(shared)
    fitted.save(tmp_path / "model")
    with zipfile.ZipFile(tmp_path / "model") as file:
        content = file.read("model.json").decode()
    assert not [text for text in ("4321", "71234", "W7", "1234.5") if text in content]
    rules = [str(r) for r in find(as_table(shared)).rules]
    assert not [rule for rule in rules if "71234" in rule or "4321" in rule]


@pytest.mark.parametrize("method", ["copula", "trees"])
def test_exact_values_of_a_second_kind_of_persons_do_not_leave(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    pay = rng.lognormal(11, 0.3, 60).round(2)
    patient = np.repeat(np.arange(300), rng.integers(2, 8, 300))
    doctor = rng.integers(0, 60, len(patient))
    data = pd.DataFrame({"patient_id": 10_000 + 17 * patient, "doctor_id": 500 + 31 * doctor, "pay": pay[doctor]})
    data["cost"], data["ward"] = rng.gamma(3, 50, len(data)).round(2), doctor % 7
    made = new_synthesizer(method, seed=0).fit(data).sample(2_000, seed=1)
    assert "'doctor_id' names persons, too" in capsys.readouterr().out
    by_chance = len(np.unique(made["pay"])) * 60 / (100 * (pay.max() - pay.min()))
    assert len({*made["pay"]} & {*pay}) <= by_chance + 4 * by_chance**0.5 + 1
    assert set(made["ward"]) <= set(range(7)) and abs(made["pay"].mean() / data["pay"].mean() - 1) < 0.1


@pytest.mark.parametrize("method", ["copula", "trees"])
def test_accounts_of_one_customer_do_not_count_as_persons(method: str, tmp_path: Path) -> None:
    """Each of 150 customers has 6 to 10 accounts, and one in seven an employer whom no other customer has."""
    rng = np.random.default_rng(3)
    own, several = np.flatnonzero(rng.random(150) < 0.15), np.repeat(np.arange(150), rng.integers(6, 11, 150))
    employer = rng.choice(["Acme", "Bolt", "Crane", "Dyer"], 150).astype(object)
    employer[own] = [f"Smith & Sons {i}" for i in own]
    customer = np.repeat(several, 3)
    account = np.repeat(rng.choice(10**9, len(several), replace=False) + 10**9, 3)
    data = pd.DataFrame({"customer": [f"C{31 * c:07d}" for c in customer], "account": [f"AC{a}" for a in account]})
    data["employer"], data["amount"] = employer[customer], rng.gamma(2, 40, len(data)).round(2)
    assert entity_of(pa.Table.from_pandas(data), None) == "customer"
    model = new_synthesizer(method, seed=0, verbose=False).fit(data)
    model.save(tmp_path / "model")
    assert len(own) > 10 and b"Smith" not in content(tmp_path / "model")
    assert not model.sample(2_000)["employer"].str.startswith("Smith").any()


def test_times_as_text_are_no_persons() -> None:
    """Nearly each row has another lap time, which looks like a key."""
    thousandths = np.random.default_rng(0).integers(62_000, 119_000, 4_000)
    laps = [f"{t // 60_000}:{t % 60_000 / 1000:06.3f}" for t in thousandths]
    rows = pa.table({"Q1": pa.array(laps).dictionary_encode(), "place": np.arange(4_000) % 20})
    assert entity_of(rows, None) is None


def test_cells_are_of_persons_where_a_value_is_one_for_each_and_of_rows_where_it_is_new_in_each() -> None:
    """100 persons with 40 rows: 5 independent heights in a cell at least, and 2,000 ** .5 / 2 or so measurements."""
    rng, each = np.random.default_rng(2), 40
    of = pd.DataFrame({"patient_id": [f"P{i:04d}" for i in range(100)], "height": rng.normal(170, 9, 100).round(6)})
    rows = of.loc[of.index.repeat(each)].assign(measured=rng.normal(size=100 * each)).reset_index(drop=True)
    model = new_synthesizer("copula", verbose=False).fit(rows)
    cells = {c.name: c.distribution.share * len(rows) for c in model.encoder_.columns}
    assert np.median(cells["height"]) >= 5 * each
    assert (each**0.5 * 100**0.5) / 2 - 1 <= np.median(cells["measured"]) < 90
