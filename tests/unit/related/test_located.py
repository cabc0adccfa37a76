"""Keys that are places: the hour and the airport of the weather, the day of a calendar."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from outcome import value_of

from raysynth import RelationalSynthesizer, load_synthetic_model
from raysynth.related.located import parents_by_values
from raysynth.related.opened import open_tables
from raysynth.schema.relations import DatabaseSchema, Relation, TableKeys

KEY = Relation("weather", "flights", ("at", "hour"), ("origin", "hour"))


def airports(n_days: int = 20, seed: int = 0) -> dict[str, pd.DataFrame]:
    """The weather of each hour at three places, and flights of planes that leave within the hour."""
    rng = np.random.default_rng(seed)
    hours = pd.date_range("2024-03-01 06:00", periods=24 * n_days, freq="h")
    hours = hours[(hours.hour >= 6) & (hours.hour < 22)]
    weather = pd.DataFrame([(place, h) for h in hours for place in ("EWR", "JFK", "LGA")], columns=["at", "hour"])
    weather["clock"] = weather["hour"].dt.hour
    weather["wind"] = rng.gamma(3, 3, len(weather)).round(1)
    planes = pd.DataFrame({"tail": np.arange(150), "seats": rng.choice([50, 150, 300], 150)})
    of = np.repeat(np.arange(150), rng.integers(5, 16, 150))
    lying = rng.integers(0, len(weather), len(of))
    flights = pd.DataFrame({"tail": of, "origin": weather["at"].to_numpy()[lying]})
    flights["hour"] = weather["hour"].to_numpy()[lying]
    flights["leaves"] = pd.DatetimeIndex(flights["hour"]).hour * 100 + rng.integers(0, 60, len(of))
    flights["km"] = np.select([flights["origin"] == "EWR", flights["origin"] == "JFK"], [400, 4000], 900)
    return {"weather": weather, "planes": planes, "flights": flights}


def schema(*relations: Relation) -> DatabaseSchema:
    """Planes bring flights."""
    planes = Relation("planes", "flights", ("tail",), ("tail",))
    keys = (TableKeys("weather", ("at", "hour")), TableKeys("planes", ("tail",)), TableKeys("flights"))
    return DatabaseSchema(keys, (planes, *(relations or (KEY,))))


def test_what_follows_from_a_place_follows_in_made_rows(tmp_path: Path) -> None:
    real = airports()
    model = value_of(
        lambda: RelationalSynthesizer(relations=schema(), seed=1, verbose=False, parameters={"n_trees": 2}).fit(real)
    )
    made = model.sample(seed=2)
    flights = made["flights"]
    places = set(map(tuple, made["weather"][["at", "hour"]].to_numpy()))
    assert set(map(tuple, flights[["origin", "hour"]].to_numpy())) <= places
    within = flights["leaves"] // 100 == pd.DatetimeIndex(flights["hour"]).hour
    assert within.mean() > 0.8  # any hour: 1 / 16
    assert (made["weather"]["clock"] == made["weather"]["hour"].dt.hour).mean() > 0.95
    expected = np.select([flights["origin"] == "EWR", flights["origin"] == "JFK"], [400, 4000], 900)
    assert (flights["km"] == expected).mean() > 0.95
    assert list(flights.dtypes) == list(real["flights"].dtypes)
    chosen = model.sample(conditions={"weather": {"hour": ("2024-03-05 08:30", "2024-03-07 12:10")}}, seed=3)
    assert chosen["weather"]["hour"].between("2024-03-05 08:30", "2024-03-07 12:10").all()
    assert set(chosen["flights"]["hour"]) <= set(chosen["weather"]["hour"])
    given = model.sample_children({"weather": real["weather"][::5]}, seed=4)
    pd.testing.assert_frame_equal(given["weather"], real["weather"][::5].reset_index(drop=True))
    assert set(given["flights"]["hour"]) <= set(given["weather"]["hour"])
    model.save(file := tmp_path / "model")
    again = load_synthetic_model(file)
    assert isinstance(again, RelationalSynthesizer)
    pd.testing.assert_frame_equal(again.sample(seed=2)["flights"], flights)


def test_only_keys_that_fill_a_grid_are_places() -> None:
    real = airports(5)

    def located(tables: dict[str, pd.DataFrame]) -> list[tuple[Relation, ...]]:
        return [p.located for p in open_tables(tables, schema(), {}, "error").plans if p.name == "flights"]

    assert located(real) == [(KEY,)]
    sparse = real["weather"][real["weather"].index % 3 == real["weather"]["hour"].dt.hour % 3]
    thin = sparse.assign(hour=sparse["hour"] + pd.to_timedelta(np.arange(len(sparse)), "s"))
    flights = real["flights"].assign(
        origin=thin["at"].to_numpy()[np.arange(len(real["flights"])) % len(thin)],
        hour=thin["hour"].to_numpy()[np.arange(len(real["flights"])) % len(thin)],
    )
    assert located({**real, "weather": thin, "flights": flights}) == [()]


def test_a_row_has_the_parent_at_its_place_or_the_nearest() -> None:
    parents = pa.table({"at": ["a", "a", "b", None], "hour": [1, 5, 1, 2]})
    rows = pa.table({"origin": ["a", "a", "b", "b", None, "c"], "hour": [5, 4, 9, 1, 1, 5]})
    nullable = Relation("weather", "flights", ("at", "hour"), ("origin", "hour"), nullable=True)
    found = parents_by_values(nullable, rows, parents, np.random.default_rng(0))
    assert found.tolist()[:5] == [1, 1, 2, 2, -1]
    assert found[5] == 1  # no such category: the nearest number
    strict = parents_by_values(KEY, rows, parents, np.random.default_rng(0))
    assert strict[4] >= 0
    assert parents_by_values(nullable, rows[:0], parents, np.random.default_rng(0)).tolist() == []
