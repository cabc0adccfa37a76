"""The command line: `raysynth fit`, `sample`, `evaluate` and `demo`; `attack`, `sweep` and `submit` have own files.

Results go to standard output (with `--json`: one JSON object and nothing else), progress and messages to standard
error. Exit codes: 0 done; 2 the input is at fault; 1 anything else; 130 interrupted with Ctrl-C.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from raysynth.cli.application import Csv, Entity, Json, Method, Seed, Settings, app, run
from raysynth.cli.steps import (
    Outcome,
    check_out,
    evaluate_tables,
    fit_outcome,
    kept_of_sample,
    new_model,
    read_as,
    read_conditions,
    verify_folder,
    write_sample,
)
from raysynth.errors import ParameterError
from raysynth.methods.registry import DEFAULT_METHOD
from raysynth.version import __version__


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"raysynth {__version__}")
        raise typer.Exit


def _print_parameters(method: str | None) -> None:
    if method is None:
        return
    from raysynth.methods.parameters import described
    from raysynth.methods.registry import synthesizer_class

    def work() -> Outcome:
        return Outcome({}, f"Parameters of '{method}', for --set NAME=VALUE:\n{described(synthesizer_class(method))}")

    run(work, as_json=False, kept="Nothing was done.")
    raise typer.Exit


@app.callback()
def raysynth(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Turn a private table into a synthetic one, and check the result.

    A first look: [bold]raysynth demo[/bold]. Your own table: [bold]raysynth demo table.csv[/bold].
    """


@app.command(
    epilog="""
[bold]Examples[/bold]

[dim]# a model of a CSV file; what each column was taken for is printed[/dim]

raysynth fit patients.csv --model patients.raysynth

[dim]# a folder of Parquet, trained by 8 workers on GPUs[/dim]

raysynth fit 's3://bucket/visits/' --method ctgan --epochs 100 --workers 8 --gpu --model visits.raysynth

[dim]# checkpoints on storage: after a crash the same command goes on from the last one[/dim]

raysynth fit visits.csv --method ctgan --seed 1 --storage /shared/runs/visits --model visits.raysynth

[dim]# kinds and rules from a schema that you edited; the result as JSON[/dim]

raysynth fit patients.csv --schema schema.json --model patients.raysynth --seed 1 --json

[dim]# differential privacy; kinds and ranges come from the schema, not from the rows[/dim]

raysynth fit patients.csv --schema schema.json --method bayesian_network --epsilon 1 --model patients.raysynth

[dim]# what can be set of a method?[/dim]

raysynth fit --help-method ctgan
"""
)
def fit(
    data: Annotated[str, typer.Argument(help="CSV or Parquet file, folder of Parquet, or URI (s3://, gs://).")],
    model: Annotated[Path, typer.Option(help="File to write the model to.")],
    method: Method = DEFAULT_METHOD,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data (neural methods).", min=1)] = None,
    schema: Annotated[Path | None, typer.Option(help="TableSchema as JSON: kinds, bounds, constraints.")] = None,
    workers: Annotated[int | None, typer.Option(help="Training processes, over Ray.", min=1)] = None,
    gpu: Annotated[bool, typer.Option("--gpu", help="Each worker trains on a GPU.")] = False,
    storage: Annotated[
        Path | None, typer.Option(help="Folder (all workers see it) for checkpoints: the same command goes on there.")
    ] = None,
    epsilon: Annotated[float | None, typer.Option(help="Differential privacy: total budget, e.g. 1.")] = None,
    delta: Annotated[float | None, typer.Option(help="Its delta; default 1e-5.")] = None,
    entity: Entity = None,
    settings: Settings = None,
    help_method: Annotated[
        str | None,
        typer.Option(
            metavar="METHOD",
            callback=_print_parameters,
            is_eager=True,
            help="Print all parameters of a method, with meanings, ranges and defaults, and exit.",
        ),
    ] = None,
    csv: Csv = None,
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Learn a model from a table and save it.

    Kinds of column (category, number, date, identifier, personal data ...) are inferred and printed; \
fix what is wrong with --schema. Values seen in fewer than 5 rows are not learned.
    """

    def work() -> Outcome:
        from raysynth.files.storage import check_writable

        check_writable(model)
        begun = time.perf_counter()
        fitted = new_model(
            method,
            epochs=epochs,
            schema=schema,
            workers=workers,
            gpu=gpu,
            storage=storage,
            epsilon=epsilon,
            delta=delta,
            settings=settings,
            entity=entity,
            seed=seed,
        )
        fitted.fit(read_as(data, csv))
        fitted.save(model)
        return fit_outcome(fitted, data, model, time.perf_counter() - begun)

    run(work, as_json, kept=f"No model was written to '{model}'.")


@app.command(
    epilog="""
[bold]Examples[/bold]

raysynth sample patients.raysynth -n 1000 --out synthetic.csv

[dim]# every row satisfies the conditions[/dim]

raysynth sample patients.raysynth -n 1000 --out men.csv --conditions '{"sex": "male", "age": {"min": 25, "max": 40}}'

[dim]# a folder of Parquet, written by all cores; afterwards: is every file there and whole?[/dim]

raysynth sample patients.raysynth -n 100000000 --out synthetic/

raysynth sample --verify synthetic/
"""
)
def sample(
    file: Annotated[Path | None, typer.Argument(help="Model file that `raysynth fit` wrote.")] = None,
    out: Annotated[str | None, typer.Option(help="File (.csv, .parquet) or folder to write to.")] = None,
    n: Annotated[
        int | None, typer.Option("-n", "--rows", help="Rows to draw; default: as many as were learned from.")
    ] = None,
    conditions: Annotated[
        str | None,
        typer.Option(
            metavar="JSON",
            help='What every row must satisfy: a value, a list of values, or {"min": a, "max": b} for each column; '
            "a list of \\[conditions, n] gives quotas; @FILE reads the JSON from a file.",
        ),
    ] = None,
    partition_by: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Divide a folder by a column of few values: COLUMN=VALUE/.")
    ] = None,
    verify: Annotated[
        str | None, typer.Option(metavar="FOLDER", help="Draw nothing; check a folder written earlier, file by file.")
    ] = None,
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Draw synthetic rows from a model.

    The rows depend on the model, the seed, n and the conditions alone. Writing to a folder can be interrupted: \
the same command goes on where it stopped.
    """

    def work() -> Outcome:
        from raysynth.methods.loading import load_synthetic_model

        if verify is not None:
            return verify_folder(verify)
        if file is None or out is None:
            raise ParameterError("say which model and where to: raysynth sample MODEL -n 1000 --out synthetic.csv")
        check_out(out)
        begun = time.perf_counter()
        model = load_synthetic_model(file)
        rows = write_sample(model, out, n, read_conditions(conditions), seed, partition_by=partition_by)
        seconds = time.perf_counter() - begun
        record = {"command": "sample", "model": str(file), "out": out, "rows": rows, "seconds": round(seconds, 3)}
        return Outcome(record, f"{rows:,} rows in {seconds:.1f} s -> {out}")

    run(work, as_json, kept=kept_of_sample(out))


@app.command(
    epilog="""
[bold]Examples[/bold]

raysynth evaluate real.csv synthetic.csv --out report.html

[dim]# rows that the model has not seen show whether it copied; one column to predict[/dim]

raysynth evaluate train.csv synthetic.csv --holdout holdout.csv --target income --json

[dim]# how the table was made and what privacy it spent; and a report that may be shared[/dim]

raysynth evaluate train.csv synthetic.csv --model model.raysynth --out report.html --shareable shared.html

[dim]# sequences: many rows for each entity, also compared along time[/dim]

raysynth evaluate visits.csv synthetic.csv --sequence-key patient --time-column day --out report.html
"""
)
def evaluate(
    real: Annotated[str, typer.Argument(help="The real table: what the model learned from.")],
    synthetic: Annotated[str, typer.Argument(help="The synthetic table.")],
    out: Annotated[Path | None, typer.Option(help="HTML report to write.")] = None,
    holdout: Annotated[
        str | None, typer.Option(help="Real rows that the model has not seen; makes copying visible.")
    ] = None,
    target: Annotated[
        list[str] | None, typer.Option(help="Column to predict, for the machine-learning test; may be repeated.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="Model file that made the table; the report shows how, and its privacy ledger.")
    ] = None,
    shareable: Annotated[
        Path | None, typer.Option(help="Second HTML report to write, without any figure computed from the real rows.")
    ] = None,
    sequence_key: Annotated[
        str | None, typer.Option(help="Column that says which rows are one sequence; adds figures along time.")
    ] = None,
    time_column: Annotated[str | None, typer.Option(help="Column that orders the rows of a sequence.")] = None,
    entity: Entity = None,
    csv: Csv = None,
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Compare a synthetic table with the real one, and attack it: figures here, pictures in an HTML report."""

    def work() -> Outcome:
        from raysynth.files.storage import check_writable
        from raysynth.methods.loading import load_synthetic_model

        for path in (out, shareable):
            if path is not None:
                check_writable(path)
        return evaluate_tables(
            read_as(real, csv),
            synthetic,
            out=out,
            holdout=None if holdout is None else read_as(holdout, csv),
            target=target,
            seed=seed,
            model=None if model is None else load_synthetic_model(model),
            shareable=shareable,
            sequence_key=sequence_key,
            time_column=time_column,
            entity=entity,
        )

    run(work, as_json, kept="No report was written." if out is None else f"No report was written to '{out}'.")


@app.command(
    epilog="""
[bold]Examples[/bold]

[dim]# a survey of 6,366 people, which comes with statsmodels[/dim]

raysynth demo

[dim]# your own table[/dim]

raysynth demo patients.csv --out first-look --method ctgan --epochs 30
"""
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
    csv: Csv = None,
    seed: Annotated[int, typer.Option(help="Whole number that makes the result repeatable.", min=0)] = 0,
    as_json: Json = False,
) -> None:
    """Fit, sample and evaluate in one go, and say what was done and where the files are."""

    def work() -> Outcome:
        from raysynth.cli.demo import run_demo

        table = None if data is None else read_as(data, csv)
        result = run_demo(table, out, method=method, epochs=epochs, target=target, entity=entity, seed=seed)
        return Outcome({"command": "demo", **result.record()}, result.text())

    run(work, as_json, kept=f"Files that were finished stay in '{out}'.")


# Importing these adds their commands, behind those above in the help.
from raysynth.cli import attack as cli_attack  # noqa: E402, F401
from raysynth.cli import jobs as cli_jobs  # noqa: E402, F401
from raysynth.cli import look as cli_look  # noqa: E402, F401
from raysynth.cli import sweep as cli_sweep  # noqa: E402, F401


def main() -> None:
    """Entry point of the `raysynth` command."""
    app()
