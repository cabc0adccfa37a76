"""`raysynth sample`: rows from a model, into a file or a folder, and a check of such a folder."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from raysynth.cli.application import Seed, command
from raysynth.cli.database import refuse, sample_database
from raysynth.cli.steps import FILE_ENDINGS, Outcome, check_output, write_frame
from raysynth.cli.verify import verified
from raysynth.errors import ConditionError, ParameterError
from raysynth.files.storage import check_writable, place

if TYPE_CHECKING:
    from raysynth.methods.base import Synthesizer
    from raysynth.sampling.effects import Rules


@command(
    kept=lambda out, **_: kept_of_sample(out),
    epilog="""
[bold]Examples[/bold]

raysynth sample patients.raysynth -n 1000 --out synthetic.csv

[dim]# every row satisfies the conditions[/dim]

raysynth sample patients.raysynth -n 1000 --out men.csv --conditions '{"sex": "male", "age": {"min": 25, "max": 40}}'

[dim]# and further rules, {"constraints": \\[{"kind": "inequality", "low": "admitted", "high": "left"}]}[/dim]

raysynth sample patients.raysynth -n 1000 --out synthetic.csv --rules rules.json

[dim]# several tables: twice as many, a folder of Parquet each, or a new SQLite file[/dim]

raysynth sample shop.raysynth --scale 2 --out synthetic/

raysynth sample shop.raysynth --out synthetic.db

[dim]# a folder of Parquet, written by all cores; afterwards: is every file there and whole?[/dim]

raysynth sample patients.raysynth -n 100000000 --out synthetic/

raysynth sample --verify synthetic/
""",
)
def sample(
    file: Annotated[Path | None, typer.Argument(help="Model file that `raysynth fit` wrote.")] = None,
    out: Annotated[str | None, typer.Option(help="File (.csv, .parquet) or folder to write to.")] = None,
    n: Annotated[
        int | None, typer.Option("-n", "--rows", help="Rows to draw; default: as many as were learned from.")
    ] = None,
    scale: Annotated[
        float | None, typer.Option(help="Several tables: rows of the root tables by those learned from; default 1.")
    ] = None,
    conditions: Annotated[
        str | None,
        typer.Option(
            metavar="JSON",
            help='What every row must satisfy: a value, a list of values, or {"min": a, "max": b} for each column; '
            "a list of \\[conditions, n] gives quotas; @FILE reads the JSON from a file. Several tables: "
            "such an object for each root table.",
        ),
    ] = None,
    rules: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="JSON of constraints, as in a schema, that every row keeps beside its own."),
    ] = None,
    partition_by: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Divide a folder by a column of few values: COLUMN=VALUE/.")
    ] = None,
    verify: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Draw nothing; check a folder written earlier, file by file.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that is older than the model, too.")
    ] = False,
    seed: Seed = None,
) -> Outcome:
    """Draw synthetic rows from a model.

    The rows depend on the model, the seed, n and the conditions alone. Writing to a folder can be interrupted: \
the same command goes on where it stopped.
    """
    from raysynth.methods.registry import load_synthetic_model
    from raysynth.related.synthesizer import RelationalSynthesizer
    from raysynth.schema import TableSchema

    if verify is not None:
        return verified(verify)
    if file is None or out is None:
        raise ParameterError("say which model and where to: raysynth sample MODEL -n 1000 --out synthetic.csv")
    begun = time.perf_counter()
    model: Any = load_synthetic_model(file)
    if isinstance(model, RelationalSynthesizer):
        refuse({"-n": n, "--partition-by": partition_by, "--rules": rules})
        wanted = {name: _with_ranges(c) for name, c in (read_conditions(conditions) or {}).items()}
        return sample_database(
            model, file, out, scale=1.0 if scale is None else scale, conditions=wanted or None, seed=seed
        )
    if scale is not None:
        raise ParameterError(f"--scale is for several tables; '{file}' makes one: say -n ROWS")
    if not overwrite:
        check_not_learned(out, file)
    check_out(out, file, rules)
    kept = () if rules is None else TableSchema.load(rules).constraints
    asked = read_conditions(conditions)
    rows = write_sample(model, out, n, asked, seed, partition_by=partition_by, constraints=kept)
    seconds = time.perf_counter() - begun
    record = {"command": "sample", "model": str(file), "out": out, "rows": rows, "seconds": round(seconds, 3)}
    return Outcome(record, f"{rows:,} rows in {seconds:.1f} s -> {out}")


_OTHER_FILES = (
    *(".xlsx", ".xls", ".ods", ".json", ".jsonl", ".tsv", ".txt", ".gz", ".zip", ".feather", ".arrow"),
    *(".pkl", ".sqlite", ".db", ".duckdb", ".html", ".raysynth"),
)


def check_out(out: str, *inputs: object) -> None:
    """Raise before any work where `--out` cannot be written (`ParameterError`, `StorageError`); `inputs` are read."""
    if out == "-":
        raise ParameterError("--out -: rows are written to files only; name a .csv or .parquet file, or a folder")
    if (ending := Path(out).suffix.lower()) in _OTHER_FILES:
        raise ParameterError(f"--out {out}: {ending} is not written; name a .csv or .parquet file, or a folder")
    if Path(out).suffix.lower() in FILE_ENDINGS:
        check_output(out, *inputs)
    else:
        check_writable(place(out, "--out") / "part")


def check_not_learned(out: str, model: Path) -> None:
    """Raise `ParameterError` where `--out` is a file older than the model: it may be what was learned from."""
    there, learned = place(out), place(model)
    if Path(out).suffix.lower() not in FILE_ENDINGS or not (there.is_local and learned.is_local and there.exists()):
        return
    if Path(there.path).stat().st_mtime < Path(learned.path).stat().st_mtime:
        raise ParameterError(
            f"--out {out}: the file that is there is older than the model, so it may be the table that the model was "
            "learned from; name another file, or say --overwrite"
        )


def write_sample(
    model: Synthesizer,
    out: str,
    n: int | None,
    conditions: Any,
    seed: int | None,
    *,
    partition_by: str | None = None,
    constraints: Rules = (),
) -> int:
    """Draw rows and write them as the ending of `out` says (.csv, .parquet, else a folder); returns how many.

    `n` None: as many as were learned from, or as the quotas in `conditions` add up to. `partition_by`: of a folder.
    `constraints`: that rows keep beside the model's own.
    """
    from raysynth.sampling.frame import with_whole_numbers

    if n is None and not isinstance(conditions, list):
        n = model.n_rows_
    more: dict[str, Any] = {"constraints": constraints} if constraints else {}  # sequences take none
    if Path(out).suffix.lower() not in FILE_ENDINGS:
        return model.sample_to(out, n, conditions=conditions, seed=seed, partition_by=partition_by, **more).rows
    if partition_by is not None:
        raise ParameterError(
            f"--partition-by {partition_by} divides a folder; '{out}' is one file: give --out a folder"
        )
    frame = model.sample(n, conditions=conditions, seed=seed, **more)
    write_frame(with_whole_numbers(frame, model.schema_), Path(out))
    return len(frame)


def read_conditions(text: str | None) -> Any:
    """Conditions from JSON: {"min": a, "max": b} becomes the closed range (a, b); [[conditions, n], ...] quotas."""
    if text is None:
        return None
    try:
        content = json.loads(Path(text[1:]).read_text(encoding="utf-8") if text.startswith("@") else text)
    except OSError as error:
        raise ConditionError(f"--conditions {text}: cannot read the file: {error.strerror}") from error
    except ValueError as error:
        raise ConditionError(f'--conditions is not valid JSON ({error}); for example \'{{"sex": "male"}}\'') from None
    if isinstance(content, dict):
        return _with_ranges(content)
    if not (isinstance(content, list) and content and all(_is_quota(c) for c in content)):
        raise ConditionError(
            '--conditions must be a JSON object, {"column": value}, or a list of quotas, [[{"column": value}, n], ...]'
        )
    return [(_with_ranges(c), count) for c, count in content]


def _is_quota(content: Any) -> bool:
    return (
        isinstance(content, list) and len(content) == 2 and isinstance(content[0], dict) and isinstance(content[1], int)
    )


def _with_ranges(conditions: dict[str, Any]) -> dict[str, Any]:
    """The same conditions with {"min": a, "max": b} as the tuple (a, b)."""
    result: dict[str, Any] = {}
    for column, wanted in conditions.items():
        if isinstance(wanted, dict):
            if not wanted or not set(wanted) <= {"min", "max"}:
                found = json.dumps(wanted)
                raise ConditionError(
                    f'column \'{column}\': a range is {{"min": a, "max": b}}, either may be left out; found {found}'
                )
            wanted = (wanted.get("min"), wanted.get("max"))
        result[column] = wanted
    return result


def kept_of_sample(out: str | None) -> str:
    """What an interrupted `sample` leaves behind."""
    if out is None:
        return "Nothing was written."
    if Path(out).suffix.lower() in FILE_ENDINGS:
        return f"Nothing was written to '{out}'."
    return f"Finished parts stay in '{out}'; the same command resumes there."
