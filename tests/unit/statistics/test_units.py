"""Bounding the rows of a privacy unit: how many stay, which ones, and what a neighbour changes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from outcome import value_of
from scipy import stats

from raysynth.data.table import as_table
from raysynth.dp import PrivacyBudget, PrivacyScope
from raysynth.dp.mechanisms.noise import InsecureSeededNoise, OsNoise
from raysynth.errors import ParameterError, SchemaError
from raysynth.statistics import units as units_of_persons
from raysynth.statistics.units import CHOICES, UnitIndex, bounded, chosen_most, chosen_rows, least_lost

FALSE_ALARM = 1e-6


def visits(persons: int = 30) -> pd.DataFrame:
    """Person i has i % 7 + 1 rows, in mixed order; some rows name nobody."""
    who = np.repeat(np.arange(persons), np.arange(persons) % 7 + 1)
    frame = pd.DataFrame({"who": [f"p{i}" for i in who] + [None] * 5})
    frame["row"] = np.arange(len(frame))
    return frame.sample(frac=1.0, random_state=0, ignore_index=True)


@pytest.mark.parametrize("most", [1, 3, 100])
def test_at_most_so_many_rows_of_each_stay_and_all_of_those_who_have_fewer(most: int) -> None:
    frame = visits()
    kept = value_of(lambda: bounded(as_table(frame), "who", most, OsNoise())).to_arrow().to_pandas()
    expected = frame["who"].value_counts().clip(upper=most)
    assert kept["who"].value_counts().to_dict() == expected.to_dict()
    assert kept["who"].isna().sum() == 5, "who names nobody is a unit of its own"
    assert kept["row"].is_unique and set(kept["row"]) <= set(frame["row"])


@pytest.mark.statistical
def test_every_row_of_a_unit_stays_with_the_same_chance() -> None:
    units, draws = pa.chunked_array([["a"] * 4 + ["b", "c"], ["a"] * 2 + ["b"]]), 3000
    counts = sum(chosen_rows(units, 2, OsNoise()).astype(int) for _ in range(draws))
    assert isinstance(counts, np.ndarray)
    of_a = counts[[0, 1, 2, 3, 6, 7]]
    assert of_a.sum() == 2 * draws and (counts[[4, 5, 8]] == draws).all()
    low, high = stats.binom.ppf([FALSE_ALARM / 12, 1 - FALSE_ALARM / 12], draws, 1 / 3)
    assert (of_a >= low).all() and (of_a <= high).all()


def test_a_unit_more_changes_the_table_by_its_own_rows_alone() -> None:
    """Given the numbers drawn for the others (here by a seed), the others' rows are the same ones."""
    others = visits()
    neighbour = pd.concat([others, pd.DataFrame({"who": ["new"] * 50, "row": range(1000, 1050)})], ignore_index=True)
    kept = [
        bounded(as_table(frame), "who", 3, InsecureSeededNoise(1)).to_arrow().to_pandas()
        for frame in (others, neighbour)
    ]
    gone = kept[1][kept[1]["who"] == "new"]
    assert len(gone) == 3
    left = kept[1].drop(gone.index).reset_index(drop=True)
    pd.testing.assert_frame_equal(kept[0].astype({"who": object}), left.astype({"who": object}))


def test_fragments_of_files_keep_their_own_rows_in_every_pass(tmp_path) -> None:  # type: ignore[no-untyped-def]
    frame = visits()
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), tmp_path / "v.parquet", row_group_size=16)
    table = bounded(as_table(str(tmp_path / "v.parquet")), "who", 2, OsNoise())
    first, again = table.to_arrow().to_pandas(), table.to_arrow(["row"]).to_pandas()
    assert first["row"].tolist() == again["row"].tolist() and table.n_rows == len(first)
    assert first["who"].value_counts().max() == 2
    numbers = bounded(as_table(frame.assign(who=np.arange(len(frame)) % 4)), "who", 2, OsNoise())
    assert numbers.n_rows == 8


def test_words_of_rows_that_were_left_out_are_not_listed() -> None:
    """A dictionary travels with its column: it must not tell of rows beyond a unit's first ones."""
    frame = pd.DataFrame({"who": ["a"] * 60, "word": [f"word {i}" for i in range(60)]}).astype({"word": "category"})
    kept = bounded(as_table(frame), "who", 2, OsNoise()).to_arrow().column("word")
    assert len(kept) == 2
    listed = {word for chunk in kept.chunks for word in chunk.dictionary.to_pylist()}
    assert listed == set(kept.to_pylist())


def test_no_rows_a_wrong_column_and_a_dataset() -> None:
    assert bounded(as_table(visits().iloc[:0], min_rows=0), "who", 1, OsNoise()).n_rows == 0
    with pytest.raises(SchemaError, match="no column"):
        bounded(as_table(visits()), "person", 1, OsNoise())
    from dataclasses import replace

    with pytest.raises(ParameterError, match="Ray Dataset"):
        bounded(replace(as_table(visits()), dataset=object()), "who", 1, OsNoise())


@pytest.mark.statistical
def test_an_index_knows_the_rows_of_each_unit_and_gives_each_the_same_chance(tmp_path) -> None:  # type: ignore[no-untyped-def]
    frame = visits()
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), tmp_path / "v.parquet", row_group_size=16)
    for data in (frame, str(tmp_path / "v.parquet"), frame.assign(who=frame["who"].str[1:].astype(float))):
        table = bounded(as_table(data), "who", 3, OsNoise())
        kept, index = table.to_arrow().to_pandas(), UnitIndex.of(table, "who")
        assert len(index) == 30 + 5, "who names nobody is a unit of its own"
        owner = kept["who"].astype(str).where(kept["who"].notna(), "nobody " + kept["row"].astype(str))
        rows_of = [frozenset(index.row_R[a:b]) for a, b in zip(index.start_U[:-1], index.start_U[1:], strict=True)]
        assert set(rows_of) == {frozenset(rows) for rows in kept.groupby(owner).indices.values()}
    sizes = np.diff(index.start_U)
    unit, draws = int(np.argmax(sizes == 3)), 3000
    drawn = index.one_row_each(np.full(draws, unit), OsNoise())
    counts = np.array([(drawn == row).sum() for row in rows_of[unit]])
    low, high = stats.binom.ppf([FALSE_ALARM / 6, 1 - FALSE_ALARM / 6], draws, 1 / 3)
    assert counts.sum() == draws and (counts >= low).all() and (counts <= high).all()
    assert len(UnitIndex.of(as_table(frame.iloc[:0], min_rows=0), "who")) == 0


def test_rows_stay_with_their_own_fragment() -> None:
    frame = visits()
    parts = [as_table(frame.iloc[:50].reset_index(drop=True)), as_table(frame.iloc[50:].reset_index(drop=True))]
    table = replace(parts[0], fragments=(*parts[0].fragments, *parts[1].fragments), n_rows=len(frame))
    kept = value_of(lambda: bounded(table, "who", 1, OsNoise()))
    sizes = [sum(block.num_rows for block in fragment.blocks()) for fragment in kept.fragments]
    rows = kept.to_arrow().to_pandas()
    assert len(sizes) == 2 and sizes[0] == rows["row"].isin(frame["row"][:50]).sum()
    assert rows["who"].value_counts().max() == 1 and len(rows) == 35


@pytest.mark.parametrize(("rows", "units"), [((1, 1, 1), 9), ((1, 2, 40), 9), ((700, 1, 1, 1, 1), 900)])
def test_all_rows_of_a_unit_change_one_count_of_units_by_one(
    rows: tuple[int, ...], units: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever their number, and it is charged before they are counted; a row that names nobody is a unit of one."""
    seen: list[np.ndarray] = []

    def counted(exact: np.ndarray, multiplier: float, noise: object) -> np.ndarray:
        assert [e.released for e in scope.ledger] == ["persons by their number of rows"]
        (event,) = scope.ledger.events
        assert event.noise_multiplier == multiplier and event.sensitivity == 1
        seen.append(exact)
        return exact.astype(float)

    monkeypatch.setattr(units_of_persons, "noised_counts", counted)
    who = np.repeat(np.arange(len(rows)), rows)
    more = np.append(who, np.full(units, len(rows)))
    nobody = pd.Series(np.append(more, [0, 0]), dtype="float").mask(np.arange(len(more) + 2) >= len(more))
    for owners in (who, more, nobody):
        scope = PrivacyScope(PrivacyBudget(1.0, 1e-5))
        chosen = chosen_most(as_table(pd.DataFrame({"who": owners, "x": 1})), "who", scope)
        assert scope.rows_per_unit == chosen and chosen in CHOICES
    assert np.abs(seen[1] - seen[0]).sum() == 1 and [s.sum() for s in seen] == [len(rows), len(rows) + 1, len(rows) + 3]
    assert seen[2][0] == seen[1][0] + 2


def test_more_rows_of_a_person_count_where_there_are_more_and_noise_is_small() -> None:
    ones, forty = np.eye(len(CHOICES) + 1)[0], np.eye(len(CHOICES) + 1)[6]
    assert least_lost(10_000 * ones, 20.0) == 1, "more rows would bring noise alone"
    assert least_lost(100_000 * forty, 5.0) == 64
    ever_fewer = 10_000 / 3.0 ** np.arange(len(CHOICES) + 1)
    chosen = [least_lost(ever_fewer, sigma) for sigma in (0.1, 1.0, 5.0, 25.0, 125.0, 625.0)]
    assert chosen == sorted(chosen, reverse=True) and len(set(chosen)) > 3 and chosen[-1] == 1
    assert least_lost(0 * ones, 1.0) == 1
