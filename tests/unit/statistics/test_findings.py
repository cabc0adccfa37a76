"""What a look at a table finds: rare values, signs for missing, repeated rows and keys, a target."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from raysynth.data.table import as_table
from raysynth.schema.columns import ColumnSchema, Kind
from raysynth.statistics.findings import ColumnFindings, Findings, _advice, find
from raysynth.statistics.table_statistics import collect

N = 600


def frame(seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    data = pd.DataFrame(
        {
            "patient_id": rng.integers(0, 150, N) + 1000,
            "title": [f"title {i}" for i in rng.integers(0, 500, N)],
            "income": np.where(rng.random(N) < 0.1, -999.0, rng.normal(2000, 300, N).round(2)),
            "seen": pd.Series(pd.Timestamp("2012-01-31") + pd.to_timedelta(rng.integers(0, 900, N), unit="D")),
            "outcome": rng.choice(["well", "ill"], N),
            "town": rng.choice(["Bern", "Basel"], N),
        }
    )
    data.loc[rng.random(N) < 0.1, "seen"] = pd.Timestamp("2262-01-01")
    data["seen"] = data["seen"].dt.strftime("%d.%m.%Y")
    return data


def of(found: Findings, name: str) -> ColumnFindings:
    return next(c for c in found.columns if c.column.name == name)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_findings(seed: int) -> None:
    data = frame(seed)
    found = find(as_table(pd.concat([data, data[:40]], ignore_index=True)))
    assert found.n_rows == N + 40 and found.duplicates == 40
    assert found.target == "outcome"
    assert of(found, "title").rare > 0.9 and "'(rare)'" in of(found, "title").advice[0]
    assert any("-999 stands far" in a for a in of(found, "income").advice)
    assert of(found, "seen").column.date_format == "%d.%m.%Y"
    assert any("2262-01-01 stands far" in a for a in of(found, "seen").advice)
    assert of(found, "town").advice == () and of(found, "town").rare == 0
    text = found.text()
    assert "private" in text and "40 rows repeat an earlier row" in text and "--target outcome" in text
    assert found.record()["columns"][1]["rare"] == round(of(found, "title").rare, 4)


def test_a_clean_table_has_no_advice() -> None:
    rng = np.random.default_rng(5)
    data = pd.DataFrame({"x": rng.normal(size=N), "y": rng.integers(0, 100, N), "z": rng.choice(list("abc"), N)})
    data["d"] = [dt.date(2020, 1, 1) + dt.timedelta(days=int(i)) for i in rng.integers(0, 300, N)]
    found = find(as_table(data))
    assert all(c.advice == () for c in found.columns) and found.duplicates == 0 and found.target == "z"
    assert found.schema["d"].kind is Kind.DATETIME


@pytest.mark.parametrize("seed", [1, 2])
def test_signs_for_missing_at_both_ends_are_found_and_tails_are_none(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 10, N)
    data = pd.DataFrame({"both": np.select([kind == 0, kind == 1], [-999, 999], rng.normal(0, 20, N).round())})
    data["two"] = np.select([kind == 0, kind == 1], [9998, 9999], rng.integers(0, 90, N))
    data["tail"] = rng.lognormal(2, 2, N).round(1)
    found = find(as_table(data))
    signs = {name: [a.split()[0] for a in of(found, name).advice if "sign for missing" in a] for name in data}
    assert signs == {"both": ["-999", "999"], "two": ["9998", "9999"], "tail": []}


def test_numbers_among_texts_are_said_with_a_cure() -> None:
    rng = np.random.default_rng(4)
    cells = rng.gamma(2, 3, N).round(2).astype(str).astype(object)
    cells[rng.random(N) < 0.2] = "<0.5"
    cells[:3] = "broken"
    mixed = find(as_table(pd.DataFrame({"lab": cells, "town": rng.choice(["a", "b"], N)})))
    advice = " ".join(of(mixed, "lab").advice)
    assert "of the rows are numbers; for the others ('<0.5')" in advice and "'missing=<0.5'" in advice
    assert "broken" not in advice and not of(mixed, "town").advice
    for i, often in enumerate((5, 30, 20, 8, 12)):
        cells[100 + 40 * i : 100 + 40 * i + often] = f"sign {i}"
    said = " ".join(of(find(as_table(pd.DataFrame({"lab": cells}))), "lab").advice)
    assert "for the others ('<0.5', 'sign 1', 'sign 2', 'sign 4')" in said, "the four that most rows have"


def test_columns_that_are_not_modelled_are_named() -> None:
    """A key that is made anew and a constant, and no other."""
    data = frame(1)[["income", "town"]].assign(number=range(1, N + 1), source="survey")
    said = [fact for fact in find(as_table(data)).facts() if fact.startswith("not modelled")]
    assert said == ["not modelled, but made anew or constant: number, source"]
    assert not any(fact.startswith("not modelled") for fact in find(as_table(data[["income", "town"]])).facts())


@pytest.mark.parametrize("form", ["{}/{}", "{}-{}", "{} x {} cm", "{}:{}"])
def test_several_numbers_in_a_text_are_said_with_a_cure(form: str) -> None:
    rng = np.random.default_rng(5)
    texts = [form.format(a, b) for a, b in rng.integers(40, 999, (N, 2))]
    found = find(as_table(pd.DataFrame({"pressure": texts, "x": rng.random(N)})))
    assert "each text holds several numbers" in " ".join(of(found, "pressure").advice)


@pytest.mark.parametrize(("rows_each", "said"), [(4, True), (1.1, False)])
@pytest.mark.parametrize("as_text", [True, False])
def test_keys_that_repeat_and_are_learned_as_values_are_said_with_a_cure(
    rows_each: float, said: bool, as_text: bool
) -> None:
    n_values = 40
    own = np.arange(int(n_values * rows_each)) % n_values
    data = pd.DataFrame(
        {"patient_id": [f"p{v}" for v in own] if as_text else own, "town": ["a", "b"] * (len(own) // 2)}
    )
    seen = collect(as_table(data)).columns["patient_id"]
    column = ColumnSchema("patient_id", Kind.CATEGORICAL, "string" if as_text else "int64")
    advice = " ".join(_advice(column, seen, 0.0))
    assert ("4.0 rows for each of 40 values: if these are persons" in advice) == said


def test_texts_of_few_rows_among_numbers_are_not_named() -> None:
    cells = np.random.default_rng(4).gamma(2, 3, N).round(2).astype(str).astype(object)
    cells[:40] = [f"private {i}" for i in range(40)]
    said = " ".join(of(find(as_table(pd.DataFrame({"lab": cells, "town": ["a", "b"] * (N // 2)}))), "lab").advice)
    assert "for the others (some texts in few rows each)" in said and "'missing=TEXT'" in said and "private" not in said


def test_a_target_has_two_to_twenty_classes() -> None:
    """The last one, or the last that is named so; neither numbers of few values nor categories of many are."""
    rng = np.random.default_rng(6)

    def target(**classes: int) -> str | None:
        columns = {n: [f"{n}{v}" for v in rng.permutation(np.arange(N) % k)] for n, k in classes.items()}
        return find(as_table(pd.DataFrame({**columns, "few": np.arange(N) % 7 * 1.37}))).target

    assert target(a=2, b=20) == "b" and target(a=20, b=21) == "a" and target(a=1, b=21) is None
    assert target(label=3, b=4) == "label" and target(label=21, b=4) == "b" and target(outcome=2, label=20) == "label"
