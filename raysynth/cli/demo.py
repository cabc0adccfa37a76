"""`raysynth demo`: one real table through fit, sample and evaluation, with a report at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raysynth.cli.application import Csv, Entity, Method, command
from raysynth.cli.database import demo_database, refuse
from raysynth.cli.steps import Outcome, Reports, check_output, evaluate_tables, new_model, read_as, write_frame
from raysynth.errors import DataError
from raysynth.files.storage import local_path
from raysynth.methods.registry import DEFAULT_METHOD

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from raysynth.data.sources.csv_file import CsvFile

HOLDOUT_SHARE = 0.2  # of the rows: never shown to the model, the yardstick for copying and for prediction
MIN_ROWS = 20
EXAMPLE = "Redbook survey of 1974 (Fair 1978; statsmodels)"
EXAMPLE_TARGET = "children"
_OCCUPATION = dict(
    enumerate(("student", "farming or unskilled", "white-collar", "skilled", "managerial", "professional"), 1)
)
_CODES = {  # statsmodels' codebook of the table
    "rate_marriage": dict(enumerate(("very poor", "poor", "fair", "good", "very good"), 1)),
    "religious": dict(enumerate(("not", "mildly", "fairly", "strongly"), 1)),
    "occupation": _OCCUPATION,
    "occupation_husb": _OCCUPATION,
}


@command(
    kept=lambda out, **_: f"Files that were finished stay in '{out}'.",
    epilog="""
[bold]Examples[/bold]

[dim]# a survey of 6,366 people, which comes with statsmodels[/dim]

raysynth demo

[dim]# your own table[/dim]

raysynth demo patients.csv --out first-look --method ctgan --epochs 30

[dim]# several tables with keys between them: a shop, made up[/dim]

raysynth demo --database
""",
)
def demo(
    data: Annotated[
        str | None, typer.Argument(help="Table to try; default: a real one that comes with statsmodels.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for model, synthetic table and report.")] = Path("demo"),
    method: Method = DEFAULT_METHOD,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data (neural methods).", min=1)] = None,
    target: Annotated[str | None, typer.Option(help="Column to predict, for the machine-learning test.")] = None,
    entity: Entity = None,
    database: Annotated[
        bool, typer.Option("--database", help="Several tables: a shop, made up by a seeded generator.")
    ] = False,
    csv: Csv = None,
    seed: Annotated[int, typer.Option(help="Whole number that makes the result repeatable.", min=0)] = 0,
) -> Outcome:
    """Fit, sample and evaluate in one go, and say what was done and where the files are."""
    if database:
        refuse({"DATA": data, "--epochs": epochs, "--target": target, "--entity": entity, "--csv": csv})
        return demo_database(out, method, seed)
    table = None if data is None else read_as(data, csv)
    result = run_demo(table, out, method=method, epochs=epochs, target=target, entity=entity, seed=seed)
    return Outcome({"command": "demo", **result.record()}, result.text())


@dataclass
class DemoResult:
    """What a demonstration did: how long each step took, which files it made, and the figures of the report."""

    source: str
    method: str
    rows: int
    columns: int
    seconds: dict[str, float] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    evaluation: dict[str, Any] = field(default_factory=dict)
    summary: str = ""

    def record(self) -> dict[str, Any]:
        """The result as JSON-able values."""
        return {
            "source": self.source,
            "method": self.method,
            "rows": self.rows,
            "columns": self.columns,
            "seconds": {step: round(s, 3) for step, s in self.seconds.items()},
            "files": {name: str(path) for name, path in self.files.items()},
            "evaluation": self.evaluation,
        }

    def text(self) -> str:
        """The result as lines for a person."""
        steps = ", ".join(f"{step} {s:.1f} s" for step, s in self.seconds.items())
        width = max(len(name) for name in self.files)
        files = "\n".join(f"  {name:<{width}}  {path}" for name, path in self.files.items())
        model = self.files["model"]
        return (
            f"\n{self.summary}\n\n"
            f"{self.source}: {self.rows:,} rows x {self.columns} columns, method '{self.method}'\n"
            f"Time: {steps}; in all {sum(self.seconds.values()):.1f} s\n"
            f"Files:\n{files}\n\n"
            f"Open the report in a browser, then try:\n"
            f"  raysynth sample {model} -n 1000 --out more.csv\n"
            f"  raysynth fit YOUR_TABLE.csv --model yours.raysynth"
        )


def run_demo(
    data: str | CsvFile | None,
    out: Path,
    *,
    method: str,
    epochs: int | None = None,
    target: str | None = None,
    entity: str | None = None,
    seed: int = 0,
    say: Callable[[str], None] = print,
) -> DemoResult:
    """Split a table, learn from one part, sample as many rows, and judge them against both parts.

    Args:
        data: path or URI of a table that fits in memory; None: the Redbook survey (see `example_table`).
        out: folder for `model.raysynth`, `synthetic.csv` and `report.html`.
        method, epochs, seed: as for `raysynth fit`.
        entity: the column that says whose each row is, where persons have several; they are then kept apart as wholes.
            None: one that looks like it.
        target: column for the machine-learning test; None: chosen by the evaluation (children for the example).
        say: receives one line as each step begins.

    Raises:
        RaysynthError: whatever a step raises; files of the steps before it stay.
    """
    local_path(out, "--out")  # a URI is refused; the paths are shown as they were given
    files = {"report": out / "report.html", "synthetic table": out / "synthetic.csv", "model": out / "model.raysynth"}
    for path in files.values():
        check_output(path)
    seconds: dict[str, float] = {}

    from raysynth.evaluation.page import table_name
    from raysynth.fitting.persons import entity_of

    source = EXAMPLE if data is None else str(getattr(data, "path", data))
    with _timed("read", seconds):
        say(f"1/4  Reading {source}")
        rows = _read(example_table() if data is None else data, say)
        entity = entity_of(rows, entity)
        train, holdout = split(rows, seed, entity)
    with _timed("fit", seconds):
        model = new_model(method, epochs=epochs, entity=entity, seed=seed)
        say(f"2/4  Learning from {train.num_rows:,} rows with '{model.method}' ({holdout.num_rows:,} kept apart)")
        model.fit(train)
        model.save(files["model"])
    with _timed("sample", seconds):
        say(f"3/4  Drawing {train.num_rows:,} synthetic rows")
        synthetic = model.sample(train.num_rows, seed=seed)
        write_frame(synthetic, files["synthetic table"])
    with _timed("evaluate", seconds):
        say("4/4  Comparing them with the real rows")
        target = target or (EXAMPLE_TARGET if data is None else None)
        judged = evaluate_tables(
            train,
            synthetic,
            Reports(files["report"], source=source if data is None else table_name(data)),
            model=model,
            seed=seed,
            holdout_data=holdout,
            target_columns=target or None,
            entity=entity,
        )
    return DemoResult(
        source=source,
        method=model.method,
        rows=rows.num_rows,
        columns=rows.num_columns,
        seconds=seconds,
        files=files,
        evaluation=judged.record,
        summary=judged.text,
    )


def _read(data: Any, say: Callable[[str], None]) -> pa.Table:
    """All rows of a table; what was decided about its form is said."""
    from raysynth.data.table import as_table

    table = as_table(data)
    for note in table.notes:
        say(f"     {note}")
    return table.to_arrow()


def example_table() -> pd.DataFrame:
    """A survey of married women as it comes with statsmodels (`fair`), (6,366, 9), its codes of categories in words.

    One respondent a row, so that rows are independent: rows kept apart are of people that the model has not seen.
    """
    from statsmodels.datasets import fair

    frame: pd.DataFrame = fair.load_pandas().data
    return frame.assign(**{name: frame[name].map(words) for name, words in _CODES.items()})


def split(rows: pa.Table, seed: int, entity: str | None = None) -> tuple[pa.Table, pa.Table]:
    """Rows to learn from and rows kept apart, drawn at random; raises `DataError` below 20 rows.

    With an `entity` all rows of a person go to the same side.
    """
    import numpy as np

    from raysynth.comparison.rows import divided
    from raysynth.data.sequences import codes_of

    n = rows.num_rows
    if n < MIN_ROWS:
        raise DataError(f"the demonstration needs at least {MIN_ROWS} rows; the table has {n}")
    owners = None if entity is None else codes_of(rows.column(entity))
    held, kept = divided(n, round(n * HOLDOUT_SHARE), owners, np.random.default_rng(seed))
    return rows.take(kept), rows.take(held)


@contextmanager
def _timed(step: str, seconds: dict[str, float]) -> Iterator[None]:
    """Note how long the block took."""
    begun = time.perf_counter()
    yield
    seconds[step] = time.perf_counter() - begun
