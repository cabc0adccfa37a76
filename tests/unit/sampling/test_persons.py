"""Made persons: what is one for each real person is one for each made one, in whichever chunk its rows lie."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from outcome import value_of

from raysynth import load_synthetic_model
from raysynth.api import infer_schema, new_synthesizer
from raysynth.constraints import Expression, Inequality, Unique
from raysynth.encoding.block import EncodedBlock
from raysynth.encoding.repeated import RepeatedEncoder, RowsEach
from raysynth.errors import ConstraintError
from raysynth.kinds.identifier.making import IdentifierEncoder
from raysynth.methods.base import Synthesizer
from raysynth.sampling import persons
from raysynth.sampling.chunks import CHUNK_ROWS, make_chunk
from raysynth.sampling.conditions import Segment
from raysynth.sampling.persons import TRIES, completes, person_columns, rows_of_persons, rows_scores, until_kept
from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.schema.constraints import ConstraintSet
from raysynth.schema.constraints.thinning import Factors, Thinning
from raysynth.schema.table import TableSchema

PERSONS = 300
OWN = ["born", "sex", "town"]


def table_of_persons(seed: int = 0) -> pd.DataFrame:
    """Persons of 1 to 12 rows; what they pay follows their town, the year of a row their year of birth."""
    rng = np.random.default_rng(seed)
    of = np.repeat(np.arange(PERSONS), rng.integers(1, 13, PERSONS))
    own = pd.DataFrame(
        {
            "patient_id": [f"P{v:09d}" for v in rng.choice(10**9, PERSONS, replace=False)],
            "born": rng.integers(1930, 1990, PERSONS),
            "sex": rng.choice(["f", "m"], PERSONS),
            "town": rng.choice(["Aa", "Bb", "Cc"], PERSONS, p=[0.6, 0.3, 0.1]),
        }
    )
    rows = own.iloc[rng.permutation(of)].reset_index(drop=True)
    rows["year"] = rows["born"] + rng.integers(18, 30, len(rows))
    rows["paid"] = rows["town"].map({"Aa": 10, "Bb": 40, "Cc": 90}) + rng.normal(0, 3, len(rows)).round(1)
    return rows


def most_values(rows: pd.DataFrame) -> int:
    """Values of the column of persons' own that varies most within one."""
    return int(rows.groupby("patient_id")[OWN].nunique(dropna=False).to_numpy().max())


@pytest.fixture(scope="module")
def model() -> Synthesizer:
    return value_of(lambda: new_synthesizer("trees", seed=1, verbose=False).fit(table_of_persons()))


def test_own_columns_are_one_for_each_person_over_chunks(model: Synthesizer) -> None:
    rows = value_of(lambda: model.sample(CHUNK_ROWS + 5_000, seed=2))
    assert most_values(rows) == 1
    assert rows.groupby("patient_id")["paid"].nunique().max() > 1


def test_a_person_in_two_chunks_is_one_person() -> None:
    """Persons of 1,000 rows: the one at the end of the first chunk goes on in the second, 65,536 being no multiple."""
    schema = infer_schema(table_of_persons())
    schema = schema.with_column("patient_id", rows_each=((1000, 1.0),))
    columns = [replace(c, within="patient_id") if c.name in OWN else c for c in schema.columns]
    few = new_synthesizer("trees", seed=1, verbose=False, schema=replace(schema, columns=tuple(columns)))
    rows = value_of(lambda: few.fit(table_of_persons()).sample(CHUNK_ROWS + 3_000, seed=2))
    who = rows["patient_id"].to_numpy()
    assert who[CHUNK_ROWS - 1] == who[CHUNK_ROWS] != who[CHUNK_ROWS + 1_000]
    assert most_values(rows) == 1


@pytest.mark.statistical
def test_what_varies_follows_its_person(model: Synthesizer) -> None:
    """Means of what is paid by town within 4 of the real ones (one has 21 persons), shares of towns within .12; each
    differs by as much less than once in 10,000 seeds (about 1,500 made persons, 300 real ones)."""
    rows, real = model.sample(10_000, seed=3), table_of_persons()
    assert (rows.groupby("town")["paid"].mean() - real.groupby("town")["paid"].mean()).abs().max() < 4
    shares = [t["town"].value_counts(normalize=True) for t in (rows, real)]
    assert (shares[0] - shares[1]).abs().max() < 0.12


def test_a_file_gives_the_same_rows_and_the_schema_says_what_is_one(model: Synthesizer, tmp_path: Path) -> None:
    assert {c.name for c in model.schema_.modelled if c.within == "patient_id"} == set(OWN)
    model.save(tmp_path / "model")
    again = load_synthetic_model(tmp_path / "model")
    assert again.sample(500, seed=4).equals(model.sample(500, seed=4))


def test_conditions_make_rows_singly(model: Synthesizer) -> None:
    assert set(model.sample(200, conditions={"town": "Cc"}, seed=5)["town"]) == {"Cc"}


def test_rules_hold_within_persons() -> None:
    """Of a rule that is met by rejection and of one by construction, on a person's own column and one that varies."""
    table = table_of_persons()
    table["age"] = table["year"] - table["born"]
    rules = (Inequality("born", "year"), Expression("age == year - born"))
    schema = replace(infer_schema(table), constraints=rules)
    rows = value_of(
        lambda: new_synthesizer("trees", seed=1, verbose=False, schema=schema).fit(table).sample(3_000, seed=2)
    )
    assert (rows["born"] <= rows["year"]).all() and (rows["age"] == rows["year"] - rows["born"]).all()
    assert rows.groupby("patient_id")[["sex", "town"]].nunique().to_numpy().max() == 1


def test_rows_that_must_be_unique_are_made_singly(capsys: pytest.CaptureFixture[str]) -> None:
    table = table_of_persons().drop_duplicates(["town", "paid"])
    schema = replace(infer_schema(table), constraints=(Unique(("town", "paid")),))
    rows = value_of(lambda: new_synthesizer("trees", seed=1, schema=schema).fit(table).sample(100, seed=2))
    assert "may vary within a made one" in capsys.readouterr().out
    assert not rows.duplicated(["town", "paid"]).any()


def test_rows_that_must_be_unique_when_they_are_drawn_are(model: Synthesizer) -> None:
    rows = value_of(lambda: model.sample(60, seed=2, constraints=[Unique(("town", "year"))]))
    assert not rows.duplicated(["town", "year"]).any()


def test_rejection_is_weighted_within_persons_too(model: Synthesizer) -> None:
    """Weights that use no row of 38 or more: neither the row that a person comes with nor a further one is such."""
    weights = Thinning((Factors("paid", (38.0,), (), (1.0, 0.0, 1.0)),), 1.0)
    rules = ConstraintSet((), model.schema_.as_modelled(), weights)
    made = value_of(lambda: make_chunk(replace(model._fitted(), rules=rules), (Segment((), 2_000),), 3, 0))
    assert pc.max(made.column("paid")).as_py() < 38
    assert most_values(made.to_pandas()) == 1


def test_a_rule_when_rows_are_drawn_computes_no_column_of_a_person_from_what_varies(model: Synthesizer) -> None:
    with pytest.raises(ConstraintError, match="'born', the same in all rows of one 'patient_id', from 'year'"):
        model.sample(60, seed=2, constraints=[Expression("born == year - 40")])
    rows = value_of(lambda: model.sample(200, seed=2, constraints=[Expression("year == born + 40")]))
    assert (rows["year"] == rows["born"] + 40).all() and most_values(rows) == 1


def test_networks_that_complete_rows_do_so_too() -> None:
    small = new_synthesizer("autoregressive", seed=1, verbose=False, epochs=1, width=8, layers=1)
    assert most_values(small.fit(table_of_persons()).sample(400, seed=2)) == 1


def test_of_a_person_are_the_columns_within_it_and_no_other_key_that_stands_in_order() -> None:
    columns = (
        ColumnSchema("person", Kind.IDENTIFIER, "int64", in_order=True),
        ColumnSchema("visit", Kind.IDENTIFIER, "int64", in_order=True),
        ColumnSchema("town", Kind.CATEGORICAL, "string", within="person"),
        ColumnSchema("paid", Kind.CATEGORICAL, "string"),
    )
    places = [SimpleNamespace(name=c.name, kind=Kind.CATEGORICAL) for c in columns]
    encoder = SimpleNamespace(columns=places, n_values=0)
    made = RepeatedEncoder(IdentifierEncoder("person", "integer", "int64"), RowsEach(((2, 1.0),)), "person")
    generator = SimpleNamespace(generate_given=None)
    schema = TableSchema(columns, entity="person")
    found = person_columns(schema, encoder, {"person": made}, generator)  # type: ignore[arg-type]
    assert found is not None and found.columns == (0, 2)
    assert person_columns(schema, encoder, {"person": made}, SimpleNamespace()) is None  # type: ignore[arg-type]
    assert person_columns(replace(schema, entity=None), encoder, {"person": made}, generator) is None  # type: ignore[arg-type]


def test_who_ends_in_the_next_chunk_is_drawn_there_as_here_and_nobody_else_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Persons of two rows each, five rows a chunk: the third of each two chunks lies in both."""
    monkeypatch.setattr("raysynth.sampling.persons._completed", lambda model, came_P, *_: came_P)
    known = SimpleNamespace(rows_each=RowsEach(((2, 1.0),)), entity="person")
    model, sizes = SimpleNamespace(persons=known, key=3), list[int]()

    def draw(n: int, rng: np.random.Generator) -> pa.Table:
        sizes.append(n)
        return pa.table({"x": rng.random(n)})

    def of(chunk: int) -> list[float]:
        made = value_of(lambda: rows_of_persons(model, 5 * chunk, 5, 5, draw, lambda c: np.random.default_rng(c)))
        return made["x"].to_pylist()

    first, second, third = of(0), of(1), of(2)
    assert sizes == [2, 1, 1, 2, 2, 1], "who begins in a chunk and ends there at once, the one of both beside"
    assert first[2] == second[0] and len({*first, *second, *third}) == 8
    known.rows_each, at = RowsEach(((100, 1.0),)), len(sizes)
    assert of(0) == of(1) == of(2) and sizes[at:] == [1, 1, 1], "who begins here, and who goes on, is one"


def kept_by_loops(draws_NT: np.ndarray) -> tuple[list[int], list[bool], list[int]]:
    """(value, whether it holds, places left) of rows whose draws are given: odd ones break the rule, of those that hold
    a third is not used; a row that holds gives way only to one that does."""
    values, held, left = [], [], []
    for place, draws in enumerate(draws_NT.tolist()):
        value, holds, is_used = draws[0], draws[0] % 2 == 0, draws[0] % 2 == 0 and draws[0] % 3 != 0
        for tried in draws[1 : TRIES + 1]:
            if is_used:
                break
            if tried % 2 == 0 or not holds:
                value = tried
            holds, is_used = holds or tried % 2 == 0, tried % 2 == 0 and tried % 3 != 0
        values, held, left = [*values, value], [*held, holds], left if is_used else [*left, place]
    return values, held, left


def test_rows_that_break_a_rule_or_are_not_used_are_drawn_anew_so_often_and_no_more() -> None:
    """Some never hold, some are never used, some at the last try and some a try too late."""
    draws_NT = np.random.default_rng(0).integers(0, 100, (400, TRIES + 2))
    draws_NT[:40, :] = 2 * draws_NT[:40, :] + 1
    draws_NT[40:80, :] = 6 * draws_NT[40:80, :]
    draws_NT[0, TRIES], draws_NT[1, TRIES + 1], draws_NT[41, TRIES], draws_NT[2, 3] = 2, 2, 4, 6
    turn = np.zeros(len(draws_NT), int)

    def again(at: np.ndarray) -> pa.Table:
        turn[at] += 1
        return pa.table({"x": draws_NT[at, turn[at]]})

    rules = SimpleNamespace(
        holds=lambda rows: rows["x"].to_numpy() % 2 == 0, used=lambda rows, rng: rows["x"].to_numpy() % 3 != 0
    )
    rows = pa.table({"x": draws_NT[:, 0]})
    made, held, left = value_of(lambda: until_kept(rows, again, rules, np.random.default_rng(0)))
    assert (made["x"].to_pylist(), held.tolist(), left.tolist()) == kept_by_loops(draws_NT)
    assert turn.max() == TRIES and 0 not in left and {1, 2} <= set(left.tolist())


def test_a_generator_completes_rows_where_it_can_and_does_not_deny_it() -> None:
    can = SimpleNamespace(generate_given=None)
    denies = SimpleNamespace(generate_given=None, completes=lambda known: 3 not in known)
    assert completes(can, [3]) and completes(denies, [2]) and not completes(denies, [3])
    assert not completes(SimpleNamespace(completes=lambda known: True), [2])
    assert rows_scores(can, np.zeros((2, 1)), np.random.default_rng(0)) is None


def test_persons_who_should_have_many_rows_change_places_with_those_who_should_have_few() -> None:
    """Those of a chunk alone: the first and the last lie in others, too, and stay. A tie is dealt at random."""
    scores = np.array([9.0, 5.0, 7.0, 1.0, 0.0])
    codes = SimpleNamespace(name="p", encode=lambda array: (array.to_numpy(), None))

    def decode(block: EncodedBlock, rng: np.random.Generator) -> pa.Table:
        return pa.table({"p": block.codes_NC[:, 0], "x": block.codes_NC[:, 0]})

    model = SimpleNamespace(
        rules=None,
        encoder=SimpleNamespace(columns=[codes], decode=decode),
        persons=SimpleNamespace(columns=(0,), entity="who", rows_each=RowsEach(((2, 1.0),))),
        generator=SimpleNamespace(
            generate_given=lambda given, columns, rng: given, rows_scores=lambda given, rng: scores[given[:, 0]]
        ),
    )
    of_N = np.repeat(np.arange(5), [1, 4, 2, 3, 6])
    came = pa.table({"p": np.arange(5)})
    made = value_of(lambda: persons._completed(model, came, of_N, np.array([1, 2, 3]), np.random.default_rng(0)))
    assert made["p"].to_pylist() == made["x"].to_pylist() == [0] + [2] * 4 + [3] * 2 + [1] * 3 + [4] * 6
