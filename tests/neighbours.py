"""Neighbours behind the private door: two tables that differ by one row must look the same to whoever sees a fit.

Every release is replaced by the same constants, so that what still differs between the fits of two neighbours came past
the mechanisms: in the model file, in what is printed or warned, in an error, in how much work is divided into which
tasks. The row that is added is of a hostile pool for its source: what a reader, a cast or a library chokes on.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import itertools
import json
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tiny import BY_SGD, tiny

from raysynth.api import new_synthesizer
from raysynth.constraints import Inequality
from raysynth.dp import InsecureSeededNoise
from raysynth.dp.accounting import accountant
from raysynth.dp.gradients.release import GradientRelease
from raysynth.dp.mechanisms import counts as mechanisms
from raysynth.errors import RaysynthError
from raysynth.running import runner as execution
from raysynth.schema import ColumnSchema, Kind, TableSchema
from raysynth.statistics import noised
from raysynth.statistics.released import from_integers
from raysynth.training import private_batches

SOURCES = ("arrow", "parquet", "csv", "frame", "dataset")
OF_SEQUENCES = ("timegan", "autoregressive_sequences")
OF_PERSONS: dict[str, Any] = {"sequence_key": "who", "sequence_length": 3, "static_columns": ["town"]}
NEURAL = tiny(
    (*BY_SGD, *OF_SEQUENCES),
    conditional_gan={"conditional_columns": ["town"]},
    **dict.fromkeys(OF_SEQUENCES, OF_PERSONS),
)
METHODS = ("bayesian_network", "copula", *NEURAL)

TYPES = {
    "who": pa.int64(),
    "job": pa.string(),
    "town": pa.string(),
    "age": pa.int64(),
    "level": pa.int32(),
    "size": pa.float64(),
    "when": pa.timestamp("ns"),
    "seen": pa.timestamp("s", tz="America/New_York"),
    "day": pa.date32(),
    "span": pa.duration("ms"),
    "flag": pa.bool_(),
    "money": pa.decimal128(12, 2),
    "patient_id": pa.string(),
    "email": pa.string(),
}
SCHEMA = (
    ColumnSchema("who", Kind.IDENTIFIER, "int64"),
    ColumnSchema("town", Kind.CATEGORICAL, "string", categories=("east", "west")),
    ColumnSchema("age", Kind.CONTINUOUS, "int64", bounds=(0, 120)),
    ColumnSchema("flag", Kind.BOOLEAN, "bool"),
)
OF_TEXT = (  # what a file of text, or objects, must be told
    ColumnSchema("level", Kind.CATEGORICAL, "int32"),
    ColumnSchema("size", Kind.CONTINUOUS, "double"),
    ColumnSchema("when", Kind.DATETIME, "timestamp[us]"),
    ColumnSchema("seen", Kind.CATEGORICAL, "timestamp[s, tz=America/New_York]"),
    ColumnSchema("day", Kind.DATETIME, "date32[day]"),
    ColumnSchema("span", Kind.TIMEDELTA, "duration[ms]"),
    ColumnSchema("money", Kind.CONTINUOUS, "decimal128(12, 2)"),
)

WORDS = [
    "",
    " ",
    "zz",
    "é",
    "e\u0301",
    "\u202e",
    "\x00",
    "NULL",
    "nan",
    "1",
    "1e999",
    '"',
    "a" * 5000,
    "=1+1",
    "x,y",
    None,
]
NO_TEXT = b"\xff\xfe NAME"  # as text, which Arrow and Parquet do not check
WHOLE = [0, -1, 120, 121, (1 << 53) + 1, (1 << 63) - 1, -(1 << 63), None]
REAL = [0.0, -0.0, np.nan, np.inf, -np.inf, 5e-324, 1.7e308, -1e308, 0.1, None]
TICKS = [0, 1, (1 << 63) - 1, -(1 << 63), -62_135_596_801, 253_402_300_800, 1604210400, 1604214000, None]
LINES = [  # whole physical lines
    *(
        b"",
        b",",
        b"NAME,37,extra" + b",cell" * 40,
        b'"open',
        b'"a""',
        b'x"y,1',
        b"\xff\xfe",
        b"\x00" * 20,
        b"\r",
        b"a\rb",
    ),
    *(b"9" * 400, b"\xef\xbb\xbf", b'"a,b"'),
]
CELLS = [  # in each column, or in one of an ordinary row
    *(
        b"x",
        b"",
        b"caf\xe9",
        b"\xc3\x28",
        b"9" * 30,
        b"-1e400",
        b"0001-01-01",
        b"99999-01-01",
        b"1.5",
        b"-0.0",
        b"True",
    ),
    *(b'"quoted "" text"', b'"', b"\x00", b"123456789012345678901234567890.5", b"1e5", b"NaN", b"NULL", b" 7 ", b"'"),
]
OBJECTS: list[Any] = [
    *(None, np.nan, pd.NA, pd.NaT, "zz", b"bytes", b"\xff", 7, -1, 10**400, 10**5000, 2**63, 1.5, -0.0, np.inf, True),
    *(Decimal("NaN"), Decimal("1e99"), datetime(1, 1, 1), datetime(9999, 12, 31), date(1, 1, 1), timedelta.max),
    *(pd.Timestamp("2262-04-11"), pd.Timedelta(1), [1, 2], {"a": 1}, (), set(), object, "\ud800", np.float32(0.1)),
    *(np.array([1, 2]), 1j, np.datetime64("NaT"), np.datetime64("2020-05-01", "D"), ""),
]  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One fit, but for its table.

    Args:
        seed: of the table and of the constants.
        method, source: names.
    """

    seed: int
    method: str
    source: str

    @property
    def is_by_person(self) -> bool:
        """Whether the unit is a person, where the method and the source have persons."""
        return self.seed % 3 == 0 and self.method not in OF_SEQUENCES and self.source != "dataset"


def rows_of(case: Case) -> pa.Table:
    """50 to 200 ordinary rows."""
    rng = np.random.default_rng(case.seed)
    n = int(rng.integers(50, 201))
    seconds = rng.integers(1_500_000_000, 1_700_000_000, n)
    columns: dict[str, Any] = {
        "who": np.sort(rng.integers(0, n // 3, n)),
        "job": rng.choice(["a", "b", "c"], n),
        "town": rng.choice(["east", "west"], n),
        "age": rng.integers(0, 99, n),
        "level": rng.integers(0, 3, n),
        "size": rng.normal(50, 5, n),
        "when": seconds * 10**9,
        "seen": seconds,
        "day": seconds // 86_400,
        "span": rng.integers(0, 10**6, n),
        "flag": rng.random(n) < 0.3,
        "money": [Decimal(int(x)).scaleb(-2) for x in rng.integers(0, 10**6, n)],
        "patient_id": [f"P{i:05d}" for i in rng.integers(0, 10**5, n)],
        "email": [f"p{i}@example.org" for i in range(n)],
    }
    few = {"who", "town", "age", "level", *rng.choice(list(TYPES), 4)}
    return pa.table({name: _typed(list(columns[name]), type_) for name, type_ in TYPES.items() if name in few})


def _typed(values: Sequence[Any], type_: pa.DataType) -> pa.Array:
    plain = [v.item() if isinstance(v, np.generic) else v for v in values]
    if pa.types.is_temporal(type_):
        return pa.array(plain, pa.int32() if pa.types.is_date32(type_) else pa.int64()).cast(type_)
    if NO_TEXT in plain:
        return pa.array(plain, pa.binary()).view(type_)
    return pa.array(plain, type_)


def _strange_row(rng: np.random.Generator) -> pa.Table:
    """Of each column a hostile value, or none."""
    pools: dict[str, list[Any]] = {"town": WORDS} | dict.fromkeys(("job", "patient_id", "email"), [*WORDS, NO_TEXT])
    pools |= {"who": WHOLE, "age": WHOLE, "level": [-(1 << 31), 0, 7, (1 << 31) - 1, None], "size": REAL}
    pools |= {"when": TICKS, "seen": TICKS, "span": TICKS, "day": [-(1 << 31), (1 << 31) - 1, 0, None]}
    pools |= {"flag": [True, False, None], "money": [Decimal("9999999999.99"), Decimal("-0.01"), None]}
    return pa.table({n: _typed([pools[n][rng.integers(len(pools[n]))]], t) for n, t in TYPES.items()})


def neighbours(case: Case, folder: Path) -> Iterator[Any]:
    """The table as its source has it, then without end the same with one hostile row more, somewhere."""
    rows, rng = rows_of(case), np.random.default_rng(case.seed + 1)
    make = {"arrow": _arrow, "parquet": _parquet, "csv": _csv, "frame": _frame, "dataset": _dataset}[case.source]
    yield make(rows, None, rng, folder)
    while True:
        yield make(rows, int(rng.integers(rows.num_rows + 1)), rng, folder)


def _with_row(rows: pa.Table, at: int | None, rng: np.random.Generator) -> pa.Table:
    if at is None:
        return rows
    return pa.concat_tables([rows.slice(0, at), _strange_row(rng).select(rows.column_names), rows.slice(at)])


def _arrow(rows: pa.Table, at: int | None, rng: np.random.Generator, folder: Path) -> pa.Table:
    return _with_row(rows, at, rng)


def _parquet(rows: pa.Table, at: int | None, rng: np.random.Generator, folder: Path) -> str:
    table = _with_row(rows, at, rng)
    if "seen" in table.column_names:  # Parquet has no seconds
        milliseconds = table["seen"].cast(pa.timestamp("ms", tz="America/New_York"), safe=False)
        table = table.set_column(table.column_names.index("seen"), "seen", milliseconds)
    pq.write_table(table, folder / "rows.parquet", row_group_size=64)
    return str(folder / "rows.parquet")


def _dataset(rows: pa.Table, at: int | None, rng: np.random.Generator, folder: Path) -> Any:
    import ray

    return ray.data.from_arrow(_with_row(rows, at, rng).combine_chunks())


def _csv(rows: pa.Table, at: int | None, rng: np.random.Generator, folder: Path) -> str:
    text = rows.to_pandas().to_csv(index=False).encode().splitlines(keepends=True)
    if at is not None:
        cell, cells = CELLS[rng.integers(len(CELLS))], text[1].strip().split(b",")
        one = [cell if i == rng.integers(len(cells)) else own for i, own in enumerate(cells)]
        each = [cell] * (len(cells) + int(rng.choice([0, 0, -1, 1])))
        line = [LINES[rng.integers(len(LINES))], b",".join(one), b",".join(each)][rng.integers(3)]
        text.insert(at + 1, line + (b"\r\n" if rng.random() < 0.2 else b"\n"))
    (folder / "rows.csv").write_bytes(b"".join(text))
    return str(folder / "rows.csv")


def _frame(rows: pa.Table, at: int | None, rng: np.random.Generator, folder: Path) -> pd.DataFrame:
    """Objects, but for the columns whose dtype says what they hold."""
    objects = {"job", "patient_id", "email", "flag", "age", "day", "money"} & set(rows.column_names)
    frame = rows.to_pandas().astype(dict.fromkeys(objects, object))
    if at is None:
        return frame
    strange = _strange_row(rng).select(["town", *({"size"} & set(rows.column_names))]).to_pandas().iloc[0].to_dict()
    strange |= {n: OBJECTS[rng.integers(len(OBJECTS))] for n in sorted(objects)}
    order = np.argsort([*range(at), *range(at + 1, len(frame) + 1), at], kind="stable")
    columns = {}
    for name in frame.columns:
        cells = [*frame[name], strange.get(name, frame[name].iloc[0])]
        own = pd.Series(cells, dtype=frame[name].dtype, index=range(len(cells)))
        columns[name] = own.iloc[order].reset_index(drop=True)
    return pd.DataFrame(columns)


# ---- a fit, and all that it shows ------------------------------------------------------------------------------------


def schema_of(case: Case) -> TableSchema:
    """What is declared: more where the source stores no types; a rule between columns for every fifth table."""
    names = rows_of(case).column_names
    told = (*SCHEMA, *(OF_TEXT if case.source in ("csv", "frame", "dataset") else ()))
    told = tuple(c for c in told if c.name in names)
    if case.method in OF_SEQUENCES:
        told = tuple(c for c in told if c.name != "who")
    if case.seed % 5 or case.method != "copula":
        return TableSchema(told)
    level = ColumnSchema("level", Kind.CONTINUOUS, "int32", bounds=(0, 120))
    return TableSchema((*(c for c in told if c.name != "level"), level), constraints=(Inequality("level", "age"),))


def without_clock(text: str) -> str:
    """Without lines of progress, which are printed by the clock and say how long a step takes."""
    return "".join(line for line in text.splitlines(keepends=True) if not line.startswith("[raysynth] "))


def shown(case: Case, data: Any, *, rows: bool = False) -> dict[str, Any]:
    """Everything that a fit shows: model, text, warnings, error, work; with `rows` it is drawn from, too, or fails."""
    printed, told = io.StringIO(), io.StringIO()
    seen: dict[str, Any] = {"error": None, "model": None, "stages": None}
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        work = _install(patch, case.seed)
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(told):
            try:
                model = _model(case)
                model.fit(data)
                content = model._content()
                seen["model"] = (content.digest(), json.dumps(content.meta, sort_keys=True, default=str))
                seen["stages"] = [(s.name, s.rows, s.bytes) for s in model.stages_]
                if rows:
                    (model.sample(20, seed=1) if case.method not in OF_SEQUENCES else model.sample(20)).to_csv()
            except RaysynthError as error:
                seen["error"] = (type(error).__name__, str(error), str(error.__cause__))
            except Exception as error:  # what no user should see: kept, so that the test fails with it
                seen["error"] = ("BARE", type(error).__name__, str(error), traceback.format_exc()[-1500:])
    seen |= {"printed": printed.getvalue(), "told": without_clock(told.getvalue()), "work": work}
    return seen | {"warned": sorted(str(w.message) for w in warned)}


def _model(case: Case) -> Any:
    given: dict[str, Any] = {"epsilon": 2.0, "delta": 1e-5, "seed": 0, "schema": schema_of(case)}
    if case.method == "bayesian_network":
        given["private_rounds"] = 2
    if case.method in NEURAL:
        given |= {"epochs": 1, "batch_size": 1000, **NEURAL[case.method]}
    if case.is_by_person:
        given |= {"privacy_unit": "who", "max_rows_per_unit": 1 + case.seed % 2}
    if case.source in ("arrow", "parquet"):
        given["public_types"] = case.seed % 2 == 0
    model = new_synthesizer(case.method, **given)
    model._noise = InsecureSeededNoise(5)
    return model


def _install(patch: pytest.MonkeyPatch, seed: int) -> list[Any]:
    """The same constants for every release; gives the list that passes over the table are written to."""
    rng = np.random.default_rng(seed)
    height, numbers = float(rng.choice([5.0, 50.0, 5000.0])), itertools.count(1)

    def constant(shape: Any) -> np.ndarray:
        n, number = int(np.prod(shape)), next(numbers)
        return (height * (1 + np.sin(number + np.arange(n)))).reshape(shape)

    def named(by_value: Any, column: ColumnSchema, plan: Any, scope: Any) -> tuple[list[Any], np.ndarray]:
        type_ = column.value_type
        values = ["a", "b", "c"] if pa.types.is_string(type_) else from_integers([0, 1, 2], type_)
        return values, constant(3)

    def gradient(release: GradientRelease) -> list[torch.Tensor]:
        made = [torch.full_like(s, 0.01) for s in release._sums]
        release._sums = []
        return made

    def places(n: int, q: float, noise: Any) -> np.ndarray:
        return np.arange(min(8, n))

    stubs: dict[str, Callable[..., Any]] = {
        "gaussian_vector": lambda values, *_, **__: constant(np.shape(values)),
        "noised_counts": lambda values, *_, **__: np.rint(constant(np.shape(values))),
        "noised_count": lambda *_, **__: 100,
        "chosen": lambda *_, **__: 0,
    }
    for name in ("methods.copula.private", "methods.bayesian_network.noised", "methods.sequences.private"):
        importlib.import_module(f"raysynth.{name}")
    for module in [m for n, m in sorted(sys.modules.items()) if n.startswith("raysynth.") and m is not mechanisms]:
        for name, stub in stubs.items():
            if getattr(module, name, None) is getattr(mechanisms, name):
                patch.setattr(module, name, stub)
    patch.setattr(noised, "_named", named)
    patch.setattr(GradientRelease, "noised_mean", gradient)
    patch.setattr(private_batches, "bernoulli_places", places)
    patch.setattr(accountant, "_composed_epsilon", _quick_epsilon)
    patch.setattr("raysynth.dp.accounting.second_opinion.SECONDS", 0.0)  # it would disagree with the quick one
    for name in ("MAX_ROWS", "RANKS_PER_COLUMN"):  # of calibration, which looks at what was released and at no row
        patch.setattr(f"raysynth.methods.shared.neural.{name}", 256)
    work: list[Any] = []

    @contextlib.contextmanager
    def watched(label: str, total: float | None = None, console: Any = None) -> Iterator[Callable[[float], None]]:
        work.append((label, total))
        yield lambda n: None

    patch.setattr(execution, "progress", watched)
    return work


def _quick_epsilon(events: tuple[Any, ...], delta: float, coarseness: float) -> float:
    """By concentrated privacy: the accountant has tests of its own."""
    rho = sum(
        e.steps * (0.5 / e.noise_multiplier**2 if e.noise_multiplier else (e.epsilon or 0) ** 2 / 2) for e in events
    )
    return float(rho + 2 * np.sqrt(rho * np.log(1 / delta)))
